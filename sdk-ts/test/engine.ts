/** An engine of its own for a test file, and workers connected to it. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Worker, type WorkerOptions } from "@agentos/sdk";

const BINARY = process.env["AGENTOS_BIN"] ?? fileURLToPath(new URL("../../../target/release/agentos", import.meta.url));

/** How long an engine may take to be there; generous for a busy machine. */
const START_TIMEOUT_MS = 20_000;

export class Engine {
  readonly dataDir: string;
  url = "";
  http = "";
  #process: ChildProcess | undefined;
  #output = "";
  readonly #workers: Worker[] = [];

  private constructor() {
    this.dataDir = mkdtempSync(join(tmpdir(), "agentos-sdk-ts-"));
  }

  static async start(): Promise<Engine> {
    const engine = new Engine();
    await engine.run("0");
    return engine;
  }

  get token(): string {
    return readFileSync(join(this.dataDir, "token"), "utf8").trim();
  }

  /** Starts the process; again after `kill`, on the same port and data. */
  async run(port = new URL(this.url).port): Promise<void> {
    if (!existsSync(BINARY)) throw new Error(`no engine at ${BINARY}: run \`cargo build --release\` first`);
    const note = join(this.dataDir, "engine.json");
    rmSync(note, { force: true });
    const args = ["start", "--data-dir", this.dataDir, "--no-workers", "--bus-port", port, "--http-port", "0"];
    this.#process = spawn(BINARY, args, { stdio: ["ignore", "pipe", "pipe"], cwd: dirname(this.dataDir) });
    this.#process.stdout?.on("data", (text) => (this.#output += String(text)));
    this.#process.stderr?.on("data", (text) => (this.#output += String(text)));
    for (let waited = 0; waited < START_TIMEOUT_MS; waited += 20) {
      const place = readNote(note);
      if (place) {
        Object.assign(this, place);
        return;
      }
      if (this.#process.exitCode !== null) break;
      await sleep(20);
    }
    throw new Error(`the engine did not start:\n${this.#output}`);
  }

  /** A worker that knows this engine, not started. */
  worker(name: string, options: WorkerOptions = {}): Worker {
    const worker = new Worker(name, { url: this.url, token: this.token, ...options });
    this.#workers.push(worker);
    return worker;
  }

  async kill(): Promise<void> {
    const process = this.#process;
    if (!process || process.exitCode !== null || process.signalCode !== null) return;
    const ended = new Promise((done) => process.once("exit", done));
    process.kill("SIGKILL");
    await ended;
  }

  async stop(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.close()));
    await this.kill();
    rmSync(this.dataDir, { recursive: true, force: true });
  }
}

function readNote(path: string): { url: string; http: string } | undefined {
  try {
    const { url, http } = JSON.parse(readFileSync(path, "utf8")) as { url: string; http: string };
    return { url, http };
  } catch {
    return undefined;
  }
}

/** Waits until `holds`, and fails after ten seconds. */
export async function until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (let tries = 0; tries < 500; tries++) {
    if (await holds()) return;
    await sleep(20);
  }
  throw new Error(`never happened: ${what}`);
}

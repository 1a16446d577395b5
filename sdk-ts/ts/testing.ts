/**
 * An engine of its own for a test: free ports, a temporary folder, nothing of this account's.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Caller } from "./caller.js";
import { Worker, type WorkerOptions } from "./worker.js";

/** How long an engine may take to be there; generous for a busy machine. */
const START_TIMEOUT_MS = 20_000;
/** Until it is ended the hard way. */
const STOP_TIMEOUT_MS = 15_000;
/** Lines of the engine's output that are kept for who asks what went wrong. */
const LINES_MAX = 200;

/** What is started. */
export interface EngineOptions {
  /** The program; otherwise `AGENTOS_BIN`, or `agentos` in `PATH`. */
  binary?: string;
  /** Settings, as in `config.yaml`. */
  config?: Record<string, unknown>;
  /** More for `agentos start`; `--no-workers` when left out. */
  args?: readonly string[];
}

interface Ready {
  url: string;
  http: string;
  stream: string;
  token: string;
}

/** A running engine, and workers connected to it. */
export class Engine {
  readonly #options: EngineOptions;
  readonly #folder = mkdtempSync(join(tmpdir(), "agentos-test-"));
  readonly #lines: string[] = [];
  readonly #workers: Worker[] = [];
  #place: Ready | undefined;
  #process: ChildProcess | undefined;
  #bus: Worker | undefined;

  private constructor(options: EngineOptions) {
    this.#options = options;
  }

  /** Starts the program `agentos`; rejects with what it said if it does not come up. */
  static async start(options: EngineOptions = {}): Promise<Engine> {
    const engine = new Engine(options);
    try {
      await engine.run();
    } catch (error) {
      await engine.stop();
      throw error;
    }
    return engine;
  }

  /** The bus. */
  get url(): string {
    return this.#there.url;
  }

  get http(): string {
    return this.#there.http;
  }

  /** For clients of streams. */
  get stream(): string {
    return this.#there.stream;
  }

  get token(): string {
    return this.#there.token;
  }

  get #there(): Ready {
    if (!this.#place) throw new Error("the engine has not been started");
    return this.#place;
  }

  /** What the engine has said lately. */
  get output(): string {
    return this.#lines.join("\n");
  }

  /** A worker that knows this engine, not started; `stop` closes it. */
  worker(name: string, options: WorkerOptions = {}): Worker {
    const worker = new Worker(name, { url: this.url, token: this.token, ...options });
    this.#workers.push(worker);
    return worker;
  }

  /**
   * Starts `workers` on this engine, whatever engine they were meant for, and gives a way to call
   * them; `stop` closes them.
   */
  async join(...workers: Worker[]): Promise<Caller> {
    this.#workers.push(...workers);
    const { url, token } = this.#there;
    await Promise.all(workers.map((worker) => worker.start({ url, token })));
    this.#bus ??= this.worker("test");
    await this.#bus.start();
    return this.#bus;
  }

  /** Starts the process again after `kill`, at the same place and with the same data. */
  async run(): Promise<void> {
    const { binary = process.env["AGENTOS_BIN"] ?? "agentos", config = {}, args = ["--no-workers"] } = this.#options;
    const settings = join(this.#folder, "config.yaml");
    // JSON is YAML.
    writeFileSync(settings, JSON.stringify(config));
    const [bus, http, stream] = [this.#place?.url, this.#place?.http, this.#place?.stream].map(port);
    const places = ["--bus-port", bus, "--http-port", http, "--stream-port", stream, "--data-dir", this.dataDir];
    const env = Object.entries(process.env).filter(([name]) => !name.startsWith("AGENTOS_"));
    const child = spawn(binary, ["start", "--json", "--config", settings, ...(places as string[]), ...args], {
      cwd: this.#folder,
      env: { ...Object.fromEntries(env), AGENTOS_HOME: this.#folder },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#process = child;
    this.#place = await new Promise<Ready>((resolve, reject) => {
      const fail = (why: string) => reject(new Error(`${why}:\n${this.output}`));
      const timer = setTimeout(fail, START_TIMEOUT_MS, `the engine was not ready in ${START_TIMEOUT_MS} ms`);
      const done = () => clearTimeout(timer);
      this.#listen(child, (ready) => (done(), resolve(ready)));
      child.once("error", (error) => (done(), fail(`no program \`${binary}\` (${error.message}): AGENTOS_BIN says where`)));
      child.once("close", () => (done(), fail("the engine did not start")));
    });
  }

  /** Where its data is. */
  get dataDir(): string {
    return join(this.#folder, "data");
  }

  #listen(child: ChildProcess, ready: (place: Ready) => void): void {
    for (const input of [child.stdout, child.stderr]) {
      if (!input) continue;
      createInterface({ input }).on("line", (line) => {
        this.#lines.push(line);
        if (this.#lines.length > LINES_MAX) this.#lines.shift();
        const said = line.startsWith("{") ? (JSON.parse(line) as Ready & { event?: string }) : undefined;
        if (said?.event === "ready") ready(said);
      });
    }
  }

  /** Ends it as a power cut would; `run` starts it again. */
  kill(): Promise<void> {
    return this.#end("SIGKILL");
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process;
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((done) => child.once("exit", done));
    child.kill(signal);
    const timer = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
    await ended;
    clearTimeout(timer);
  }

  /** Closes the workers, ends the engine and deletes its data. */
  async stop(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.close()));
    await this.#end("SIGTERM");
    rmSync(this.#folder, { recursive: true, force: true });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

/** The port of an earlier start; 0 picks a free one. */
function port(place: string | undefined): string {
  return place === undefined ? "0" : new URL(place).port;
}

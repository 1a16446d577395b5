/** The worker as a process, with a real engine. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Worker } from "@agentos/sdk";
import { makeFolder } from "./folder.js";

const ROOT = new URL("../../../../", import.meta.url);
const BINARY = process.env["AGENTOS_BIN"] ?? fileURLToPath(new URL("target/release/agentos", ROOT));
const PROGRAM = fileURLToPath(import.meta.resolve("#dist/index.js"));

const data = makeFolder("tools");
const processes: ChildProcess[] = [];
let place: { url: string; http: string };
let caller: Worker;

function run(program: string, args: string[], env: Record<string, string> = {}): ChildProcess {
  const child = spawn(program, args, { env: { ...process.env, ...env }, stdio: ["ignore", "ignore", "inherit"] });
  processes.push(child);
  return child;
}

function readToken(): string {
  return readFileSync(join(data, "token"), "utf8").trim();
}

before(async () => {
  assert.ok(existsSync(BINARY), `no engine at ${BINARY}: run \`cargo build --release\` first`);
  run(BINARY, ["start", "--data-dir", data, "--no-workers", "--bus-port", "0", "--http-port", "0"]);
  for (let tries = 0; tries < 500 && !existsSync(join(data, "engine.json")); tries++) await sleep(20);
  place = JSON.parse(readFileSync(join(data, "engine.json"), "utf8")) as typeof place;
  caller = new Worker("caller", { url: place.url, token: readToken() });
  await caller.start();
});
after(async () => {
  await caller?.close();
  const ends = processes.map((child) => {
    const gone = child.exitCode !== null || child.signalCode !== null;
    return gone ? undefined : once(child, "exit");
  });
  for (const child of processes) child.kill("SIGKILL");
  await Promise.all(ends);
});

function startTools(more: Record<string, string> = {}): ChildProcess {
  const env = { AGENTOS_URL: place.url, AGENTOS_TOKEN: readToken(), AGENTOS_DATA_DIR: data };
  return run(process.execPath, [PROGRAM], { ...env, ...more });
}

interface Listed {
  function_id: string;
  description?: string;
}

async function functions(): Promise<Listed[]> {
  const { functions } = await caller.trigger<{ functions: Listed[] }>("engine::functions::list");
  return functions;
}

/** Waits until `id` is offered. */
async function offered(id: string): Promise<void> {
  for (let tries = 0; tries < 500; tries++) {
    if ((await functions()).some(({ function_id }) => function_id === id)) return;
    await sleep(20);
  }
  assert.fail(`${id} was never offered`);
}

async function stop(child: ChildProcess): Promise<void> {
  const ended = new Promise((done) => child.once("exit", done));
  child.kill("SIGTERM");
  assert.equal(await ended, 0);
}

test("files through the bus, in the data folder's workspace", async () => {
  const tools = startTools();
  await offered("file::write");
  await caller.trigger("file::write", { path: "notes/a.txt", content: "hello" });
  assert.equal(readFileSync(join(data, "workspace", "notes", "a.txt"), "utf8"), "hello");
  const read = await caller.trigger<{ content: string }>("file::read", { path: "notes/a.txt" });
  assert.equal(read.content, "hello");
  await assert.rejects(caller.trigger("file::read", { path: "../token" }), { code: "forbidden" });
  await assert.rejects(caller.trigger("file::read", { file: "x" }), { code: "invalid_input" });
  await assert.rejects(caller.trigger("web::fetch", { url: `${place.http}/health/live` }), { code: "forbidden" });
  await stop(tools);
});

test("shell::exec is not there unless switched on", async () => {
  const without = startTools();
  await offered("file::read");
  await assert.rejects(caller.trigger("shell::exec", { command: ["ls"] }), { code: "not_found" });
  await stop(without);
  const tools = startTools({ AGENTOS_SHELL: "on" });
  await offered("shell::exec");
  const { stdout } = await caller.trigger<{ stdout: string }>("shell::exec", { command: ["echo", "$HOME"] });
  assert.equal(stdout, "$HOME\n");
  await stop(tools);
});

test("every function says what it is for", async () => {
  const tools = startTools({ AGENTOS_FETCH_ALLOW: new URL(place.http).host });
  await offered("web::fetch");
  const ours = (await functions()).filter(({ function_id }) => /^(file|web)::/.test(function_id));
  assert.equal(ours.length, 4);
  for (const { function_id, description } of ours) assert.ok(description, function_id);
  const page = await caller.trigger<{ status: number }>("web::fetch", { url: `${place.http}/health/live` });
  assert.equal(page.status, 200);
  await stop(tools);
});

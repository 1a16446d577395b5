/** Running programs: arguments as they are, nothing inherited, nothing left behind. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ShellExec } from "#dist/api.js";
import { execute } from "#dist/exec.js";
import { Workspace } from "#dist/workspace.js";
import { makeFolder } from "./folder.js";

let workspace: Workspace;
before(async () => {
  workspace = await Workspace.open(makeFolder("exec"));
});

function run(command: string[], more: object = {}, signal = new AbortController().signal) {
  return execute(workspace, ShellExec.input.parse({ command, ...more }), signal);
}

/** Runs a script in Node, which is surely here. */
function node(script: string, more: object = {}, signal?: AbortSignal) {
  return run([process.execPath, "-e", script], more, signal);
}

test("output, exit code, standard input", async () => {
  const ended = await node("process.stdin.pipe(process.stdout); console.error('err'); process.exitCode = 3", {
    stdin: "hello",
  });
  assert.deepEqual(ended, {
    exitCode: 3,
    signal: null,
    timedOut: false,
    stdout: "hello",
    stderr: "err\n",
    truncated: false,
  });
});

test("arguments never reach a shell", async () => {
  const nasty = ["$(touch pwned)", "; touch pwned", "`touch pwned`", "&& touch pwned", "| touch pwned", "*", "$HOME", "'\""];
  const { stdout } = await run([process.execPath, "-e", "console.log(JSON.stringify(process.argv.slice(1)))", "--", ...nasty]);
  assert.deepEqual(JSON.parse(stdout), nasty);
  assert.equal(existsSync(join(workspace.root, "pwned")), false);
});

test("our environment stays ours", async () => {
  process.env["AGENTOS_TOKEN"] = "secret";
  const { stdout } = await node("console.log(JSON.stringify(process.env))");
  const seen = JSON.parse(stdout) as Record<string, string>;
  assert.equal(seen["AGENTOS_TOKEN"], undefined);
  assert.equal(seen["HOME"], workspace.root);
});

test("it runs in the workspace, and nowhere else", async () => {
  assert.equal((await node("console.log(process.cwd())")).stdout.trim(), workspace.root);
  await assert.rejects(node("", { cwd: "../" }), { code: "forbidden" });
  await assert.rejects(node("", { cwd: "nowhere" }), { code: "not_found" });
});

/** A program that starts another, which outlives it and tells its number. */
const FAMILY = `
  const { spawn } = require("node:child_process");
  const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"], { stdio: "inherit" });
  require("node:fs").writeFileSync("pid", String(child.pid));`;

async function gone(): Promise<boolean> {
  const pid = await readFile(join(workspace.root, "pid"), "utf8");
  for (let tries = 0; tries < 100; tries++) {
    const state = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
    if (state === "" || / Z /.test(state)) return true;
    await sleep(20);
  }
  return false;
}

test("the timeout kills the program and all it started", async () => {
  const ended = await node(FAMILY, { timeoutMs: 1_000 });
  assert.deepEqual([ended.timedOut, ended.signal, ended.exitCode], [true, "SIGKILL", null]);
  assert.ok(await gone());
});

test("what a program leaves running is ended with it", async () => {
  const started = Date.now();
  const ended = await node(`${FAMILY} process.exit(0)`);
  assert.deepEqual([ended.exitCode, ended.timedOut], [0, false]);
  assert.ok(Date.now() - started < 10_000);
  assert.ok(await gone());
});

test("cancelling kills too", async () => {
  const caller = new AbortController();
  setTimeout(() => caller.abort(), 500);
  const ended = await node(FAMILY, {}, caller.signal);
  assert.equal(ended.signal, "SIGKILL");
  assert.ok(await gone());
});

test("endless output keeps its start and its end", async () => {
  const script = `console.log("begin"); for (let i = 0; i < 1e5; i++) console.log("line " + i); console.log("end")`;
  const { stdout, truncated } = await node(script);
  assert.ok(truncated);
  assert.ok(stdout.length < 70_000);
  assert.match(stdout, /^begin\n/);
  assert.match(stdout, /bytes left out/);
  assert.match(stdout, /end\n$/);
});

test("a program that is not there", async () => {
  await assert.rejects(run(["no-such-program"]), { code: "not_found" });
  await assert.rejects(run(["./"]), { code: /forbidden|failed/ });
});

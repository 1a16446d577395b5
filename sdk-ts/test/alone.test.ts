/** A worker without an engine: clear errors, no hang, no process kept alive. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Worker } from "@agentos/sdk";

const NOBODY = "ws://127.0.0.1:1";

test("start says that there is no engine", async () => {
  const worker = new Worker("alone", { url: NOBODY, connectTimeoutMs: 200 });
  await assert.rejects(worker.start(), {
    code: "unavailable",
    message: /no engine: no connection to ws:\/\/127\.0\.0\.1:1.*agentos start/,
  });
  assert.equal(worker.state, "closed");
});

test("the states are told", async () => {
  const worker = new Worker("alone", { url: NOBODY, connectTimeoutMs: 200 });
  const states: string[] = [];
  worker.onState((state) => states.push(state));
  await worker.start().catch(() => {});
  assert.ok(states.includes("disconnected"), `${states}`);
  assert.equal(states.at(-1), "closed");
});

test("calls before start are refused", async () => {
  const worker = new Worker("alone");
  await assert.rejects(worker.trigger("x::y"), { code: "unavailable" });
  assert.throws(() => worker.send("x::y"), { code: "unavailable" });
  await worker.close();
});

test("a call cannot outlast its deadline, even with no engine", async () => {
  const worker = new Worker("alone", { url: NOBODY, connectTimeoutMs: 2_000 });
  const starting = worker.start().catch(() => {});
  await assert.rejects(worker.trigger("x::y", 1, { timeoutMs: 50 }), { code: /timeout|unavailable/ });
  await worker.close();
  await starting;
});

test("a worker needs a name", () => {
  delete process.env["AGENTOS_WORKER_NAME"];
  assert.throws(() => new Worker(), { code: "invalid_input" });
  process.env["AGENTOS_WORKER_NAME"] = "given";
  assert.equal(new Worker().name, "given");
});

test("a closed worker lets the process end", () => {
  const program = `
    const { Worker } = await import(${JSON.stringify(import.meta.resolve("@agentos/sdk"))});
    const worker = new Worker("alone", { url: "${NOBODY}", connectTimeoutMs: 100 });
    await worker.start().catch((error) => console.log(error.code));`;
  const output = execFileSync(process.execPath, ["--input-type=module", "-e", program], {
    encoding: "utf8",
    timeout: 10_000,
  });
  assert.equal(output.trim(), "unavailable");
});

test("CommonJS programs can require the package", { skip: !process.features.require_module }, () => {
  const path = JSON.stringify(fileURLToPath(import.meta.resolve("@agentos/sdk")));
  const output = execFileSync(process.execPath, ["-e", `console.log(typeof require(${path}).Worker)`], {
    encoding: "utf8",
  });
  assert.equal(output.trim(), "function");
});

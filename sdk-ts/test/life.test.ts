/** Connections that break, processes that are told to stop. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Worker } from "@agentos/sdk";
import { Engine, until } from "./engine.js";

const PACKAGE = fileURLToPath(new URL("../../", import.meta.url));
/** Inside the package, so that programs here can import it by its name. */
const BUILD = join(PACKAGE, "build");

let engine: Engine;
before(async () => void (engine = await Engine.start()));
after(() => engine.stop());

/** Runs a TypeScript program, checked and compiled. */
function program(source: string) {
  const folder = mkdtempSync(join(BUILD, "program-"));
  const file = join(folder, "main.ts");
  writeFileSync(file, source);
  const tsc = join(PACKAGE, "node_modules", "typescript", "bin", "tsc");
  const flags = ["--ignoreConfig", "--strict", "--skipLibCheck", "--target", "es2022", "--module", "node20", "--types", "node"];
  execFileSync(process.execPath, [tsc, ...flags, file], { stdio: ["ignore", "inherit", "inherit"] });
  const env = { ...process.env, AGENTOS_URL: engine.url, AGENTOS_TOKEN: engine.token };
  const child = spawn(process.execPath, [join(folder, "main.js")], { env, stdio: ["ignore", "pipe", "inherit"] });
  const run = { child, output: "", ended: new Promise<number | null>((done) => child.once("exit", done)) };
  child.stdout.on("data", (text) => (run.output += String(text)));
  return run;
}

test("a worker that is closed leaves nothing behind", async () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const timers = () => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
  const before = timers();
  const place = { url: engine.url, token: engine.token };
  const live = async () => {
    const worker = new Worker("short-lived", place);
    worker.function("l::short", (value) => value);
    await worker.start();
    assert.equal(await worker.trigger("l::short", 1), 1);
    await worker.close();
    return new WeakRef(worker);
  };
  const refs: WeakRef<Worker>[] = [];
  for (let n = 0; n < 20; n++) refs.push(await live());
  await until(() => (collect(), refs.every((ref) => ref.deref() === undefined)), "all are collected");
  assert.ok(timers() <= before, `${process.getActiveResourcesInfo()}`);
});

test("everything is offered again after the engine was gone", async () => {
  const provider = engine.worker("provider");
  const caller = engine.worker("caller");
  const states: string[] = [];
  provider.onState((state) => states.push(state));
  provider.function("l::echo", (value) => value);
  provider.function("l::hangs", () => new Promise(() => {}));
  await Promise.all([provider.start(), caller.start()]);
  await provider.function("l::later", () => "later").ready;
  const hanging = caller.trigger("l::hangs");
  hanging.catch(() => {});
  assert.equal(await caller.trigger("l::echo", 1), 1);

  await engine.kill();
  await assert.rejects(hanging, { code: "unavailable" });
  await until(() => provider.state === "disconnected", "the worker notices");
  await engine.run();
  await until(() => provider.state === "connected" && caller.state === "connected", "both are back");
  await until(async () => (await caller.trigger("l::echo", 2).catch(() => 0)) === 2, "the function is back");
  assert.equal(await caller.trigger("l::later"), "later");
  assert.ok(states.includes("disconnected"));
});

test("serve answers until SIGTERM, finishes what runs, and ends", async () => {
  const run = program(`
    import { Worker } from "@agentos/sdk";
    const worker = new Worker("served");
    worker.function("served::slow", async () => {
      console.log("called");
      await new Promise((later) => setTimeout(later, 500));
      return "done";
    });
    await worker.serve();
    console.log("served");`);
  const caller = engine.worker("caller");
  await caller.start();
  const calls: Promise<unknown>[] = [];
  await until(() => {
    calls.push(caller.trigger("served::slow").catch((error: unknown) => error));
    return run.output.includes("called");
  }, "it is called");
  run.child.kill("SIGTERM");
  assert.equal(await run.ended, 0);
  assert.ok((await Promise.all(calls)).includes("done"));
  assert.match(run.output, /served/);
});

test("the README's first example works as written", async () => {
  const readme = readFileSync(join(PACKAGE, "README.md"), "utf8");
  const example = /```ts\n([\s\S]*?)```/.exec(readme)?.[1] ?? "";
  const run = program(example);
  const caller = engine.worker("caller");
  await caller.start();
  await until(async () => (await caller.trigger("hello::greet", { name: "Ada" }).catch(() => "")) === "hello Ada", "hello");
  const stream = caller.stream<number, unknown>("hello::count", 3);
  const counted: number[] = [];
  for await (const n of stream) counted.push(n);
  assert.deepEqual(counted, [0, 1, 2]);
  run.child.kill("SIGINT");
  assert.equal(await run.ended, 0);
});

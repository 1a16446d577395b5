/** The test harness, as a test of a worker uses it. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { test } from "node:test";
import { AgentOSError, Worker } from "@agentos/sdk";
import { Engine, until } from "./engine.js";

function hello(): Worker {
  const worker = new Worker("hello", { url: "ws://127.0.0.1:1", token: "for another engine" });
  worker.function("hello::greet", (name: string) => `hello ${name}`);
  worker.http("GET", "/hello/:name", { auth: "none" }, ({ params }) => `hello ${params["name"]}`);
  return worker;
}

test("a worker joins an engine of the test", async () => {
  const engine = await Engine.start();
  const worker = hello();
  const bus = await engine.join(worker);
  assert.equal(await bus.trigger("hello::greet", "Ada"), "hello Ada");
  assert.equal(await (await fetch(`${engine.http}/hello/Ada`)).json(), "hello Ada");
  await engine.stop();
  assert.equal(worker.state, "closed");
  assert.ok(!existsSync(engine.dataDir));
});

test("the engine may die and come back", async () => {
  const engine = await Engine.start();
  const bus = await engine.join(hello());
  await engine.kill();
  await assert.rejects(bus.trigger("hello::greet", "Ada", { timeoutMs: 200 }), { code: /unavailable|timeout/ });
  await engine.run();
  await until(async () => {
    const answer = await bus.trigger("hello::greet", "Ada").catch((error: unknown) => error);
    return answer === "hello Ada" || !(answer instanceof AgentOSError);
  }, "the worker is there again");
  assert.equal(await bus.trigger("hello::greet", "Ada"), "hello Ada");
  await engine.stop();
});

test("what is wrong is said", async () => {
  await assert.rejects(Engine.start({ binary: "no-such-agentos" }), /no program `no-such-agentos`.*AGENTOS_BIN/);
  await assert.rejects(Engine.start({ config: { no_such_setting: 1 } }), /no_such_setting/);
});

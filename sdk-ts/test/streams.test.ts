/** Streamed results over a real engine. */
import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { AgentOSError, type Worker } from "@agentos/sdk";
import { Engine, until } from "./engine.js";

let engine: Engine;
let provider: Worker;
let caller: Worker;
let produced = 0;
const left: string[] = [];

before(async () => {
  engine = await Engine.start();
  provider = engine.worker("provider");
  caller = engine.worker("caller");
  provider.function("s::count", async function* (n: number) {
    for (let i = 0; i < n; i++) yield i;
    return "counted";
  });
  provider.function("s::plain", function* () {
    yield* ["a", "b"];
  });
  provider.function("s::bytes", async function* () {
    yield Uint8Array.of(1, 2);
    yield Uint8Array.of(3);
  });
  provider.function("s::readable", { streams: true }, () => Readable.from(["x", "y"]));
  provider.function("s::breaks", async function* () {
    yield 1;
    throw new AgentOSError("unavailable", "ran dry");
  });
  provider.function("s::endless", async function* () {
    try {
      for (produced = 0; ; produced++) yield produced;
    } finally {
      left.push("endless");
    }
  });
  provider.function("s::ticks", async function* (_: unknown, { signal }) {
    try {
      for (let i = 0; !signal.aborted; i++) {
        yield i;
        await sleep(20);
      }
    } finally {
      left.push("ticks");
    }
  });
  provider.function("s::relay", async function* (n: number, context) {
    const stream = context.stream<number, string>("s::count", n);
    yield* stream;
    return `relayed ${await stream.result}`;
  });
  await provider.start();
  await caller.start();
});
after(() => engine.stop());

async function read(id: string, payload?: unknown): Promise<{ chunks: unknown[]; result: unknown }> {
  const stream = caller.stream(id, payload);
  const chunks: unknown[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return { chunks, result: await stream.result };
}

test("chunks in order, then the result", async () => {
  assert.deepEqual(await read("s::count", 3), { chunks: [0, 1, 2], result: "counted" });
  assert.deepEqual(await read("s::count", 0), { chunks: [], result: "counted" });
});

test("many more chunks than the window", async () => {
  const { chunks } = await read("s::count", 5_000);
  assert.deepEqual(chunks, Array.from({ length: 5_000 }, (_, i) => i));
});

test("generators, readables and bytes stream", async () => {
  assert.deepEqual(await read("s::plain"), { chunks: ["a", "b"], result: null });
  assert.deepEqual(await read("s::readable"), { chunks: ["x", "y"], result: null });
  assert.deepEqual((await read("s::bytes")).chunks, [Buffer.from([1, 2]), Buffer.from([3])]);
});

test("a caller that wants one reply gets the result, or else the chunks", async () => {
  assert.equal(await caller.trigger("s::count", 3), "counted");
  assert.deepEqual(await caller.trigger("s::plain"), ["a", "b"]);
  assert.deepEqual(await caller.trigger("s::bytes"), Buffer.from([1, 2, 3]));
});

test("a plain function called as a stream has no chunks", async () => {
  await provider.function("s::single", () => 1).ready;
  assert.deepEqual(await read("s::single"), { chunks: [], result: 1 });
});

test("a chunk arrives while the function still works", async () => {
  const stream = caller.stream("s::ticks");
  assert.deepEqual(await stream.next(), { done: false, value: 0 });
  await stream.return();
});

test("a failure comes after the chunks before it", async () => {
  const stream = caller.stream("s::breaks");
  assert.deepEqual(await stream.next(), { done: false, value: 1 });
  await assert.rejects(stream.next(), { code: "unavailable", message: "ran dry", retryable: true });
});

test("a reader that does not read makes the function wait", async () => {
  const stream = caller.stream("s::endless");
  await stream.next();
  await sleep(300);
  const then = produced;
  assert.ok(then <= 200, `${then} chunks were produced`);
  await sleep(200);
  assert.equal(produced, then);
  for (let i = 0; i < 500; i++) await stream.next();
  assert.ok(produced > then);
  await stream.return();
});

test("leaving the loop runs the generator's finally", async () => {
  for (const name of ["endless", "ticks"]) {
    left.length = 0;
    for await (const _ of caller.stream(`s::${name}`)) break;
    await until(() => left.includes(name), `${name} ends`);
  }
});

test("aborting the signal ends the stream on both sides", async () => {
  left.length = 0;
  const gone = new AbortController();
  const stream = caller.stream("s::ticks", null, { signal: gone.signal });
  setTimeout(() => gone.abort(), 100);
  await assert.rejects(async () => {
    for await (const _ of stream);
  }, { code: "cancelled" });
  await until(() => left.includes("ticks"), "the generator ends");
});

test("the deadline ends a stream", async () => {
  left.length = 0;
  await assert.rejects(caller.stream("s::ticks", null, { timeoutMs: 150 }).finish(), { code: "timeout" });
  await until(() => left.includes("ticks"), "the generator ends");
});

test("a stream may pass through", async () => {
  assert.deepEqual(await read("s::relay", 300), {
    chunks: Array.from({ length: 300 }, (_, i) => i),
    result: "relayed counted",
  });
});

test("a stream from a function that nobody offers", async () => {
  await assert.rejects(caller.stream("s::nobody").finish(), { code: "not_found" });
});

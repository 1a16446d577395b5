/** Calls between two workers over a real engine. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import * as z from "zod";
import { AgentOSError, type Context, type Worker } from "@agentos/sdk";
import { Engine, until } from "./engine.js";

let engine: Engine;
let provider: Worker;
let caller: Worker;
const aborted: string[] = [];

/** Works until the caller is gone, and notes that it heard. */
function untilAborted(note: string) {
  return (_: unknown, { signal }: Context) =>
    new Promise<void>((_, reject) =>
      signal.addEventListener("abort", () => {
        aborted.push(note);
        reject(signal.reason as Error);
      }),
    );
}

before(async () => {
  engine = await Engine.start();
  provider = engine.worker("provider");
  caller = engine.worker("caller");
  provider.function("t::echo", (value) => value);
  provider.function("t::nothing", () => undefined);
  provider.function("t::bytes", () => Uint8Array.of(0, 1, 255));
  provider.function("t::length", (value: Uint8Array) => [value.constructor.name, value.length]);
  provider.function("t::zod", { input: z.object({ name: z.string(), n: z.number().default(7) }) }, (input) => input);
  provider.function(
    "t::plain",
    { input: { type: "object", properties: { n: { type: "integer" } }, required: ["n"] } },
    ({ n }: { n: number }) => n + 1,
  );
  provider.function("t::declined", () => {
    throw new AgentOSError("conflict", "card declined", { reason: "card_declined", details: { card: 7 } });
  });
  provider.function("t::throws", () => {
    throw new TypeError("boom");
  });
  provider.function("t::big-int", () => 1n);
  provider.function("t::slow", untilAborted("slow"));
  provider.function("t::context", (_, { function: id, streaming, timeLeftMs, trace, metadata, caller }) => ({
    id,
    streaming,
    timeLeftMs,
    trace,
    metadata,
    hasCaller: caller !== undefined,
  }));
  provider.function("t::nested", (id: string, context) => context.trigger(id, null, { timeoutMs: 60_000 }));
  await provider.start();
  await caller.start();
});
after(() => engine.stop());

test("values cross unchanged", async () => {
  const values = [0, -1.5, "", "héllo 😀 \u0000", true, [], {}, { a: [null, { b: "c" }] }, "x".repeat(1 << 20)];
  for (const value of values) assert.deepEqual(await caller.trigger("t::echo", value), value);
});

test("undefined and null are both null", async () => {
  assert.equal(await caller.trigger("t::echo"), null);
  assert.equal(await caller.trigger("t::echo", null), null);
  assert.equal(await caller.trigger("t::nothing"), null);
});

test("bytes cross as bytes, both ways", async () => {
  assert.deepEqual(await caller.trigger("t::bytes"), Buffer.from([0, 1, 255]));
  assert.deepEqual(await caller.trigger("t::length", new Uint8Array(1_000)), ["Buffer", 1_000]);
});

test("a worker can call itself", async () => {
  assert.equal(await provider.trigger("t::echo", 1), 1);
});

test("a large payload crosses, as text and as bytes", async () => {
  const bytes = Buffer.alloc(60 << 20, "payload of many bytes ");
  assert.ok(bytes.equals(await caller.trigger<Uint8Array>("t::echo", bytes)));
  const text = bytes.toString("latin1", 0, 30 << 20);
  assert.ok((await caller.trigger("t::echo", { text }).then((back) => (back as { text: string }).text)) === text);
});

test("many calls at once each get their own answer", async () => {
  const numbers = Array.from({ length: 10_000 }, (_, n) => n);
  assert.deepEqual(await Promise.all(numbers.map((n) => caller.trigger("t::echo", n))), numbers);
});

// Messages above 64 KiB leave in parts, and those that come after may pass them.
test("small calls of one moment arrive in their order, whatever they carry", async () => {
  const sizes = [1, 30_000, 3, 20_000];
  const sent = Array.from({ length: 400 }, (_, n) =>
    n % 7 === 0 ? Uint8Array.of(n % 256, 1) : [n, "é".repeat(sizes[n % sizes.length] ?? 0)],
  );
  const seen: unknown[] = [];
  await provider.function("t::order", (value) => void seen.push(value)).ready;
  for (const [n, value] of sent.entries()) {
    if (n % 3 === 0) caller.send("t::order", value);
    else void caller.trigger("t::order", value);
  }
  await until(() => seen.length === sent.length, "all have come");
  assert.deepEqual(
    seen.map((value) => (value instanceof Uint8Array ? Uint8Array.from(value) : value)),
    sent,
  );
});

test("bytes are taken when the call is made", async () => {
  const bytes = new Uint8Array(3).fill(7);
  const back = caller.trigger<Uint8Array>("t::echo", bytes);
  bytes.fill(0);
  assert.deepEqual([...(await back)], [7, 7, 7]);
});

test("any text may be asked for, and be metadata", async () => {
  const metadata = { text: "a\nb\u2028\u0001" };
  const seen = await caller.trigger<{ metadata: unknown }>("t::context", 1, { metadata });
  assert.deepEqual(seen.metadata, metadata);
  for (const id of ["r 1\nx 1\n", "t::echo\n", "\ud800"]) {
    await assert.rejects(caller.trigger(id, 1), { code: "not_found" });
  }
  await assert.rejects(caller.trigger("", 1), { code: "invalid_input" });
  assert.equal(await caller.trigger("t::echo", "still here"), "still here");
});

test("a handler may throw what is no error of ours", async () => {
  await provider.function("t::odd-code", () => {
    throw Object.assign(new AgentOSError("failed", "odd"), { code: "no such code" });
  }).ready;
  await assert.rejects(caller.trigger("t::odd-code"), { code: "failed", message: /no such code/ });
  assert.equal(await caller.trigger("t::echo", "still here"), "still here");
});

test("a zod schema completes the input, and names the field that does not fit", async () => {
  assert.deepEqual(await caller.trigger("t::zod", { name: "x" }), { name: "x", n: 7 });
  await assert.rejects(caller.trigger("t::zod", { n: 1 }), {
    name: "AgentOSError",
    code: "invalid_input",
    origin: "caller",
    message: /^input of `t::zod`: name: /,
  });
});

test("a plain JSON Schema is checked", async () => {
  assert.equal(await caller.trigger("t::plain", { n: 1 }), 2);
  await assert.rejects(caller.trigger("t::plain", { n: "1" }), { code: "invalid_input", message: /n: must be integer/ });
});

test("a chosen error arrives as it was thrown", async () => {
  await assert.rejects(caller.trigger("t::declined"), {
    code: "conflict",
    message: "card declined",
    origin: "worker",
    retryable: false,
    reason: "card_declined",
    details: { card: 7 },
  });
});

test("any other error is `failed`, with its stack", async () => {
  const error = await caller.trigger("t::throws").catch((error: unknown) => error);
  assert.ok(error instanceof AgentOSError);
  assert.equal(error.code, "failed");
  assert.equal(error.message, "boom");
  assert.match((error.details as { stack: string }).stack, /TypeError: boom\n/);
});

test("what has no JSON form is refused on the side it came from", async () => {
  await assert.rejects(caller.trigger("t::echo", 1n), { code: "invalid_input", origin: "caller" });
  await assert.rejects(caller.trigger("t::big-int"), { code: "failed", origin: "worker" });
});

test("a function that nobody offers", async () => {
  await assert.rejects(caller.trigger("t::nobody"), { code: "not_found" });
});

test("the deadline ends the call and aborts the handler", async () => {
  aborted.length = 0;
  await assert.rejects(caller.trigger("t::slow", null, { timeoutMs: 100 }), { code: "timeout" });
  await until(() => aborted.includes("slow"), "the handler hears of it");
});

test("aborting the caller's signal cancels the call and aborts the handler", async () => {
  aborted.length = 0;
  const gone = new AbortController();
  const call = caller.trigger("t::slow", null, { signal: gone.signal });
  setTimeout(() => gone.abort(new Error("enough")), 100);
  await assert.rejects(call, { code: "cancelled", cause: new Error("enough") });
  await until(() => aborted.includes("slow"), "the handler hears of it");
});

test("a signal that was aborted before makes no call", async () => {
  await assert.rejects(caller.trigger("t::echo", 1, { signal: AbortSignal.abort() }), { code: "cancelled" });
});

/** The trace without the span, which is the engine's own on the way. */
function traceOf(context: unknown): object {
  const { traceparent, ...rest } = context as { traceparent: string };
  return { id: traceparent.split("-")[1], flags: traceparent.split("-")[3], ...rest };
}

test("a handler knows its call", async () => {
  const trace = { traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", baggage: "a=b" };
  const seen = await caller.trigger<Record<string, unknown>>("t::context", null, {
    timeoutMs: 5_000,
    trace,
    metadata: { who: "me" },
  });
  const { timeLeftMs, trace: continued, ...rest } = seen;
  assert.deepEqual(rest, { id: "t::context", streaming: false, metadata: { who: "me" }, hasCaller: true });
  assert.deepEqual(traceOf(continued), traceOf(trace));
  assert.ok((timeLeftMs as number) > 3_000 && (timeLeftMs as number) <= 5_000, `${timeLeftMs}`);
});

test("a nested call inherits deadline and trace", async () => {
  const trace = { traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" };
  const options = { timeoutMs: 5_000, trace };
  const seen = await caller.trigger<{ timeLeftMs: number; trace: object }>("t::nested", "t::context", options);
  assert.ok(seen.timeLeftMs <= 5_000, `${seen.timeLeftMs}`);
  assert.deepEqual(traceOf(seen.trace), traceOf(trace));
});

test("cancelling reaches the nested call", async () => {
  aborted.length = 0;
  const gone = new AbortController();
  const call = caller.trigger("t::nested", "t::slow", { signal: gone.signal });
  setTimeout(() => gone.abort(), 100);
  await assert.rejects(call, { code: "cancelled" });
  await until(() => aborted.includes("slow"), "the nested handler hears of it");
});

test("the error of a nested call is passed on", async () => {
  await assert.rejects(caller.trigger("t::nested", "t::declined"), { code: "conflict", reason: "card_declined" });
});

test("a call is made again while its errors may pass", async () => {
  let tries = 0;
  await provider.function("t::flaky", (failures: number) => {
    if (tries++ < failures) throw new AgentOSError("overloaded", "later");
    return tries;
  }).ready;
  assert.equal(await caller.trigger("t::flaky", 2, { retries: 3 }), 3);
  tries = 0;
  await assert.rejects(caller.trigger("t::flaky", 9, { retries: 1 }), { code: "overloaded" });
  assert.equal(tries, 2);
  tries = 0;
  await assert.rejects(caller.trigger("t::flaky", 9), { code: "overloaded" });
  assert.equal(tries, 1);
  await assert.rejects(caller.trigger("t::declined", 1, { retries: 3 }), { code: "conflict" });
  tries = 0;
  await assert.rejects(caller.trigger("t::flaky", 1e9, { retries: 1e9, timeoutMs: 300 }), { code: "overloaded" });
  const gone = new AbortController();
  const call = caller.trigger("t::flaky", 1e9, { retries: 1e9, signal: gone.signal });
  await until(() => tries > 5, "it was tried again");
  gone.abort();
  await assert.rejects(call, { code: "cancelled" });
});

test("a handler that blocks the event loop is named", async (context) => {
  const lines: string[] = [];
  context.mock.method(process.stderr, "write", (line: string) => lines.push(line) > 0);
  const busy = engine.worker("busy", { lagMs: 100 });
  busy.function("t::computes", (ms: number) => {
    for (const end = performance.now() + ms; performance.now() < end; );
  });
  await busy.start();
  await caller.trigger("t::computes", 500);
  const found = () => lines.find((line) => line.includes("busy: the event loop was blocked"));
  await until(() => found() !== undefined, "a line in the log");
  assert.match(found() ?? "", / lag_ms=\d+ called_lately=\["t::computes"\]/);
});

test("lines may go to the engine's log, within the trace of their call", async (context) => {
  const lines: string[] = [];
  const shop = engine.worker("shop", { logs: "both" });
  shop.log.info("nobody is there yet");
  context.mock.method(process.stderr, "write", (line: string) => lines.push(line) > 0);
  shop.function("t::logs", (_, { log, trace }) => {
    log.warn("low on tea", { left: 2, big: 1n, error: new TypeError("boom") });
    return trace.traceparent;
  });
  await shop.start();
  const traceparent = await caller.trigger<string>("t::logs");
  type Kept = { body: string; severity_text: string; trace_id: string; attributes: Record<string, unknown> };
  let kept: Kept | undefined;
  await until(async () => {
    const { logs } = await caller.trigger<{ logs: Kept[] }>("engine::logs::list", {});
    return (kept = logs.find(({ body }) => body === "low on tea")) !== undefined;
  }, "the record");
  assert.equal(kept?.severity_text, "WARN");
  assert.equal(kept?.trace_id, traceparent.split("-")[1]);
  assert.deepEqual([kept?.attributes["source"], kept?.attributes["left"], kept?.attributes["big"]], ["t::logs", 2, "1"]);
  assert.equal(kept?.attributes["dropped_before"], 1, "the line before the start is counted");
  assert.match(String(kept?.attributes["error"]), /TypeError: boom/);
  assert.ok(lines.some((line) => line.includes("WARN  t::logs: low on tea left=2 big=1 error=")), `${lines}`);
});

test("send does not wait", async () => {
  let got: unknown;
  await provider.function("t::note", (value) => void (got = value)).ready;
  caller.send("t::note", "hello");
  await until(() => got === "hello", "the void call arrives");
});

test("functions come and go while the worker runs", async () => {
  const offered = provider.function("t::later", () => "here");
  await offered.ready;
  assert.equal(await caller.trigger("t::later"), "here");
  offered.remove();
  await until(async () => {
    const error = await caller.trigger("t::later").catch((error: unknown) => error);
    return error instanceof AgentOSError && error.code === "not_found";
  }, "the function is gone");
});

test("the engine lists what a function says of itself", async () => {
  const list = await caller.trigger<{ functions: { function_id: string }[] }>("engine::functions::list");
  const zod = JSON.stringify(list.functions.find(({ function_id }) => function_id === "t::zod"));
  assert.match(zod, /"required":\["name"\]/);
});

test("a worker that closes lets running calls finish", async () => {
  const leaving = engine.worker("leaving");
  leaving.function("t::leaving", async () => {
    await sleep(300);
    return "finished";
  });
  await leaving.start();
  const call = caller.trigger("t::leaving");
  await sleep(100);
  await leaving.close();
  assert.equal(await call, "finished");
  await assert.rejects(caller.trigger("t::leaving"), { code: "not_found" });
});

test("a call on a worker that is closed is refused, and so is one that waits", async () => {
  const closing = engine.worker("closing", { url: "ws://127.0.0.1:1", connectTimeoutMs: 60_000 });
  const starting = closing.start().catch(() => {});
  const waiting = closing.trigger("t::echo", 1);
  await closing.close();
  await assert.rejects(waiting, { code: "unavailable" });
  await assert.rejects(closing.trigger("t::echo", 1), { code: "unavailable" });
  await starting;
});

test("a wrong token is said so", async () => {
  const stranger = engine.worker("stranger", { token: "wrong" });
  await assert.rejects(stranger.start(), { code: "unauthenticated" });
});

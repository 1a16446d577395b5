/** The caller's side of a stream, without a connection. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { AgentOSError } from "@agentos/sdk";
import { CallStream, STREAM_WINDOW_CHUNKS } from "#dist/stream.js";

function stream() {
  const asked: string[] = [];
  const link = { grant: (chunks: number) => asked.push(`grant ${chunks}`), cancel: () => asked.push("cancel") };
  return { asked, stream: new CallStream<number, string>(link) };
}

test("chunks in order, then the result", async () => {
  const { stream: s } = stream();
  s.push(1);
  const read: number[] = [];
  setImmediate(() => (s.push(2), s.end("done")));
  for await (const chunk of s) read.push(chunk);
  assert.deepEqual(read, [1, 2]);
  assert.equal(await s.result, "done");
});

test("reading grants credit for what was read", async () => {
  const { asked, stream: s } = stream();
  for (let i = 0; i < STREAM_WINDOW_CHUNKS; i++) s.push(i);
  for (let i = 0; i < STREAM_WINDOW_CHUNKS; i++) await s.next();
  assert.deepEqual(asked, ["grant 32", "grant 32"]);
});

test("leaving the loop cancels", async () => {
  const { asked, stream: s } = stream();
  s.push(1);
  for await (const _ of s) break;
  assert.deepEqual(asked, ["cancel"]);
  await assert.rejects(s.result, { code: "cancelled" });
  assert.deepEqual(await s.next(), { done: true, value: undefined });
});

test("a failure comes after the chunks, once", async () => {
  const { stream: s } = stream();
  s.push(1);
  s.fail(new AgentOSError("failed", "broke"));
  assert.deepEqual(await s.next(), { done: false, value: 1 });
  await assert.rejects(s.next(), { message: "broke" });
  assert.deepEqual(await s.next(), { done: true, value: undefined });
  await assert.rejects(s.result, { message: "broke" });
});

test("finish drops what is left", async () => {
  const { stream: s } = stream();
  s.push(1);
  setImmediate(() => s.end("done"));
  assert.equal(await s.finish(), "done");
});

test("two readers share the chunks", async () => {
  const { stream: s } = stream();
  const both = Promise.all([s.next(), s.next()]);
  s.push(1);
  s.push(2);
  const values = (await both).map(({ value }) => value).sort();
  assert.deepEqual(values, [1, 2]);
});

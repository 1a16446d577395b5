/** Errors and payloads on their way over the border. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { AgentOSError } from "@agentos/sdk";
import { decode, encode } from "#dist/payload.js";

test("an error survives the wire", () => {
  const error = new AgentOSError("conflict", "card declined", {
    origin: "caller",
    reason: "card_declined",
    details: { field: "card" },
  });
  assert.deepEqual(AgentOSError.parse(JSON.stringify(error)).toJSON(), error.toJSON());
});

test("whether to try again follows from the code, unless said", () => {
  assert.equal(new AgentOSError("overloaded", "full").retryable, true);
  assert.equal(new AgentOSError("failed", "no").retryable, false);
  assert.equal(new AgentOSError("failed", "flaky", { retryable: true }).retryable, true);
});

test("a thrown error becomes `failed` with its stack and its own name", () => {
  const thrown = Object.assign(new Error("no such file"), { code: "ENOENT" });
  const error = AgentOSError.from(thrown);
  assert.equal(error.code, "failed");
  assert.equal(error.reason, "ENOENT");
  assert.match((error.details as { stack: string }).stack, /no such file/);
});

test("anything may be thrown", () => {
  assert.equal(AgentOSError.from("boom").message, "boom");
  assert.equal(AgentOSError.from(undefined).message, "undefined");
});

test("nothing is null on the wire", () => {
  assert.equal(encode(undefined, "x", "worker"), "null");
  assert.equal(encode(() => 1, "x", "worker"), "null");
  assert.equal(decode("", "x", "worker"), null);
});

test("bytes stay bytes", () => {
  const bytes = Uint8Array.of(0, 255);
  assert.equal(encode(bytes, "x", "worker"), bytes);
  assert.equal(decode(bytes, "x", "worker"), bytes);
});

test("what has no JSON form is refused, naming whose fault it is", () => {
  assert.throws(() => encode(1n, "the payload for `f`", "caller"), { code: "invalid_input", origin: "caller" });
  assert.throws(() => encode(1n, "the result of `f`", "worker"), { code: "failed", origin: "worker" });
  assert.throws(() => decode("{", "input of `f`", "caller"), { code: "invalid_input" });
});

test("a number that is none is refused, wherever it stands", () => {
  for (const value of [NaN, -Infinity, { a: [null, { b: Infinity }] }]) {
    assert.throws(() => encode(value, "it", "caller"), { code: "invalid_input", message: /it has no JSON form: .* is -?(NaN|Infinity)/ });
  }
  assert.throws(() => encode({ a: [NaN] }, "it", "worker"), { code: "failed", message: /the value\.a\.0 is NaN/ });
  for (const value of [null, undefined, { a: null, b: [undefined] }, "null", new Date(NaN), 2 ** 53, 5e-324]) {
    assert.equal(encode(value, "it", "caller"), JSON.stringify(value) ?? "null");
  }
});

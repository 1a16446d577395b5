/** Schemas: what is shown, what is let through, which field is named. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as z from "zod";
import { AgentOSError } from "@agentos/sdk";
import { check, checkInput, checkOutput, jsonSchema, type Schema } from "#dist/schema.js";

const person = z.object({ name: z.string(), tags: z.array(z.object({ id: z.number() })).default([]) });
const plain: Schema = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  type: "object",
  properties: { name: { type: "string" }, tags: { type: "array", items: { type: "integer" } } },
  required: ["name"],
  additionalProperties: false,
};

async function refusal(schema: Schema, value: unknown): Promise<AgentOSError> {
  const error = await checkInput("f::g", check(schema), value).catch((error: unknown) => error);
  assert.ok(error instanceof AgentOSError, "the value was let through");
  return error;
}

test("a zod schema is shown as JSON Schema, from the caller's side", () => {
  assert.deepEqual(jsonSchema(person, "input"), {
    type: "object",
    properties: {
      name: { type: "string" },
      tags: {
        default: [],
        type: "array",
        items: { type: "object", properties: { id: { type: "number" } }, required: ["id"] },
      },
    },
    required: ["name"],
  });
});

test("a plain JSON Schema is shown as it is", () => {
  assert.equal(jsonSchema(plain, "input"), plain);
});

test("a schema without a JSON form is checked but not shown", async () => {
  const date = z.date();
  assert.equal(jsonSchema(date, "input"), undefined);
  assert.equal((await refusal(date, "today")).code, "invalid_input");
});

test("the schema's output is what the handler gets", async () => {
  assert.deepEqual(await checkInput("f::g", check(person), { name: "Ada" }), { name: "Ada", tags: [] });
});

const rows: [string, Schema, unknown, string, RegExp][] = [
  ["zod: a missing field", person, {}, "name", /^input of `f::g`: name: /],
  ["zod: a nested field", person, { name: "x", tags: [{ id: 1 }, {}] }, "tags[1].id", /tags\[1\]\.id: /],
  ["zod: another type", person, null, "", /^input of `f::g`: /],
  ["plain: a missing field", plain, {}, "name", /name: is missing/],
  ["plain: a wrong item", plain, { name: "x", tags: [1, "2"] }, "tags[1]", /tags\[1\]: must be integer/],
  ["plain: an unknown field", plain, { name: "x", more: 1 }, "more", /more: is not known/],
  ["plain: another type", plain, 3, "", /must be object/],
];
for (const [name, schema, value, field, message] of rows) {
  test(name, async () => {
    const error = await refusal(schema, value);
    assert.equal(error.code, "invalid_input");
    assert.equal(error.origin, "caller");
    assert.equal((error.details as { field: string }).field, field);
    assert.match(error.message, message);
  });
}

test("a check may be asynchronous", async () => {
  const even = z.number().refine(async (n) => n % 2 === 0, "must be even");
  assert.equal(await checkInput("f::g", check(even), 2), 2);
  assert.match((await refusal(even, 3)).message, /must be even/);
});

test("a result that does not fit is the worker's failure", async () => {
  const error = await checkOutput("f::g", check(z.string()), 1).catch((error: unknown) => error);
  assert.ok(error instanceof AgentOSError);
  assert.equal(error.code, "failed");
  assert.equal(error.origin, "worker");
});

test("a broken plain schema is refused when the function is offered", () => {
  assert.throws(() => check({ type: "strin" }));
});

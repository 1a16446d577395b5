/** What the compiler must accept, infer and refuse. Nothing here connects. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as z from "zod";
import { type CronRun, type Params, Worker } from "@agentos/sdk";

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function same<A, B>(_: Same<A, B>): void {}

test("types follow from schemas", () => {
  const worker = new Worker("types");
  worker.function("a::zod", { input: z.object({ name: z.string(), n: z.number().default(1) }) }, (input, ctx) => {
    same<typeof input, { name: string; n: number }>(true);
    same<typeof ctx.signal, AbortSignal>(true);
    return input.name;
  });
  worker.function("a::plain", { input: { type: "object" } }, ({ n }: { n: number }) => n);
  worker.function("a::trusted", (n: number) => n + 1);
  worker.function("a::stream", async function* (n: number) {
    yield n;
    return "end";
  });
  worker.function("a::output", { input: z.number(), output: z.string() }, (n) => String(n));
  worker.function("a::later", { input: z.number(), output: z.string() }, async (n) => String(n));
  // @ts-expect-error the result is no string
  worker.function("a::wrong", { input: z.number(), output: z.string() }, (n) => n);
  // @ts-expect-error the input is no string
  worker.function("a::wrong", { input: z.number() }, (n: string) => n);
  // @ts-expect-error the input of a plain schema has no known shape
  worker.function("a::wrong", { input: { type: "object" } }, (input) => input.n);
  worker.http("GET", "/x/:id", ({ params }) => params["id"]);
  worker.http("POST", "/y", { body: z.object({ n: z.number() }), query: z.object({ p: z.coerce.number() }) }, (request) => {
    same<typeof request.body, { n: number }>(true);
    same<typeof request.query, { p: number }>(true);
    same<typeof request.params, Params>(true);
  });
  // @ts-expect-error the body has no such field
  worker.http("POST", "/z", { body: z.object({ n: z.number() }) }, ({ body }) => body.m);
  // @ts-expect-error a body without a schema has no known shape
  worker.http("POST", "/z", ({ body }) => body.m);
  worker.cron("@daily", { missed: "once" }, (run) => same<typeof run, CronRun>(true));
  // @ts-expect-error no such policy
  worker.cron("@daily", { missed: "sometimes" }, () => {});
  worker.consume<{ id: number }>("paid", { attempts: 5 }, (order) => same<typeof order, { id: number }>(true));
  // @ts-expect-error no such option
  worker.consume("paid", { atempts: 5 }, () => {});
  worker.watch<number>({ scope: "n" }, (change) => same<typeof change.new_value, number | null>(true));
  const store = worker.store<{ n: number }>("n");
  same<ReturnType<typeof store.get>, Promise<{ n: number } | null>>(true);
  // @ts-expect-error the store holds objects
  () => store.set("a", 1);
  // @ts-expect-error a step names its operand
  () => store.update("a", [{ type: "increment", path: "n" }]);
  same<ReturnType<typeof worker.trigger<number>>, Promise<number>>(true);
  assert.equal(worker.state, "connecting");
});

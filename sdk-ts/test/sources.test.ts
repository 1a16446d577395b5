/** Event sources as one-liners, and the engine's stores, over a real engine. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { type CronRun, type ItemEvent, type StateChange, type Worker } from "@agentos/sdk";
import { Engine, until } from "./engine.js";

let engine: Engine;
let worker: Worker;

before(async () => {
  engine = await Engine.start();
  worker = engine.worker("sources");
  await worker.start();
});
after(() => engine.stop());

/** A handler that keeps what it gets. */
function kept<Input>(): { seen: Input[]; keep: (input: Input) => void } {
  const seen: Input[] = [];
  return { seen, keep: (input) => void seen.push(input) };
}

test("a job runs at its times", async () => {
  const { seen, keep } = kept<CronRun>();
  const job = worker.cron("* * * * * *", { timezone: "Europe/Berlin", missed: "skip" }, keep);
  await job.ready;
  await until(() => seen.length > 0, "it ran");
  assert.equal(seen[0]?.trigger, "cron");
  assert.ok(Date.parse(seen[0]?.scheduled_time ?? "") > 0);
  job.remove();
});

test("a message reaches those who listen", async () => {
  const { seen, keep } = kept<{ n: number }>();
  const [wide, narrow] = [worker.subscribe("orders.*", keep), worker.subscribe<{ n: number }>("orders.*", keep)];
  await Promise.all([wide.ready, narrow.ready]);
  assert.notEqual(wide.id, narrow.id, "two handlers of one topic are two functions");
  await worker.publish("orders.paid", { n: 1 });
  await until(() => seen.length === 2, "both have heard");
  assert.deepEqual(seen, [{ n: 1 }, { n: 1 }]);
});

test("a durable message is tried again", async () => {
  const tries: unknown[] = [];
  const options = { attempts: 3, backoffMs: 10, fifo: true, id: "sources::paid" };
  await worker.consume("order.paid", options, (data) => {
    tries.push(data);
    if (tries.length < 3) throw new Error("not yet");
  }).ready;
  await worker.publish("order.paid", { id: 7 }, { durable: true });
  await until(() => tries.length === 3, "the third attempt");
  assert.deepEqual(tries, [{ id: 7 }, { id: 7 }, { id: 7 }]);
});

test("a call may be queued", async () => {
  const { seen, keep } = kept();
  await worker.function("sources::later", keep).ready;
  assert.match(await worker.enqueue("sources::later", "now", { delayMs: 1 }), /^[0-9a-f-]{36}$/);
  await until(() => seen.length === 1, "it was called");
  assert.deepEqual(seen, ["now"]);
  await assert.rejects(worker.enqueue("sources::later", 1, { queue: "nowhere" }), { code: "not_found" });
});

interface User {
  name: string;
  visits: number;
}

test("values of the state, and who watches them", async () => {
  const { seen, keep } = kept<StateChange<User>>();
  await worker.watch({ scope: "users" }, keep).ready;
  const users = worker.store<User>("users");
  assert.equal(await users.get("ada"), null);
  const { version } = await users.set("ada", { name: "Ada", visits: 0 }, { expectedVersion: 0 });
  await assert.rejects(users.set("ada", { name: "Eve", visits: 0 }, { expectedVersion: 0 }), { code: "conflict" });
  const ops = [{ type: "increment" as const, path: "visits", by: 2 }];
  const { new_value } = await users.update("ada", ops, { expectedVersion: version ?? -1 });
  assert.deepEqual(new_value, { name: "Ada", visits: 2 });
  for (let n = 0; n < 5; n++) await users.set(`user-${n}`, { name: `${n}`, visits: n });
  const keys = [];
  for await (const { key, value } of users.entries({ prefix: "user-", pageSize: 2 })) keys.push([key, value.visits]);
  assert.deepEqual(keys, [["user-0", 0], ["user-1", 1], ["user-2", 2], ["user-3", 3], ["user-4", 4]]);
  await users.delete("ada");
  assert.equal(await users.get("ada"), null);
  const ada = () => seen.filter(({ key }) => key === "ada").map(({ event_type }) => event_type);
  await until(() => ada().length === 3, "all changes were told");
  assert.deepEqual(ada(), ["state:created", "state:updated", "state:deleted"]);
});

test("items of a stream, and who watches them", async () => {
  const { seen, keep } = kept<ItemEvent<{ title: string }>>();
  await worker.watchItems({ stream: "board", group: "todo" }, keep).ready;
  const cards = worker.items<{ title: string }>("board", "todo");
  await cards.set("1", { title: "tea" });
  await cards.update("1", [{ type: "set", path: "title", value: "coffee" }]);
  assert.deepEqual(await cards.get("1"), { title: "coffee" });
  assert.deepEqual(await cards.all(), [{ title: "coffee" }]);
  await cards.send("ring", { loud: true });
  assert.deepEqual(await cards.delete("1"), { title: "coffee" });
  assert.equal(await cards.get("1"), null);
  await until(() => seen.length === 4, "all was told");
  assert.deepEqual(seen.map(({ event }) => event.type), ["create", "update", "event", "delete"]);
});

test("stores of a handler's context keep to its deadline", async () => {
  await worker.function("sources::count", async (_, context) => {
    const counts = context.store<{ n: number }>("counts");
    await counts.set("a", { n: 1 });
    return context.timeLeftMs < 5_000 && counts.get("a");
  }).ready;
  assert.deepEqual(await worker.trigger("sources::count", null, { timeoutMs: 5_000 }), { n: 1 });
});

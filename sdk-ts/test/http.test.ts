/** HTTP routes over a real engine. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import * as z from "zod";
import { AgentOSError, HttpResponse, type Worker } from "@agentos/sdk";
import { routeId } from "#dist/http.js";
import { Engine, until } from "./engine.js";

let engine: Engine;
let worker: Worker;
let sawAbort = false;

before(async () => {
  engine = await Engine.start();
  worker = engine.worker("web");
  worker.http("GET", "/hello/:name", { auth: "none" }, ({ params, query, method, path }) => ({
    ...params,
    query,
    method,
    path,
  }));
  worker.http("POST", "/things", { id: "web::create" }, ({ body, headers }) =>
    new HttpResponse({ got: body, agent: headers["x-agent"] }, { status: 201, headers: { "x-made": "yes" } }),
  );
  const order = z.object({ item: z.string(), count: z.number().int().default(1) });
  const page = z.object({ page: z.coerce.number().min(1).default(1) });
  const place = { type: "object", properties: { shop: { enum: ["tea", "milk"] } } };
  worker.http("POST", "/shops/:shop", { body: order, query: page, params: place }, ({ body, query, params }) => ({
    bought: `${body.count} ${body.item}`,
    page: query.page,
    shop: params["shop"],
  }));
  worker.http("POST", "/raw", { rawBody: true }, ({ rawBody }) => rawBody?.toString("hex"));
  worker.http("GET", "/events", async function* () {
    yield { n: 1 };
    yield { n: 2 };
  });
  worker.http("GET", "/bytes", async function* () {
    yield new HttpResponse(undefined, { status: 202, headers: { "content-type": "text/plain" } });
    yield Buffer.from("one,");
    yield Buffer.from("two");
  });
  worker.http("GET", "/conflict", () => {
    throw new AgentOSError("conflict", "taken");
  });
  worker.http("GET", "/endless", async function* (_, { signal }) {
    signal.addEventListener("abort", () => (sawAbort = true));
    for (let i = 0; ; i++) {
      yield i;
      await new Promise((later) => setTimeout(later, 20));
    }
  });
  worker.function("web::wire", (request) => ({ status_code: 200, body: Object.keys(request as object).sort() }));
  worker.on("http", "web::wire", { http_method: "GET", api_path: "/wire" });
  await worker.start();
});
after(() => engine.stop());

function get(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = { authorization: `Bearer ${engine.token}`, ...init.headers };
  return fetch(engine.http + path, { ...init, headers });
}

test("an id is made from method and path", () => {
  assert.equal(routeId("web", "GET", "/hello/:name"), "web::get_hello_name");
});

test("parameters and query", async () => {
  const response = await fetch(`${engine.http}/hello/Ada?x=1`);
  assert.equal(response.status, 200);
  assert.deepEqual(await response.json(), { name: "Ada", query: { x: "1" }, method: "GET", path: "/hello/:name" });
});

test("body, headers and a chosen status", async () => {
  const init = { method: "POST", body: '{"a":1}', headers: { "content-type": "application/json", "X-Agent": "t" } };
  const response = await get("/things", init);
  assert.deepEqual([response.status, response.headers.get("x-made")], [201, "yes"]);
  assert.deepEqual(await response.json(), { got: { a: 1 }, agent: "t" });
});

test("parts of a request are checked and completed by their schemas", async () => {
  const headers = { "content-type": "application/json" };
  const post = (path: string, body: unknown) => get(path, { method: "POST", headers, body: JSON.stringify(body) });
  const good = await post("/shops/tea?page=2", { item: "green" });
  assert.deepEqual(await good.json(), { bought: "1 green", page: 2, shop: "tea" });
  const wrong: [string, unknown, RegExp][] = [
    ["/shops/tea", { item: 7 }, /body\.item: /],
    ["/shops/tea", undefined, /body: /],
    ["/shops/tea?page=0", { item: "green" }, /query\.page: /],
    ["/shops/coffee", { item: "green" }, /params\.shop: /],
  ];
  for (const [path, body, message] of wrong) {
    const response = await post(path, body);
    assert.equal(response.status, 422);
    assert.match(await response.text(), message);
  }
  const { functions } = await worker.trigger<{ functions: object[] }>("engine::functions::list");
  assert.match(JSON.stringify(functions), /an HTTP request","properties":\{"body":\{"type":"object","properties":\{"item"/);
});

test("the body's own bytes", async () => {
  const response = await get("/raw", { method: "POST", body: "{ }" });
  assert.equal(await response.json(), "7b207d");
});

test("a stream of values is a stream of events", async () => {
  const response = await get("/events");
  assert.match(response.headers.get("content-type") ?? "", /text\/event-stream/);
  assert.equal(await response.text(), 'data: {"n":1}\n\ndata: {"n":2}\n\n');
});

test("a stream of bytes is written as it is, under the head it began with", async () => {
  const response = await get("/bytes");
  assert.deepEqual([response.status, response.headers.get("content-type")], [202, "text/plain"]);
  assert.equal(await response.text(), "one,two");
});

test("an error before the first chunk is an HTTP error", async () => {
  assert.equal((await get("/conflict")).status, 409);
});

test("a client that goes away aborts the handler", async () => {
  const gone = new AbortController();
  const response = await get("/endless", { signal: gone.signal });
  await response.body?.getReader().read();
  gone.abort();
  await until(() => sawAbort, "the handler hears of it");
});

test("a route needs the token unless it says otherwise", async () => {
  assert.equal((await fetch(`${engine.http}/conflict`)).status, 401);
});

test("any function can be bound", async () => {
  const keys = (await (await get("/wire")).json()) as string[];
  assert.ok(keys.includes("path_params") && keys.includes("query_params"), `${keys}`);
});

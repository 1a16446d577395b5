// What scenarios cannot say: channels, streamed answers, lost connections, telemetry. The names
// are the same in every player.
import assert from "node:assert/strict";
import { request as undirected } from "node:http";
import { createConnection, createServer as tcpServer } from "node:net";

const deadline = (promise, what, ms = 10_000) =>
  Promise.race([promise, new Promise((_, reject) => setTimeout(() => reject(new Error(`${what} did not happen`)), ms).unref())]);

const eventually = async (what, probe, ms = 10_000) => {
  const end = Date.now() + ms;
  for (;;) {
    const found = await probe();
    if (found) return found;
    if (Date.now() > end) throw new Error(`${what} did not happen`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
};

/** A pipe to the engine that can be cut. */
async function pipe(url) {
  const { hostname, port } = new URL(url);
  const open = new Set();
  const server = tcpServer((near) => {
    const far = createConnection(Number(port), hostname);
    for (const [one, other] of [[near, far], [far, near]]) {
      open.add(one);
      one.on("error", () => {});
      one.on("close", () => other.destroy());
    }
    near.pipe(far);
    far.pipe(near);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `ws://127.0.0.1:${server.address().port}`,
    cut() {
      for (const socket of open) socket.destroy();
      open.clear();
    },
    close: () => server.close(),
  };
}

function get(http, path, { method = "GET", headers = {}, body } = {}) {
  return new Promise((resolve, reject) => {
    const call = undirected(`${http}${path}`, { method, headers }, (response) => {
      const parts = [];
      response.on("data", (part) => parts.push(part));
      response.on("end", () => resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(parts), parts }));
      response.on("error", reject);
    });
    call.on("error", reject);
    call.end(body);
  });
}

export const chapters = {
  "§1.9 a channel carries bytes and messages from one worker to another": async ({ library, connect, settle, run }) => {
    const [writer, reader] = [connect(), connect()];
    const sent = Buffer.alloc(300_000, "abcdefg");
    reader.registerFunction(`ch::reads-${run}`, async ({ pipe, label }) => {
      const messages = [];
      pipe.onMessage((message) => messages.push(message));
      const bytes = await pipe.readAll();
      return { label, size: bytes.length, same: bytes.equals(sent), messages };
    });
    await settle(reader);
    const channel = await library.createChannel(writer);
    channel.writer.sendMessage("first");
    channel.writer.stream.write(sent.subarray(0, 100_000));
    channel.writer.stream.write(sent.subarray(100_000));
    const answer = writer.trigger({ function_id: `ch::reads-${run}`, payload: { pipe: channel.readerRef, label: "x" } });
    channel.writer.stream.end();
    assert.deepEqual(await deadline(answer, "reading"), { label: "x", size: 300_000, same: true, messages: ["first"] });
  },
  "§1.9 items written before the reader connects wait": async ({ library, connect, sleep }) => {
    const worker = connect();
    const channel = await library.createChannel(worker, 4);
    channel.writer.stream.write(Buffer.from("early"));
    channel.writer.stream.end();
    await sleep(300);
    assert.equal((await deadline(channel.reader.readAll(), "reading")).toString(), "early");
  },
  "§1.9 a full channel holds its writer back and loses nothing": async ({ library, connect, sleep }) => {
    const worker = connect();
    const channel = await library.createChannel(worker, 1);
    const total = 24 * 1024 * 1024;
    const block = Buffer.alloc(1024 * 1024, 7);
    let written = 0;
    const writing = (async () => {
      for (let n = 0; n < 24; n += 1) {
        if (!channel.writer.stream.write(block)) await new Promise((resolve) => channel.writer.stream.once("drain", resolve));
        written += block.length;
      }
      channel.writer.stream.end();
    })();
    await sleep(500);
    const bytes = await deadline(channel.reader.readAll(), "reading", 30_000);
    await writing;
    assert.equal(bytes.length, total);
    assert.equal(written, total);
  },
  "§1.9 a ref deep inside a payload becomes a live end": async ({ library, connect, settle, run }) => {
    const worker = connect();
    worker.registerFunction(`ch::deep-${run}`, async ({ list }) => {
      list[0].into.stream.end(Buffer.from("deep"));
      return "written";
    });
    await settle(worker);
    const channel = await library.createChannel(worker);
    const answer = await worker.trigger({ function_id: `ch::deep-${run}`, payload: { list: [{ into: channel.writerRef }] } });
    assert.equal(answer, "written");
    assert.equal((await deadline(channel.reader.readAll(), "reading")).toString(), "deep");
  },
  "§1.9 a channel outlives the worker that made it": async ({ library, connect }) => {
    const [maker, other] = [connect(), connect()];
    const channel = await library.createChannel(maker);
    const [ref, reader] = [channel.writerRef, channel.reader];
    await maker.shutdown();
    const again = await library.createChannel(other);
    const writer = new again.writer.constructor(process.env.III_URL, ref);
    writer.stream.end(Buffer.from("still"));
    assert.equal((await deadline(reader.readAll(), "reading")).toString(), "still");
  },
  "§4.1 an answer is streamed with status and headers": async ({ library, connect, settle, run, http, sleep }) => {
    const worker = connect();
    worker.registerFunction(
      `web::stream-${run}`,
      library.http(async (_, response) => {
        response.status(206);
        response.headers({ "content-type": "text/event-stream", connection: "keep-alive" });
        for (const part of ["id: 1\n\n", "id: 2\n\n"]) {
          response.stream.write(Buffer.from(part));
          await sleep(50);
        }
        response.stream.end();
      }),
    );
    worker.registerTrigger({ type: "http", function_id: `web::stream-${run}`, config: { api_path: `/st-${run}` } });
    await settle(worker);
    const answer = await deadline(get(http, `/st-${run}`), "the answer");
    assert.equal(answer.status, 206);
    assert.equal(answer.headers["content-type"], "text/event-stream");
    assert.equal(answer.body.toString(), "id: 1\n\nid: 2\n\n");
  },
  "§4.1 a body that is no JSON is streamed to the function": async ({ library, connect, settle, run, http }) => {
    const worker = connect();
    const sent = Buffer.alloc(3_000_000, "0123456789");
    worker.registerFunction(
      `web::upload-${run}`,
      library.http(async (request, response) => {
        const parts = [];
        for await (const part of request.request_body.stream ?? request.request_body) parts.push(part);
        const got = Buffer.concat(parts);
        response.status(200);
        response.headers({ "content-type": "application/json" });
        response.stream.end(Buffer.from(JSON.stringify({ size: got.length, same: got.equals(sent) })));
      }),
    );
    worker.registerTrigger({ type: "http", function_id: `web::upload-${run}`, config: { api_path: `/up-${run}`, http_method: "POST" } });
    await settle(worker);
    const answer = await deadline(
      get(http, `/up-${run}`, { method: "POST", headers: { "content-type": "application/octet-stream", "content-length": sent.length }, body: sent }),
      "the answer",
    );
    assert.equal(answer.status, 200);
    assert.deepEqual(JSON.parse(answer.body.toString()), { size: sent.length, same: true });
  },
  "§4.1 a JSON body is parsed and its raw bytes are in the channel": async ({ library, connect, settle, run, http }) => {
    const worker = connect();
    const raw = '{"z":2, "a":1}';
    worker.registerFunction(
      `web::raw-${run}`,
      library.http(async (request, response) => {
        const parts = [];
        for await (const part of request.request_body.stream ?? request.request_body) parts.push(part);
        response.status(200);
        response.headers({ "content-type": "application/json" });
        response.stream.end(Buffer.from(JSON.stringify({ body: request.body, raw: Buffer.concat(parts).toString() })));
      }),
    );
    worker.registerTrigger({ type: "http", function_id: `web::raw-${run}`, config: { api_path: `/raw-${run}`, http_method: "POST" } });
    await settle(worker);
    const answer = await deadline(get(http, `/raw-${run}`, { method: "POST", headers: { "content-type": "application/json", "content-length": raw.length }, body: raw }), "the answer");
    assert.deepEqual(JSON.parse(answer.body.toString()), { body: { z: 2, a: 1 }, raw });
  },
  "§3.7 a stream of the SDK takes the built-in's place": async ({ library, connect, settle, run }) => {
    const worker = connect();
    const items = new Map();
    const key = ({ group_id, item_id }) => `${group_id}/${item_id}`;
    library.createStream(worker, `own-${run}`, {
      get: async (input) => items.get(key(input)),
      set: async (input) => {
        const old = items.get(key(input)) ?? null;
        items.set(key(input), input.data);
        return { old_value: old, new_value: input.data };
      },
      delete: async (input) => {
        const old = items.get(key(input)) ?? null;
        items.delete(key(input));
        return { old_value: old };
      },
      list: async ({ group_id }) => [...items].filter(([name]) => name.startsWith(`${group_id}/`)).map(([, value]) => value),
      listGroups: async () => [...new Set([...items.keys()].map((name) => name.split("/")[0]))],
      update: async () => undefined,
    });
    await settle(worker);
    const item = { stream_name: `own-${run}`, group_id: "g", item_id: "i" };
    const call = (verb, more = {}) => worker.trigger({ function_id: `stream::${verb}`, payload: { ...item, ...more } });
    assert.deepEqual(await call("set", { data: { n: 1 } }), { old_value: null, new_value: { n: 1 } });
    assert.deepEqual(items.get("g/i"), { n: 1 });
    assert.deepEqual(await call("get"), { n: 1 });
    assert.deepEqual(await call("list"), [{ n: 1 }]);
    assert.deepEqual(await call("list_groups"), ["g"]);
    assert.deepEqual(await call("delete"), { old_value: { n: 1 } });
    assert.equal(await call("get"), undefined);
  },
  "§1.5 a worker that lost its connection is there again": async ({ connect, settle, run, url, sleep }) => {
    const way = await pipe(url);
    const [worker, caller] = [connect({}, way.url), connect()];
    const events = [];
    worker.registerFunction(`re::f-${run}`, async () => "here");
    worker.registerFunction(`re::e-${run}`, async (event) => void events.push(event));
    worker.registerTrigger({ type: "state", function_id: `re::e-${run}`, config: { scope: `re-${run}` } });
    await settle(worker);
    assert.equal(await caller.trigger({ function_id: `re::f-${run}`, payload: {} }), "here");
    way.cut();
    await eventually("the worker's return", () => caller.trigger({ function_id: `re::f-${run}`, payload: {}, timeoutMs: 2_000 }).then((value) => value === "here", () => false), 20_000);
    await settle(worker);
    await caller.trigger({ function_id: "state::set", payload: { scope: `re-${run}`, key: "k", value: 1 } });
    await eventually("the event", () => events.length > 0);
    await sleep(200);
    assert.equal(events.length, 1, "the replayed trigger is the same trigger");
    way.close();
  },
  "§7.2 a caller whose target's connection is cut is told at once": async ({ connect, settle, run, url }) => {
    const way = await pipe(url);
    const [worker, caller] = [connect({}, way.url), connect()];
    let called;
    const began = new Promise((resolve) => (called = resolve));
    worker.registerFunction(`cut::f-${run}`, () => new Promise(called));
    await settle(worker);
    const call = caller.trigger({ function_id: `cut::f-${run}`, payload: {}, timeoutMs: 20_000 });
    call.catch(() => {});
    await began;
    way.cut();
    const error = await deadline(call.then(() => assert.fail("it answered"), (error) => error), "the error", 5_000);
    assert.equal(error.code, "invocation_stopped");
    way.close();
  },
  "§1.8 logs of the SDK reach log triggers and the list": async ({ library, generation, connect, settle, run }) => {
    if (process.env.OTEL_ENABLED === "false") return "skipped";
    const worker = connect({ otel: { enabled: true, serviceName: `logs-${run}`, logsFlushIntervalMs: 100, logsBatchSize: 1 } });
    await settle(worker);
    const logger = library.logger(`logs-${run}`);
    logger.error(`telemetry ${run} ${generation}`, { order: "o-1" });
    await eventually(
      "the record",
      async () => {
        const { logs } = await worker.trigger({ function_id: "engine::logs::list", payload: { limit: 1000 } });
        return logs.find((log) => log.body === `telemetry ${run} ${generation}` && log.severity_text === "ERROR");
      },
      15_000,
    );
  },
};

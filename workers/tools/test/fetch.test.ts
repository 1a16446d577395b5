/** Fetching pages from a server of our own. */
import assert from "node:assert/strict";
import { type IncomingMessage, type RequestListener, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { AllowList } from "#dist/address.js";
import { WebFetch } from "#dist/api.js";
import { fetchPage } from "#dist/fetch.js";
import { Guard } from "#dist/guard.js";

const guard = new Guard(new AllowList(["127.0.0.0/8"]));

/** Answers one test's requests. */
async function serve<T>(listener: RequestListener, use: (base: string) => Promise<T>): Promise<T> {
  const server = createServer(listener).listen(0, "127.0.0.1");
  await new Promise((ready) => server.once("listening", ready));
  try {
    return await use(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

function get(url: string, more: object = {}, signal = new AbortController().signal) {
  return fetchPage(guard, WebFetch.input.parse({ url, ...more }), signal);
}

function html(body: string): RequestListener {
  return (_, response) => response.setHeader("content-type", "text/html; charset=utf-8").end(body);
}

test("HTML comes as text", async () => {
  const body = `<html><head><title>t</title><style>p{}</style><script>evil()</script></head>
    <body><nav>menu</nav><h1>Title</h1><p>Some <b>bold</b> text &amp; <a href="/more">a link</a>.</p>
    <table><tr><td>1</td><td>2</td></tr></table></body></html>`;
  const page = await serve(html(body), (base) => get(base));
  assert.match(page.content ?? "", /Title\n\nSome bold text & a link \[http:\/\/127\.0\.0\.1:\d+\/more\]\./);
  assert.doesNotMatch(page.content ?? "", /evil|menu|<p>/);
  assert.equal(page.status, 200);
});

test("raw HTML when asked for", async () => {
  const page = await serve(html("<p>hi</p>"), (base) => get(base, { raw: true }));
  assert.equal(page.content, "<p>hi</p>");
});

test("an error status is an answer, not a failure", async () => {
  const page = await serve((_, response) => response.writeHead(404).end("gone"), (base) => get(base));
  assert.deepEqual([page.status, page.content], [404, "gone"]);
});

test("method, headers and body arrive", async () => {
  let seen: IncomingMessage | undefined;
  let sent = "";
  const listener: RequestListener = async (request, response) => {
    seen = request;
    for await (const chunk of request) sent += String(chunk);
    response.setHeader("content-type", "application/json").end('{"ok":true}');
  };
  const more = { method: "PUT", headers: { "X-Key": "k", Authorization: "Bearer t" }, body: "héllo" };
  const page = await serve(listener, (base) => get(`${base}/a?b=c`, more));
  assert.deepEqual([seen?.method, seen?.url, seen?.headers["x-key"], sent], ["PUT", "/a?b=c", "k", "héllo"]);
  assert.equal(page.content, '{"ok":true}');
});

test("headers that say how the message travels cannot be set", async () => {
  for (const name of ["Host", "Content-Length", "transfer-encoding", "Connection"]) {
    await assert.rejects(get("http://127.0.0.1:1/", { headers: { [name]: "x" } }), { code: "invalid_input" });
  }
  await assert.rejects(get("http://127.0.0.1:1/", { headers: { "x-a": "1\r\nHost: evil" } }), {
    code: "invalid_input",
  });
});

test("compressed bodies are read", async () => {
  const listener: RequestListener = (_, response) =>
    response.writeHead(200, { "content-encoding": "gzip", "content-type": "text/plain" }).end(gzipSync("packed"));
  assert.equal((await serve(listener, (base) => get(base))).content, "packed");
});

test("a small body that unpacks to a huge one is cut", async () => {
  const bomb = gzipSync(Buffer.alloc(64 << 20, "a"));
  const listener: RequestListener = (_, response) => response.writeHead(200, { "content-encoding": "gzip" }).end(bomb);
  const page = await serve(listener, (base) => get(base, { limit: 100 }));
  assert.equal(page.truncated, true);
  assert.equal(page.bytes, 5 << 20);
  assert.equal(page.content?.length, 100);
});

test("an endless body is cut", async () => {
  const listener: RequestListener = (_, response) => {
    const more = () => {
      while (!response.destroyed && response.write(Buffer.alloc(65_536, "a")));
    };
    response.on("drain", more);
    more();
  };
  const page = await serve(listener, (base) => get(base));
  assert.equal(page.truncated, true);
});

test("text is cut between characters", async () => {
  const page = await serve((_, response) => response.end("aéé"), (base) => get(base, { limit: 4 }));
  assert.deepEqual([page.content, page.truncated], ["aé", true]);
});

test("what is no text is not given as text", async () => {
  const listener: RequestListener = (_, response) => response.end(Buffer.from([0x89, 0x50, 0x4e, 0x47, 0, 1, 2, 3]));
  const page = await serve(listener, (base) => get(base));
  assert.deepEqual([page.content, page.bytes], [null, 8]);
});

test("other character sets are read", async () => {
  const listener: RequestListener = (_, response) =>
    response.setHeader("content-type", "text/plain; charset=iso-8859-1").end(Buffer.from([0x68, 0xe9]));
  assert.equal((await serve(listener, (base) => get(base))).content, "hé");
});

test("a server that does not answer is a timeout", async () => {
  await serve(
    () => {},
    (base) => assert.rejects(get(base, { timeoutMs: 100 }), { code: "timeout" }),
  );
});

test("a body that stalls is a timeout", async () => {
  const listener: RequestListener = (_, response) => void response.write("begin");
  await serve(listener, (base) => assert.rejects(get(base, { timeoutMs: 200 }), { code: "timeout" }));
});

test("cancelling ends the request", async () => {
  const gone = new AbortController();
  let closed!: () => void;
  const ended = new Promise<void>((done) => (closed = done));
  await serve(
    (request) => {
      request.on("close", closed);
      gone.abort();
    },
    async (base) => {
      await assert.rejects(get(base, {}, gone.signal));
      await ended;
    },
  );
});

test("a server that is not there is unavailable", async () => {
  await assert.rejects(get("http://127.0.0.1:1/"), { code: "unavailable", reason: "ECONNREFUSED" });
});

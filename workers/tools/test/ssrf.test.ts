/** The guard of web::fetch against a table of addresses; every row must be refused before a byte leaves. */
import assert from "node:assert/strict";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { AgentOSError } from "@agentos/sdk";
import { AllowList, isPublic } from "#dist/address.js";
import { WebFetch } from "#dist/api.js";
import { fetchPage } from "#dist/fetch.js";
import { Guard, type Resolve } from "#dist/guard.js";

/** Names an attacker has set up. */
const NAMES: Record<string, string[]> = {
  "loopback.attacker.test": ["127.0.0.1"],
  "metadata.attacker.test": ["169.254.169.254"],
  "metadata.google.internal": ["169.254.169.254"],
  "mixed.attacker.test": ["93.184.216.34", "10.0.0.1"],
  "mapped.attacker.test": ["::ffff:127.0.0.1"],
  "six.attacker.test": ["::1"],
  "127.0.0.1.nip.test": ["127.0.0.1"],
  "nothing.attacker.test": [],
  localhost: ["127.0.0.1", "::1"],
  "localhost.": ["127.0.0.1"],
  ip6localhost: ["::1"],
};

const resolve: Resolve = async (name) => {
  const found = NAMES[name];
  if (!found) throw Object.assign(new Error("getaddrinfo ENOTFOUND"), { code: "ENOTFOUND" });
  return found.map((address) => ({ address, family: address.includes(":") ? 6 : 4 }));
};

const guard = new Guard(new AllowList([]), resolve);
const never = new AbortController().signal;

function get(url: string, using = guard, more: object = {}) {
  return fetchPage(using, WebFetch.input.parse({ url, timeoutMs: 5_000, ...more }), never);
}

const REFUSED: [url: string, code: string][] = [
  // Loopback, however it is written.
  ["http://127.0.0.1/", "forbidden"],
  ["http://127.0.0.1:8080/x", "forbidden"],
  ["https://127.0.0.1/", "forbidden"],
  ["http://127.1/", "forbidden"],
  ["http://127.0.1/", "forbidden"],
  ["http://127.255.255.254/", "forbidden"],
  ["http://2130706433/", "forbidden"],
  ["http://0x7f000001/", "forbidden"],
  ["http://0x7f.0x0.0x0.0x1/", "forbidden"],
  ["http://0x7f.1/", "forbidden"],
  ["http://0177.0.0.1/", "forbidden"],
  ["http://017700000001/", "forbidden"],
  ["http://0177.0x0.0.1/", "forbidden"],
  ["http://127.0.0.1./", "forbidden"],
  ["http://%31%32%37.0.0.1/", "forbidden"],
  ["http://①②⑦.⓪.⓪.①/", "forbidden"],
  ["http://127。0。0。1/", "forbidden"],
  ["http://0/", "forbidden"],
  ["http://0.0.0.0:3111/", "forbidden"],
  ["http://localhost/", "forbidden"],
  ["http://LOCALHOST/", "forbidden"],
  ["http://localhost./", "forbidden"],
  // IPv6.
  ["http://[::1]/", "forbidden"],
  ["http://[::]/", "forbidden"],
  ["http://[0:0:0:0:0:0:0:1]/", "forbidden"],
  ["http://[::ffff:127.0.0.1]/", "forbidden"],
  ["http://[::ffff:7f00:1]/", "forbidden"],
  ["http://[0:0:0:0:0:ffff:169.254.169.254]/", "forbidden"],
  ["http://[::127.0.0.1]/", "forbidden"],
  ["http://[64:ff9b::7f00:1]/", "forbidden"],
  ["http://[64:ff9b:1::a00:1]/", "forbidden"],
  ["http://[2002:7f00:1::]/", "forbidden"],
  ["http://[2001:0:7f00:1::]/", "forbidden"],
  ["http://[fe80::1]/", "forbidden"],
  ["http://[fc00::1]/", "forbidden"],
  ["http://[fd00:ec2::254]/latest/meta-data/", "forbidden"],
  ["http://[fec0::1]/", "forbidden"],
  ["http://[ff02::1]/", "forbidden"],
  ["http://[2001:db8::1]/", "forbidden"],
  ["http://[4000::1]/", "forbidden"],
  ["http://[fe80::1%25eth0]/", "invalid_input"],
  // Private, shared and special networks.
  ["http://10.0.0.1/", "forbidden"],
  ["http://10.1/", "forbidden"],
  ["http://172.16.0.1/", "forbidden"],
  ["http://172.31.255.255/", "forbidden"],
  ["http://192.168.1.1/", "forbidden"],
  ["http://100.64.0.1/", "forbidden"],
  ["http://100.100.100.200/latest/meta-data/", "forbidden"],
  ["http://192.0.0.192/", "forbidden"],
  ["http://198.18.0.1/", "forbidden"],
  ["http://224.0.0.1/", "forbidden"],
  ["http://240.0.0.1/", "forbidden"],
  ["http://255.255.255.255/", "forbidden"],
  // Where clouds keep their secrets.
  ["http://169.254.169.254/latest/meta-data/", "forbidden"],
  ["http://2852039166/latest/meta-data/", "forbidden"],
  ["http://0xa9fea9fe/", "forbidden"],
  ["http://0251.0376.0251.0376/", "forbidden"],
  ["http://169.254.170.2/v2/credentials", "forbidden"],
  ["http://168.63.129.16/", "forbidden"],
  ["http://metadata.google.internal/computeMetadata/v1/", "forbidden"],
  // Names that lead there.
  ["http://loopback.attacker.test/", "forbidden"],
  ["http://metadata.attacker.test/", "forbidden"],
  ["http://mixed.attacker.test/", "forbidden"],
  ["http://mapped.attacker.test/", "forbidden"],
  ["http://six.attacker.test/", "forbidden"],
  ["https://six.attacker.test/", "forbidden"],
  ["http://127.0.0.1.nip.test/", "forbidden"],
  ["http://ip6localhost/", "forbidden"],
  ["http://fails.attacker.test/", "unavailable"],
  ["http://nothing.attacker.test/", "unavailable"],
  // Disguises.
  ["http://user@127.0.0.1/", "forbidden"],
  ["http://user:secret@example.com/", "forbidden"],
  ["http://example.com@127.0.0.1/", "forbidden"],
  ["http://127.0.0.1#@example.com/", "forbidden"],
  ["http://127.0.0.1\\@example.com/", "forbidden"],
  ["http:127.0.0.1/", "forbidden"],
  ["http:////127.0.0.1/", "forbidden"],
  ["  http://127.0.0.1/", "forbidden"],
  ["http://127.0.0.1%00.example.com/", "invalid_input"],
  ["http://?host=127.0.0.1", "invalid_input"],
  ["http://", "invalid_input"],
  ["//127.0.0.1/", "invalid_input"],
  ["127.0.0.1", "invalid_input"],
  ["http://256.256.256.256/", "invalid_input"],
  ["http://[::1/", "invalid_input"],
  // Other schemes.
  ["file:///etc/passwd", "forbidden"],
  ["ftp://127.0.0.1/", "forbidden"],
  ["gopher://127.0.0.1:6379/_INFO", "forbidden"],
  ["data:text/plain,hello", "forbidden"],
  ["javascript:alert(1)", "forbidden"],
  ["unix:///var/run/docker.sock", "forbidden"],
  ["ws://127.0.0.1:49134/", "forbidden"],
];

for (const [url, code] of REFUSED) {
  test(`refused: ${JSON.stringify(url)}`, async () => {
    await assert.rejects(get(url), { name: "AgentOSError", code });
  });
}

test("public addresses are public", () => {
  for (const address of ["8.8.8.8", "93.184.216.34", "172.15.0.1", "172.32.0.1", "100.63.0.1", "2606:4700::1111"]) {
    assert.ok(isPublic(address), address);
  }
});

// ── With servers ────────────────────────────────────────────────────────────────────────────

let secretHits = 0;
const secret = createServer((_, response) => (secretHits++, response.end("secret")));
const hops: Record<string, string | undefined>[] = [];
const site = createServer((request, response) => {
  hops.push({ url: request.url, method: request.method, cookie: request.headers.cookie });
  const to = new URL(request.url ?? "", "http://x").searchParams.get("to");
  if (request.url?.startsWith("/loop")) return response.writeHead(302, { location: "/loop" }).end();
  if (to) return response.writeHead(Number(request.url?.slice(1, 4)) || 302, { location: to }).end();
  return response.end("public page");
});

let publicPort = 0;
let secretPort = 0;
before(async () => {
  await new Promise<void>((ready) => site.listen(0, "127.0.0.1", ready));
  await new Promise<void>((ready) => secret.listen(0, "127.0.0.1", ready));
  publicPort = (site.address() as AddressInfo).port;
  secretPort = (secret.address() as AddressInfo).port;
});
after(() => {
  site.close();
  secret.close();
});

/** `site` counts as public, by its name; `secret` does not. */
function guarded(look: Resolve = resolve): Guard {
  return new Guard(new AllowList([`site.test:${publicPort}`]), async (name) =>
    name === "site.test" ? [{ address: "127.0.0.1", family: 4 }] : look(name),
  );
}

test("the allow list lets exactly the host and port through", async () => {
  assert.equal((await get(`http://site.test:${publicPort}/`, guarded())).content, "public page");
  await assert.rejects(get(`http://site.test:${secretPort}/`, guarded()), { code: "forbidden" });
  await assert.rejects(get(`http://127.0.0.1:${publicPort}/`, guarded()), { code: "forbidden" });
});

test("a network may be allowed", async () => {
  const inside = new Guard(new AllowList(["127.0.0.0/8"]));
  assert.equal((await get(`http://127.0.0.1:${publicPort}/`, inside)).status, 200);
  await assert.rejects(get("http://10.0.0.1/", inside), { code: "forbidden" });
});

test("each redirect is checked", async () => {
  const targets = [
    `http://127.0.0.1:${secretPort}/`,
    `http://localhost:${secretPort}/`,
    `http://[::ffff:127.0.0.1]:${secretPort}/`,
    `//127.0.0.1:${secretPort}/`,
    "http://169.254.169.254/latest/meta-data/",
    "file:///etc/passwd",
    `http://user@site.test:${publicPort}/`,
  ];
  for (const target of targets) {
    const url = `http://site.test:${publicPort}/302?to=${encodeURIComponent(target)}`;
    await assert.rejects(get(url, guarded()), { code: "forbidden" }, target);
  }
  assert.equal(secretHits, 0);
});

test("at most five redirects", async () => {
  hops.length = 0;
  await assert.rejects(get(`http://site.test:${publicPort}/loop`, guarded()), { message: /more than 5 redirects/ });
  assert.equal(hops.length, 6);
});

test("a redirect after POST becomes GET, and cookies stay with their host", async () => {
  hops.length = 0;
  const target = encodeURIComponent(`http://other.test:${publicPort}/end`);
  const both = new Guard(new AllowList([`site.test:${publicPort}`, `other.test:${publicPort}`]), async () => [
    { address: "127.0.0.1", family: 4 },
  ]);
  const more = { method: "POST", body: "x", headers: { Cookie: "a=1" } };
  const page = await get(`http://site.test:${publicPort}/303?to=${target}`, both, more);
  assert.equal(page.url, `http://other.test:${publicPort}/end`);
  assert.deepEqual(hops.map(({ method, cookie }) => [method, cookie]), [["POST", "a=1"], ["GET", undefined]]);
});

test("rebinding cannot win: what was checked is what is connected to", async () => {
  const answers = ["93.184.216.34", "127.0.0.1", "127.0.0.1"];
  let asked = 0;
  const rebinding: Resolve = async () => [{ address: answers[asked++] as string, family: 4 }];
  const rebound = new Guard(new AllowList([]), rebinding);
  const url = new URL(`http://rebind.test:${secretPort}/`);
  const found = await new Promise((done) =>
    rebound.lookup(url)("rebind.test", { all: true }, (_, addresses) => done(addresses)),
  );
  assert.deepEqual(found, [{ address: "93.184.216.34", family: 4 }]);
  // The name has turned by now: the next connection is refused, not made.
  await assert.rejects(get(url.href, rebound), { code: "forbidden" });
  assert.equal(asked, 2, "one look-up for each connection");
  assert.equal(secretHits, 0);
});

test("a TLS connection is guarded by the same look-up", async () => {
  let connected = false;
  const tcp = createTcpServer(() => (connected = true)).listen(0, "127.0.0.1");
  await new Promise((ready) => tcp.once("listening", ready));
  const { port } = tcp.address() as AddressInfo;
  await assert.rejects(get(`https://loopback.attacker.test:${port}/`), { code: "forbidden" });
  assert.equal(connected, false);
  tcp.close();
});

test("a misspelt allow list is refused at the start", () => {
  for (const entry of ["10.0.0.0/99", "a b", "http://x/y"]) {
    assert.throws(() => new AllowList([entry]), AgentOSError, entry);
  }
});

/**
 * Fetching over HTTP: redirects, limits and decoding. Whether a connection may be made is the
 * guard's to say, anew for each redirect.
 */
import { type IncomingMessage, type RequestOptions, request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import type { Readable } from "node:stream";
import { createBrotliDecompress, createGunzip, createInflate } from "node:zlib";
import { AgentOSError } from "@agentos/sdk";
import type { infer as Infer } from "zod";
import type { WebFetch } from "./api.js";
import type { Guard } from "./guard.js";
import { readable } from "./page.js";

type Input = Infer<typeof WebFetch.input>;
type Fetched = Infer<typeof WebFetch.output>;

const REDIRECTS_MAX = 5;

/** Bytes of a body that are read, after decompression; pages for people are far smaller. */
const BODY_BYTES_MAX = 5 << 20;

/** Headers that say how the message travels: ours to set. */
const OURS = new Set([
  "accept-encoding",
  "connection",
  "content-length",
  "expect",
  "host",
  "keep-alive",
  "proxy-authorization",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/** Headers meant for one host only. */
const SECRET = new Set(["authorization", "cookie"]);

interface Hop {
  url: URL;
  method: string;
  headers: Record<string, string>;
  body: string | undefined;
}

export async function fetchPage(guard: Guard, input: Input, signal: AbortSignal): Promise<Fetched> {
  const timeout = AbortSignal.timeout(input.timeoutMs);
  const either = AbortSignal.any([signal, timeout]);
  let hop: Hop = {
    url: guard.readUrl(input.url),
    method: input.method,
    headers: requestHeaders(input.headers),
    body: input.body,
  };
  try {
    for (let redirects = 0; redirects <= REDIRECTS_MAX; redirects++) {
      const response = await send(guard, hop, either);
      const location = redirectOf(response);
      if (location === undefined) return await readAnswer(response, hop, input);
      response.destroy();
      hop = follow(guard, hop, response.statusCode as number, location);
    }
  } catch (error) {
    signal.throwIfAborted();
    throw explained(error, hop.url, timeout, input.timeoutMs);
  }
  throw new AgentOSError("failed", `more than ${REDIRECTS_MAX} redirects`);
}

function requestHeaders(given: Record<string, string>): Record<string, string> {
  const headers: Record<string, string> = { "user-agent": "agentos-tools", accept: "text/html, */*;q=0.9" };
  for (const [name, value] of Object.entries(given)) {
    const key = name.toLowerCase();
    if (OURS.has(key)) {
      throw new AgentOSError("invalid_input", `the header \`${name}\` cannot be set`, { origin: "caller" });
    }
    headers[key] = value;
  }
  headers["accept-encoding"] = "gzip, deflate, br";
  return headers;
}

function send(guard: Guard, { url, method, headers, body }: Hop, signal: AbortSignal): Promise<IncomingMessage> {
  // A connection of its own: a kept one may lead to an address checked for somebody else.
  const options: RequestOptions = { method, headers, signal, agent: false, lookup: guard.lookup(url) };
  const start = url.protocol === "https:" ? httpsRequest : httpRequest;
  return new Promise((resolve, reject) => {
    const request = start(url, options, resolve);
    request.on("error", reject);
    request.end(method === "GET" || method === "HEAD" ? undefined : body);
  });
}

function redirectOf(response: IncomingMessage): string | undefined {
  const redirected = [301, 302, 303, 307, 308].includes(response.statusCode ?? 0);
  return redirected ? response.headers.location : undefined;
}

/** The next request, as browsers do it: 303, and 301 or 302 after POST, become GET. */
function follow(guard: Guard, hop: Hop, status: number, location: string): Hop {
  const url = guard.readUrl(location, hop.url);
  const toGet = status === 303 ? hop.method !== "HEAD" : status < 303 && hop.method === "POST";
  const foreign = url.origin !== hop.url.origin;
  const headers = Object.entries(hop.headers).filter(
    ([name]) => !(foreign && SECRET.has(name)) && !(toGet && name.startsWith("content-")),
  );
  return {
    url,
    method: toGet ? "GET" : hop.method,
    headers: Object.fromEntries(headers),
    body: toGet ? undefined : hop.body,
  };
}

async function readAnswer(response: IncomingMessage, { url }: Hop, input: Input): Promise<Fetched> {
  const { body, whole } = await readBody(decoded(response), response);
  const type = response.headers["content-type"] ?? "";
  const { content, cut } = readable(body, { type, url, raw: input.raw, limit: input.limit });
  return {
    url: url.href,
    status: response.statusCode ?? 0,
    headers: plainHeaders(response),
    content,
    bytes: body.length,
    truncated: cut || !whole,
  };
}

function decoded(response: IncomingMessage): Readable {
  const encoding = response.headers["content-encoding"]?.trim().toLowerCase() ?? "identity";
  const decoders = { gzip: createGunzip, "x-gzip": createGunzip, deflate: createInflate, br: createBrotliDecompress };
  const decoder = decoders[encoding as keyof typeof decoders]?.();
  if (!decoder) return response;
  response.on("error", (error) => decoder.destroy(error));
  return response.pipe(decoder);
}

async function readBody(stream: Readable, response: IncomingMessage): Promise<{ body: Buffer; whole: boolean }> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > BODY_BYTES_MAX) break;
  }
  response.destroy();
  return { body: Buffer.concat(chunks).subarray(0, BODY_BYTES_MAX), whole: bytes <= BODY_BYTES_MAX };
}

function plainHeaders(response: IncomingMessage): Record<string, string> {
  const headers = Object.entries(response.headers).filter(([name]) => name !== "set-cookie");
  return Object.fromEntries(headers.map(([name, value]) => [name, String(value)]));
}

function explained(error: unknown, url: URL, timeout: AbortSignal, timeoutMs: number): unknown {
  if (error instanceof AgentOSError) return error;
  if (timeout.aborted) return new AgentOSError("timeout", `\`${url.host}\` did not answer in ${timeoutMs} ms`);
  const { message, code } = error as NodeJS.ErrnoException;
  if (code === "ERR_INVALID_CHAR" || code === "ERR_INVALID_HTTP_TOKEN") {
    return new AgentOSError("invalid_input", message, { origin: "caller" });
  }
  return new AgentOSError("unavailable", `\`${url.host}\`: ${message}`, { reason: code, cause: error });
}

/**
 * HTTP routes: the engine's request and response shapes as a TypeScript program likes them.
 */
import { isStream } from "./answer.js";
import type { Context } from "./context.js";
import { idOf } from "./triggers.js";

/** A request that an HTTP route got. */
export interface HttpRequest<Body = unknown> {
  readonly method: string;
  /** The route as it was registered, with its `:name` parts. */
  readonly path: string;
  readonly params: Readonly<Record<string, string>>;
  readonly query: Readonly<Record<string, string | string[]>>;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Body;
  /** The body's bytes, when the route asks for them with `rawBody`. */
  readonly rawBody: Buffer | undefined;
}

/** An answer that is not just `200` and a JSON body. */
export class HttpResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: unknown;

  constructor(body: unknown, options: { status?: number; headers?: Record<string, string> } = {}) {
    this.status = options.status ?? 200;
    this.headers = options.headers ?? {};
    this.body = body;
  }

  toJSON(): unknown {
    const body = this.body === undefined ? {} : { body: this.body };
    return { status_code: this.status, headers: this.headers, ...body };
  }
}

/**
 * Answers requests with a value, an `HttpResponse`, or a stream: each `Uint8Array` is written as it
 * is, anything else as a server-sent event; yield an `HttpResponse` first to choose the head.
 */
export type HttpHandler<Body = unknown> = (request: HttpRequest<Body>, context: Context) => unknown;

/** What a route may ask for. */
export interface HttpOptions {
  /** The function's id; made from method and path when left out. */
  id?: string;
  description?: string;
  /** `none` lets everybody in; otherwise the engine's token is needed. */
  auth?: "none";
  /** Hands over the body's bytes too, for instance to check a signature. */
  rawBody?: boolean;
}

/** What the engine sends. */
interface Request {
  method: string;
  path: string;
  path_params?: Record<string, string>;
  query_params?: Record<string, string | string[]>;
  headers?: Record<string, string>;
  body?: unknown;
  raw_body?: string;
}

export function readRequest(wire: unknown): HttpRequest {
  const request = wire as Request;
  return {
    method: request.method,
    path: request.path,
    params: request.path_params ?? {},
    query: request.query_params ?? {},
    headers: request.headers ?? {},
    body: request.body ?? null,
    rawBody: request.raw_body === undefined ? undefined : Buffer.from(request.raw_body, "base64"),
  };
}

/** The `http` trigger's config. */
export function routeConfig(method: string, path: string, options: HttpOptions): Record<string, unknown> {
  return {
    http_method: method.toUpperCase(),
    api_path: path,
    ...(options.auth && { auth: options.auth }),
    ...(options.rawBody && { raw_body: true }),
  };
}

/** An id for a route's function: `GET /hello/:name` of `hello` is `hello::get_hello_name`. */
export function routeId(worker: string, method: string, path: string): string {
  return idOf(worker, `${method} ${path}`);
}

/** Runs `handler` on the engine's shapes. */
export function httpHandler(handler: HttpHandler): (input: unknown, context: Context) => unknown {
  return async (input, context) => {
    const answer = await handler(readRequest(input), context);
    return isStream(answer) || answer instanceof HttpResponse ? answer : new HttpResponse(answer);
  };
}

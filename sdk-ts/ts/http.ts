/**
 * HTTP routes: the engine's request and response shapes as a TypeScript program likes them.
 */
import type { StandardSchemaV1 } from "@standard-schema/spec";
import { isStream } from "./answer.js";
import type { Context } from "./context.js";
import { type JsonSchema, type Schema, check, checkInput, jsonSchema } from "./schema.js";
import { idOf } from "./triggers.js";

/** The `:name` parts of a path. */
export type Params = Readonly<Record<string, string>>;

/** What stands behind the `?`; a key that comes more than once has a list. */
export type Query = Readonly<Record<string, string | string[]>>;

/** A request that an HTTP route got. */
export interface HttpRequest<Body = unknown, InQuery = Query, InPath = Params> {
  readonly method: string;
  /** The route as it was registered, with its `:name` parts. */
  readonly path: string;
  readonly params: InPath;
  readonly query: InQuery;
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
export type HttpHandler<Body = unknown, InQuery = Query, InPath = Params> = (
  request: HttpRequest<Body, InQuery, InPath>,
  context: Context,
) => unknown;

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

/** What the parts of a request have to be; what does not fit is answered with 422 and names the field. */
export interface HttpSchemas<
  Body extends Schema | undefined = Schema | undefined,
  InQuery extends Schema | undefined = Schema | undefined,
  InPath extends Schema | undefined = Schema | undefined,
> {
  body?: Body;
  /** Values are texts, or lists of them: `z.coerce.number()`. */
  query?: InQuery;
  params?: InPath;
}

/** What a handler gets of a part: what follows from its schema, or else `Plain`. */
export type PartOf<Part, Plain> = Part extends StandardSchemaV1 ? StandardSchemaV1.InferOutput<Part> : Plain;

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

/** What people and models see of a route's function. */
export function routeSchema({ body, query, params }: HttpSchemas): JsonSchema {
  const parts = { body, query_params: query, path_params: params };
  const known = Object.entries(parts).flatMap(([name, schema]) => {
    const shown = schema && jsonSchema(schema, "input");
    return shown ? [[name, shown]] : [];
  });
  return { type: "object", description: "an HTTP request", properties: Object.fromEntries(known) as object };
}

/** Runs `handler` on the engine's shapes. */
export function httpHandler(
  id: string,
  schemas: HttpSchemas,
  handler: HttpHandler,
): (input: unknown, context: Context) => unknown {
  const checks = (["params", "query", "body"] as const).flatMap((part) => {
    const schema = schemas[part];
    return schema ? [[part, check(schema)] as const] : [];
  });
  return async (input, context) => {
    let request = readRequest(input);
    for (const [part, run] of checks) request = { ...request, [part]: await checkInput(id, run, request[part], part) };
    const answer = await handler(request, context);
    return isStream(answer) || answer instanceof HttpResponse ? answer : new HttpResponse(answer);
  };
}

/**
 * Write AgentOS workers in TypeScript: the public face of the package.
 */
export type { CallOptions, Trace } from "./calls.js";
export type { Caller } from "./caller.js";
export type { Context } from "./context.js";
export { AgentOSError } from "./error.js";
export type { ErrorBody, ErrorCode, ErrorOptions, ErrorOrigin } from "./error.js";
export { HttpResponse } from "./http.js";
export type { HttpHandler, HttpOptions, HttpRequest, HttpSchemas, Params, Query } from "./http.js";
export type { Log, LogTarget } from "./log.js";
export type { FunctionOptions, Handler, Returned } from "./offers.js";
export type { JsonSchema, Schema } from "./schema.js";
export type { State } from "./session.js";
export type { Items, Store } from "./stores.js";
export type { EnqueueOptions, Entry, Step, WriteOptions, Written } from "./stores.js";
export type { CallStream } from "./stream.js";
export type {
  ConsumeOptions,
  CronOptions,
  CronRun,
  EventOptions,
  ItemEvent,
  ItemFilter,
  StateChange,
  StateFilter,
} from "./triggers.js";
export { Worker } from "./worker.js";
export type { Offered, WorkerOptions } from "./worker.js";

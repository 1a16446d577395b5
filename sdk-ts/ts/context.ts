/**
 * What a handler knows about the call it answers, and how it makes calls of its own.
 */
import { Caller } from "./caller.js";
import type { CallOptions, Calls, Scope, Trace } from "./calls.js";
import type { Cancellation } from "./cancellation.js";
import type { CallEvent } from "./events.js";
import type { Log } from "./log.js";
import type { CallStream } from "./stream.js";

/** The call a handler is answering. */
export interface Context extends Caller {
  /** The id that was called. */
  readonly function: string;
  /** Public id of the calling worker's session, when a worker called. */
  readonly caller: string | undefined;
  /** Aborted when the caller gave up, its deadline passed, or the connection was lost. */
  readonly signal: AbortSignal;
  /** When the caller stops waiting. */
  readonly deadline: Date;
  /** What is left until then; 0 when it has passed. */
  readonly timeLeftMs: number;
  /** True when the caller takes chunks. */
  readonly streaming: boolean;
  readonly trace: Trace;
  /** What the caller sent beside the payload. */
  readonly metadata: unknown;
  /** Writes lines that name this function. */
  readonly log: Log;
}

export class CallContext extends Caller implements Context, Scope {
  readonly function: string;
  readonly caller: string | undefined;
  readonly streaming: boolean;
  readonly trace: Trace;
  readonly cancellation: Cancellation;
  readonly #calls: Calls;
  readonly #metadata: string | null;
  /** On the clock that never jumps. */
  readonly #endsAt: number;

  constructor(call: CallEvent, cancellation: Cancellation, calls: Calls) {
    super();
    this.function = call[4];
    this.streaming = call[5] === 1;
    this.#endsAt = performance.now() + call[6];
    this.caller = call[7] ?? undefined;
    this.trace = { traceparent: call[8] ?? undefined, baggage: call[9] ?? undefined };
    this.#metadata = call[10];
    this.cancellation = cancellation;
    this.#calls = calls;
  }

  get signal(): AbortSignal {
    return this.cancellation.signal;
  }

  get timeLeftMs(): number {
    return Math.max(0, this.#endsAt - performance.now());
  }

  get deadline(): Date {
    return new Date(Date.now() + this.#endsAt - performance.now());
  }

  get metadata(): unknown {
    return this.#metadata === null ? undefined : JSON.parse(this.#metadata);
  }

  get log(): Log {
    return this.#calls.logs.of(this.function, this.trace);
  }

  trigger<Result = unknown>(functionId: string, payload?: unknown, options: CallOptions = {}): Promise<Result> {
    return this.#calls.trigger(functionId, payload, options, this);
  }

  stream<Chunk = unknown, Result = unknown>(
    functionId: string,
    payload?: unknown,
    options: CallOptions = {},
  ): CallStream<Chunk, Result> {
    return this.#calls.stream(functionId, payload, options, this);
  }

  send(functionId: string, payload?: unknown, options: CallOptions = {}): void {
    this.#calls.send(functionId, payload, options, this);
  }
}

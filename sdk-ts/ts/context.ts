/**
 * What a handler knows about the call it answers, and how it makes calls of its own.
 */
import type { CallOptions, Calls, Scope, Trace } from "./calls.js";
import { createLog, type Log } from "./log.js";
import type { CallStream } from "./stream.js";

/** Calling functions. Inside a handler, calls inherit deadline, signal and trace. */
export interface Caller {
  /** Calls `functionId` and waits for its result. Rejects with an `AgentOSError`. */
  trigger<Result = unknown>(functionId: string, payload?: unknown, options?: CallOptions): Promise<Result>;
  /** Calls `functionId` for a stream of chunks. */
  stream<Chunk = unknown, Result = unknown>(
    functionId: string,
    payload?: unknown,
    options?: CallOptions,
  ): CallStream<Chunk, Result>;
  /** Calls `functionId` and does not wait; nobody hears of the outcome. */
  send(functionId: string, payload?: unknown, options?: CallOptions): void;
}

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

/** A call as it came. */
export interface Arrival {
  function: string;
  stream: boolean;
  timeoutMs: number;
  caller?: string;
  traceParent?: string;
  baggage?: string;
  metadata?: string;
}

export class CallContext implements Context, Scope {
  readonly function: string;
  readonly caller: string | undefined;
  readonly streaming: boolean;
  readonly trace: Trace;
  readonly signal: AbortSignal;
  readonly #calls: Calls;
  readonly #metadata: string | undefined;
  /** On the clock that never jumps. */
  readonly #endsAt: number;

  constructor(arrival: Arrival, signal: AbortSignal, calls: Calls) {
    this.function = arrival.function;
    this.caller = arrival.caller;
    this.streaming = arrival.stream;
    this.trace = { traceparent: arrival.traceParent, baggage: arrival.baggage };
    this.signal = signal;
    this.#calls = calls;
    this.#metadata = arrival.metadata;
    this.#endsAt = performance.now() + arrival.timeoutMs;
  }

  get timeLeftMs(): number {
    return Math.max(0, this.#endsAt - performance.now());
  }

  get deadline(): Date {
    return new Date(Date.now() + this.#endsAt - performance.now());
  }

  get metadata(): unknown {
    return this.#metadata === undefined ? undefined : JSON.parse(this.#metadata);
  }

  get log(): Log {
    return createLog(this.function);
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

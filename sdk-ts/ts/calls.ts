/**
 * Our calls in flight. Knows which event belongs to which promise or stream, and nothing of the
 * functions we offer.
 */
import type { Cancellation } from "./cancellation.js";
import { AgentOSError, cancelled } from "./error.js";
import type { Logs } from "./log.js";
import type { Delivery, Extras, Orders } from "./orders.js";
import { decode, encode, type Wire } from "./payload.js";
import { retrying } from "./retry.js";
import { CallStream } from "./stream.js";

/** W3C trace context, passed through untouched. */
export interface Trace {
  readonly traceparent?: string | undefined;
  readonly baggage?: string | undefined;
}

/** How a call is made. */
export interface CallOptions {
  /** At most this long; a nested call never outlives the call it is made in. Default 30 s. */
  timeoutMs?: number;
  /** Aborting it cancels the call, down to the last function that works on it. */
  signal?: AbortSignal;
  /** For the handler, beside the payload. */
  metadata?: unknown;
  trace?: Trace;
  /**
   * `trigger` makes the call up to so many times more while its errors are `retryable`. For functions
   * that may run twice: a worker that was lost may have done its work.
   */
  retries?: number;
}

/** What a nested call inherits from the call it is made in. */
export interface Scope {
  readonly timeLeftMs: number;
  readonly cancellation: Cancellation;
  readonly trace: Trace;
}

/** Who waits for a call's events. */
interface Waiter {
  chunk(payload: unknown): void;
  done(result: unknown): void;
  failed(error: AgentOSError): void;
}

/** A call in flight; `release` ends what watches for its cancellation. */
interface Flight {
  functionId: string;
  waiter: Waiter;
  release: (() => void) | undefined;
}

export class Calls {
  readonly #orders: Orders;
  readonly #flights = new Map<number, Flight>();
  #last = 0;
  #closed = false;

  constructor(
    orders: Orders,
    /** For what is written while a call is answered. */
    readonly logs: Logs,
  ) {
    this.#orders = orders;
  }

  trigger<Result>(functionId: string, payload: unknown, options: CallOptions, scope?: Scope): Promise<Result> {
    if (options.retries) {
      const { retries, ...once } = options;
      return retrying(retries, once, (attempt) => this.trigger(functionId, payload, attempt, scope));
    }
    return new Promise((resolve, reject) => {
      this.#start(functionId, payload, "r", new Reply(resolve as (result: unknown) => void, reject), options, scope);
    });
  }

  stream<Chunk, Result>(
    functionId: string,
    payload: unknown,
    options: CallOptions,
    scope?: Scope,
  ): CallStream<Chunk, Result> {
    let started: number | undefined;
    const link = {
      grant: (chunks: number) => started !== undefined && this.#orders.read(started, chunks),
      cancel: () => started !== undefined && this.#abandon(started),
    };
    const stream = new CallStream<Chunk, Result>(link);
    const waiter = {
      chunk: (chunk: unknown) => stream.push(chunk as Chunk),
      done: (result: unknown) => stream.end(result as Result),
      failed: (error: AgentOSError) => stream.fail(error),
    };
    started = this.#start(functionId, payload, "s", waiter, options, scope);
    return stream;
  }

  send(functionId: string, payload: unknown, options: CallOptions, scope?: Scope): void {
    const wire = encode(payload, `the payload for \`${functionId}\``, "caller");
    this.#call(0, functionId, wire, "v", options, scope);
  }

  /** `apart` is the payload when it has not been read yet. */
  onChunk(id: number, payload: unknown, apart: Wire | undefined): void {
    const flight = this.#flights.get(id);
    if (!flight) return;
    try {
      const chunk = apart === undefined ? payload : decode(apart, `a chunk of \`${flight.functionId}\``, "worker");
      flight.waiter.chunk(chunk);
    } catch (error) {
      this.#abandon(id);
      flight.waiter.failed(AgentOSError.from(error));
    }
  }

  onDone(id: number, payload: unknown, apart: Wire | undefined): void {
    const flight = this.#land(id);
    if (!flight) return;
    try {
      const result = apart === undefined ? payload : decode(apart, `the result of \`${flight.functionId}\``, "worker");
      flight.waiter.done(result);
    } catch (error) {
      flight.waiter.failed(AgentOSError.from(error));
    }
  }

  onFailed(id: number, error: AgentOSError): void {
    this.#land(id)?.waiter.failed(error);
  }

  /** The session is over: nobody will hear of anything any more. */
  close(): void {
    this.#closed = true;
    for (const id of [...this.#flights.keys()]) this.onFailed(id, closed());
  }

  /** Makes the call and waits for its events; what goes wrong on the way is the waiter's too. */
  #start(
    functionId: string,
    payload: unknown,
    delivery: Delivery,
    waiter: Waiter,
    options: CallOptions,
    scope: Scope | undefined,
  ): number | undefined {
    try {
      const { signal } = options;
      const gone: unknown = signal?.aborted ? signal.reason : scope?.cancellation.reason;
      if (gone !== undefined) throw cancelled("the call was cancelled before it was made", gone);
      const wire = encode(payload, `the payload for \`${functionId}\``, "caller");
      const id = ++this.#last;
      this.#call(id, functionId, wire, delivery, options, scope);
      const flight: Flight = { functionId, waiter, release: undefined };
      if (signal || scope) {
        flight.release = whenGone(signal, scope, (reason) => {
          this.#abandon(id);
          waiter.failed(cancelled("the call was cancelled", reason));
        });
      }
      this.#flights.set(id, flight);
      return id;
    } catch (error) {
      waiter.failed(AgentOSError.from(error));
      return undefined;
    }
  }

  #call(
    id: number,
    functionId: string,
    wire: Wire,
    delivery: Delivery,
    options: CallOptions,
    scope: Scope | undefined,
  ): void {
    if (this.#closed) throw closed();
    if (!functionId) throw new AgentOSError("invalid_input", "a call needs a function's id", { origin: "caller" });
    const timeoutMs = Math.min(options.timeoutMs ?? Infinity, scope?.timeLeftMs ?? Infinity);
    if (timeoutMs <= 0) {
      throw new AgentOSError("timeout", "the deadline passed before the call was made", { origin: "caller" });
    }
    // 0 leaves it to the default.
    const ms = timeoutMs === Infinity ? 0 : Math.min(Math.ceil(timeoutMs), TIMEOUT_MS_MAX);
    this.#orders.call(id, delivery, functionId, wire, ms, extras(options, scope));
  }

  /** Forgets a call and tells its function that nobody waits. */
  #abandon(id: number): void {
    if (this.#land(id)) this.#orders.cancel(id);
  }

  #land(id: number): Flight | undefined {
    const flight = this.#flights.get(id);
    if (flight) {
      this.#flights.delete(id);
      flight.release?.();
    }
    return flight;
  }
}

/** Waits for one outcome. */
class Reply implements Waiter {
  constructor(
    readonly done: (result: unknown) => void,
    readonly failed: (error: AgentOSError) => void,
  ) {}

  /** Nobody asked for chunks. */
  chunk(): void {}
}

/** What fits the wire's 32 bits. */
const TIMEOUT_MS_MAX = 0xffff_ffff;

function extras(options: CallOptions, scope: Scope | undefined): Extras | undefined {
  const trace = options.trace ?? scope?.trace;
  const { metadata } = options;
  if (metadata === undefined && trace?.traceparent === undefined && trace?.baggage === undefined) return undefined;
  const text = metadata === undefined ? undefined : JSON.stringify(metadata);
  return { traceparent: trace?.traceparent, baggage: trace?.baggage, ...(text !== undefined && { metadata: text }) };
}

/** Runs `act` when either is gone; the returned function stops listening. */
function whenGone(
  signal: AbortSignal | undefined,
  scope: Scope | undefined,
  act: (reason: unknown) => void,
): () => void {
  const aborted = () => act(signal?.reason);
  signal?.addEventListener("abort", aborted, { once: true });
  const stop = scope?.cancellation.listen(act);
  return () => {
    signal?.removeEventListener("abort", aborted);
    stop?.();
  };
}

function closed(): AgentOSError {
  return new AgentOSError("unavailable", "the worker was closed", { origin: "caller" });
}

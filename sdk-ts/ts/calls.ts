/**
 * Our calls in flight. Knows which event belongs to which promise or stream, and nothing of the
 * functions we offer.
 */
import type { Mailbox } from "../native.js";
import { AgentOSError, cancelled } from "./error.js";
import { decode, encode, type Wire } from "./payload.js";
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
}

/** What a nested call inherits from the call it is made in. */
export interface Scope {
  readonly timeLeftMs: number;
  readonly signal: AbortSignal;
  readonly trace: Trace;
}

/** Who waits for a call's events. */
interface Waiter {
  chunk(payload: unknown): void;
  done(result: unknown): void;
  failed(error: AgentOSError): void;
}

type Delivery = "reply" | "stream" | "void";

/** A call the addon has taken: how to forget it again. */
interface Started {
  id: number;
  release: () => void;
}

export class Calls {
  readonly #mailbox: Mailbox;
  readonly #waiting = new Map<number, { functionId: string; waiter: Waiter; release: () => void }>();

  constructor(mailbox: Mailbox) {
    this.#mailbox = mailbox;
  }

  trigger<Result>(functionId: string, payload: unknown, options: CallOptions, scope?: Scope): Promise<Result> {
    return new Promise((resolve, reject) => {
      const waiter = { chunk: () => {}, done: (result: unknown) => resolve(result as Result), failed: reject };
      this.#start(functionId, payload, "reply", waiter, options, scope);
    });
  }

  stream<Chunk, Result>(
    functionId: string,
    payload: unknown,
    options: CallOptions,
    scope?: Scope,
  ): CallStream<Chunk, Result> {
    let started: Started | undefined;
    const link = {
      grant: (chunks: number) => started && this.#mailbox.read(started.id, chunks),
      cancel: () => started && this.#abandon(started.id),
    };
    const stream = new CallStream<Chunk, Result>(link);
    const waiter = {
      chunk: (chunk: unknown) => stream.push(chunk as Chunk),
      done: (result: unknown) => stream.end(result as Result),
      failed: (error: AgentOSError) => stream.fail(error),
    };
    started = this.#start(functionId, payload, "stream", waiter, options, scope);
    return stream;
  }

  send(functionId: string, payload: unknown, options: CallOptions, scope?: Scope): void {
    const wire = encode(payload, `the payload for \`${functionId}\``, "caller");
    this.#call(functionId, wire, "void", options, scope);
  }

  onChunk(id: number, wire: Wire): void {
    const call = this.#waiting.get(id);
    if (!call) return;
    try {
      call.waiter.chunk(decode(wire, `a chunk of \`${call.functionId}\``, "worker"));
    } catch (error) {
      this.#abandon(id);
      call.waiter.failed(AgentOSError.from(error));
    }
  }

  onDone(id: number, wire: Wire | undefined, error: string | undefined): void {
    const call = this.#waiting.get(id);
    if (!call) return;
    this.#forget(id);
    try {
      if (error !== undefined) throw AgentOSError.parse(error);
      call.waiter.done(decode(wire ?? "", `the result of \`${call.functionId}\``, "worker"));
    } catch (thrown) {
      call.waiter.failed(AgentOSError.from(thrown));
    }
  }

  /** Makes the call and waits for its events; what goes wrong on the way is the waiter's too. */
  #start(
    functionId: string,
    payload: unknown,
    delivery: Delivery,
    waiter: Waiter,
    options: CallOptions,
    scope?: Scope,
  ): Started | undefined {
    try {
      const signals = [options.signal, scope?.signal].filter((signal) => signal !== undefined);
      const gone = signals.find((signal) => signal.aborted);
      if (gone) throw cancelled("the call was cancelled before it was made", gone.reason);
      const wire = encode(payload, `the payload for \`${functionId}\``, "caller");
      const id = this.#call(functionId, wire, delivery, options, scope);
      const release = whenAborted(signals, (reason) => {
        this.#abandon(id);
        waiter.failed(cancelled("the call was cancelled", reason));
      });
      this.#waiting.set(id, { functionId, waiter, release });
      return { id, release };
    } catch (error) {
      waiter.failed(AgentOSError.from(error));
      return undefined;
    }
  }

  #call(functionId: string, wire: Wire, delivery: Delivery, options: CallOptions, scope?: Scope): number {
    const timeoutMs = Math.min(options.timeoutMs ?? Infinity, scope?.timeLeftMs ?? Infinity);
    if (timeoutMs <= 0) {
      throw new AgentOSError("timeout", "the deadline passed before the call was made", { origin: "caller" });
    }
    const trace = options.trace ?? scope?.trace;
    return native(() =>
      this.#mailbox.call(functionId, wire, {
        delivery,
        ...(timeoutMs < Infinity && { timeoutMs: Math.min(Math.ceil(timeoutMs), TIMEOUT_MS_MAX) }),
        ...(trace?.traceparent !== undefined && { traceParent: trace.traceparent }),
        ...(trace?.baggage !== undefined && { baggage: trace.baggage }),
        ...(options.metadata !== undefined && { metadata: JSON.stringify(options.metadata) }),
      }),
    );
  }

  /** Forgets a call and tells its function that nobody waits. */
  #abandon(id: number): void {
    this.#forget(id);
    this.#mailbox.cancel(id);
  }

  #forget(id: number): void {
    this.#waiting.get(id)?.release();
    this.#waiting.delete(id);
  }
}

/** What fits the wire's 32 bits. */
const TIMEOUT_MS_MAX = 0xffff_ffff;

/** Runs `act` at the first abort; the returned function stops listening. */
function whenAborted(signals: readonly AbortSignal[], act: (reason: unknown) => void): () => void {
  const listen = (event: Event) => act((event.target as AbortSignal).reason);
  for (const signal of signals) signal.addEventListener("abort", listen, { once: true });
  return () => {
    for (const signal of signals) signal.removeEventListener("abort", listen);
  };
}

/** Runs a method of the addon; it throws errors whose message is an error's JSON text. */
export function native<T>(run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw readThrown(error as Error);
  }
}

function readThrown(error: Error): Error {
  return error.message.startsWith("{") ? AgentOSError.parse(error.message) : error;
}

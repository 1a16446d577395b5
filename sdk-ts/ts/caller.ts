/**
 * Calling functions: what a worker and the context of a call have in common.
 */
import type { CallOptions } from "./calls.js";
import { type EnqueueOptions, Items, Store, enqueue, publish } from "./stores.js";
import type { CallStream } from "./stream.js";

/** Calling functions. Inside a handler, calls inherit deadline, signal and trace. */
export abstract class Caller {
  /** Calls `functionId` and waits for its result. Rejects with an `AgentOSError`. */
  abstract trigger<Result = unknown>(functionId: string, payload?: unknown, options?: CallOptions): Promise<Result>;

  /** Calls `functionId` for a stream of chunks. */
  abstract stream<Chunk = unknown, Result = unknown>(
    functionId: string,
    payload?: unknown,
    options?: CallOptions,
  ): CallStream<Chunk, Result>;

  /** Calls `functionId` and does not wait; nobody hears of the outcome. */
  abstract send(functionId: string, payload?: unknown, options?: CallOptions): void;

  /** Has `functionId` called later, and again until it succeeds; resolves to the receipt once it is on disk. */
  enqueue(functionId: string, data?: unknown, options: EnqueueOptions = {}): Promise<string> {
    return enqueue(this, functionId, data, options);
  }

  /**
   * Tells those who listen to `topic`: by default those of this moment, at most once; with `durable`
   * every subscriber, at least once, even if it is away.
   */
  publish(topic: string, data?: unknown, options: { durable?: boolean } = {}): Promise<void> {
    return publish(this, topic, data, options);
  }

  /** Values by key, kept by the engine. */
  store<Value = unknown>(scope: string): Store<Value> {
    return new Store(this, scope);
  }

  /** A group of a stream's items, which clients can watch. */
  items<Item = unknown>(stream: string, group: string): Items<Item> {
    return new Items(this, stream, group);
  }
}

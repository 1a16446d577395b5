/**
 * The engine's stores as typed objects: state, items of streams, queues and topics. Each method is
 * one call of a built-in function, made by whoever hands out the object, within its deadline.
 */
import type { CallOptions } from "./calls.js";

/** What makes the calls. */
export interface Trigger {
  trigger<Result = unknown>(functionId: string, payload?: unknown, options?: CallOptions): Promise<Result>;
}

/** One step of an update; steps are applied in their order, together. `path` is a key, `""` the whole value. */
export type Step =
  | { type: "set"; path: string; value: unknown }
  | { type: "merge"; path?: string | string[]; value: unknown }
  | { type: "increment" | "decrement"; path: string; by: number }
  | { type: "append"; path: string; value: unknown }
  | { type: "remove"; path: string };

/** What a write has done. */
export interface Written<Value> {
  old_value: Value | null;
  new_value: Value | null;
  /** For `expectedVersion` of the next write; said when one was expected, or asked for. */
  version?: number;
  /** Steps that were skipped, and why. */
  errors?: { op_index: number; code: string; message: string }[];
}

/** How a value is written. */
export interface WriteOptions {
  /** Write only if this is the value's version; 0: only if there is none. Otherwise `conflict`. */
  expectedVersion?: number;
  /** Say the version that was written. */
  versioned?: boolean;
  /** Forget the value after so long. */
  ttlMs?: number;
}

/** A value with its key and version. */
export interface Entry<Value> {
  key: string;
  value: Value;
  version: number;
}

function written({ expectedVersion, versioned, ttlMs }: WriteOptions): Record<string, unknown> {
  return { expected_version: expectedVersion, versioned, ttl_ms: ttlMs };
}

/** One scope of the state. */
export class Store<Value = unknown> {
  constructor(
    private readonly caller: Trigger,
    readonly scope: string,
  ) {}

  get(key: string): Promise<Value | null> {
    return this.caller.trigger("state::get", { scope: this.scope, key });
  }

  set(key: string, value: Value, options: WriteOptions = {}): Promise<Written<Value>> {
    return this.caller.trigger("state::set", { scope: this.scope, key, value, ...written(options) });
  }

  /** Changes the value where it is, without a race. */
  update(key: string, ops: Step[], options: WriteOptions = {}): Promise<Written<Value>> {
    return this.caller.trigger("state::update", { scope: this.scope, key, ops, ...written(options) });
  }

  delete(key: string, options: { expectedVersion?: number } = {}): Promise<Value | null> {
    const { expectedVersion } = options;
    return this.caller.trigger("state::delete", { scope: this.scope, key, expected_version: expectedVersion });
  }

  /** All entries in order of their keys, fetched page by page as they are read. */
  async *entries(options: { prefix?: string; pageSize?: number } = {}): AsyncGenerator<Entry<Value>, void> {
    const { prefix, pageSize: limit } = options;
    let cursor: string | undefined;
    do {
      const page: { entries: Entry<Value>[]; cursor?: string } = await this.caller.trigger("state::entries", {
        scope: this.scope,
        prefix,
        limit,
        cursor,
      });
      yield* page.entries;
      cursor = page.cursor;
    } while (cursor !== undefined);
  }
}

/** One group of a stream's items; whoever watches it hears of every write. */
export class Items<Item = unknown> {
  constructor(
    private readonly caller: Trigger,
    readonly stream: string,
    readonly group: string,
  ) {}

  get(id: string): Promise<Item | null> {
    return this.caller.trigger("stream::get", this.#item(id));
  }

  set(id: string, data: Item): Promise<Written<Item>> {
    return this.caller.trigger("stream::set", { ...this.#item(id), data });
  }

  update(id: string, ops: Step[]): Promise<Written<Item>> {
    return this.caller.trigger("stream::update", { ...this.#item(id), ops });
  }

  /** The item that was there. */
  async delete(id: string): Promise<Item | null> {
    const { old_value } = await this.caller.trigger<{ old_value: Item | null }>("stream::delete", this.#item(id));
    return old_value ?? null;
  }

  /** The group's items, by id. */
  all(): Promise<Item[]> {
    return this.caller.trigger("stream::list", { stream_name: this.stream, group_id: this.group });
  }

  /** Tells those who watch, and stores nothing. `id` tells those of one item too. */
  async send(type: string, data?: unknown, id?: string): Promise<void> {
    await this.caller.trigger("stream::send", { stream_name: this.stream, group_id: this.group, type, data, id });
  }

  #item(id: string): Record<string, unknown> {
    return { stream_name: this.stream, group_id: this.group, item_id: id };
  }
}

/** How a call is queued. */
export interface EnqueueOptions {
  /** `default` when left out. */
  queue?: string;
  /** Not before so long has passed. */
  delayMs?: number;
}

export async function enqueue(
  caller: Trigger,
  functionId: string,
  data: unknown,
  { queue, delayMs }: EnqueueOptions,
): Promise<string> {
  const request = { queue, function_id: functionId, data, delay_ms: delayMs };
  return (await caller.trigger<{ messageReceiptId: string }>("queue::enqueue", request)).messageReceiptId;
}

export async function publish(
  caller: Trigger,
  topic: string,
  data: unknown,
  { durable = false }: { durable?: boolean },
): Promise<void> {
  await caller.trigger(durable ? "queue::publish" : "publish", { topic, data });
}

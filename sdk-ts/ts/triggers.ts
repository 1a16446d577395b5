/**
 * Event sources as one-liners: what is said of them, and what their handlers get.
 */
import type { FunctionOptions } from "./offers.js";

/** What may be said of every function that an event calls. */
export interface EventOptions extends Pick<FunctionOptions, "description"> {
  /** The function's id; made from the event's name when left out. */
  id?: string;
  /** A function that is asked first with the same payload; exactly `false` skips the event. */
  condition?: string;
}

/** Beside a cron expression. */
export interface CronOptions extends EventOptions {
  /** Where the clock hangs: `Europe/Berlin`. UTC when left out. */
  timezone?: string;
  /** What becomes of times that passed while nothing could run: nothing, one run, or one for each. */
  missed?: "skip" | "once" | "all";
  /** Makes it the same job after a restart of the worker. */
  name?: string;
}

/** A run of a job. Times are RFC 3339, in UTC. */
export interface CronRun {
  trigger: "cron";
  job_id: string;
  scheduled_time: string;
  actual_time: string;
}

/** Beside a durable topic. */
export interface ConsumeOptions extends EventOptions {
  /** One message at a time, in order of publication. */
  fifo?: boolean;
  /** Attempts in all; 3 when left out. */
  attempts?: number;
  /** Messages in work at once; 10 when left out. */
  concurrency?: number;
  /** Before the second attempt; doubles with each. 1,000 when left out. */
  backoffMs?: number;
}

/** Which changes of the state; what is left out matches everything. */
export interface StateFilter {
  scope?: string;
  key?: string;
}

/** A change of the state. */
export interface StateChange<Value = unknown> {
  type: "state";
  event_type: "state:created" | "state:updated" | "state:deleted";
  scope: string;
  key: string;
  old_value: Value | null;
  new_value: Value | null;
}

/** Which items of which stream; what is left out matches everything. */
export interface ItemFilter {
  stream: string;
  group?: string;
  id?: string;
}

/** Something that happened to an item of a stream, or was sent over it. */
export interface ItemEvent<Item = unknown> {
  type: "stream";
  /** Milliseconds since 1970. */
  timestamp: number;
  streamName: string;
  groupId: string;
  id: string | null;
  event:
    | { type: "create" | "update" | "delete"; data: Item }
    | { type: "event"; event: { type: string; data: unknown } };
}

/** An event source: the trigger's type and config, and words for the function's id. */
export interface Source {
  type: string;
  config: Record<string, unknown>;
  words: string;
}

export function cron(expression: string, { timezone, missed, name, condition }: CronOptions): Source {
  const config = { expression, timezone, missed, name, condition_function_id: condition };
  return { type: "cron", config, words: name ?? "cron" };
}

export function subscription(topic: string, { condition }: EventOptions): Source {
  return { type: "subscribe", config: { topic, condition_function_id: condition }, words: `on ${topic}` };
}

export function consumption(topic: string, options: ConsumeOptions): Source {
  const { fifo, attempts, concurrency, backoffMs, condition } = options;
  const rules = { type: fifo ? "fifo" : "standard", maxRetries: attempts, concurrency, backoffDelayMs: backoffMs };
  const config = { topic, condition_function_id: condition, queue_config: rules };
  return { type: "durable:subscriber", config, words: `consume ${topic}` };
}

export function stateChanges({ scope, key }: StateFilter, { condition }: EventOptions): Source {
  const config = { scope, key, condition_function_id: condition };
  return { type: "state", config, words: `watch ${scope ?? "state"} ${key ?? ""}` };
}

export function itemEvents({ stream, group, id }: ItemFilter, { condition }: EventOptions): Source {
  const config = { stream_name: stream, group_id: group, item_id: id, condition_function_id: condition };
  return { type: "stream", config, words: `watch ${stream} ${group ?? ""} ${id ?? ""}` };
}

/** An id for a function of `worker`, from words about it. */
export function idOf(worker: string, words: string): string {
  return `${worker}::${(words.toLowerCase().match(/[a-z0-9]+/g) ?? []).join("_")}`;
}

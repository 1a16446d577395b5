/**
 * The worker: offers functions, binds triggers, calls other functions.
 */
import { createRequire } from "node:module";
import type { StandardSchemaV1 } from "@standard-schema/spec";
import { Caller } from "./caller.js";
import type { CallOptions } from "./calls.js";
import { AgentOSError } from "./error.js";
import {
  type HttpHandler,
  type HttpOptions,
  type HttpSchemas,
  type Params,
  type PartOf,
  type Query,
  httpHandler,
  routeConfig,
  routeId,
  routeSchema,
} from "./http.js";
import { LagWatch } from "./lag.js";
import { type Log, type LogTarget, Logs } from "./log.js";
import {
  type FunctionOptions,
  type FunctionSpec,
  type Handler,
  type Returned,
  type TriggerSpec,
  Offers,
  isGenerator,
} from "./offers.js";
import type { JsonSchema, Schema } from "./schema.js";
import { Session, type State } from "./session.js";
import type { CallStream } from "./stream.js";
import {
  type ConsumeOptions,
  type CronOptions,
  type CronRun,
  type EventOptions,
  type ItemEvent,
  type ItemFilter,
  type Source,
  type StateChange,
  type StateFilter,
  consumption,
  cron,
  idOf,
  itemEvents,
  stateChanges,
  subscription,
} from "./triggers.js";

/** Where the engine is and who we are; what is left out is found. */
export interface WorkerOptions {
  /** `ws://host:port`; else `AGENTOS_URL`, else the engine on this machine. */
  url?: string;
  /** Else `AGENTOS_TOKEN`, `AGENTOS_TOKEN_FILE`, or the token of the engine on this account. */
  token?: string;
  /** Hash of what runs, to tell two builds of one name apart. */
  build?: string;
  description?: string;
  /** How long `start` tries to reach the engine. Default 10 s; `Infinity` tries for ever. */
  connectTimeoutMs?: number;
  /** Where `log` and the logs of contexts write. Default `stderr`. */
  logs?: LogTarget;
  /** A warning is logged when the event loop was blocked for so long. Default 250 ms; `Infinity` never. */
  lagMs?: number;
}

/** Something offered to the engine. */
export interface Offered {
  readonly id: string;
  /** Resolves when the engine has it; rejects when it was refused. */
  readonly ready: Promise<void>;
  /** Takes it back. */
  remove(): void;
}

/** What an event source is bound to: perhaps options, and a handler. */
type Bound<Options, Input> = [Handler<Input>] | [Options, Handler<Input>];

/** A program that offers functions to the engine and calls those of others. */
export class Worker extends Caller {
  readonly name: string;
  readonly #options: WorkerOptions;
  readonly #offers = new Offers();
  readonly #listeners = new Set<(state: State, message: string) => void>();
  readonly #logs: Logs;
  /** Writes lines that name this worker. */
  readonly log: Log;
  readonly #launched = deferred();
  readonly #closed = deferred();
  #session: Session | undefined;
  #starting: Promise<void> | undefined;
  #state: State = "connecting";
  #message = "not started";

  /** `name` is the worker's; the supervisor gives one to workers that name none. */
  constructor(name = process.env["AGENTOS_WORKER_NAME"], options: WorkerOptions = {}) {
    super();
    if (!name) {
      throw new AgentOSError("invalid_input", "a worker needs a name", { origin: "caller" });
    }
    this.name = name;
    this.#options = options;
    this.#logs = new Logs(name, options.logs ?? "stderr", (id, entry, trace) => {
      this.#open().calls.send(id, entry, trace ? { trace } : {});
    });
    this.log = this.#logs.of(name);
  }

  // ── Offering ──────────────────────────────────────────────────────────────────────────────

  /** Offers `id` without a schema: `Input` is taken on trust. */
  function<Input = unknown>(id: string, handler: Handler<Input>): Offered;
  /** Offers `id`; the input is checked, and its type follows from the schema. */
  function<Input extends StandardSchemaV1, Output extends Schema | undefined = undefined>(
    id: string,
    options: FunctionOptions & { input: Input; output?: Output },
    handler: Handler<StandardSchemaV1.InferOutput<Input>, Returned<Output>>,
  ): Offered;
  /** Offers `id`; the input is checked against a plain JSON Schema. */
  function<Input = unknown, Output extends Schema | undefined = undefined>(
    id: string,
    options: FunctionOptions & { input?: JsonSchema; output?: Output },
    handler: Handler<Input, Returned<Output>>,
  ): Offered;
  function(
    id: string,
    ...rest: [Handler<never>] | [FunctionOptions & { input?: Schema; output?: Schema }, Handler<never>]
  ): Offered {
    const [options, handler] = rest.length === 1 ? [{}, rest[0]] : rest;
    const spec = this.#offers.addFunction(id, options, handler as Handler<unknown>);
    return this.#offered(id, [spec], []);
  }

  /** Answers `method` on `path`, `:name` and `*rest` being parameters. */
  http(method: string, path: string, handler: HttpHandler): Offered;
  /** The same; parts of the request that have a schema are checked, and their types follow from it. */
  http<
    Body extends Schema | undefined = undefined,
    InQuery extends Schema | undefined = undefined,
    InPath extends Schema | undefined = undefined,
  >(
    method: string,
    path: string,
    options: HttpOptions & HttpSchemas<Body, InQuery, InPath>,
    handler: HttpHandler<PartOf<Body, unknown>, PartOf<InQuery, Query>, PartOf<InPath, Params>>,
  ): Offered;
  http(
    method: string,
    path: string,
    ...rest: [HttpHandler] | [HttpOptions & HttpSchemas, HttpHandler<never, never, never>]
  ): Offered {
    const [options, handler] = rest.length === 1 ? [{}, rest[0]] : [rest[0], rest[1] as HttpHandler];
    const id = options.id ?? routeId(this.name, method, path);
    const { description } = options;
    const described = { ...(description !== undefined && { description }), streams: isGenerator(handler) };
    const spec = this.#offers.addFunction(id, described, httpHandler(id, options, handler));
    spec.input_schema = routeSchema(options);
    const trigger = this.#offers.addTrigger("http", id, routeConfig(method, path, options));
    return this.#offered(id, [spec], [trigger]);
  }

  /** Calls `handler` at the times of a crontab expression, with or without seconds. */
  cron(expression: string, handler: Handler<CronRun>): Offered;
  cron(expression: string, options: CronOptions, handler: Handler<CronRun>): Offered;
  cron(expression: string, ...rest: Bound<CronOptions, CronRun>): Offered {
    return this.#source((options) => cron(expression, options), rest);
  }

  /** Calls `handler` with what is published to `topic`, `*` and `>` being wildcards; at most once. */
  subscribe<Data = unknown>(topic: string, handler: Handler<Data>): Offered;
  subscribe<Data = unknown>(topic: string, options: EventOptions, handler: Handler<Data>): Offered;
  subscribe<Data>(topic: string, ...rest: Bound<EventOptions, Data>): Offered {
    return this.#source((options) => subscription(topic, options), rest);
  }

  /** Calls `handler` with what is durably published to `topic`, again until it succeeds. */
  consume<Data = unknown>(topic: string, handler: Handler<Data>): Offered;
  consume<Data = unknown>(topic: string, options: ConsumeOptions, handler: Handler<Data>): Offered;
  consume<Data>(topic: string, ...rest: Bound<ConsumeOptions, Data>): Offered {
    return this.#source((options) => consumption(topic, options), rest);
  }

  /** Calls `handler` when a value of the state changes. */
  watch<Value = unknown>(filter: StateFilter, handler: Handler<StateChange<Value>>): Offered;
  watch<Value = unknown>(filter: StateFilter, options: EventOptions, handler: Handler<StateChange<Value>>): Offered;
  watch<Value>(filter: StateFilter, ...rest: Bound<EventOptions, StateChange<Value>>): Offered {
    return this.#source((options) => stateChanges(filter, options), rest);
  }

  /** Calls `handler` when an item of a stream changes, or something is sent over it. */
  watchItems<Item = unknown>(filter: ItemFilter, handler: Handler<ItemEvent<Item>>): Offered;
  watchItems<Item = unknown>(filter: ItemFilter, options: EventOptions, handler: Handler<ItemEvent<Item>>): Offered;
  watchItems<Item>(filter: ItemFilter, ...rest: Bound<EventOptions, ItemEvent<Item>>): Offered {
    return this.#source((options) => itemEvents(filter, options), rest);
  }

  /** Offers the handler of an event source, and binds it. */
  #source<Options extends EventOptions, Input>(
    describe: (options: Options) => Source,
    rest: Bound<Options, Input>,
  ): Offered {
    const [options, handler] = rest.length === 1 ? [{} as Options, rest[0]] : rest;
    const { type, config, words } = describe(options);
    const id = options.id ?? this.#offers.freeId(idOf(this.name, words));
    const spec = this.#offers.addFunction(id, options, handler as Handler<unknown>);
    const trigger = this.#offers.addTrigger(type, id, config);
    return this.#offered(id, [spec], [trigger]);
  }

  /** Binds a function, of this worker or of another, to an event source such as `http` or `cron`. */
  on(type: string, functionId: string, config: unknown = {}): Offered {
    const trigger = this.#offers.addTrigger(type, functionId, config);
    return this.#offered(trigger.id, [], [trigger]);
  }

  /** Before `start`, things are offered together by it; after, each at once. */
  #offered(id: string, functions: FunctionSpec[], triggers: TriggerSpec[]): Offered {
    const ready = this.#session ? this.#session.register(functions, triggers) : this.#launched.promise;
    ready.catch((error: unknown) => {
      if (this.#state === "connected") this.log.error("registration failed", { id, error });
    });
    const triggerIds = triggers.map((trigger) => trigger.id);
    return { id, ready, remove: () => this.#remove(functions.length > 0 ? [id] : [], triggerIds) };
  }

  #remove(functions: string[], triggers: string[]): void {
    this.#offers.remove(functions, triggers);
    this.#session?.unregister(functions, triggers);
  }

  // ── Calling ───────────────────────────────────────────────────────────────────────────────

  trigger<Result = unknown>(functionId: string, payload?: unknown, options: CallOptions = {}): Promise<Result> {
    if (!this.#session) return Promise.reject(notStarted());
    return this.#session.calls.trigger(functionId, payload, options);
  }

  stream<Chunk = unknown, Result = unknown>(
    functionId: string,
    payload?: unknown,
    options: CallOptions = {},
  ): CallStream<Chunk, Result> {
    return this.#open().calls.stream(functionId, payload, options);
  }

  send(functionId: string, payload?: unknown, options: CallOptions = {}): void {
    this.#open().calls.send(functionId, payload, options);
  }

  #open(): Session {
    if (!this.#session) throw notStarted();
    return this.#session;
  }

  // ── Living ────────────────────────────────────────────────────────────────────────────────

  /** Where the connection stands. It is made again, with everything offered, when it breaks. */
  get state(): State {
    return this.#state;
  }

  /** Calls `listener` at each change; the returned function stops that. */
  onState(listener: (state: State, message: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Connects and offers everything; resolves when the engine has it. Rejects with `unavailable`
   * when no engine answers in time, `unauthenticated` when it refuses the token, or with the
   * engine's refusal of a function. `place` says where the engine is, whatever was said before.
   */
  start(place: Pick<WorkerOptions, "url" | "token"> = {}): Promise<void> {
    this.#starting ??= this.#start(place);
    return this.#starting;
  }

  async #start(place: Pick<WorkerOptions, "url" | "token">): Promise<void> {
    const given = { ...this.#options, ...place };
    const { connectTimeoutMs = CONNECT_TIMEOUT_MS, lagMs = LAG_MS, logs: _, ...options } = given;
    const lag = new LagWatch(this.log, lagMs, () => this.#session?.running ?? 0);
    const hooks = {
      lookup: (id: string) => this.#offers.lookup(id),
      called: (id: string) => lag.called(id),
      state: (state: State, message: string) => this.#onState(state, message),
    };
    this.#session = new Session({ ...options, name: this.name, sdkVersion: VERSION }, this.#logs, hooks);
    try {
      const registered = this.#session.register(this.#offers.functions, this.#offers.triggers);
      await this.#within(connectTimeoutMs, registered);
      this.#launched.resolve();
    } catch (error) {
      this.#launched.reject(error);
      await this.close();
      throw error;
    }
  }

  /** `registered`, or the reason why it will not come. */
  async #within(timeoutMs: number, registered: Promise<void>): Promise<void> {
    const failed = deferred();
    const stop = this.onState((state, message) => {
      if (state === "refused") failed.reject(new AgentOSError("unauthenticated", message, { origin: "caller" }));
    });
    const late = () => {
      const message = `no engine: ${this.#message}; start one with \`agentos start\``;
      failed.reject(new AgentOSError("unavailable", message, { origin: "engine" }));
    };
    const timer = timeoutMs < TIMER_MS_MAX ? setTimeout(late, timeoutMs) : undefined;
    try {
      await Promise.race([registered, failed.promise]);
    } finally {
      clearTimeout(timer);
      stop();
    }
  }

  /** Starts if need be, answers calls until SIGTERM, SIGINT or `close`, then drains. */
  async serve(): Promise<void> {
    let stopping = false;
    const stop = () => {
      stopping = true;
      void this.close();
    };
    // Once: a second Ctrl-C ends the process at once.
    process.once("SIGTERM", stop).once("SIGINT", stop);
    try {
      await this.start();
      await this.#closed.promise;
    } catch (error) {
      // Told to stop while it was starting: that is no failure.
      if (!stopping) throw error;
    } finally {
      process.off("SIGTERM", stop).off("SIGINT", stop);
    }
  }

  /** Takes no new calls, lets running ones finish (10 s at most), then ends the session. */
  async close(): Promise<void> {
    if (!this.#session) return;
    this.#session.close();
    await this.#closed.promise;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #onState(state: State, message: string): void {
    const before = this.#state;
    this.#state = state;
    this.#message = message;
    if (state === "closed") this.#closed.resolve();
    if (before === "connected" && state === "disconnected") this.log.warn("connection lost", { why: message });
    for (const listener of this.#listeners) listener(state, message);
  }
}

/** Generous for a local engine, short enough that a wrong address is noticed. */
const CONNECT_TIMEOUT_MS = 10_000;

/** What a person would call a hang, and no garbage collection takes. */
const LAG_MS = 250;

/** What `setTimeout` can wait. */
const TIMER_MS_MAX = 0x7fff_ffff;

const { version: VERSION } = createRequire(import.meta.url)("../package.json") as { version: string };

function notStarted(): AgentOSError {
  return new AgentOSError("unavailable", "the worker is not started: call `start` first", { origin: "caller" });
}

interface Deferred {
  promise: Promise<void>;
  resolve: () => void;
  reject: (error: unknown) => void;
}

/** A promise settled from outside; its rejection is not an unhandled one. */
function deferred(): Deferred {
  let settle!: Omit<Deferred, "promise">;
  const promise = new Promise<void>((resolve, reject) => (settle = { resolve, reject }));
  promise.catch(() => {});
  return { promise, ...settle };
}

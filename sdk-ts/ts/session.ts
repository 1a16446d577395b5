/**
 * Drives the addon: takes its events in batches and hands each to whom it concerns.
 */
import { type ConnectOptions, Mailbox } from "../native.js";
import { Answer, type Definition } from "./answer.js";
import { Calls } from "./calls.js";
import { AgentOSError, type ErrorBody } from "./error.js";
import { type CallEvent, type Event, Kind, type State, drain } from "./events.js";
import type { Logs } from "./log.js";
import { Orders, native } from "./orders.js";
import { decode, type Wire } from "./payload.js";

export type { State } from "./events.js";

/** What the session asks of the worker. */
export interface SessionHooks {
  /** The function with this id. */
  lookup(functionId: string): Definition | undefined;
  /** A function of ours is about to run. */
  called(functionId: string): void;
  /** The connection changed; must not throw. */
  state(state: State, message: string): void;
}

/** Events taken at once; between batches the event loop gets its turn. */
const BATCH = 256;

/** Long enough that the timer costs nothing. */
const KEEP_ALIVE_MS = 0x7fff_ffff;

interface Registration {
  resolve: () => void;
  reject: (error: AgentOSError) => void;
}

export class Session {
  readonly calls: Calls;
  readonly #mailbox: Mailbox;
  readonly #orders: Orders;
  readonly #hooks: SessionHooks;
  readonly #answers = new Map<number, Answer>();
  readonly #registrations = new Map<number, Registration>();
  readonly #letGo: () => void;
  /** The addon keeps no process alive; an open session does. */
  readonly #alive = setInterval(() => {}, KEEP_ALIVE_MS);

  constructor(options: ConnectOptions, logs: Logs, hooks: SessionHooks) {
    this.#hooks = hooks;
    // The addon holds on to what it is to call for as long as the process lives.
    let session: Session | undefined = this;
    this.#letGo = () => (session = undefined);
    this.#mailbox = native(() => new Mailbox(options, () => void (session && session.#drain())));
    this.#orders = new Orders(this.#mailbox);
    this.calls = new Calls(this.#orders, logs);
  }

  /** Calls that are being answered. */
  get running(): number {
    return this.#answers.size;
  }

  /** Offers functions and binds triggers; resolves when the engine has them. */
  register(functions: readonly object[], triggers: readonly object[]): Promise<void> {
    const id = native(() => this.#mailbox.register(JSON.stringify(functions), JSON.stringify(triggers)));
    return new Promise((resolve, reject) => this.#registrations.set(id, { resolve, reject }));
  }

  unregister(functions: string[], triggers: string[]): void {
    native(() => this.#mailbox.unregister(functions, triggers));
  }

  /** Takes no new calls; the state is `closed` when running ones are done. */
  close(): void {
    this.#orders.flush();
    this.#mailbox.close();
  }

  #drain(): void {
    const { events, apart } = drain(this.#mailbox, BATCH);
    // The addon wakes us only after the queue was empty: what is left is ours to fetch.
    if (events.length === BATCH) setImmediate(() => this.#drain());
    for (const event of events) this.#on(event, apart);
  }

  #on(event: Event, apart: Wire[]): void {
    switch (event[0]) {
      case Kind.Call:
        return this.#onCall(event, apart[event[3]]);
      case Kind.Cancel:
        return this.#answers.get(event[1])?.cancel();
      case Kind.Credit:
        return this.#answers.get(event[1])?.credit();
      case Kind.Chunk:
        return this.calls.onChunk(event[1], event[2], event[3] === 0 ? undefined : apart[event[3]]);
      case Kind.Done:
        return this.calls.onDone(event[1], event[2], event[3] === 0 ? undefined : apart[event[3]]);
      case Kind.Failed:
        return this.calls.onFailed(event[1], AgentOSError.of(event[2]));
      case Kind.Registered:
        return this.#onRegistered(event[1], event[2]);
      case Kind.State:
        return this.#onState(event[1], event[2]);
    }
  }

  #onCall(call: CallEvent, apart: Wire | undefined): void {
    const [, id, payload, place, functionId] = call;
    const answer = new Answer(id, this.#mailbox, this.#orders);
    const definition = this.#hooks.lookup(functionId);
    if (!definition) {
      return answer.fail(new AgentOSError("not_found", `the worker has no function \`${functionId}\``));
    }
    let input = payload;
    try {
      if (place !== 0) input = decode(apart as Wire, `input of \`${functionId}\``, "caller");
    } catch (error) {
      return answer.fail(AgentOSError.from(error));
    }
    this.#answers.set(id, answer);
    this.#hooks.called(functionId);
    void answer.run(definition, call, input, this.calls).then(() => this.#answers.delete(id));
  }

  #onRegistered(id: number, refused: [id: string, error: ErrorBody][]): void {
    const registration = this.#registrations.get(id);
    this.#registrations.delete(id);
    const first = refused[0];
    if (!first) return registration?.resolve();
    const { code, origin, retryable, message } = first[1];
    registration?.reject(
      new AgentOSError(code, `\`${first[0]}\` was refused: ${message}`, {
        origin,
        retryable,
        details: { refused: refused.map(([refusedId]) => refusedId) },
      }),
    );
  }

  #onState(state: State, message: string): void {
    if (state === "closed") {
      clearInterval(this.#alive);
      const closed = new AgentOSError("unavailable", "the worker was closed", { origin: "caller" });
      for (const registration of this.#registrations.values()) registration.reject(closed);
      this.calls.close();
      this.#letGo();
    }
    this.#hooks.state(state, message);
  }
}

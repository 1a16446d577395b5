/**
 * Drives the addon: takes its events in batches and hands each to whom it concerns.
 */
import { Mailbox, type ConnectOptions, type Event, type Refusal } from "../native.js";
import { Answer, type Definition } from "./answer.js";
import { Calls, native } from "./calls.js";
import { AgentOSError } from "./error.js";

/** Where the connection stands. `refused`: the token was; `disconnected`: it is made again. */
export type State = "connecting" | "connected" | "disconnected" | "refused" | "closed";

/** What the session asks of the worker. */
export interface SessionHooks {
  /** The function with this id. */
  lookup(functionId: string): Definition | undefined;
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
  readonly #hooks: SessionHooks;
  readonly #answers = new Map<number, Answer>();
  readonly #registrations = new Map<number, Registration>();
  /** The addon keeps no process alive; an open session does. */
  readonly #alive = setInterval(() => {}, KEEP_ALIVE_MS);

  constructor(options: ConnectOptions, hooks: SessionHooks) {
    this.#hooks = hooks;
    this.#mailbox = native(() => new Mailbox(options, () => this.#drain()));
    this.calls = new Calls(this.#mailbox);
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
    this.#mailbox.close();
  }

  #drain(): void {
    const events = this.#mailbox.drain(BATCH);
    // The addon wakes us only after the queue was empty: what is left is ours to fetch.
    if (events.length === BATCH) setImmediate(() => this.#drain());
    for (const event of events) this.#on(event);
  }

  #on(event: Event): void {
    switch (event.kind) {
      case "call":
        return this.#onCall(event);
      case "cancel":
        return this.#answers.get(event.id)?.cancel();
      case "credit":
        return this.#answers.get(event.id)?.credit();
      case "chunk":
        return this.calls.onChunk(event.id, event.payload);
      case "done":
        return this.calls.onDone(event.id, event.payload, event.error);
      case "registered":
        return this.#onRegistered(event.id, event.rejected);
      case "state":
        return this.#onState(event.state, event.message);
    }
  }

  #onCall({ id, payload, ...arrival }: Extract<Event, { kind: "call" }>): void {
    const answer = new Answer(id, this.#mailbox);
    const definition = this.#hooks.lookup(arrival.function);
    if (!definition) {
      return answer.fail(new AgentOSError("not_found", `the worker has no function \`${arrival.function}\``));
    }
    this.#answers.set(id, answer);
    void answer.run(definition, arrival, payload, this.calls).then(() => this.#answers.delete(id));
  }

  #onRegistered(id: number, rejected: Refusal[]): void {
    const registration = this.#registrations.get(id);
    this.#registrations.delete(id);
    const first = rejected[0];
    if (!first) return registration?.resolve();
    const error = AgentOSError.parse(first.error);
    const { code, origin, retryable } = error;
    const refused = rejected.map((refusal) => refusal.id);
    registration?.reject(
      new AgentOSError(code, `\`${first.id}\` was refused: ${error.message}`, {
        origin,
        retryable,
        details: { refused },
      }),
    );
  }

  #onState(state: State, message: string): void {
    if (state === "closed") {
      clearInterval(this.#alive);
      const closed = new AgentOSError("unavailable", "the worker was closed", { origin: "caller" });
      for (const registration of this.#registrations.values()) registration.reject(closed);
    }
    this.#hooks.state(state, message);
  }
}

/**
 * What the addon is to do, told to it once per turn of the event loop: calls, answers and the like
 * are collected as one text, which crosses the border when all that is ready to run has run.
 */
import type { Mailbox } from "../native.js";
import { AgentOSError } from "./error.js";
import type { Wire } from "./payload.js";

/** How the outcome of a call comes back: at once, in pieces, or not at all. */
export type Delivery = "r" | "s" | "v";

/** What a call rarely has. */
export interface Extras {
  /** The function's id, when the line made for it cannot take it. */
  function?: string;
  traceparent?: string | undefined;
  baggage?: string | undefined;
  /** JSON text. */
  metadata?: string;
}

/** More than this is handed over at once: the addon may as well begin. */
const BATCH_CHARS = 64 << 10;

export class Orders {
  readonly #mailbox: Mailbox;
  #text = "";
  #due = false;

  constructor(mailbox: Mailbox) {
    this.#mailbox = mailbox;
  }

  /** `timeoutMs` 0 leaves it to the default. A void call is made at once, and throws if it cannot be. */
  call(id: number, delivery: Delivery, functionId: string, payload: Wire, timeoutMs: number, extras?: Extras): void {
    if (functionId.includes("\n")) {
      extras = { ...extras, function: functionId };
      functionId = "";
    }
    const rest = extras === undefined ? "" : JSON.stringify(extras);
    this.#add(`c ${id} ${delivery} ${timeoutMs}\n${functionId}\n${rest}\n`, payload);
    if (delivery === "v") this.flush();
  }

  reply(id: number, payload: Wire): void {
    this.#add(`r ${id}\n`, payload);
  }

  /** Answers with an error, given as JSON text. */
  fail(id: number, error: string): void {
    this.#add(`f ${id}\n`, error);
  }

  cancel(id: number): void {
    this.#add(`x ${id}`, "");
  }

  /** Lets a streaming call of ours send so many chunks more. */
  read(id: number, chunks: number): void {
    this.#add(`g ${id} ${chunks}`, "");
  }

  #add(lines: string, payload: Wire): void {
    if (typeof payload !== "string") {
      this.#text += `${lines}\n`;
      // At once: whose bytes they are may go on writing to them.
      this.flush(payload);
      return;
    }
    this.#text += lines + payload + "\n";
    if (this.#text.length > BATCH_CHARS) {
      this.flush();
    } else if (!this.#due) {
      this.#due = true;
      // Not a microtask: it comes when all of those have run that are ready, and add to the batch.
      process.nextTick(flush, this);
    }
  }

  /** Hands over what there is; the addon throws errors whose message is an error's JSON text. */
  flush(binary?: Uint8Array): void {
    const text = this.#text;
    if (text === "") return;
    this.#text = "";
    native(() => this.#mailbox.submit(text, binary));
  }

  /** @internal */
  static due(orders: Orders): void {
    orders.#due = false;
    orders.flush();
  }
}

const flush = Orders.due;

/** Runs a method of the addon. */
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

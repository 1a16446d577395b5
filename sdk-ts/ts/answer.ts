/**
 * Answers one call: check the input, run the handler, send its chunks, give exactly one outcome.
 */
import type { Mailbox } from "../native.js";
import type { Calls } from "./calls.js";
import { Cancellation } from "./cancellation.js";
import { CallContext, type Context } from "./context.js";
import { AgentOSError, cancelled } from "./error.js";
import type { CallEvent } from "./events.js";
import { type Orders, native } from "./orders.js";
import { encode, type Wire } from "./payload.js";
import { type Check, checkInput, checkOutput } from "./schema.js";

/** A function as it is run. */
export interface Definition {
  handler: (input: unknown, context: Context) => unknown;
  input: Check | undefined;
  output: Check | undefined;
}

/** Bytes of chunks kept for a caller that wants one reply; the size of the largest message. */
const COLLECT_BYTES_MAX = 64 << 20;

type Stream = AsyncIterable<unknown> | Generator<unknown, unknown>;
type Chunks = AsyncIterator<unknown, unknown> | Iterator<unknown, unknown>;

export class Answer {
  readonly #id: number;
  readonly #mailbox: Mailbox;
  readonly #orders: Orders;
  readonly #cancellation = new Cancellation();
  #credit: (() => void) | undefined;

  constructor(id: number, mailbox: Mailbox, orders: Orders) {
    this.#id = id;
    this.#mailbox = mailbox;
    this.#orders = orders;
  }

  /** The caller gave up. */
  cancel(): void {
    this.#cancellation.cancel(cancelled("the caller is gone"));
    this.credit();
  }

  /** Chunks may be sent again. */
  credit(): void {
    this.#credit?.();
    this.#credit = undefined;
  }

  /** Never rejects. */
  async run(definition: Definition, call: CallEvent, payload: unknown, calls: Calls): Promise<void> {
    const id = call[4];
    try {
      const context = new CallContext(call, this.#cancellation, calls);
      // What is not there is not waited for: each `await` is a turn of the microtasks.
      const input = definition.input ? await checkInput(id, definition.input, payload) : payload;
      const returned = await definition.handler(input, context);
      const result = isStream(returned) ? await this.#stream(returned, context.streaming) : { value: returned };
      if ("wire" in result) return this.#orders.reply(this.#id, result.wire);
      const value = definition.output ? await checkOutput(id, definition.output, result.value) : result.value;
      this.#orders.reply(this.#id, encode(value, `the result of \`${id}\``, "worker"));
    } catch (thrown) {
      this.fail(AgentOSError.from(thrown));
    }
  }

  fail(error: AgentOSError): void {
    this.#orders.fail(this.#id, errorText(error));
  }

  /** Sends the chunks, or keeps them for a caller that wants one reply. */
  async #stream(returned: Stream, streaming: boolean): Promise<{ value: unknown } | { wire: Wire }> {
    const chunks = iterator(returned);
    if (streaming) return { value: await this.#pump(chunks, (chunk) => this.#send(chunk)) };
    const kept = new Collected();
    const value = await this.#pump(chunks, (chunk) => kept.add(chunk));
    return value == null && !kept.empty ? { wire: kept.wire() } : { value };
  }

  /** Takes chunk after chunk; the caller's going stops the generator at its next one. */
  async #pump(chunks: Chunks, take: (chunk: Wire) => void | Promise<void>): Promise<unknown> {
    for (;;) {
      const { done, value } = await chunks.next();
      if (done) return value;
      try {
        this.#throwIfGone();
        await take(encode(value, "a chunk", "worker"));
      } catch (error) {
        await chunks.return?.();
        throw error;
      }
    }
  }

  async #send(chunk: Wire): Promise<void> {
    while (!this.#taken(chunk)) {
      await new Promise<void>((more) => (this.#credit = more));
      this.#throwIfGone();
    }
  }

  /** False when there is no credit for it. */
  #taken(chunk: Wire): boolean {
    try {
      return native(() => this.#mailbox.chunk(this.#id, chunk));
    } catch (error) {
      // Nobody listens: the event that says so may come after the handler's end, and find nobody.
      this.cancel();
      throw error;
    }
  }

  #throwIfGone(): void {
    if (this.#cancellation.reason) throw this.#cancellation.reason;
  }
}

/** Chunks for a caller that wants one reply: an array, or the bytes in a row when all are bytes. */
class Collected {
  readonly #chunks: Wire[] = [];
  #bytes = 0;

  get empty(): boolean {
    return this.#chunks.length === 0;
  }

  add(chunk: Wire): void {
    this.#bytes += chunk.length;
    if (this.#bytes > COLLECT_BYTES_MAX) {
      throw new AgentOSError("payload_too_large", "the collected stream is larger than 64 MiB; call it as a stream");
    }
    this.#chunks.push(chunk);
  }

  wire(): Wire {
    const texts = this.#chunks.filter((chunk) => typeof chunk === "string");
    return texts.length === 0 ? Buffer.concat(this.#chunks as Uint8Array[]) : `[${texts.join(",")}]`;
  }
}

/** Whether a handler returned a stream: a generator, a `Readable`. Arrays, maps and sets are values. */
export function isStream(returned: unknown): returned is Stream {
  if (typeof returned !== "object" || returned === null) return false;
  return Symbol.asyncIterator in returned || (Symbol.iterator in returned && "next" in returned);
}

function iterator(stream: Stream): Chunks {
  return Symbol.asyncIterator in stream ? stream[Symbol.asyncIterator]() : stream;
}

/** Details that have no JSON form are left out rather than lose the error. */
function errorText(error: AgentOSError): string {
  try {
    return JSON.stringify(error);
  } catch {
    const { code, message, origin, retryable, reason } = error;
    return JSON.stringify({ code, message, origin, retryable, reason });
  }
}

/**
 * Answers one call: check the input, run the handler, send its chunks, give exactly one outcome.
 */
import type { Mailbox } from "../native.js";
import { type Calls, native } from "./calls.js";
import { type Arrival, CallContext, type Context } from "./context.js";
import { AgentOSError, cancelled } from "./error.js";
import { decode, encode, type Wire } from "./payload.js";
import { type Check, checkInput, checkOutput } from "./schema.js";

/** A function as it is run. */
export interface Definition {
  handler: (input: unknown, context: Context) => unknown;
  input: Check | undefined;
  output: Check | undefined;
}

/** Bytes of chunks kept for a caller that wants one reply; the size of the largest message. */
const COLLECT_BYTES_MAX = 64 << 20;

type Chunks = AsyncIterator<unknown, unknown> | Iterator<unknown, unknown>;

export class Answer {
  readonly #id: number;
  readonly #mailbox: Mailbox;
  readonly #gone = new AbortController();
  #credit: (() => void) | undefined;

  constructor(id: number, mailbox: Mailbox) {
    this.#id = id;
    this.#mailbox = mailbox;
  }

  /** The caller gave up. */
  cancel(): void {
    this.#gone.abort(cancelled("the caller is gone"));
    this.credit();
  }

  /** Chunks may be sent again. */
  credit(): void {
    this.#credit?.();
    this.#credit = undefined;
  }

  /** Never rejects. */
  async run(definition: Definition, arrival: Arrival, payload: Wire, calls: Calls): Promise<void> {
    try {
      this.#mailbox.reply(this.#id, await this.#result(definition, arrival, payload, calls));
    } catch (thrown) {
      this.fail(AgentOSError.from(thrown));
    }
  }

  fail(error: AgentOSError): void {
    this.#mailbox.fail(this.#id, errorText(error));
  }

  async #result(definition: Definition, arrival: Arrival, payload: Wire, calls: Calls): Promise<Wire> {
    const id = arrival.function;
    const context = new CallContext(arrival, this.#gone.signal, calls);
    const input = await checkInput(id, definition.input, decode(payload, `input of \`${id}\``, "caller"));
    const returned = await definition.handler(input, context);
    const finished = async (result: unknown) =>
      encode(await checkOutput(id, definition.output, result), `the result of \`${id}\``, "worker");
    if (!isStream(returned)) return finished(returned);
    const chunks = iterator(returned);
    if (arrival.stream) return finished(await this.#pump(chunks, (chunk) => this.#send(chunk)));
    const kept = new Collected();
    const last = await this.#pump(chunks, (chunk) => kept.add(chunk));
    return last == null && !kept.empty ? kept.wire() : finished(last);
  }

  /** Takes chunk after chunk; the caller's going stops the generator at its next one. */
  async #pump(chunks: Chunks, take: (chunk: Wire) => void | Promise<void>): Promise<unknown> {
    for (;;) {
      const { done, value } = await chunks.next();
      if (done) return value;
      try {
        this.#gone.signal.throwIfAborted();
        await take(encode(value, "a chunk", "worker"));
      } catch (error) {
        await chunks.return?.();
        throw error;
      }
    }
  }

  async #send(chunk: Wire): Promise<void> {
    while (!native(() => this.#mailbox.chunk(this.#id, chunk))) {
      await new Promise<void>((more) => (this.#credit = more));
      this.#gone.signal.throwIfAborted();
    }
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
export function isStream(returned: unknown): returned is AsyncIterable<unknown> | Generator<unknown, unknown> {
  if (typeof returned !== "object" || returned === null) return false;
  return Symbol.asyncIterator in returned || (Symbol.iterator in returned && "next" in returned);
}

function iterator(stream: AsyncIterable<unknown> | Generator<unknown, unknown>): Chunks {
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

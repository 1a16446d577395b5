/**
 * A streamed result on the caller's side: chunks, then one outcome.
 */
import { AgentOSError, cancelled } from "./error.js";

/** Chunks a function may send before it is granted more; both ends of the bus know it. */
export const STREAM_WINDOW_CHUNKS = 64;

/** What a stream asks of the connection. */
export interface StreamLink {
  /** Lets the function send `chunks` more. */
  grant(chunks: number): void;
  /** Gives the call up. */
  cancel(): void;
}

/**
 * The chunks of a call, to be read with `for await`. Not reading makes the function wait; leaving
 * the loop early cancels the call.
 */
export class CallStream<Chunk = unknown, Result = unknown> implements AsyncIterableIterator<Chunk> {
  /** The call's outcome; settles once all chunks were read, since the function waits for that. */
  readonly result: Promise<Result>;
  readonly #link: StreamLink;
  readonly #chunks: Chunk[] = [];
  #settle!: { resolve: (result: Result) => void; reject: (error: AgentOSError) => void };
  #read = 0;
  #ended = false;
  #error: AgentOSError | undefined;
  #waiting: (() => void)[] = [];

  /** @internal */
  constructor(link: StreamLink) {
    this.#link = link;
    this.result = new Promise((resolve, reject) => (this.#settle = { resolve, reject }));
    // Who only iterates hears of the failure there.
    this.result.catch(() => {});
  }

  async next(): Promise<IteratorResult<Chunk, undefined>> {
    while (this.#chunks.length === 0 && !this.#ended) {
      await new Promise<void>((wake) => this.#waiting.push(wake));
    }
    if (this.#chunks.length > 0) return { done: false, value: this.#take() };
    const error = this.#error;
    this.#error = undefined;
    if (error) throw error;
    return { done: true, value: undefined };
  }

  #take(): Chunk {
    this.#read += 1;
    if (this.#read >= STREAM_WINDOW_CHUNKS / 2 && !this.#ended) {
      this.#link.grant(this.#read);
      this.#read = 0;
    }
    return this.#chunks.shift() as Chunk;
  }

  /** Cancels the call; `for await` does it when the loop is left early. */
  async return(): Promise<IteratorResult<Chunk, undefined>> {
    this.#chunks.length = 0;
    if (!this.#ended) {
      this.#link.cancel();
      this.fail(cancelled("the stream was not read to its end"));
      this.#error = undefined;
    }
    return { done: true, value: undefined };
  }

  /** Reads and drops what is left, then gives the outcome. */
  async finish(): Promise<Result> {
    for await (const _ of this);
    return this.result;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** @internal */
  push(chunk: Chunk): void {
    this.#chunks.push(chunk);
    this.#wakeUp();
  }

  /** @internal */
  end(result: Result): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#settle.resolve(result);
    this.#wakeUp();
  }

  /** @internal */
  fail(error: AgentOSError): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#settle.reject(error);
    this.#wakeUp();
  }

  #wakeUp(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }
}

/**
 * Bytes as text: is it text at all, and where may it be cut.
 */

/** How much of a file is looked at to tell whether it is text. */
const SNIFF_BYTES = 8_192;

/** Whether the bytes look like something else than UTF-8 text. Takes the start of a file. */
export function isBinary(bytes: Uint8Array): boolean {
  const head = bytes.subarray(0, SNIFF_BYTES);
  if (head.includes(0)) return true;
  const whole = head.subarray(0, cutAt(head, head.length));
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(whole);
    return false;
  } catch {
    return true;
  }
}

/** The largest cut at or before `end` that splits no UTF-8 character. */
export function cutAt(bytes: Uint8Array, end: number): number {
  let start = end;
  // A character has at most three bytes after its first.
  for (let back = 0; back < 4 && start > 0; back++) {
    start -= 1;
    const byte = bytes[start] as number;
    if ((byte & 0xc0) !== 0x80) return start + width(byte) <= end ? end : start;
  }
  return end;
}

/** The first cut at or after `start` that splits no UTF-8 character. */
export function startAt(bytes: Uint8Array, start: number): number {
  let at = start;
  while (at < bytes.length && at - start < 3 && ((bytes[at] as number) & 0xc0) === 0x80) at += 1;
  return at;
}

/** Bytes of the character that starts with `first`. */
function width(first: number): number {
  if (first < 0xc0) return 1;
  if (first < 0xe0) return 2;
  return first < 0xf0 ? 3 : 4;
}

/** Keeps the start and the end of what is written to it, and counts what falls out between. */
export class HeadTail {
  readonly #half: number;
  #head = Buffer.alloc(0);
  #tail = Buffer.alloc(0);
  #total = 0;

  /** `max` bytes are kept in all. */
  constructor(max: number) {
    this.#half = Math.floor(max / 2);
  }

  write(bytes: Buffer): void {
    this.#total += bytes.length;
    const room = this.#half - this.#head.length;
    if (room > 0) this.#head = Buffer.concat([this.#head, bytes.subarray(0, room)]);
    const rest = bytes.subarray(Math.max(0, room));
    if (rest.length > 0) this.#tail = Buffer.concat([this.#tail, rest]).subarray(-this.#half);
  }

  get omittedBytes(): number {
    return this.#total - this.#head.length - this.#tail.length;
  }

  toString(): string {
    if (this.omittedBytes === 0) return Buffer.concat([this.#head, this.#tail]).toString("utf8");
    const head = this.#head.subarray(0, cutAt(this.#head, this.#head.length));
    const tail = this.#tail.subarray(startAt(this.#tail, 0));
    return `${head.toString("utf8")}\n[... ${this.omittedBytes} bytes left out ...]\n${tail.toString("utf8")}`;
  }
}

/**
 * What the addon tells, as `src/event.rs` writes it: a batch of arrays that begin with their kind.
 */
import type { Mailbox } from "../native.js";
import type { ErrorBody } from "./error.js";
import type { Wire } from "./payload.js";

export const enum Kind {
  Call = 0,
  Cancel = 1,
  Credit = 2,
  Chunk = 3,
  Done = 4,
  Failed = 5,
  Registered = 6,
  State = 7,
}

/** Where the connection stands. `refused`: the token was; `disconnected`: it is made again. */
export type State = "connecting" | "connected" | "disconnected" | "refused" | "closed";

/** A call of one of our functions. `apart` is 0, or where the payload stands beside the batch. */
export type CallEvent = [
  kind: Kind.Call,
  id: number,
  payload: unknown,
  apart: number,
  functionId: string,
  stream: 0 | 1,
  timeoutMs: number,
  caller: string | null,
  traceparent: string | null,
  baggage: string | null,
  metadata: string | null,
];

export type Event =
  | CallEvent
  | [kind: Kind.Cancel | Kind.Credit, id: number]
  | [kind: Kind.Chunk | Kind.Done, id: number, payload: unknown, apart: number]
  | [kind: Kind.Failed, id: number, error: ErrorBody]
  | [kind: Kind.Registered, id: number, refused: [id: string, error: ErrorBody][]]
  | [kind: Kind.State, state: State, message: string];

/** Events, and the payloads that do not stand among them. */
export interface Batch {
  events: Event[];
  apart: Wire[];
}

const NOTHING: Batch = { events: [], apart: [] };

/** Takes up to `max` events. */
export function drain(mailbox: Mailbox, max: number): Batch {
  const parts = mailbox.drain(max);
  return parts.length === 0 ? NOTHING : { events: JSON.parse(parts[0] as string) as Event[], apart: parts };
}

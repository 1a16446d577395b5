/**
 * The one shape of an error, on the bus and in JavaScript.
 */

/** What went wrong, from a closed set. */
export type ErrorCode =
  | "not_found"
  | "timeout"
  | "cancelled"
  | "worker_lost"
  | "overloaded"
  | "invalid_input"
  | "invalid_frame"
  | "unauthenticated"
  | "forbidden"
  | "conflict"
  | "failed"
  | "unavailable"
  | "payload_too_large"
  | "unsupported"
  | "internal";

/** Who is to blame. */
export type ErrorOrigin = "caller" | "engine" | "worker";

const RETRYABLE: ReadonlySet<ErrorCode> = new Set(["worker_lost", "overloaded", "unavailable"]);

/** What may be said about an error beside its code and message. */
export interface ErrorOptions {
  /** `worker` when left out. */
  origin?: ErrorOrigin;
  /** Whether the same call may succeed if sent again; follows from the code when left out. */
  retryable?: boolean;
  /** The worker's own name for the error, for instance `card_declined`. */
  reason?: string | undefined;
  /** Anything more that has a JSON form. */
  details?: unknown;
  cause?: unknown;
}

/** An error as it travels. */
export interface ErrorBody {
  code: ErrorCode;
  message: string;
  origin: ErrorOrigin;
  retryable: boolean;
  reason?: string;
  details?: unknown;
}

/** Every error that a call ends with. Throw one in a handler to choose what the caller sees. */
export class AgentOSError extends Error {
  override readonly name = "AgentOSError";
  readonly code: ErrorCode;
  readonly origin: ErrorOrigin;
  readonly retryable: boolean;
  readonly reason: string | undefined;
  readonly details: unknown;

  /** Messages are lowercase, without a full stop. */
  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.origin = options.origin ?? "worker";
    this.retryable = options.retryable ?? RETRYABLE.has(code);
    this.reason = options.reason;
    this.details = options.details;
  }

  toJSON(): ErrorBody {
    const { code, message, origin, retryable, reason, details } = this;
    const known = { code, message, origin, retryable };
    return {
      ...known,
      ...(reason === undefined ? {} : { reason }),
      ...(details === undefined ? {} : { details }),
    };
  }

  /** Reads an error's JSON text. */
  static parse(text: string): AgentOSError {
    return AgentOSError.of(JSON.parse(text) as ErrorBody);
  }

  /** An error that has travelled. */
  static of({ code, message, ...options }: ErrorBody): AgentOSError {
    return new AgentOSError(code, message, options);
  }

  /** What a handler threw, as its caller will see it. */
  static from(thrown: unknown): AgentOSError {
    if (thrown instanceof AgentOSError) return thrown;
    if (!(thrown instanceof Error)) return new AgentOSError("failed", String(thrown));
    const { code } = thrown as { code?: unknown };
    return new AgentOSError("failed", thrown.message || thrown.name, {
      reason: typeof code === "string" ? code : undefined,
      details: { stack: thrown.stack },
      cause: thrown,
    });
  }
}

/** The error of a call that somebody gave up. */
export function cancelled(message: string, cause?: unknown): AgentOSError {
  return new AgentOSError("cancelled", message, { origin: "caller", cause });
}

/**
 * Lines of a worker: for people on standard error, where the supervisor keeps them, or in the engine's
 * log, within the trace of the call they were written in.
 */
import type { Trace } from "./calls.js";

export type LogLevel = "debug" | "info" | "warn" | "error";

/** Writes one line per call; `fields` follow the message as `key=value`. */
export type Log = { readonly [level in LogLevel]: (message: string, fields?: Record<string, unknown>) => void };

/** Where lines go. */
export type LogTarget = "stderr" | "engine" | "both";

const LEVELS: readonly LogLevel[] = ["debug", "info", "warn", "error"];

/** The lowest level written: `AGENTOS_LOG`, or else `info`. */
function threshold(): number {
  const wanted = LEVELS.indexOf((process.env["AGENTOS_LOG"] ?? "") as LogLevel);
  return wanted < 0 ? LEVELS.indexOf("info") : wanted;
}

/** Makes a call that nobody waits for; throws when it cannot be made. */
export type Send = (functionId: string, payload: unknown, trace: Trace | undefined) => void;

/** The logs of one worker. */
export class Logs {
  readonly #worker: string;
  readonly #target: LogTarget;
  readonly #send: Send;
  /** Lines that the engine did not get, until it gets one that says so. */
  #dropped = 0;

  constructor(worker: string, target: LogTarget, send: Send) {
    this.#worker = worker;
    this.#target = target;
    this.#send = send;
  }

  /** A log whose lines name `source`, for instance a function's id. */
  of(source: string, trace?: Trace): Log {
    const writer = (level: LogLevel) => (message: string, fields: Record<string, unknown> = {}) => {
      if (LEVELS.indexOf(level) < threshold()) return;
      if (this.#target !== "engine") write(level, source, message, fields);
      if (this.#target !== "stderr") this.#ship(level, source, message, fields, trace);
    };
    return { debug: writer("debug"), info: writer("info"), warn: writer("warn"), error: writer("error") };
  }

  /** Never throws: what cannot be sent is counted. */
  #ship(level: LogLevel, source: string, message: string, fields: Record<string, unknown>, trace?: Trace): void {
    const given = Object.entries(fields).map(([key, value]) => [key, plain(value)]);
    const lost = this.#dropped > 0 && { dropped_before: this.#dropped };
    const data = { source, ...Object.fromEntries(given), ...lost };
    try {
      this.#send(`engine::log::${level}`, { message, data, service_name: this.#worker }, trace);
      this.#dropped = 0;
    } catch {
      this.#dropped += 1;
    }
  }
}

function write(level: LogLevel, source: string, message: string, fields: Record<string, unknown>): void {
  const rest = Object.entries(fields).map(([key, value]) => ` ${key}=${field(value)}`);
  const time = new Date().toISOString();
  process.stderr.write(`${time} ${level.toUpperCase().padEnd(5)} ${source}: ${message}${rest.join("")}\n`);
}

function field(value: unknown): string {
  if (value instanceof Error) return JSON.stringify(value.message);
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return String(value);
  }
}

/** `value` if it has a JSON form, else its text. */
function plain(value: unknown): unknown {
  if (value instanceof Error) return value.stack ?? value.message;
  try {
    JSON.stringify(value);
    return value;
  } catch {
    return String(value);
  }
}

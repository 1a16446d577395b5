/**
 * Lines for people on standard error, where the supervisor keeps them.
 */

export type LogLevel = "debug" | "info" | "warn" | "error";

/** Writes one line per call; `fields` follow the message as `key=value`. */
export type Log = { readonly [level in LogLevel]: (message: string, fields?: Record<string, unknown>) => void };

const LEVELS: readonly LogLevel[] = ["debug", "info", "warn", "error"];

/** The lowest level written: `AGENTOS_LOG`, or else `info`. */
function threshold(): number {
  const wanted = LEVELS.indexOf((process.env["AGENTOS_LOG"] ?? "") as LogLevel);
  return wanted < 0 ? LEVELS.indexOf("info") : wanted;
}

/** A log whose lines name `source`, for instance a function's id. */
export function createLog(source: string): Log {
  const writer = (level: LogLevel) => (message: string, fields: Record<string, unknown> = {}) => {
    if (LEVELS.indexOf(level) < threshold()) return;
    const rest = Object.entries(fields).map(([key, value]) => ` ${key}=${field(value)}`);
    const time = new Date().toISOString();
    process.stderr.write(`${time} ${level.toUpperCase().padEnd(5)} ${source}: ${message}${rest.join("")}\n`);
  };
  return { debug: writer("debug"), info: writer("info"), warn: writer("warn"), error: writer("error") };
}

function field(value: unknown): string {
  if (value instanceof Error) return JSON.stringify(value.message);
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return String(value);
  }
}

/**
 * Payloads on their way over the border: JSON text as a string, bytes as they are.
 */
import { AgentOSError, type ErrorOrigin } from "./error.js";

/** What the addon takes and gives. */
export type Wire = string | Uint8Array;

/**
 * `undefined` becomes `null`: the bus knows only one kind of nothing. A number that is none, which
 * `JSON.stringify` makes `null` in silence, is refused.
 */
export function encode(value: unknown, what: string, origin: ErrorOrigin): Wire {
  if (value instanceof Uint8Array) return value;
  try {
    const text = JSON.stringify(value) ?? "null";
    // Most texts have no `null` in them that could have been one.
    if (text.includes("null")) refuseNaN(value, "the value");
    return text;
  } catch (error) {
    const code = origin === "caller" ? "invalid_input" : "failed";
    throw new AgentOSError(code, `${what} has no JSON form: ${(error as Error).message}`, { origin });
  }
}

/** Throws for a `NaN` or an infinity in a value that has been found to have no circles. */
function refuseNaN(value: unknown, path: string): void {
  if (typeof value === "number" && !Number.isFinite(value)) throw new TypeError(`${path} is ${value}`);
  if (typeof value !== "object" || value === null || "toJSON" in value) return;
  for (const [key, item] of Object.entries(value)) refuseNaN(item, `${path}.${key}`);
}

export function decode(wire: Wire, what: string, origin: ErrorOrigin): unknown {
  if (typeof wire !== "string") return wire;
  if (wire === "") return null;
  try {
    return JSON.parse(wire);
  } catch (error) {
    throw new AgentOSError("invalid_input", `${what} is not JSON: ${(error as Error).message}`, { origin });
  }
}

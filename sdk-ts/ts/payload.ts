/**
 * Payloads on their way over the border: JSON text as a string, bytes as they are.
 */
import { AgentOSError, type ErrorOrigin } from "./error.js";

/** What the addon takes and gives. */
export type Wire = string | Uint8Array;

/** `undefined` becomes `null`: the bus knows only one kind of nothing. */
export function encode(value: unknown, what: string, origin: ErrorOrigin): Wire {
  if (value instanceof Uint8Array) return value;
  try {
    return JSON.stringify(value) ?? "null";
  } catch (error) {
    const code = origin === "caller" ? "invalid_input" : "failed";
    throw new AgentOSError(code, `${what} has no JSON form: ${(error as Error).message}`, { origin });
  }
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

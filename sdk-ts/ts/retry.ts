/**
 * Calls that are made again when they failed for a reason that passes.
 */
import type { CallOptions } from "./calls.js";
import { AgentOSError, cancelled } from "./error.js";

/** Before the second attempt; doubles with each, with up to a half of it at random. */
const PAUSE_FIRST_MS = 50;
const PAUSE_MAX_MS = 5_000;
/** Deadline of a call that names none, as the engine has it. */
const TIMEOUT_MS = 30_000;

/**
 * Makes the call up to `retries` times more while its errors are `retryable`; all attempts together keep
 * to its deadline.
 */
export async function retrying<Result>(
  retries: number,
  options: CallOptions,
  call: (options: CallOptions) => Promise<Result>,
): Promise<Result> {
  const { timeoutMs = TIMEOUT_MS, signal } = options;
  const endsAt = performance.now() + timeoutMs;
  for (let retry = 0; ; retry++) {
    try {
      return await call({ ...options, timeoutMs: Math.max(1, endsAt - performance.now()) });
    } catch (error) {
      const pauseMs = Math.min(PAUSE_MAX_MS, PAUSE_FIRST_MS * 2 ** retry) * (1 + Math.random() / 2);
      const again = error instanceof AgentOSError && error.retryable && retry < retries;
      if (!again || performance.now() + pauseMs >= endsAt) throw error;
      await pause(pauseMs, signal);
    }
  }
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const aborted = () => {
      clearTimeout(timer);
      reject(cancelled("the call was cancelled", signal?.reason));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", aborted);
      resolve();
    }, ms);
    if (signal?.aborted) aborted();
    signal?.addEventListener("abort", aborted, { once: true });
  });
}

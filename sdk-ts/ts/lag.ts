/**
 * Notices when something keeps the event loop from everything else: a handler that computes, most
 * often. Looks only while calls are being answered.
 */
import type { Log } from "./log.js";

/** How often it looks. */
const EVERY_MS = 250;
/** Between two lines of the log. */
const QUIET_MS = 5_000;
/** Functions that a line names. */
const NAMES_MAX = 8;

export class LagWatch {
  readonly #log: Log;
  readonly #lagMs: number;
  readonly #running: () => number;
  #timer: NodeJS.Timeout | undefined;
  #due = 0;
  #quietUntil = 0;
  /** Called since it last looked. */
  readonly #called = new Set<string>();

  /** `running` says how many calls are being answered; a delay of `lagMs` is worth a line. */
  constructor(log: Log, lagMs: number, running: () => number) {
    this.#log = log;
    this.#lagMs = lagMs;
    this.#running = running;
  }

  /** `functionId` is being called. */
  called(functionId: string): void {
    if (this.#lagMs === Infinity) return;
    if (this.#called.size < NAMES_MAX) this.#called.add(functionId);
    if (this.#timer) return;
    this.#due = performance.now() + EVERY_MS;
    this.#timer = setInterval(() => this.#look(), EVERY_MS).unref();
  }

  #look(): void {
    const now = performance.now();
    const lagMs = Math.round(now - this.#due);
    this.#due = now + EVERY_MS;
    if (lagMs >= this.#lagMs && now >= this.#quietUntil) {
      this.#quietUntil = now + QUIET_MS;
      this.#log.warn("the event loop was blocked: other calls had to wait", {
        lag_ms: lagMs,
        called_lately: [...this.#called],
      });
    }
    this.#called.clear();
    if (this.#running() === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
  }
}

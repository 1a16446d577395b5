/** The functions that every player offers, in TypeScript's SDK. */
import { setImmediate as turn } from "node:timers/promises";
import { AgentOSError, Worker } from "../../../../sdk-ts/dist/index.js";

/** What happened to the calls of a key, see README. */
const notes = new Map();

function noted(key) {
  const fresh = { started: 0, cancelled: 0, produced: 0 };
  if (!notes.has(key)) notes.set(key, fresh);
  return notes.get(key);
}

const integer = { type: "integer" };
const SUM = { type: "object", properties: { a: integer, b: integer }, required: ["a", "b"] };

export function cast(worker, language) {
  const offers = (name, ...rest) => worker.function(`${language}::${name}`, ...rest);
  const late = new Map();

  offers("echo", (value) => value);
  offers("add", { description: "Adds two numbers.", input: SUM }, ({ a, b }) => a + b);
  offers("nan", () => ({ worth: NaN }));
  offers("fail", ({ code, message, ...more }) => {
    throw new AgentOSError(code, message, more);
  });
  offers("fail_first", ({ key, times }) => {
    const mine = noted(key);
    if (mine.started === times) return times;
    mine.started += 1;
    throw new AgentOSError("overloaded", "not yet");
  });
  offers("throw", (message) => {
    throw new TypeError(message);
  });
  offers("relay", ({ function: id, payload, timeout_ms: timeoutMs }, context) =>
    context.trigger(id, payload, timeoutMs === undefined ? {} : { timeoutMs }),
  );
  offers("left", (_, context) => context.timeLeftMs);
  offers("context", (_, { function: id, caller, metadata, streaming }) => ({
    function: id,
    caller,
    metadata,
    wants_stream: streaming,
  }));
  offers("note", (key) => void (noted(key).started += 1));
  offers("noted", (key) => noted(key));
  offers("hang", (key, { signal }) => {
    noted(key).started += 1;
    return new Promise((_, reject) =>
      signal.addEventListener("abort", () => {
        noted(key).cancelled += 1;
        reject(signal.reason);
      }),
    );
  });
  offers("count", async function* ({ n, key }) {
    for (let number = 0; number < n; number++) {
      noted(key).produced += 1;
      yield number;
    }
    return { counted: n };
  });
  offers("list", function* ({ n }) {
    for (let number = 0; number < n; number++) yield number;
  });
  offers("pieces", function* ({ n, bytes }) {
    for (let number = 0; number < n; number++) yield new Uint8Array(bytes).fill(number);
  });
  offers("breaks", function* ({ n }) {
    for (let number = 0; number < n; number++) yield number;
    throw new AgentOSError("conflict", `after ${n}`, { reason: "broken" });
  });
  offers("endless", async function* (key) {
    noted(key).started += 1;
    try {
      for (let number = 0; ; number++) {
        yield number;
        await turn();
      }
    } finally {
      noted(key).cancelled += 1;
    }
  });
  offers("offer", async (id) => {
    const offered = worker.function(id, (value) => value);
    late.set(id, offered);
    await offered.ready;
  });
  offers("withdraw", (id) => late.get(id).remove());
  offers("reopen", async (times) => {
    for (let time = 0; time < times; time++) {
      const guest = new Worker(`guest-${language}`);
      await guest.start();
      await guest.trigger(`${language}::echo`, "guest");
      await guest.close();
    }
    globalThis.gc?.();
  });
}

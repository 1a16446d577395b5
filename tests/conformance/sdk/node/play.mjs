/** Plays the scenarios with the TypeScript SDK, or serves the functions that they call; see README. */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { AgentOSError, Worker } from "../../../../sdk-ts/dist/index.js";
import { cast } from "./cast.mjs";
import { Mismatch, expect, fill, shown } from "./expect.mjs";

const LANGUAGE = "typescript";
const LANGUAGES = ["rust", "typescript", "python"];
/** What a language cannot, and why, stands in README. */
const CANNOT = { typescript: ["exact_integers"], rust: ["stacks"], python: [] };
/** How long something may take to become true. */
const PATIENCE_MS = 20_000;

class Scene {
  started = new Map();
  streams = new Map();

  constructor(worker, saved) {
    this.worker = worker;
    this.saved = saved;
  }

  async step(raw) {
    const step = fill(raw, this.saved);
    const kind = Object.keys(STEPS).find((kind) => kind in step);
    if (!kind) throw new Error(`no such step: ${JSON.stringify(raw)}`);
    await STEPS[kind](this, step);
  }

  end() {
    for (const { controller } of this.started.values()) controller.abort();
    for (const stream of this.streams.values()) void stream.return();
  }
}

async function until(step, attempt) {
  const end = performance.now() + PATIENCE_MS;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof Mismatch) || !step.until || performance.now() > end) throw error;
      await sleep(20);
    }
  }
}

function within(promise) {
  const late = new AbortController();
  const patience = sleep(PATIENCE_MS, undefined, { signal: late.signal }).then(() => {
    throw new Mismatch("nothing came");
  });
  patience.catch(() => {});
  return Promise.race([promise, patience]).finally(() => late.abort());
}

function ask(scene, { call, payload, timeout_ms: timeoutMs, metadata, retries }, signal) {
  const options = Object.entries({ timeoutMs, metadata, retries, signal }).filter(([, value]) => value !== undefined);
  return scene.worker.trigger(call, payload, Object.fromEntries(options));
}

async function judge(step, answer) {
  let value;
  try {
    value = await answer;
  } catch (error) {
    if (!(error instanceof AgentOSError)) throw error;
    if (!step.fails) throw new Mismatch(`it failed: ${JSON.stringify(error)}`);
    return judgeError(step.fails, error);
  }
  if (step.fails) throw new Mismatch(`the answer is ${shown(value)}, expected the error ${JSON.stringify(step.fails)}`);
  if ("answers" in step) expect(value, step.answers, false);
  if ("like" in step) expect(value, step.like, true);
}

function judgeError(wanted, error) {
  for (const key of ["code", "origin", "retryable", "reason", "details"]) {
    if (key in wanted) expect(error[key], wanted[key], true, key);
  }
  if (!error.message.includes(wanted.says ?? "")) {
    throw new Mismatch(`the error says ${error.message}, expected ${wanted.says}`);
  }
  if ("field" in wanted) expect(error.details?.field, wanted.field, false, "field");
}

/** The first kind that a step has a key of is its kind. */
const STEPS = {
  async call(scene, step) {
    if (step.starts) {
      const controller = new AbortController();
      const answer = ask(scene, step, controller.signal);
      answer.catch(() => {});
      scene.started.set(step.starts, { answer, controller });
    } else if (step.many) {
      const numbers = Array.from({ length: step.many }, (_, number) => number);
      const answers = await Promise.all(numbers.map((number) => scene.worker.trigger(step.call, number)));
      expect(answers.every((answer, at) => answer === at), true, false, "each has its own answer");
    } else {
      await until(step, () => judge(step, ask(scene, step)));
    }
  },
  ends: (scene, step) => within(judge(step, scene.started.get(step.ends).answer)),
  cancels: (scene, step) => scene.started.get(step.cancels).controller.abort(),
  void: (scene, step) => scene.worker.send(step.void, step.payload),
  opens: (scene, step) => void scene.streams.set(step.opens, scene.worker.stream(step.stream, step.payload)),
  async reads(scene, step) {
    const [from, to] = step.counts ?? [0, step.pieces[0]];
    for (let number = from; number < to; number++) {
      const { value } = await within(scene.streams.get(step.reads).next());
      const wanted = step.counts ? number : new Uint8Array(step.pieces[1]).fill(number);
      expect(value, wanted, false, "chunk");
    }
  },
  async finishes(scene, step) {
    const stream = scene.streams.get(step.finishes);
    scene.streams.delete(step.finishes);
    await within(judge(step, stream.finish()));
  },
  async leaves(scene, step) {
    await scene.streams.get(step.leaves).return();
    scene.streams.delete(step.leaves);
  },
};

async function play(worker, scenario, saved) {
  const scene = new Scene(worker, saved);
  try {
    for (const step of scenario.steps) await scene.step(step);
  } finally {
    scene.end();
  }
}

async function playAll(file) {
  const scenarios = JSON.parse(readFileSync(file, "utf8"));
  const only = process.env.ONLY ?? "";
  const can = (scenario, ...languages) =>
    !languages.some((language) => scenario.needs?.some((ability) => CANNOT[language].includes(ability)));
  let [passed, failed] = [0, 0];
  const worker = new Worker(`caller-${LANGUAGE}`);
  await worker.start();
  for (const [at, scenario] of scenarios.entries()) {
    for (const [turn, callee] of LANGUAGES.entries()) {
      const name = `${scenario.name} [${callee}]`;
      const [second, third] = [...LANGUAGES, ...LANGUAGES].slice(turn + 1);
      if (!name.includes(only) || !can(scenario, LANGUAGE, callee)) continue;
      try {
        await play(worker, scenario, { callee, second, third, run: `${LANGUAGE}-${at}-${turn}` });
        passed += 1;
        console.log(`ok ${name}`);
      } catch (error) {
        failed += 1;
        if (!(error instanceof Mismatch)) console.error(error);
        console.log(`not ok ${name}: ${String(error?.message).replaceAll("\n", " | ")}`);
      }
    }
  }
  await worker.close();
  console.log(`conformance: ${passed} passed, ${failed} failed`);
  process.exitCode = failed ? 1 : 0;
}

if (process.argv[2] === "play") {
  await playAll(process.argv[3]);
} else {
  const worker = new Worker(LANGUAGE);
  cast(worker, LANGUAGE);
  await worker.serve();
}

// Plays the scenarios with one generation of the npm package: `node play.mjs 11|22 scenarios.json`.
import { readFile } from "node:fs/promises";
import { request } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { chapters } from "./chapters.mjs";
import { Mismatch, expect, sameMembers } from "./expect.mjs";
import { sdk } from "./sdk.mjs";

const [generation, file] = process.argv.slice(2);
const { III_URL, III_RBAC_URL, III_HTTP_URL } = process.env;
const library = await sdk(generation);
/** How long anything may take that should take a moment. */
const PATIENCE_MS = 10_000;
/** How long to listen for what should not come, after everything sent before has been answered. */
const SETTLE_MS = 150;
const WORKER_NAME = `node-${generation}-${process.pid}`;

let passed = 0;
let failed = 0;
const tell = (name, error) => {
  if (error) failed += 1;
  else passed += 1;
  const why = error ? `: ${error instanceof Mismatch ? error.message : (error?.stack ?? String(error))}` : "";
  console.log(`${error ? "not ok" : "ok"} ${name}${why.replaceAll(/\s*\n\s*/g, " | ")}`);
};

export function connect(options = {}, url = III_URL) {
  return library.registerWorker(url, {
    workerName: WORKER_NAME,
    otel: { enabled: false },
    enableMetricsReporting: false,
    reconnectionConfig: { initialDelayMs: 100 },
    ...options,
  });
}

/** What a function does with a payload. */
async function act(does, scene, id, data, metadata) {
  if (does === undefined || does === "echo") return data;
  if (does === "nothing") return undefined;
  if (does === "metadata") return metadata;
  const [word] = Object.keys(does);
  const operand = does[word];
  switch (word) {
    case "returns":
      return operand;
    case "fails":
      throw new Error(operand);
    case "fails_first":
      if (scene.counts[id] <= operand) throw new Error(`failure ${scene.counts[id]}`);
      return undefined;
    case "waits_ms":
      await sleep(operand);
      return "waited";
    case "looks_at": {
      const found = operand.split(".").reduce((value, key) => value?.[key], data);
      return act(does.cases[String(found ?? null)] ?? does.otherwise, scene, id, data, metadata);
    }
    case "forwards": {
      const more = Object.fromEntries(
        Object.entries(operand).map(([key, value]) => [
          key,
          value?.$from ? value.$from.split(".").reduce((at, part) => at?.[part], data) : value,
        ]),
      );
      const payload = data.payload !== null && typeof data.payload === "object" && !Array.isArray(data.payload) ? { ...data.payload, ...more } : data.payload;
      return scene.peer("main").trigger({ function_id: data.function_id, payload });
    }
  }
  throw new Error(`no such deed: ${word}`);
}

class Scene {
  constructor(run, main) {
    this.saved = { run, http: III_HTTP_URL, worker_name: WORKER_NAME, runtime: "node" };
    this.peers = { main };
    this.functions = {};
    this.triggers = {};
    this.heard = {};
    this.counts = {};
    this.providers = {};
    this.started = {};
  }

  peer(name = "main") {
    const peer = this.peers[name];
    if (!peer) throw new Error(`nobody is called ${name}`);
    return peer;
  }

  /** `$name` in texts, `$repeat` anywhere. */
  fill(value) {
    if (typeof value === "string") {
      return value.replaceAll(/\$([a-z_]+)/g, (all, name) => this.saved[name] ?? all);
    }
    if (Array.isArray(value)) return value.map((item) => this.fill(item));
    if (value === null || typeof value !== "object") return value;
    if (value.$repeat) return value.$repeat[1].repeat(Math.ceil(value.$repeat[0] / value.$repeat[1].length)).slice(0, value.$repeat[0]);
    if (value.$saves) return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [this.fill(key), this.fill(item)]));
  }

  async step(raw) {
    const step = this.fill(raw);
    for (const kind of Object.keys(STEPS)) {
      if (kind in step) return STEPS[kind](this, step);
    }
    throw new Error(`no such step: ${JSON.stringify(raw)}`);
  }

  async end() {
    for (const trigger of Object.values(this.triggers)) trigger.unregister();
    for (const [name, peer] of Object.entries(this.peers)) if (name !== "main") await peer.shutdown();
    for (const { by, ref } of Object.values(this.functions)) if (by === "main") ref.unregister();
  }
}

/** Everything that was said before on this connection has been handled. */
const settle = (peer) => peer.trigger({ function_id: "engine::baggage::get_all", payload: {} }).catch(() => undefined);

async function until(step, attempt) {
  if (!step.until) return attempt();
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (Date.now() > end) throw error;
      await sleep(50);
    }
  }
}

const actions = {
  void: () => library.TriggerAction.Void(),
  enqueue: (action) => library.TriggerAction.Enqueue({ queue: action.queue }),
};

function ask(scene, step) {
  return scene.peer(step.by).trigger({
    function_id: step.call,
    payload: step.payload,
    ...(step.action && { action: actions[step.action.type](step.action) }),
    ...(step.metadata !== undefined && { metadata: step.metadata }),
    ...(step.namespace && { namespace: step.namespace }),
    timeoutMs: step.timeout_ms ?? PATIENCE_MS,
  });
}

async function judge(scene, step, answer) {
  if (step.fails) {
    let value;
    try {
      value = await answer;
    } catch (error) {
      const found = { code: error.code, says: String(error.message) };
      if (step.fails.code && found.code !== step.fails.code) throw new Mismatch(`the error is ${found.code} (${found.says}), expected ${step.fails.code}`);
      if (step.fails.says && !found.says.includes(step.fails.says)) throw new Mismatch(`the error says ${found.says}, expected ${step.fails.says}`);
      return;
    }
    throw new Mismatch(`the answer is ${JSON.stringify(value)}, expected the error ${JSON.stringify(step.fails)}`);
  }
  let value;
  try {
    value = await answer;
  } catch (error) {
    throw new Mismatch(`${step.call ?? step.ends} failed: ${error.code ?? ""} ${error.message ?? error}`);
  }
  if (step.absent) {
    if (value !== undefined) throw new Mismatch(`${step.call} answered ${JSON.stringify(value)}, expected an absent result`);
    return;
  }
  if ("answers" in step) expect(value, step.answers, false, scene.saved);
  if ("like" in step) expect(value, step.like, true, scene.saved);
}

function fetch(step) {
  const [method, path] = step.http.split(" ");
  const body = step.json !== undefined ? JSON.stringify(step.json) : step.text;
  const headers = { ...(step.json !== undefined && { "content-type": "application/json" }), ...step.headers };
  if (body !== undefined) headers["content-length"] = Buffer.byteLength(body);
  return new Promise((resolve, reject) => {
    const call = request(`${III_HTTP_URL}${path}`, { method, headers, timeout: 20_000 }, (response) => {
      const parts = [];
      response.on("data", (part) => parts.push(part));
      response.on("end", () => resolve({ status: response.statusCode, headers: response.headers, text: Buffer.concat(parts).toString() }));
    });
    call.on("error", reject);
    call.end(body);
  });
}

// The first kind that a step has a key of is its kind.
const STEPS = {
  async bind(scene, step) {
    scene.triggers[step.bind] = scene.peer(step.by).registerTrigger({
      type: step.type,
      function_id: step.function,
      config: step.config,
      ...(step.metadata && { metadata: step.metadata }),
    });
    await settle(scene.peer(step.by));
  },
  connect(scene, step) {
    const options = { workerName: `${WORKER_NAME}-${step.connect}-${scene.saved.run}`, ...(step.headers && { headers: step.headers }) };
    scene.peers[step.connect] = connect(options, step.to === "rbac" ? III_RBAC_URL : III_URL);
    return settle(scene.peers[step.connect]);
  },
  async disconnect(scene, step) {
    await scene.peer(step.disconnect).shutdown();
    delete scene.peers[step.disconnect];
    await sleep(SETTLE_MS);
  },
  async function(scene, step) {
    const id = step.function;
    const key = `${step.by ?? "main"} ${id}`;
    scene.heard[key] = [];
    scene.counts[key] = 0;
    const does = step.does;
    const run = async (data, metadata) => {
      scene.counts[key] += 1;
      scene.heard[key].push({ data, metadata });
      return act(does, scene, key, data, metadata);
    };
    const { description, request_format, response_format, metadata } = step;
    const options = Object.fromEntries(Object.entries({ description, request_format, response_format, metadata }).filter(([, value]) => value !== undefined));
    const handler = step.over_http ?? run;
    const ref = scene.peer(step.by).registerFunction(id, handler, options);
    scene.functions[key] = { by: step.by ?? "main", ref };
    await settle(scene.peer(step.by));
  },
  async forget(scene, step) {
    const key = `${step.by ?? "main"} ${step.forget}`;
    scene.functions[key].ref.unregister();
    delete scene.functions[key];
    await settle(scene.peer(step.by));
  },
  async unbind(scene, step) {
    scene.triggers[step.unbind].unregister();
    delete scene.triggers[step.unbind];
    await settle(scene.peer());
  },
  async call(scene, step) {
    if (step.starts) {
      scene.started[step.starts] = ask(scene, step);
      scene.started[step.starts].catch(() => {});
      return;
    }
    if (step.many) {
      await Promise.all(Array.from({ length: step.many }, () => judge(scene, step, ask(scene, step))));
      return;
    }
    await until(step, () => judge(scene, step, ask(scene, step)));
  },
  ends: (scene, step) => judge(scene, step, scene.started[step.ends]),
  async hears(scene, step) {
    const key = `${step.by ?? "main"} ${step.hears}`;
    const expected = scene.fill(step.calls ?? step.like);
    const wanted = expected.$times ? expected.$times[0] : expected.length;
    const loose = !("calls" in step);
    const end = Date.now() + PATIENCE_MS;
    const look = () => {
      const found = scene.heard[key].map(({ data }) => data);
      if (step.at_least) {
        for (const one of expected) expect(found, { $has: one }, true, scene.saved, step.hears);
      } else if (step.any_order) {
        sameMembers(found, expected, loose, scene.saved, step.hears);
      } else {
        expect(found, expected, loose, scene.saved, step.hears);
      }
    };
    while (scene.heard[key].length < wanted && Date.now() < end) await sleep(10);
    if (step.at_least) {
      await until({ until: true }, look);
    } else {
      await settle(scene.peer(step.by));
      await sleep(SETTLE_MS);
      look();
    }
    if (step.metadata !== undefined) expect(scene.heard[key][0].metadata, step.metadata, false, scene.saved, "metadata");
    scene.heard[key] = [];
  },
  async http(scene, step) {
    await until(step, async () => {
      const answer = await fetch(step);
      const fine = [step.status].flat();
      if (!fine.includes(answer.status)) throw new Mismatch(`${step.http} is ${answer.status} ${answer.text.slice(0, 300)}, expected ${fine}`);
      if (step.like_headers) expect(answer.headers, step.like_headers, true, scene.saved, "headers");
      if (typeof step.says === "string") expect(answer.text, step.says, false, scene.saved, "body");
      else if (step.says) expect(answer.text, step.says, true, scene.saved, "body");
      if ("answers" in step) expect(JSON.parse(answer.text), step.answers, false, scene.saved, "body");
      if ("like" in step) expect(JSON.parse(answer.text), step.like, true, scene.saved, "body");
    });
  },
  async offers(scene, step) {
    const seen = { bound: [], gone: [] };
    scene.providers[step.offers + step.by] = seen;
    scene.peer(step.by).registerTriggerType(
      { id: step.offers, description: "a type of the suite" },
      {
        async registerTrigger(config) {
          seen.bound.push(config);
        },
        async unregisterTrigger(config) {
          seen.gone.push(config);
        },
      },
    );
    await settle(scene.peer(step.by));
  },
  async offered(scene, step) {
    const seen = scene.providers[step.offered + step.by];
    const end = Date.now() + PATIENCE_MS;
    while (seen.bound.length < step.like.length && Date.now() < end) await sleep(10);
    await sleep(SETTLE_MS);
    expect(seen.bound, step.like, true, scene.saved, step.offered);
    seen.bound = [];
  },
  async withdrawn(scene, step) {
    if (!(step.needs ?? []).every((ability) => library.abilities.includes(ability))) return;
    const seen = scene.providers[step.withdrawn + step.by];
    const end = Date.now() + PATIENCE_MS;
    while (seen.gone.length < step.count && Date.now() < end) await sleep(10);
    await sleep(SETTLE_MS);
    if (seen.gone.length !== step.count) throw new Mismatch(`${seen.gone.length} triggers were withdrawn, expected ${step.count}`);
  },
  settle_ms: (_, step) => sleep(step.settle_ms),
};

const able = (scenario) => (scenario.needs ?? []).every((ability) => library.abilities.includes(ability));
const main = connect();
await settle(main);
const scenarios = JSON.parse(await readFile(file, "utf8")).filter(able);
const only = process.env.ONLY;
for (const [at, scenario] of scenarios.entries()) {
  if (only && !scenario.name.includes(only)) continue;
  const scene = new Scene(`n${generation}x${process.pid}x${at}`, main);
  let name = scenario.name;
  let broken;
  for (const step of scenario.steps) {
    if (step.check) {
      tell(name, broken);
      name = step.check;
      if (broken) broken = new Mismatch("not reached");
      continue;
    }
    if (broken) continue;
    try {
      await scene.step(step);
    } catch (error) {
      broken = error;
    }
  }
  tell(name, broken);
  await scene.end().catch((error) => console.error("clean-up:", error));
}
for (const [name, play] of Object.entries(chapters)) {
  if (only && !name.includes(only)) continue;
  const peers = [];
  const open = (options, url) => {
    const peer = connect({ workerName: `${WORKER_NAME}-${peers.length}-${name.length}`, ...options }, url);
    peers.push(peer);
    return peer;
  };
  try {
    const outcome = await play({ library, generation, connect: open, settle, sleep, expect, run: `n${generation}x${process.pid}`, http: III_HTTP_URL, url: III_URL });
    if (outcome !== "skipped") tell(name);
  } catch (error) {
    tell(name, error);
  }
  await Promise.all(peers.map((peer) => peer.shutdown()));
}
await main.shutdown();
console.log(`conformance: ${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);

// An unmodified iii worker whose builds answer what their file `build.json` says.
import { appendFileSync, readFileSync } from "node:fs";
import { setTimeout as rest } from "node:timers/promises";

import { registerWorker } from "iii-sdk";

const build = JSON.parse(readFileSync("build.json", "utf8"));
const iii = registerWorker(process.env.AGENTOS_URL, { otel: { enabled: false } });
iii.registerFunction("shop::health", async () => !build.unwell);
iii.registerFunction("shop::version", async () => build.version);
iii.registerFunction("shop::record", async ({ n, ms }) => {
  appendFileSync(build.record, `${n}\n`);
  if (ms > 0) await rest(ms);
  return n;
});

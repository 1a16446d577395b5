// An unmodified iii worker whose builds answer what their file `build.json` says.
import { readFileSync } from "node:fs";

import { registerWorker } from "iii-sdk";

const build = JSON.parse(readFileSync("build.json", "utf8"));
const iii = registerWorker(process.env.AGENTOS_URL, { otel: { enabled: false } });
iii.registerFunction("shop::health", async () => !build.unwell);
iii.registerFunction("shop::version", async ({ ms }) => {
  await new Promise((resolve) => setTimeout(resolve, ms ?? 0));
  return build.version;
});

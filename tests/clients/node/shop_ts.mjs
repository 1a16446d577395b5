// A worker of our TypeScript SDK whose builds answer what their file `build.json` says.
import { appendFileSync, readFileSync } from "node:fs";
import { setTimeout as rest } from "node:timers/promises";

import { Worker } from "../../../sdk-ts/dist/index.js";

const { version, record } = JSON.parse(readFileSync("build.json", "utf8"));
const shop = new Worker("shop");
shop.function("shop::health", () => true);
shop.function("shop::version", () => version);
shop.function("shop::record", async ({ n, ms }) => {
  appendFileSync(record, `${n}\n`);
  if (ms > 0) await rest(ms);
  return n;
});
shop.function("shop::count", async function* ({ to, ms }) {
  for (let n = 0; n < to; n++) {
    yield n;
    await rest(ms);
  }
});
await shop.serve();

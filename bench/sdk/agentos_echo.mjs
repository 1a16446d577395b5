// Echo as a user of the TypeScript SDK writes it: `agentos_echo.mjs callee|caller IN_FLIGHT WARMUP_MS SECONDS`.
import { Worker } from "@agentos/sdk";
import { PAYLOAD, endWithParent, measure } from "./measure.mjs";

endWithParent();
const [role, inFlight, warmupMs, seconds] = process.argv.slice(2);
const worker = new Worker(`bench-${role}`);
if (role === "callee") worker.function("bench::echo", async (data) => data);
await worker.start();
if (role === "callee") {
  console.log("ready");
} else {
  await measure(() => worker.trigger("bench::echo", PAYLOAD), Number(inFlight), Number(warmupMs), Number(seconds));
  process.exit(0);
}

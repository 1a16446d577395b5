// Echo with the unmodified `iii-sdk` of npm: `iii_echo.mjs callee|caller IN_FLIGHT WARMUP_MS SECONDS`.
import { registerWorker } from "iii-sdk";
import { PAYLOAD, endWithParent, measure } from "./measure.mjs";

endWithParent();
const [role, inFlight, warmupMs, seconds] = process.argv.slice(2);
const iii = registerWorker(process.env.AGENTOS_URL, { otel: { enabled: false }, enableMetricsReporting: false });
const call = () => iii.trigger({ function_id: "bench::echo", payload: PAYLOAD });
if (role === "callee") {
  iii.registerFunction("bench::echo", async (data) => data);
  // Registering is silent: an answer says that it is in force.
  await call();
  console.log("ready");
} else {
  await measure(call, Number(inFlight), Number(warmupMs), Number(seconds));
  process.exit(0);
}

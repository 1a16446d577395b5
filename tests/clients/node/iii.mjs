// An unmodified iii worker: offers a function, calls one of ours, waits to be called.
import { registerWorker } from "iii-sdk";

const iii = registerWorker(process.env.AGENTOS_URL, { otel: { enabled: false } });
const called = new Promise((resolve) => {
  iii.registerFunction("node::triple", async ({ n }) => {
    // After the answer has left.
    setTimeout(resolve, 200);
    return { tripled: n * 3 };
  });
});
const answer = await iii.trigger({ function_id: "ours::double", payload: { n: 21 } });
console.log(`doubled: ${answer.doubled}`);
await called;
process.exit(0);

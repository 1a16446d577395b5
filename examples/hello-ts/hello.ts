import { Worker } from "@agentos/sdk";
import * as z from "zod";

const worker = new Worker("hello-ts");
const input = z.object({ name: z.string() });
worker.function("hello-ts::greet", { input }, ({ name }) => `hello ${name}`);

await worker.start();
console.log(await worker.trigger("hello-ts::greet", { name: "Ada" }));
await worker.close();

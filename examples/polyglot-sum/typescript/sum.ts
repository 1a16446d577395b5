// Adds the first number, and leaves the rest to Python.
import { Worker } from "@agentos/sdk";

interface Sum {
  numbers: number[];
  total: number;
}

const worker = new Worker("sum-typescript");
worker.function("sum::typescript", ({ numbers: [first = 0, ...rest], total }: Sum, context) =>
  context.trigger("sum::python", { numbers: rest, total: total + first }),
);
await worker.serve();

/**
 * What a worker offers: functions with their handlers, and triggers. Knows no connection.
 */
import { randomUUID } from "node:crypto";
import type { StandardSchemaV1 } from "@standard-schema/spec";
import type { Definition } from "./answer.js";
import type { Context } from "./context.js";
import { type JsonSchema, type Schema, check, jsonSchema } from "./schema.js";

/** What is said about a function beside its id. */
export interface FunctionOptions {
  /** One sentence for people and models. */
  description?: string;
  metadata?: unknown;
  /** The function can answer with a stream; known by itself for generator functions. */
  streams?: boolean;
  /** Running it twice does no harm, so a lost call may be sent again. */
  idempotent?: boolean;
}

/**
 * Runs a function. What it returns is the result; a generator's values are the chunks of a stream
 * and its return value the result.
 */
export type Handler<Input, Output = unknown> = (input: Input, context: Context) => Output;

/** What a handler may return for an `output` schema. */
export type Returned<Output> = Output extends StandardSchemaV1
  ?
      | StandardSchemaV1.InferInput<Output>
      | Promise<StandardSchemaV1.InferInput<Output>>
      | AsyncGenerator<unknown, StandardSchemaV1.InferInput<Output>>
  : unknown;

/** A function as the engine is told of it. */
export interface FunctionSpec {
  id: string;
  description: string | undefined;
  input_schema: JsonSchema | undefined;
  output_schema: JsonSchema | undefined;
  metadata: unknown;
  streams: boolean;
  idempotent: boolean;
}

/** A trigger as the engine is told of it. */
export interface TriggerSpec {
  id: string;
  type: string;
  function: string;
  config: unknown;
}

export class Offers {
  readonly #definitions = new Map<string, Definition>();
  readonly #functions = new Map<string, FunctionSpec>();
  readonly #triggers = new Map<string, TriggerSpec>();

  get functions(): FunctionSpec[] {
    return [...this.#functions.values()];
  }

  get triggers(): TriggerSpec[] {
    return [...this.#triggers.values()];
  }

  lookup(functionId: string): Definition | undefined {
    return this.#definitions.get(functionId);
  }

  /** The same id again replaces. */
  addFunction(
    id: string,
    options: FunctionOptions & { input?: Schema; output?: Schema },
    handler: Handler<unknown>,
  ): FunctionSpec {
    const { input, output } = options;
    const spec = {
      id,
      description: options.description,
      input_schema: input && jsonSchema(input, "input"),
      output_schema: output && jsonSchema(output, "output"),
      metadata: options.metadata,
      streams: options.streams ?? isGenerator(handler),
      idempotent: options.idempotent ?? false,
    };
    this.#definitions.set(id, { handler, input: input && check(input), output: output && check(output) });
    this.#functions.set(id, spec);
    return spec;
  }

  /** `id`, with a number if it is taken. */
  freeId(id: string): string {
    if (!this.#definitions.has(id)) return id;
    let number = 2;
    while (this.#definitions.has(`${id}_${number}`)) number++;
    return `${id}_${number}`;
  }

  addTrigger(type: string, functionId: string, config: unknown): TriggerSpec {
    const trigger = { id: randomUUID(), type, function: functionId, config };
    this.#triggers.set(trigger.id, trigger);
    return trigger;
  }

  remove(functions: readonly string[], triggers: readonly string[]): void {
    for (const id of functions) {
      this.#definitions.delete(id);
      this.#functions.delete(id);
    }
    for (const id of triggers) this.#triggers.delete(id);
  }
}

/** Whether `handler` was written with `function*`. */
export function isGenerator(handler: unknown): boolean {
  return /GeneratorFunction\]$/.test(Object.prototype.toString.call(handler));
}

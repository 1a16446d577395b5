/**
 * Schemas of inputs and results: any Standard Schema (zod, valibot, arktype) or a plain JSON
 * Schema. Each gives two things: a JSON Schema to show, and a check to run.
 */
import { createRequire } from "node:module";
import type { StandardJSONSchemaV1, StandardSchemaV1 } from "@standard-schema/spec";
import type { ErrorObject, ValidateFunction } from "ajv";
import { AgentOSError } from "./error.js";

/** A plain JSON Schema, draft 2020-12. */
export type JsonSchema = { readonly [keyword: string]: unknown; readonly "~standard"?: never };

/** What describes a value. */
export type Schema = StandardSchemaV1 | JsonSchema;

/** A field that does not fit, and why. `field` is empty when the value as a whole does not. */
export interface Issue {
  field: string;
  message: string;
}

/** Gives the value back, perhaps completed by the schema, or says what does not fit. */
export type Check = (value: unknown) => Checking | Promise<Checking>;
type Checking = { value: unknown; issues?: undefined } | { issues: Issue[] };

function isStandard(schema: Schema): schema is StandardSchemaV1 {
  return schema["~standard"] !== undefined;
}

/** The schema for people and models to read, if it has a JSON form. */
export function jsonSchema(schema: Schema, side: "input" | "output"): JsonSchema | undefined {
  if (!isStandard(schema)) return schema;
  const standard: Partial<StandardJSONSchemaV1.Props> = schema["~standard"];
  if (!standard.jsonSchema) return undefined;
  try {
    const { $schema: _, ...rest } = standard.jsonSchema[side]({ target: "draft-2020-12" });
    return rest;
  } catch {
    // A type without a JSON form, such as a transform's result: checked, but not described.
    return undefined;
  }
}

/** The check to run. */
export function check(schema: Schema): Check {
  return isStandard(schema) ? standardCheck(schema) : jsonCheck(schema);
}

function standardCheck(schema: StandardSchemaV1): Check {
  const read = (result: StandardSchemaV1.Result<unknown>): Checking =>
    result.issues ? { issues: result.issues.map(issue) } : { value: result.value };
  return (value) => {
    const result = schema["~standard"].validate(value);
    return result instanceof Promise ? result.then(read) : read(result);
  };
}

function issue({ path = [], message }: StandardSchemaV1.Issue): Issue {
  const keys = path.map((step) => (typeof step === "object" ? step.key : step));
  return { field: fieldName(keys), message };
}

/** Written as a program would: `items[0].name`. */
function fieldName(keys: readonly PropertyKey[]): string {
  const written = keys.map((key) => (/^\d+$/.test(String(key)) ? `[${String(key)}]` : `.${String(key)}`));
  return written.join("").replace(/^\./, "");
}

type Ajv = import("ajv/dist/2020.js").Ajv2020;
let compiler: Ajv | undefined;

/** Loaded when the first plain schema comes: most workers have none. */
function ajv(): Ajv {
  if (!compiler) {
    const require = createRequire(import.meta.url);
    const { Ajv2020 } = require("ajv/dist/2020.js") as typeof import("ajv/dist/2020.js");
    compiler = new Ajv2020({ strict: false, allErrors: true, validateFormats: false });
  }
  return compiler;
}

function jsonCheck(schema: JsonSchema): Check {
  const { $schema: _, $id: __, ...rest } = schema;
  const fits: ValidateFunction = ajv().compile(rest);
  return (value) => (fits(value) ? { value } : { issues: (fits.errors ?? []).map(ajvIssue) });
}

function ajvIssue({ instancePath, params, message = "does not fit" }: ErrorObject): Issue {
  const keys = instancePath.split("/").slice(1).map((key) => key.replaceAll("~1", "/").replaceAll("~0", "~"));
  const { missingProperty, additionalProperty } = params as Record<string, string | undefined>;
  const last = missingProperty ?? additionalProperty;
  const why = missingProperty ? "is missing" : additionalProperty ? "is not known" : message;
  return { field: fieldName(last === undefined ? keys : [...keys, last]), message: why };
}

/** The input of `functionId`, or one part of it, checked. */
export async function checkInput(
  functionId: string,
  run: Check | undefined,
  value: unknown,
  part?: string,
): Promise<unknown> {
  const checking = await run?.(value);
  if (!checking?.issues) return checking ? checking.value : value;
  const issues = part === undefined ? checking.issues : checking.issues.map((issue) => within(part, issue));
  throw new AgentOSError("invalid_input", `input of \`${functionId}\`: ${describe(issues)}`, {
    origin: "caller",
    details: { field: issues[0]?.field ?? "", issues },
  });
}

/** The result of `functionId`, checked. */
export async function checkOutput(functionId: string, run: Check | undefined, value: unknown): Promise<unknown> {
  const checking = await run?.(value);
  if (!checking?.issues) return checking ? checking.value : value;
  const { issues } = checking;
  throw new AgentOSError("failed", `result of \`${functionId}\`: ${describe(issues)}`, { details: { issues } });
}

function within(part: string, { field, message }: Issue): Issue {
  const joint = field === "" || field.startsWith("[") ? "" : ".";
  return { field: part + joint + field, message };
}

function describe(issues: Issue[]): string {
  return issues.map(({ field, message }) => (field ? `${field}: ${message}` : message)).join("; ");
}

/**
 * What others see: function ids, and the shapes of inputs and results. Descriptions are written
 * for models.
 */
import * as z from "zod";

const path = z
  .string()
  .min(1)
  .max(4_096)
  .describe("Path relative to the workspace folder, for example `notes/todo.md`. Absolute paths are refused.");

/** Bytes of a file that one read gives. */
export const READ_BYTES_MAX = 1 << 20;
const READ_BYTES_DEFAULT = 64 << 10;
/** Bytes of a file that one write takes. */
export const WRITE_BYTES_MAX = 8 << 20;
/** Entries that one list gives. */
export const LIST_ENTRIES_MAX = 5_000;

export const FileRead = {
  id: "file::read",
  description: "Read a text file in the workspace. Long files come in parts: read on from `nextOffset`.",
  input: z.strictObject({
    path,
    offset: z.int().min(0).default(0).describe("Byte to start at; take it from the last answer's `nextOffset`."),
    limit: z.int().min(1).max(READ_BYTES_MAX).default(READ_BYTES_DEFAULT).describe("Most bytes to return."),
  }),
  output: z.object({
    path: z.string(),
    content: z.string().nullable().describe("The text; null when the file is not text."),
    binary: z.boolean(),
    bytes: z.int().describe("Size of the whole file."),
    offset: z.int(),
    nextOffset: z.int().optional().describe("Where to read on; absent at the end of the file."),
  }),
};

export const FileWrite = {
  id: "file::write",
  description: "Write a text file in the workspace, creating folders as needed.",
  input: z.strictObject({
    path,
    content: z.string().describe("The text to write."),
    mode: z
      .enum(["overwrite", "create", "append"])
      .default("overwrite")
      .describe("`overwrite` replaces the file, `create` refuses if it exists, `append` adds to its end."),
  }),
  output: z.object({
    path: z.string(),
    bytes: z.int().describe("Size of the file afterwards."),
    created: z.boolean().describe("True when the file did not exist."),
  }),
};

export const FileList = {
  id: "file::list",
  description: "List a folder of the workspace.",
  input: z.strictObject({
    path: path.default(".").describe("Folder relative to the workspace; the workspace itself when left out."),
    recursive: z.boolean().default(false).describe("Also list what is inside folders."),
    limit: z.int().min(1).max(LIST_ENTRIES_MAX).default(500).describe("Most entries to return."),
  }),
  output: z.object({
    path: z.string(),
    entries: z.array(
      z.object({
        path: z.string().describe("Relative to the workspace."),
        type: z.enum(["file", "folder", "link", "other"]),
        bytes: z.int().optional().describe("Size, for files."),
      }),
    ),
    truncated: z.boolean().describe("True when there are more entries than `limit`."),
  }),
};

/** Bytes of text that one fetch gives. */
export const FETCH_TEXT_BYTES_MAX = 1 << 20;
export const FETCH_TIMEOUT_MS_MAX = 120_000;

export const WebFetch = {
  id: "web::fetch",
  description:
    "Fetch a page or call an HTTP API on the public internet. HTML is returned as readable text. " +
    "Private and local addresses are refused.",
  input: z.strictObject({
    url: z.string().max(8_192).describe("An http or https address."),
    method: z.enum(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]).default("GET"),
    headers: z.record(z.string(), z.string()).default({}).describe("Request headers."),
    body: z.string().max(WRITE_BYTES_MAX).optional().describe("Request body, for POST, PUT and PATCH."),
    raw: z.boolean().default(false).describe("Return HTML as it is instead of as text."),
    limit: z.int().min(1).max(FETCH_TEXT_BYTES_MAX).default(READ_BYTES_DEFAULT).describe("Most bytes of text to return."),
    timeoutMs: z.int().min(1).max(FETCH_TIMEOUT_MS_MAX).default(20_000),
  }),
  output: z.object({
    url: z.string().describe("Where the answer came from, after redirects."),
    status: z.int(),
    headers: z.record(z.string(), z.string()),
    content: z.string().nullable().describe("The text; null when the body is not text."),
    bytes: z.int().describe("Size of the body that was read."),
    truncated: z.boolean().describe("True when there was more than is returned."),
  }),
};

/** Bytes kept of each of a program's two outputs. */
export const EXEC_OUTPUT_BYTES_MAX = 64 << 10;
export const EXEC_TIMEOUT_MS_MAX = 600_000;

export const ShellExec = {
  id: "shell::exec",
  description:
    "Run a program in the workspace and wait for it. There is no shell: pass the program and each argument " +
    'separately, for example ["ls", "-l", "src"]. Pipes, globs and `&&` do not work.',
  input: z.strictObject({
    command: z.array(z.string()).min(1).max(1_000).describe("The program, then its arguments."),
    cwd: path.default(".").describe("Folder to run in, relative to the workspace."),
    stdin: z.string().max(WRITE_BYTES_MAX).default("").describe("Text for the program's standard input."),
    timeoutMs: z
      .int()
      .min(1)
      .max(EXEC_TIMEOUT_MS_MAX)
      .default(20_000)
      .describe("The program and all it started are killed after this long."),
  }),
  output: z.object({
    exitCode: z.int().nullable().describe("Null when the program was killed."),
    signal: z.string().nullable(),
    timedOut: z.boolean(),
    stdout: z.string().describe("Long output keeps its start and its end."),
    stderr: z.string(),
    truncated: z.boolean(),
  }),
};

/** Folders for the tests of one file, gone when its process ends. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export function makeFolder(purpose: string): string {
  const folder = mkdtempSync(join(tmpdir(), `agentos-${purpose}-`));
  process.once("exit", () => rmSync(folder, { recursive: true, force: true, maxRetries: 3 }));
  return folder;
}

/**
 * Reading, writing and listing files of the workspace.
 */
import { randomUUID } from "node:crypto";
import { constants, type Dirent, type Stats } from "node:fs";
import { type FileHandle, lstat, opendir, rename, stat, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { AgentOSError } from "@agentos/sdk";
import type { infer as Infer } from "zod";
import { type FileList, type FileRead, type FileWrite, WRITE_BYTES_MAX } from "./api.js";
import { cutAt, isBinary, startAt } from "./text.js";
import { type Workspace, fileError } from "./workspace.js";

type Reading = Infer<typeof FileRead.output>;
type Writing = Infer<typeof FileWrite.output>;
type Listing = Infer<typeof FileList.output>;

/** Reads at most `limit` bytes from `offset`, cut between characters. */
export async function readFile(
  workspace: Workspace,
  { path, offset, limit }: Infer<typeof FileRead.input>,
): Promise<Reading> {
  const { file, stats, real } = await workspace.openFile(path);
  try {
    const known = { path: workspace.name(real), bytes: stats.size, offset };
    if (isBinary(await readAt(file, 0, 8_192))) return { ...known, content: null, binary: true };
    // Room for the character that the limit falls into.
    const bytes = await readAt(file, offset, limit + 3);
    const start = startAt(bytes, 0);
    const end = bytes.length <= limit ? bytes.length : Math.max(cutAt(bytes, limit), firstCharacter(bytes, start));
    const content = bytes.subarray(start, end).toString("utf8");
    const more = offset + end < stats.size && { nextOffset: offset + end };
    return { ...known, content, binary: false, ...more };
  } finally {
    await file.close();
  }
}

/** At least one character comes, or reading on would stand still. */
function firstCharacter(bytes: Uint8Array, start: number): number {
  return startAt(bytes, start + 1);
}

async function readAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await file.read(buffer, filled, length - filled, position + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return buffer.subarray(0, filled);
}

/** Writes a file. Who reads it meanwhile sees the old or the new text, never a half. */
export async function writeFile(
  workspace: Workspace,
  { path, content, mode }: Infer<typeof FileWrite.input>,
): Promise<Writing> {
  const bytes = Buffer.from(content, "utf8");
  if (bytes.length > WRITE_BYTES_MAX) {
    const message = `the content has ${bytes.length} bytes, ${WRITE_BYTES_MAX} is the most`;
    throw new AgentOSError("payload_too_large", message, { origin: "caller" });
  }
  const real = await workspace.resolve(path);
  const before = await existing(real, path);
  await workspace.makeParents(real, path);
  if (mode === "overwrite") await replace(workspace, real, path, bytes, before?.mode);
  else await add(workspace, real, path, bytes, mode === "create" ? constants.O_EXCL : constants.O_APPEND);
  return { path: workspace.name(real), bytes: (await stat(real)).size, created: !before };
}

async function existing(real: string, path: string): Promise<Stats | undefined> {
  const stats = await lstat(real).catch(() => undefined);
  if (stats && !stats.isFile()) {
    throw new AgentOSError("invalid_input", `\`${path}\` is not a file`, { origin: "caller" });
  }
  return stats;
}

async function replace(
  workspace: Workspace,
  real: string,
  path: string,
  bytes: Buffer,
  mode: number | undefined,
): Promise<void> {
  const temporary = join(dirname(real), `.${randomUUID()}.tmp`);
  const file = await workspace.openForWriting(temporary, path, constants.O_CREAT | constants.O_EXCL);
  try {
    await file.writeFile(bytes);
    if (mode !== undefined) await file.chmod(mode & 0o777);
    await rename(temporary, real);
  } catch (error) {
    await unlink(temporary).catch(() => {});
    throw fileError(error, path);
  } finally {
    await file.close();
  }
}

async function add(workspace: Workspace, real: string, path: string, bytes: Buffer, how: number): Promise<void> {
  const file = await workspace.openForWriting(real, path, constants.O_CREAT | how);
  try {
    await file.writeFile(bytes);
  } finally {
    await file.close();
  }
}

/** Lists a folder, in order of names; folders are entered but links are not followed. */
export async function listFiles(
  workspace: Workspace,
  { path, recursive, limit }: Infer<typeof FileList.input>,
): Promise<Listing> {
  const real = await workspace.resolve(path);
  const entries: Listing["entries"] = [];
  const waiting = [real];
  while (waiting.length > 0 && entries.length <= limit) {
    const folder = waiting.pop() as string;
    const found = await readFolder(folder, path, limit + 1);
    await workspace.confirmFolder(folder);
    const folders = found.filter((entry) => entry.isDirectory()).map((entry) => join(folder, entry.name));
    if (recursive) waiting.push(...folders.reverse());
    for (const entry of found) entries.push(await describe(workspace, join(folder, entry.name), entry));
  }
  const truncated = entries.length > limit;
  return { path: workspace.name(real), entries: entries.slice(0, limit), truncated };
}

/** At most `max` entries, sorted; a folder of millions is not read whole. */
async function readFolder(folder: string, path: string, max: number): Promise<Dirent[]> {
  const found: Dirent[] = [];
  try {
    for await (const entry of await opendir(folder)) {
      found.push(entry);
      if (found.length >= max) break;
    }
  } catch (error) {
    throw fileError(error, path);
  }
  return found.sort((a, b) => (a.name < b.name ? -1 : 1));
}

async function describe(workspace: Workspace, real: string, entry: Dirent): Promise<Listing["entries"][number]> {
  const path = workspace.name(real);
  if (entry.isDirectory()) return { path, type: "folder" };
  if (entry.isSymbolicLink()) return { path, type: "link" };
  if (!entry.isFile()) return { path, type: "other" };
  // It may have gone since.
  const bytes = await lstat(real).then(({ size }) => size, () => undefined);
  return { path, type: "file", ...(bytes !== undefined && { bytes }) };
}

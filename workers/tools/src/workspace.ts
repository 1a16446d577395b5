/**
 * The workspace: turns a path that a model wrote into an open file that is surely inside.
 *
 * Paths are checked where they lead (links followed), and again on what was really opened, so that
 * a link swapped in between does not help.
 */
import { constants, type Stats } from "node:fs";
import { type FileHandle, lstat, mkdir, open, readlink, realpath, rmdir } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, relative, sep, win32 } from "node:path";
import { AgentOSError } from "@agentos/sdk";

/** Does not wait for the other end of a named pipe, and does not follow a last link. */
const SAFELY = constants.O_NOFOLLOW | constants.O_NONBLOCK;

export class Workspace {
  /** Its real path. */
  readonly root: string;

  private constructor(root: string) {
    this.root = root;
  }

  /** Makes the folder if need be, for its owner only. */
  static async open(folder: string): Promise<Workspace> {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    return new Workspace(await realpath(folder));
  }

  /** As callers write it: relative, with `/`; `.` is the workspace itself. */
  name(real: string): string {
    return relative(this.root, real).split(sep).join("/") || ".";
  }

  /** Where `path` really leads. Nothing needs to be there, but all on the way is inside. */
  async resolve(path: string): Promise<string> {
    return this.#real(join(this.root, lexical(path)), path);
  }

  async #real(absolute: string, path: string): Promise<string> {
    try {
      return this.#inside(await realpath(absolute), path);
    } catch (error) {
      if (!isCode(error, "ENOENT")) throw fileError(error, path);
    }
    if (absolute === this.root) throw refused(path);
    const parent = await this.#real(dirname(absolute), path);
    const real = join(parent, basename(absolute));
    // There, yet leading nowhere: a dangling link, perhaps to a place outside.
    if (await exists(real)) throw refused(path);
    return real;
  }

  #inside(real: string, path: string): string {
    if (real !== this.root && !real.startsWith(this.root + sep)) throw refused(path);
    return real;
  }

  /** Opens an existing file for reading. */
  async openFile(path: string): Promise<{ file: FileHandle; stats: Stats; real: string }> {
    const real = await this.resolve(path);
    const file = await open(real, constants.O_RDONLY | SAFELY).catch((error: unknown) => {
      throw fileError(error, path);
    });
    try {
      await this.#confirm(file, real, path);
      const stats = await file.stat();
      if (!stats.isFile()) throw new AgentOSError("invalid_input", `\`${path}\` is not a file`, { origin: "caller" });
      return { file, stats, real };
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** Opens `real`, from `resolve`, for writing; `flags` beyond that as for open(2). */
  async openForWriting(real: string, path: string, flags: number): Promise<FileHandle> {
    const file = await open(real, constants.O_WRONLY | SAFELY | flags, 0o600).catch((error: unknown) => {
      throw fileError(error, path);
    });
    try {
      await this.#confirm(file, real, path);
      return file;
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** Makes the folders above `real`; refused if that went outside. */
  async makeParents(real: string, path: string): Promise<void> {
    const parent = dirname(real);
    const first = await mkdir(parent, { recursive: true, mode: 0o700 }).catch((error: unknown) => {
      throw fileError(error, path);
    });
    const made = await realpath(parent);
    if (made !== parent && first !== undefined) await rmdir(made).catch(() => {});
    if (made !== parent) throw refused(path);
  }

  /** After `folder` was listed: it is still what `resolve` gave, and no link was put in its place. */
  async confirmFolder(folder: string): Promise<void> {
    if ((await realpath(folder)) !== folder) throw refused(this.name(folder));
  }

  /** The file that was opened is the one that was checked. */
  async #confirm(file: FileHandle, real: string, path: string): Promise<void> {
    const opened = await readlink(`/proc/self/fd/${file.fd}`).catch(() => undefined);
    if (opened !== undefined) {
      this.#inside(opened, path);
      return;
    }
    // Without /proc: the path still leads there, and to the same file.
    const [now, handle] = await Promise.all([lstat(this.#inside(await realpath(real), path)), file.stat()]);
    if (now.ino !== handle.ino || now.dev !== handle.dev) throw refused(path);
  }
}

/** `path` without `.` and `..`, refused if it leaves the workspace by its words alone. */
function lexical(path: string): string {
  const steps: string[] = [];
  if (path.includes("\0") || isAbsolute(path) || win32.isAbsolute(path) || /^[a-z]:/i.test(path)) throw refused(path);
  for (const step of path.split("/")) {
    // `..\` is a step up only on Windows, and never meant well anywhere.
    if (step.split("\\").includes("..") && step !== "..") throw refused(path);
    if (step === ".." && steps.pop() === undefined) throw refused(path);
    if (step !== ".." && step !== "." && step !== "") steps.push(step);
  }
  return steps.join("/");
}

async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}

function refused(path: string): AgentOSError {
  return new AgentOSError("forbidden", `\`${path}\` is outside the workspace`, { origin: "caller", details: { path } });
}

function isCode(error: unknown, code: string): boolean {
  return (error as NodeJS.ErrnoException).code === code;
}

const WORDS: Readonly<Record<string, ["not_found" | "forbidden" | "conflict" | "invalid_input", string]>> = {
  ENOENT: ["not_found", "does not exist"],
  ENOTDIR: ["not_found", "does not exist: a part of it is no folder"],
  EISDIR: ["invalid_input", "is a folder"],
  EEXIST: ["conflict", "exists already"],
  EACCES: ["forbidden", "may not be opened"],
  EPERM: ["forbidden", "may not be opened"],
  ELOOP: ["forbidden", "is a link"],
  ENXIO: ["invalid_input", "is not a file"],
  ENAMETOOLONG: ["invalid_input", "is too long a name"],
};

/** A fault of the file system in words that name the path as the caller wrote it. */
export function fileError(error: unknown, path: string): unknown {
  const { code = "" } = error as NodeJS.ErrnoException;
  const words = WORDS[code];
  if (error instanceof AgentOSError || !words) return error;
  return new AgentOSError(words[0], `\`${path}\` ${words[1]}`, { origin: "caller", reason: code, details: { path } });
}

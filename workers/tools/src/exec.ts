/**
 * Running a program: no shell in between, nothing inherited, nothing left behind.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { stat } from "node:fs/promises";
import { AgentOSError } from "@agentos/sdk";
import type { infer as Infer } from "zod";
import { EXEC_OUTPUT_BYTES_MAX, type ShellExec } from "./api.js";
import { HeadTail } from "./text.js";
import type { Workspace } from "./workspace.js";

type Input = Infer<typeof ShellExec.input>;
type Ended = Infer<typeof ShellExec.output>;

/** What a program gets to see of our environment; above all not the engine's token. */
const PASSED = ["PATH", "LANG", "LC_ALL", "TZ", "TMPDIR"];

export async function execute(workspace: Workspace, input: Input, signal: AbortSignal): Promise<Ended> {
  const cwd = await workspace.resolve(input.cwd);
  const folder = await stat(cwd).catch(() => undefined);
  if (!folder?.isDirectory()) {
    throw new AgentOSError("not_found", `\`${input.cwd}\` is not a folder`, { origin: "caller" });
  }
  signal.throwIfAborted();
  const [program = "", ...args] = input.command;
  // A process group of its own, so that all it starts can be ended with it.
  const child = spawn(program, args, { cwd, env: environment(workspace), detached: true, stdio: "pipe" });
  return watch(child, program, input, signal);
}

function environment(workspace: Workspace): NodeJS.ProcessEnv {
  const passed = PASSED.map((name) => [name, process.env[name]]).filter(([, value]) => value !== undefined);
  return { ...Object.fromEntries(passed), HOME: workspace.root };
}

function watch(child: ChildProcess, program: string, input: Input, signal: AbortSignal): Promise<Ended> {
  const stdout = new HeadTail(EXEC_OUTPUT_BYTES_MAX);
  const stderr = new HeadTail(EXEC_OUTPUT_BYTES_MAX);
  let timedOut = false;
  const kill = () => killGroup(child);
  const timer = setTimeout(() => ((timedOut = true), kill()), input.timeoutMs);
  signal.addEventListener("abort", kill, { once: true });
  child.stdout?.on("data", (bytes: Buffer) => stdout.write(bytes));
  child.stderr?.on("data", (bytes: Buffer) => stderr.write(bytes));
  // A program that does not read its input closes it on us: not our concern.
  child.stdin?.on("error", () => {}).end(input.stdin);
  return new Promise<Ended>((resolve, reject) => {
    child.on("error", (error) => reject(notStarted(program, error)));
    // What the program left running holds its output open.
    child.on("exit", kill);
    child.on("close", (exitCode, killed) => {
      const truncated = stdout.omittedBytes + stderr.omittedBytes > 0;
      const output = { stdout: stdout.toString(), stderr: stderr.toString(), truncated };
      resolve({ exitCode, signal: killed, timedOut, ...output });
    });
  }).finally(() => {
    clearTimeout(timer);
    signal.removeEventListener("abort", kill);
  });
}

function killGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // All of the group have ended already.
  }
}

function notStarted(program: string, error: NodeJS.ErrnoException): AgentOSError {
  const code = error.code === "ENOENT" ? "not_found" : error.code === "EACCES" ? "forbidden" : "failed";
  const message = code === "not_found" ? `there is no program \`${program}\`` : `\`${program}\` cannot be started`;
  return new AgentOSError(code, message, { origin: "caller", reason: error.code });
}

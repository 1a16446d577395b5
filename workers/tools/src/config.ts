/**
 * Settings, read from the environment once; a wrong one stops the worker with a clear word.
 */
import { join, resolve } from "node:path";
import { AgentOSError } from "@agentos/sdk";

export interface Config {
  /** The folder that `file::*` and `shell::exec` may use. */
  workspace: string;
  /** Whether `shell::exec` is offered. */
  shell: boolean;
  /** Hosts and networks that `web::fetch` may reach although they are not public. */
  fetchAllow: readonly string[];
}

/** Reads `AGENTOS_WORKSPACE`, `AGENTOS_SHELL` and `AGENTOS_FETCH_ALLOW`. */
export function readConfig(env: Readonly<Record<string, string | undefined>>): Config {
  const data = env["AGENTOS_DATA_DIR"] || "data";
  return {
    workspace: resolve(env["AGENTOS_WORKSPACE"] || join(data, "workspace")),
    shell: readSwitch("AGENTOS_SHELL", env["AGENTOS_SHELL"]),
    fetchAllow: (env["AGENTOS_FETCH_ALLOW"] ?? "").split(",").map((entry) => entry.trim()).filter(Boolean),
  };
}

function readSwitch(name: string, value: string | undefined): boolean {
  if (value === "on") return true;
  if (value === undefined || value === "" || value === "off") return false;
  throw new AgentOSError("invalid_input", `${name} is \`${value}\`, expected \`on\` or \`off\``, { origin: "caller" });
}

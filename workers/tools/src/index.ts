/**
 * The tools worker: offers `file::*`, `web::fetch` and, when switched on, `shell::exec`.
 */
import { Worker } from "@agentos/sdk";
import { AllowList } from "./address.js";
import { FileList, FileRead, FileWrite, ShellExec, WebFetch } from "./api.js";
import { readConfig } from "./config.js";
import { execute } from "./exec.js";
import { fetchPage } from "./fetch.js";
import { listFiles, readFile, writeFile } from "./files.js";
import { Guard } from "./guard.js";
import { Workspace } from "./workspace.js";

const config = readConfig(process.env);
const workspace = await Workspace.open(config.workspace);
const guard = new Guard(new AllowList(config.fetchAllow));
const worker = new Worker("tools", { connectTimeoutMs: Infinity });

worker.function(FileRead.id, FileRead, (input) => readFile(workspace, input));
worker.function(FileWrite.id, FileWrite, (input) => writeFile(workspace, input));
worker.function(FileList.id, FileList, (input) => listFiles(workspace, input));
worker.function(WebFetch.id, WebFetch, (input, { signal }) => fetchPage(guard, input, signal));
if (config.shell) {
  worker.function(ShellExec.id, ShellExec, (input, { signal }) => execute(workspace, input, signal));
}

await worker.serve();

#!/usr/bin/env node
// Cargo as @napi-rs/cli calls it, without `--target` when that names this machine: the addon then
// shares `target/release` with the rest of the workspace. The library is put where the CLI looks.
import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";

const args = process.argv.slice(2);
const at = args.indexOf("--target");
const target = args[at + 1];
const host = /^host: (.*)$/m.exec(execFileSync("rustc", ["-vV"], { encoding: "utf8" }))?.[1];
if (at < 0 || target !== host) {
  process.exit(spawnSync("cargo", args, { stdio: "inherit" }).status ?? 1);
}

args.splice(at, 2);
const { status } = spawnSync("cargo", args, { stdio: "inherit" });
if (status !== 0) process.exit(status ?? 1);

const metadata = execFileSync("cargo", ["metadata", "--no-deps", "--format-version", "1"], {
  encoding: "utf8",
  maxBuffer: 64 << 20,
});
const { target_directory: directory } = JSON.parse(metadata);
const profile = args.includes("--release") ? "release" : "debug";
const library = process.platform === "darwin" ? "libagentos_node.dylib" : "libagentos_node.so";
const wanted = join(directory, target, profile);
mkdirSync(wanted, { recursive: true });
copyFileSync(join(directory, profile, library), join(wanted, library));

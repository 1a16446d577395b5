// Builds the addon with @napi-rs/cli: the `.node` file, its loader and its typings.
//
// The CLI always asks cargo for an explicit `--target`, which gives every dependency a second
// build beside the engine's. `cargo.mjs` takes the flag away again when the target is this machine.
import { fileURLToPath } from "node:url";
import { NapiCli } from "@napi-rs/cli";

if (process.platform !== "win32") {
  process.env.CARGO = fileURLToPath(new URL("cargo.mjs", import.meta.url));
}

const { task } = await new NapiCli().build({
  cwd: fileURLToPath(new URL("..", import.meta.url)),
  platform: true,
  release: true,
  esm: true,
  format: "esm",
  jsBinding: "native.js",
  dts: "native.d.ts",
});
await task;

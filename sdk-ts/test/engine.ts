/** An engine of its own for a test file: the package's own harness, on the binary that cargo builds. */
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

process.env["AGENTOS_BIN"] ??= fileURLToPath(new URL("../../../target/release/agentos", import.meta.url));

export { Engine } from "@agentos/sdk/testing";

/** Waits until `holds`, and fails after ten seconds. */
export async function until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (let tries = 0; tries < 500; tries++) {
    if (await holds()) return;
    await sleep(20);
  }
  throw new Error(`never happened: ${what}`);
}

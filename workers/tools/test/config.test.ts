/** Settings from the environment. */
import assert from "node:assert/strict";
import { resolve } from "node:path";
import { test } from "node:test";
import { readConfig } from "#dist/config.js";

test("defaults: the data folder's workspace, no shell, nothing private", () => {
  assert.deepEqual(readConfig({}), { workspace: resolve("data/workspace"), shell: false, fetchAllow: [] });
  assert.equal(readConfig({ AGENTOS_DATA_DIR: "/d" }).workspace, "/d/workspace");
});

test("what is set counts", () => {
  const env = { AGENTOS_WORKSPACE: "/w", AGENTOS_SHELL: "on", AGENTOS_FETCH_ALLOW: " a.test:80, 10.0.0.0/8 ," };
  assert.deepEqual(readConfig(env), { workspace: "/w", shell: true, fetchAllow: ["a.test:80", "10.0.0.0/8"] });
});

test("a switch is on or off", () => {
  assert.equal(readConfig({ AGENTOS_SHELL: "off" }).shell, false);
  assert.throws(() => readConfig({ AGENTOS_SHELL: "yes" }), { message: /AGENTOS_SHELL is `yes`, expected `on` or `off`/ });
});

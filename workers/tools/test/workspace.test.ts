/** The workspace: a table of ways out, all refused; and nothing outside is touched. */
import assert from "node:assert/strict";
import { mkdir, readFile as readPlain, readdir, symlink, writeFile as writePlain } from "node:fs/promises";
import { join } from "node:path";
import { before, test } from "node:test";
import { FileList, FileRead, FileWrite } from "#dist/api.js";
import { listFiles, readFile, writeFile } from "#dist/files.js";
import { Workspace } from "#dist/workspace.js";
import { makeFolder } from "./folder.js";

let workspace: Workspace;
let outside: string;

before(async () => {
  const base = makeFolder("workspace");
  outside = join(base, "outside");
  await mkdir(outside);
  await writePlain(join(outside, "secret.txt"), "secret");
  workspace = await Workspace.open(join(base, "workspace"));
  const { root } = workspace;
  await mkdir(join(root, "folder"));
  await writePlain(join(root, "folder", "inside.txt"), "inside");
  await symlink(outside, join(root, "out"));
  await symlink(join(outside, "secret.txt"), join(root, "secret-link"));
  await symlink(join(outside, "new.txt"), join(root, "dangling"));
  await symlink("../../outside", join(root, "folder", "relative-out"));
  await symlink("out", join(root, "chain"));
  await symlink("loop", join(root, "loop"));
  await symlink("folder/inside.txt", join(root, "inside-link"));
  await symlink("/proc/self/root", join(root, "slash"));
  // A neighbour whose name starts alike.
  await mkdir(`${root}-evil`);
  await writePlain(join(`${root}-evil`, "x.txt"), "evil");
});

const read = (path: string, more: object = {}) => readFile(workspace, FileRead.input.parse({ path, ...more }));
const write = (path: string, content = "x", more: object = {}) =>
  writeFile(workspace, FileWrite.input.parse({ path, content, ...more }));
const list = (more: object = {}) => listFiles(workspace, FileList.input.parse(more));

const WAYS_OUT = [
  "..",
  "../",
  "../outside/secret.txt",
  "../workspace-evil/x.txt",
  "folder/../../outside/secret.txt",
  "./../outside/secret.txt",
  "folder/../../../../../../etc/passwd",
  "../workspace/../outside/secret.txt",
  "/etc/passwd",
  "//etc/passwd",
  "/",
  "/proc/self/environ",
  "C:\\Windows\\win.ini",
  "C:/Windows/win.ini",
  "c:relative",
  "\\\\server\\share\\x",
  "\\etc\\passwd",
  "..\\outside\\secret.txt",
  "folder\\..\\..\\outside",
  "out",
  "out/secret.txt",
  "out/new.txt",
  "out/new/deep.txt",
  "chain/secret.txt",
  "chain/new.txt",
  "folder/relative-out/secret.txt",
  "folder/relative-out/new.txt",
  "secret-link",
  "dangling",
  "dangling/deeper.txt",
  "loop",
  "loop/x",
  "slash/etc/passwd",
  "slash/tmp/new.txt",
  "inside\0.txt",
  "../outside/secret.txt\0.png",
];

for (const path of WAYS_OUT) {
  test(`refused: ${JSON.stringify(path)}`, async () => {
    await assert.rejects(read(path), { code: "forbidden" }, "read");
    await assert.rejects(write(path), { code: "forbidden" }, "overwrite");
    await assert.rejects(write(path, "x", { mode: "append" }), { code: "forbidden" }, "append");
    await assert.rejects(write(path, "x", { mode: "create" }), { code: "forbidden" }, "create");
    await assert.rejects(list({ path }), { code: "forbidden" }, "list");
  });
}

test("nothing outside was touched", async () => {
  assert.deepEqual(await readdir(outside), ["secret.txt"]);
  assert.equal(await readPlain(join(outside, "secret.txt"), "utf8"), "secret");
});

test("names that only look like ways out are names", async () => {
  for (const path of ["%2e%2e/x", "..%2fx", "file:etc", "~/x", "...", "..x/y", "a..b"]) {
    await assert.rejects(read(path), { code: "not_found" }, path);
  }
});

test("a link that stays inside is followed", async () => {
  assert.equal((await read("inside-link")).content, "inside");
  assert.equal((await read("folder/../folder/inside.txt")).path, "folder/inside.txt");
});

test("a link put in place of a folder after the check does not help", async () => {
  // What `resolve` gave is opened without following a last link.
  await symlink(join(outside, "secret.txt"), join(workspace.root, "swapped"));
  const open = workspace.openForWriting(join(workspace.root, "swapped"), "swapped", 0);
  await assert.rejects(open, { code: "forbidden" });
  const through = workspace.openForWriting(join(workspace.root, "out", "secret.txt"), "swapped", 0);
  await assert.rejects(through, { code: "forbidden" });
});

test("what is no file is not opened", async () => {
  await assert.rejects(read("folder"), { code: "invalid_input" });
  await assert.rejects(write("folder"), { code: "invalid_input" });
  await assert.rejects(read("folder/inside.txt/x"), { code: "not_found" });
});

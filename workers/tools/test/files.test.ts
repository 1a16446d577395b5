/** Reading, writing and listing inside the workspace. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmod, readdir, stat, symlink, writeFile as writePlain } from "node:fs/promises";
import { join } from "node:path";
import { before, test } from "node:test";
import { FileList, FileRead, FileWrite } from "#dist/api.js";
import { listFiles, readFile, writeFile } from "#dist/files.js";
import { HeadTail } from "#dist/text.js";
import { Workspace } from "#dist/workspace.js";
import { makeFolder } from "./folder.js";

let workspace: Workspace;
before(async () => {
  workspace = await Workspace.open(join(makeFolder("files"), "workspace"));
});

const read = (path: string, more: object = {}) => readFile(workspace, FileRead.input.parse({ path, ...more }));
const write = (path: string, content: string, more: object = {}) =>
  writeFile(workspace, FileWrite.input.parse({ path, content, ...more }));
const list = (more: object = {}) => listFiles(workspace, FileList.input.parse(more));

test("what was written is read", async () => {
  assert.deepEqual(await write("a/b/c.txt", "héllo"), { path: "a/b/c.txt", bytes: 6, created: true });
  assert.deepEqual(await read("a/b/c.txt"), {
    path: "a/b/c.txt",
    bytes: 6,
    offset: 0,
    content: "héllo",
    binary: false,
  });
});

test("overwrite, append, create", async () => {
  await write("modes.txt", "one");
  assert.deepEqual(await write("modes.txt", "two"), { path: "modes.txt", bytes: 3, created: false });
  assert.equal((await write("modes.txt", "!", { mode: "append" })).bytes, 4);
  assert.equal((await read("modes.txt")).content, "two!");
  await assert.rejects(write("modes.txt", "x", { mode: "create" }), { code: "conflict" });
  assert.equal((await write("fresh.txt", "x", { mode: "create" })).created, true);
});

test("overwriting keeps the permissions and leaves no temporary file", async () => {
  await write("script.sh", "one");
  await chmod(join(workspace.root, "script.sh"), 0o755);
  await write("script.sh", "two");
  assert.equal((await stat(join(workspace.root, "script.sh"))).mode & 0o777, 0o755);
  assert.deepEqual((await readdir(workspace.root)).filter((name) => name.endsWith(".tmp")), []);
});

test("a long file comes in parts that join without a seam", async () => {
  const text = "aé€😀".repeat(50);
  await write("long.txt", text);
  for (const limit of [1, 2, 3, 4, 5, 7, 100]) {
    let joined = "";
    let offset: number | undefined = 0;
    while (offset !== undefined) {
      const part: Awaited<ReturnType<typeof read>> = await read("long.txt", { offset, limit });
      joined += part.content;
      offset = part.nextOffset;
    }
    assert.equal(joined, text, `limit ${limit}`);
  }
});

test("reading from inside a character starts at the next", async () => {
  await write("inside.txt", "é!");
  assert.equal((await read("inside.txt", { offset: 1 })).content, "!");
  assert.equal((await read("inside.txt", { offset: 99 })).content, "");
});

test("binary files are recognised", async () => {
  const rows: [Buffer, boolean][] = [
    [Buffer.from([0x7f, 0x45, 0x4c, 0x46, 0]), true],
    [Buffer.from([0xff, 0xfe, 0x41]), true],
    [Buffer.from("plain"), false],
    [Buffer.from(""), false],
    // A character that the sniffing cuts in two.
    [Buffer.from(`${"a".repeat(8_191)}é`), false],
    [Buffer.from(`${"a".repeat(8_190)}😀`), false],
  ];
  for (const [bytes, binary] of rows) {
    await writePlain(join(workspace.root, "sniff"), bytes);
    const { content, ...got } = await read("sniff");
    assert.equal(got.binary, binary, bytes.subarray(-4).toString("hex"));
    assert.equal(content === null, binary);
  }
});

test("a named pipe does not hang the worker", async () => {
  execFileSync("mkfifo", [join(workspace.root, "pipe")]);
  await assert.rejects(read("pipe"), { code: "invalid_input" });
  await assert.rejects(write("pipe", "x"), { code: "invalid_input" });
});

test("too much to write is refused", async () => {
  await assert.rejects(write("big.txt", "a".repeat((8 << 20) + 1)), { code: "payload_too_large" });
});

test("listing", async () => {
  const fresh = await Workspace.open(makeFolder("list"));
  const at = (more: object) => listFiles(fresh, FileList.input.parse(more));
  for (const path of ["b.txt", "a/1.txt", "a/2.txt", "c/d/e.txt"]) {
    await writeFile(fresh, FileWrite.input.parse({ path, content: "x" }));
  }
  await symlink("/", join(fresh.root, "link"));
  const paths = ({ entries }: Awaited<ReturnType<typeof at>>) => entries.map(({ path, type }) => `${path} ${type}`);
  assert.deepEqual(paths(await at({})), ["a folder", "b.txt file", "c folder", "link link"]);
  assert.deepEqual(paths(await at({ path: "a" })), ["a/1.txt file", "a/2.txt file"]);
  const all = await at({ recursive: true });
  assert.deepEqual(paths(all), [
    "a folder",
    "b.txt file",
    "c folder",
    "link link",
    "a/1.txt file",
    "a/2.txt file",
    "c/d folder",
    "c/d/e.txt file",
  ]);
  assert.equal(all.truncated, false);
  const few = await at({ recursive: true, limit: 3 });
  assert.deepEqual([few.entries.length, few.truncated], [3, true]);
  await assert.rejects(list({ path: "nowhere" }), { code: "not_found" });
});

test("long output keeps its start and its end, between characters", () => {
  const kept = new HeadTail(10);
  for (const piece of ["aaé", "é", "x".repeat(50), "é", "zzz"]) kept.write(Buffer.from(piece));
  assert.match(kept.toString(), /^aaé\n\[\.\.\. \d+ bytes left out \.\.\.\]\nézzz$/);
  const short = new HeadTail(10);
  short.write(Buffer.from("0123456789"));
  assert.equal(short.toString(), "0123456789");
});

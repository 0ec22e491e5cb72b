/** The promises of FileOps, asked of both twins: a real directory and the simulated disk. */
import { afterAll, beforeAll, describe, expect, spyOn, test } from "bun:test";
import * as fs from "node:fs";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { concatBytes } from "../../src/base/bytes.ts";
import { errorCode } from "../../src/base/errors.ts";
import type { FileOps } from "../../src/storage/file-ops.ts";
import { createLedger } from "../../src/storage/ledger-directory.ts";
import { NodeFileOps } from "../../src/storage/node-file-ops.ts";
import { probe } from "../../src/storage/probe.ts";
import { Publisher } from "../../src/storage/publisher.ts";
import { codeOf, genesisFile, newDisk } from "../support/simulated-ledger.ts";

const real = mkdtempSync(join(tmpdir(), "baash-ops-"));
afterAll(() => rmSync(real, { recursive: true, force: true }));

const twins: Array<{ name: string; ops: FileOps; root: string }> = [
  { name: "node", ops: new NodeFileOps(), root: `${real}/twin` },
  { name: "node, nothing synced", ops: new NodeFileOps({ sync: false }), root: `${real}/unsynced` },
  { name: "simulated", ops: newDisk(1).host("a"), root: "/twin" },
];

test("files and directories are synced, unless the job said no", async () => {
  const synced = spyOn(fs, "fsyncSync");
  const counts = [];
  for (const sync of [true, false]) {
    const ops = new NodeFileOps({ sync });
    const path = `${real}/synced-${sync}`;
    await ops.writeExclusive(path, [new Uint8Array(3)]);
    await ops.syncFile(path);
    await ops.syncDirectory(real);
    counts.push(synced.mock.calls.length);
    synced.mockClear();
  }
  synced.mockRestore();
  expect(counts).toEqual([3, 0]);
});

async function errnoOf(action: Promise<unknown>): Promise<string> {
  try {
    await action;
    return "no error";
  } catch (error) {
    return errorCode(error);
  }
}

for (const { name, ops, root } of twins) {
  describe(`file operations, ${name}`, () => {
    beforeAll(async () => await ops.makeDirectory(root));

    test("writeExclusive writes all parts once", async () => {
      const parts = Array.from({ length: 3000 }, (_, i) => new Uint8Array(i % 5).fill(i));
      await ops.writeExclusive(`${root}/many`, parts);
      expect(await ops.readFile(`${root}/many`)).toEqual(concatBytes(parts));
      expect(await errnoOf(ops.writeExclusive(`${root}/many`, parts))).toBe("EEXIST");
      expect(await ops.holds(`${root}/many`, parts)).toBe(true);
      expect(await ops.holds(`${root}/many`, parts.slice(1))).toBe(true);
      expect(await ops.holds(`${root}/many`, parts.slice(0, -1))).toBe(false);
      expect(await ops.holds(`${root}/many`, [...parts.slice(0, -1), new Uint8Array(4)])).toBe(
        false,
      );
      expect(await errnoOf(ops.holds(`${root}/absent`, parts))).toBe("ENOENT");
      const made = async function* () {
        yield new Uint8Array([1, 2]);
        yield new Uint8Array([3]);
      };
      await ops.writeExclusive(`${root}/made`, made);
      expect(await ops.readFile(`${root}/made`)).toEqual(new Uint8Array([1, 2, 3]));
      expect(await errnoOf(ops.writeExclusive(`${root}/none/x`, parts))).toBe("ENOENT");
    });

    test("link gives a second name, once; unlink takes one away", async () => {
      await ops.writeExclusive(`${root}/temp`, [new Uint8Array(10)]);
      await ops.link(`${root}/temp`, `${root}/final`);
      expect((await ops.status(`${root}/final`))?.links).toBe(2);
      expect(await errnoOf(ops.link(`${root}/temp`, `${root}/final`))).toBe("EEXIST");
      await ops.unlink(`${root}/temp`);
      expect(await ops.status(`${root}/final`)).toMatchObject({
        kind: "file",
        bytes: 10,
        links: 1,
      });
      expect(await ops.status(`${root}/temp`)).toBeUndefined();
      expect(await errnoOf(ops.link(`${root}/temp`, `${root}/other`))).toBe("ENOENT");
      expect(await errnoOf(ops.unlink(`${root}/temp`))).toBe("ENOENT");
    });

    test("ranges end where the file ends", async () => {
      await ops.writeExclusive(`${root}/range`, [new Uint8Array([0, 1, 2, 3, 4])]);
      expect(await ops.readRange(`${root}/range`, 3, 10)).toEqual(new Uint8Array([3, 4]));
      expect((await ops.readRange(`${root}/range`, 9, 1)).length).toBe(0);
      expect(await errnoOf(ops.readFile(`${root}/absent`))).toBe("ENOENT");
    });

    test("directories: made, listed, renamed with what is inside, removed when empty", async () => {
      await ops.makeDirectory(`${root}/d`);
      expect(await errnoOf(ops.makeDirectory(`${root}/d`))).toBe("EEXIST");
      await ops.writeExclusive(`${root}/d/f`, []);
      await ops.syncDirectory(`${root}/d`);
      await ops.syncFile(`${root}/d/f`);
      expect(await errnoOf(ops.removeDirectory(`${root}/d`))).toBe("ENOTEMPTY");
      await ops.rename(`${root}/d`, `${root}/e`);
      expect(await ops.readDirectory(`${root}/e`)).toEqual(["f"]);
      expect(await errnoOf(ops.syncDirectory(`${root}/d`))).toBe("ENOENT");
      await ops.unlink(`${root}/e/f`);
      await ops.removeDirectory(`${root}/e`);
      expect(await ops.status(`${root}/e`)).toBeUndefined();
      expect((await ops.status(root))?.kind).toBe("directory");
    });

    test("the file system has a type and room", async () => {
      const { type, freeBytes } = await ops.fileSystem(root);
      expect(type.length).toBeGreaterThan(1);
      expect(freeBytes).toBeGreaterThan(0);
    });
  });
}

describe("a real directory", () => {
  const ops = new NodeFileOps();
  const publisher = new Publisher(ops, "00000000000000bb");

  test("the probe leaves nothing behind, and refuses a file and a file system that forgets", async () => {
    const root = `${real}/probe`;
    await ops.makeDirectory(root);
    await probe(publisher, root, { force: true });
    expect(await ops.readDirectory(root)).toEqual([]);
    await ops.writeExclusive(`${root}/file`, []);
    const onFile = probe(publisher, `${root}/file`, { force: true });
    expect(await codeOf(onFile)).toBe("PROBE_NOT_A_DIRECTORY");
    const types = new Map<string, string>();
    for (const path of ["/dev/shm", root]) types.set(path, (await ops.fileSystem(path)).type);
    for (const [path, type] of types) {
      const code = await codeOf(probe(publisher, path));
      expect(code).toBe(type === "tmpfs" || type === "ramfs" ? "PROBE_VOLATILE" : "no error");
    }
  });

  test("a ledger below directories that do not exist yet", async () => {
    const root = `${real}/a/b/ledger`;
    expect((await createLedger(publisher, root, genesisFile(), { force: true })).created).toBe(
      true,
    );
    const again = await createLedger(publisher, root, genesisFile({ other: 1 }), { force: true });
    expect(again).toEqual({ created: false, genesis: genesisFile() });
  });
});

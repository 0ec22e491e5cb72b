/**
 * Storage that goes away and comes back: stale handles, a directory that is not there for a minute,
 * another one in its place. And the codes: whatever the system says, a rank hears a word it knows.
 */
import { describe, expect, test } from "bun:test";
import { BaashError } from "../../../src/base/errors.ts";
import type { DiskFault, DiskStep, SimulatedDisk } from "../../../src/storage/simulated-disk.ts";
import { reactionTo } from "../../../src/storage/storage-errors.ts";
import { StorageService } from "../../../src/storage/storage-service.ts";
import { OTHER_GENESIS, ServiceWriter } from "../../support/service-ledger.ts";
import { codeOf, newDisk, ROOT } from "../../support/simulated-ledger.ts";

async function ledgerOf(records: number, now: () => number = () => 0, seed = 1) {
  const disk = newDisk(seed);
  const writer = await ServiceWriter.start(disk.host("a"), { now });
  await writer.grow(records);
  return { disk, writer };
}

/** Every step on the ledger directory fails so. */
function away(code: string) {
  return ({ path }: DiskStep): DiskFault | undefined =>
    path.startsWith(ROOT) ? { code } : undefined;
}

describe("a directory that is gone for a while", () => {
  for (const code of ["ENOENT", "ESTALE", "ENOTCONN", "ETIMEDOUT"]) {
    test(`${code}: nothing is believed meanwhile, and it goes on where it was`, async () => {
      let nowMs = 0;
      const { disk, writer } = await ledgerOf(3, () => nowMs);
      const { service } = writer;
      disk.fault = away(code);
      for (let i = 0; i < 3; i++) {
        nowMs += 20_000;
        expect(await codeOf(writer.append())).toBe("STORAGE_GONE");
        // Not "there is no record": nobody may conclude that from a directory that is not there.
        expect(await codeOf(service.child(writer.slot + 1, writer.hash))).toBe("STORAGE_GONE");
        expect(await codeOf(service.fold(0, new Uint8Array(32)))).toBe("STORAGE_GONE");
      }
      expect(await service.health()).toMatchObject({ available: false, sinceMs: 40_000 });
      disk.fault = undefined;
      await writer.grow(6);
      expect(await service.health()).toMatchObject({ available: true });
      disk.losePower();
      const next = await ServiceWriter.start(disk.host("b"));
      expect(next.hashes).toEqual(writer.hashes);
    });
  }

  test("one stale handle is not noticed: reads and syncs open by path again", async () => {
    const { disk, writer } = await ledgerOf(5);
    const other = await ServiceWriter.start(disk.host("b"));
    await other.append();
    const stale = new Set<string>();
    disk.fault = ({ host, step, path }) => {
      const repeated = ["read", "readDirectory", "status", "syncFile", "syncDirectory"];
      // The sync of a new file is the writer's own: its bytes are written anew instead.
      if (host !== "a" || !repeated.includes(step) || path.endsWith(".tmp")) return undefined;
      const once = `${step} ${path}`;
      if (stale.has(once)) return undefined;
      stale.add(once);
      return { code: "ESTALE" };
    };
    await writer.follow();
    expect(writer.hashes).toEqual(other.hashes);
    expect((await writer.append()).won).toBe(true);
    expect(await writer.service.fold(0, new Uint8Array(32))).toBe(true);
    expect((await writer.service.scrub(0, 10)).checked).toBe(7);
    expect(stale.size).toBeGreaterThan(15);
    expect((await writer.service.health()).lastError).toBeUndefined();
  });

  test("the tail that another host folded meanwhile is looked for anew", async () => {
    const { disk, writer } = await ledgerOf(5);
    const other = await ServiceWriter.start(disk.host("b"));
    disk.fault = (step) => (step.host === "a" ? away("ESTALE")(step) : undefined);
    expect(await codeOf(writer.append())).toBe("STORAGE_GONE");
    await other.grow(7);
    expect(await other.service.fold(0, new Uint8Array(32))).toBe(true);
    disk.fault = undefined;
    await writer.follow();
    expect(writer.hashes).toEqual(other.hashes);
    expect((await writer.append()).won).toBe(true);
  });

  test("another ledger in its place stops the rank", async () => {
    const { disk, writer } = await ledgerOf(3);
    disk.fault = away("ESTALE");
    await codeOf(writer.append());
    disk.fault = undefined;
    const host = disk.host("admin");
    await host.rename(ROOT, "/old");
    await ServiceWriter.start(host, { genesis: OTHER_GENESIS });
    const code = await codeOf(writer.append());
    expect(code).toBe("STORAGE_ROLLED_BACK");
    expect(reactionTo(new BaashError(code, ""))).toBe("stop");
  });

  test("an older copy in its place: first it waits, then it stops", async () => {
    let nowMs = 0;
    const { disk, writer } = await ledgerOf(6, () => nowMs);
    // The newest record is missing, as in a copy of before. No error comes with it.
    await disk.host("admin").unlink(writer.path(5));
    const look = () => codeOf(writer.service.child(writer.slot + 1, writer.hash));
    expect(await look()).toBe("STORAGE_GONE");
    nowMs = 179_000;
    expect(await look()).toBe("STORAGE_GONE");
    nowMs = 181_000;
    expect(await look()).toBe("STORAGE_ROLLED_BACK");
  });

  test("a record that a server did not show for a moment is no reason to stop", async () => {
    let nowMs = 0;
    const { disk, writer } = await ledgerOf(3, () => nowMs);
    const path = writer.path(2);
    const { directory, name } = disk.place(path);
    const node = disk.find(path);
    const look = () => codeOf(writer.service.child(writer.slot + 1, writer.hash));
    for (let i = 0; i < 3; i++) {
      nowMs += 50_000;
      disk.change([{ directory, name, node: undefined }], "server");
      expect(await look()).toBe("STORAGE_GONE");
      disk.change([{ directory, name, node }], "server");
      expect(await look()).toBe("no error");
    }
  });

  test("at the end of the log a poll costs one look more, and an append none", async () => {
    const { disk, writer } = await ledgerOf(3);
    const steps: string[] = [];
    disk.fault = ({ step, path }) => {
      steps.push(`${step} ${path.slice(path.lastIndexOf("/") + 1).slice(0, 10)}`);
      return undefined;
    };
    expect(await writer.service.child(3, writer.hash)).toBeUndefined();
    expect(steps).toEqual(["read 0000000003", "status 000000", "status 0000000002"]);
    steps.length = 0;
    await writer.append();
    expect(steps.map((step) => step.split(" ")[0])).toEqual(
      "create write syncFile link syncDirectory read unlink status".split(" "),
    );
  });
});

test("a name that this host does not see yet delays it, and nothing else", async () => {
  const { disk, writer } = await ledgerOf(3);
  const late = await ServiceWriter.start(disk.host("b"));
  await writer.append();
  const path = writer.path(3);
  // A negative directory entry that NFS keeps for a while: opening says ENOENT, linking EEXIST.
  disk.fault = (step) =>
    step.host === "b" && step.path === path && ["read", "status", "syncFile"].includes(step.step)
      ? { code: "ENOENT" }
      : undefined;
  expect(await late.service.child(3, late.hash)).toBeUndefined();
  expect(await codeOf(late.append())).toBe("STORAGE_IO");
  expect(late.slot).toBe(2);
  disk.fault = undefined;
  expect((await late.append()).won).toBe(false);
  await late.follow();
  expect(late.hashes).toEqual(writer.hashes);
  expect(disk.files().filter((name) => name.endsWith(".tmp"))).toEqual([]);
});

describe("a directory that was wiped or rolled back", () => {
  test("is refused by who knows a record that it has lost", async () => {
    const { disk, writer } = await ledgerOf(6);
    const known = { slot: 5, hash: writer.hash };
    expect((await ServiceWriter.start(disk.host("b"), { known })).slot).toBe(5);
    await disk.host("admin").unlink(writer.path(5));
    expect((await ServiceWriter.start(disk.host("c"))).slot).toBe(4);
    const refused = ServiceWriter.start(disk.host("d"), { known });
    expect(await codeOf(refused)).toBe("STORAGE_ROLLED_BACK");
  });

  test("... also where another record has the slot, in the tail or folded", async () => {
    for (const folded of [false, true]) {
      const { disk, writer } = await ledgerOf(6);
      if (folded) await writer.service.fold(0, new Uint8Array(32));
      const known = { slot: 2, hash: new Uint8Array(32).fill(9) };
      const refused = ServiceWriter.start(disk.host("d"), { known });
      expect(await codeOf(refused)).toBe("STORAGE_ROLLED_BACK");
    }
  });

  test("is not made anew but where genesis is handed over", async () => {
    const { disk } = await ledgerOf(2);
    await disk.host("admin").rename(ROOT, "/old");
    await disk.host("admin").makeDirectory(ROOT);
    expect(await codeOf(openWithoutGenesis(disk))).toBe("NO_LEDGER");
    expect(disk.files().some((path) => path.startsWith(ROOT))).toBe(false);
  });
});

async function openWithoutGenesis(disk: SimulatedDisk): Promise<unknown> {
  const blocks = { block: () => new Uint8Array(0) };
  const service = new StorageService({ ops: disk.host("w"), now: () => 0, blocks });
  return await service.open({ directory: ROOT, incarnation: "00000000000000f1" });
}

describe("codes", () => {
  /** One of each kind: of the medium, of room, of handles, and of a directory that is not there. */
  const ERRNOS = ["EIO", "ENOSPC", "ESTALE", "ENOENT"];
  const KNOWN = new Set(["wait", "withhold"]);

  const calls: Record<string, (writer: ServiceWriter) => Promise<unknown>> = {
    append: (writer) => writer.append(),
    child: (writer) => writer.service.child(writer.slot + 1, writer.hash),
    fold: (writer) => writer.service.fold(0, new Uint8Array(32)),
    clean: (writer) => writer.service.clean([], 10_000_000),
    scrub: (writer) => writer.service.scrub(0, 100),
    quarantine: (writer) => writer.service.quarantine("block", new Uint8Array(9)),
    storeEvidence: (writer) => writer.service.storeEvidence("votes", new Uint8Array(9)),
    checkpoint: (writer) =>
      writer.service.checkpoint({
        slot: writer.slot,
        recordHash: writer.hash,
        stateRoot: new Uint8Array(32),
        size: 0,
        root: new Uint8Array(32),
        payload: [new Uint8Array(4)],
      }),
  };

  for (const [name, call] of Object.entries(calls)) {
    test(`${name}: any errno at any step is a coded error that does not stop a rank`, async () => {
      const quiet = await ledgerOf(5);
      const before = quiet.disk.steps;
      await call(quiet.writer);
      const steps = quiet.disk.steps - before;
      let failed = 0;
      for (let at = 0; at < steps; at++) {
        for (const code of ERRNOS) {
          const { disk, writer } = await ledgerOf(5);
          const first = disk.steps;
          disk.fault = ({ number }) => (number === first + at ? { code } : undefined);
          try {
            await call(writer);
          } catch (error) {
            failed++;
            expect(error).toBeInstanceOf(BaashError);
            expect(KNOWN).toContain(reactionTo(error));
          }
          disk.fault = undefined;
          if (code !== "EIO") continue;
          // One trouble, and it is over: the chain goes on with another writer, and this one follows.
          const other = await ServiceWriter.start(disk.host("b"));
          await other.grow(7);
          await writer.follow().catch(() => {});
          disk.losePower();
          const next = await ServiceWriter.start(disk.host("c"));
          expect(next.hashes.slice(0, 7)).toEqual(other.hashes);
          expect(other.hashes.slice(0, writer.slot + 1)).toEqual(writer.hashes);
        }
      }
      expect(failed).toBeGreaterThan(0);
    }, 30_000);
  }
});

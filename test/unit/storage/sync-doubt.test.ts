/**
 * EIO on fsync of a directory: the name may be durable or not, and this process cannot find out, as
 * its next fsync says "done" whatever became of the name. Nothing is final on the strength of it.
 */
import { describe, expect, test } from "bun:test";
import { Random } from "../../../src/base/random.ts";
import { recordHash } from "../../../src/ledger/record.ts";
import { finishFolding, fold } from "../../../src/storage/folding.ts";
import type { DiskStep, SimulatedDisk } from "../../../src/storage/simulated-disk.ts";
import { reactionTo } from "../../../src/storage/storage-errors.ts";
import { ServiceWriter } from "../../support/service-ledger.ts";
import {
  codeOf,
  grow,
  newDisk,
  newLedgerDisk,
  openLog,
  ROOT,
  replay,
} from "../../support/simulated-ledger.ts";
import { toyRecord, ZERO_HASH } from "../../support/toy-record.ts";

const SEEDS = 16;

/** An fsync of a directory whose path ends so fails, of host "a": the next one, or the `nth` from now. */
function failSyncOnce(disk: SimulatedDisk, end: string, nth = 1): void {
  let left = nth;
  disk.fault = ({ host, step, path }: DiskStep) =>
    host === "a" && step === "syncDirectory" && path.endsWith(end) && --left === 0
      ? { code: "EIO" }
      : undefined;
}

/** A chain of one record on host "a", and a second one that it linked and could not sync. */
async function doubtful(seed: number) {
  const disk = await newLedgerDisk(seed);
  const log = openLog(disk.host("a"));
  const parent = await grow(log, 1);
  const record = toyRecord(1, parent, "x");
  failSyncOnce(disk, "/log/000000");
  expect((await log.append(record)).outcome).toBe("unknown");
  disk.fault = undefined;
  return { disk, log, record, parent };
}

describe("a record in doubt", () => {
  test("is not made final by the same process, however often it asks", async () => {
    let vanished = 0;
    for (let seed = 0; seed < SEEDS; seed++) {
      const { disk, log, record, parent } = await doubtful(seed);
      for (let i = 0; i < 3; i++) expect(await codeOf(log.adopt(record))).toBe("STORAGE_UNKNOWN");
      const again = await log.append(toyRecord(1, parent, "another"));
      expect(again).toMatchObject({ outcome: "unknown", error: { code: "STORAGE_UNKNOWN" } });
      if (again.outcome === "unknown") expect(reactionTo(again.error)).toBe("withhold");
      expect((await log.append(record)).outcome).toBe("unknown");
      // Why it may not: the name can still be lost.
      disk.losePower();
      vanished += 2 - (await replay(openLog(disk.host("b")))).payloads.length;
    }
    expect(vanished).toBeGreaterThan(0);
    expect(vanished).toBeLessThan(SEEDS);
  });

  test("is adopted by another host, whose word settles it here", async () => {
    for (let seed = 0; seed < SEEDS; seed++) {
      const { disk, log, record } = await doubtful(seed);
      expect((await openLog(disk.host("b")).adopt(record))?.hash).toEqual(record.hash);
      log.noteAnnounced(record);
      expect((await log.adopt(record))?.hash).toEqual(record.hash);
      expect((await log.append(toyRecord(2, record.hash, "y"))).outcome).toBe("won");
      disk.losePower();
      const { payloads } = await replay(openLog(disk.host("c")));
      expect(payloads).toEqual(["record 0", "x", "y"]);
    }
  });

  test("is settled by whoever builds on it", async () => {
    for (const asks of ["adopt", "append"]) {
      const { disk, log, record, parent } = await doubtful(1);
      const other = openLog(disk.host("b"));
      await other.adopt(record);
      if (asks === "adopt") expect(await codeOf(log.adopt(record))).toBe("STORAGE_UNKNOWN");
      expect((await other.append(toyRecord(2, record.hash, "y"))).outcome).toBe("won");
      if (asks === "append") {
        expect((await log.append(toyRecord(1, parent, "z"))).outcome).toBe("lost");
      }
      expect((await log.adopt(record))?.hash).toEqual(record.hash);
      disk.losePower();
      expect((await replay(openLog(disk.host("c")))).payloads).toEqual(["record 0", "x", "y"]);
    }
  });

  test("that is not there after all is linked anew", async () => {
    const { disk, log, record } = await doubtful(1);
    const path = disk.files().find((name) => name.includes("/0000000001."))!;
    await disk.host("server").unlink(path);
    await disk.host("server").syncDirectory(`${ROOT}/log/000000`);
    expect(await log.append(record)).toEqual({ outcome: "won" });
    disk.losePower();
    expect((await replay(openLog(disk.host("b")))).payloads).toEqual(["record 0", "x"]);
  });

  test("a stale handle is no doubt: the sync is made again by path", async () => {
    const { disk, log, record } = await doubtful(1);
    log.noteAnnounced(record);
    let left = 2;
    disk.fault = ({ step, path }) =>
      step === "syncDirectory" && path.includes("/log/0") && left-- > 0
        ? { code: "ESTALE" }
        : undefined;
    const next = toyRecord(2, record.hash, "y");
    const appended = await log.append(next);
    expect(appended).toMatchObject({ outcome: "unknown", error: { data: { elsewhere: false } } });
    if (appended.outcome === "unknown") expect(reactionTo(appended.error)).toBe("wait");
    disk.fault = undefined;
    expect((await log.adopt(next))?.hash).toEqual(next.hash);
    disk.losePower();
    expect((await replay(openLog(disk.host("b")))).payloads.length).toBe(3);
  });
});

test("a tail directory whose name could not be synced is made anew before anything lies in it", async () => {
  for (let seed = 0; seed < SEEDS; seed++) {
    const disk = await newLedgerDisk(seed);
    const log = openLog(disk.host("a"));
    const parent = await grow(log, 4);
    failSyncOnce(disk, "/log");
    const record = toyRecord(4, parent, "first of its segment");
    expect(await codeOf(log.append(record))).toBe("STORAGE_IO");
    expect((await log.append(record)).outcome).toBe("won");
    disk.fault = undefined;
    disk.losePower();
    expect((await replay(openLog(disk.host("b")))).payloads.length).toBe(5);
  }
});

test("... or, when somebody else works in it already, left to the others", async () => {
  const disk = await newLedgerDisk(3);
  const log = openLog(disk.host("a"));
  const parent = await grow(log, 4);
  const record = toyRecord(4, parent, "first of its segment");
  let left = 1;
  disk.fault = ({ host, step, path }) => {
    if (host !== "a" || step !== "syncDirectory" || !path.endsWith("/log") || left-- <= 0)
      return undefined;
    const directory = disk.find(`${ROOT}/log/000001`)!;
    const node = disk.newNode("file", "b");
    disk.change([{ directory, name: ".00000000000000ff-1.tmp", node }], "b");
    return { code: "EIO" };
  };
  expect(await codeOf(log.append(record))).toBe("STORAGE_IO");
  disk.fault = undefined;
  expect(await codeOf(log.append(record))).toBe("STORAGE_UNKNOWN");
  const other = openLog(disk.host("b"));
  other.noteSynced({ slot: 3, hash: parent });
  expect((await other.append(record)).outcome).toBe("won");
  log.noteAnnounced(record);
  expect((await log.append(toyRecord(5, record.hash, "next"))).outcome).toBe("won");
  disk.losePower();
  expect((await replay(openLog(disk.host("c")))).payloads.length).toBe(6);
});

test("a segment in doubt never costs log/S; who can sync it finishes the fold", async () => {
  const first = { segment: 0, prevHash: ZERO_HASH };
  for (let seed = 0; seed < SEEDS; seed++) {
    const disk = await newLedgerDisk(seed);
    const log = openLog(disk.host("a"));
    await grow(log, 6);
    failSyncOnce(disk, "/segments");
    expect((await fold(log, first)).outcome).toBe("unknown");
    disk.fault = undefined;
    expect((await fold(log, first)).outcome).toBe("unknown");
    expect(await finishFolding(log)).toEqual([]);
    if (seed % 2 === 0) {
      disk.losePower();
    } else {
      expect(await finishFolding(openLog(disk.host("b")))).toEqual(["000000"]);
      expect((await fold(log, first)).outcome).toBe("folded");
      disk.losePower();
    }
    expect((await replay(openLog(disk.host("c")))).payloads.length).toBe(6);
  }
});

test("a checkpoint in doubt does not count when older ones are pruned", async () => {
  const head = (writer: ServiceWriter) => ({
    slot: writer.slot,
    recordHash: writer.hash,
    stateRoot: new Uint8Array(32),
    size: 0,
    root: new Uint8Array(32),
    payload: [new Uint8Array(4)],
  });
  for (let seed = 0; seed < SEEDS; seed++) {
    const disk = newDisk(seed);
    const writer = await ServiceWriter.start(disk.host("a"));
    for (let i = 0; i < 5; i++) {
      await writer.append();
      // The states of slots 3 and 4 can be synced, their heads cannot.
      if (i > 2) failSyncOnce(disk, "/checkpoints", 2);
      const written = codeOf(writer.service.checkpoint(head(writer)));
      expect(await written).toBe(i > 2 ? "STORAGE_UNKNOWN" : "no error");
      disk.fault = undefined;
    }
    await writer.append();
    await writer.service.checkpoint(head(writer));
    disk.losePower();
    const heads = disk.files().filter((path) => path.endsWith(".head"));
    expect(heads).toContain(`${ROOT}/checkpoints/0000000002.head`);
    expect(heads).toContain(`${ROOT}/checkpoints/0000000005.head`);
    expect((await ServiceWriter.start(disk.host("b"))).slot).toBe(5);
  }
});

describe("a rank's writer", () => {
  /** Appends as a rank does: tries again after what says "wait" or "withhold", reads what it lost. */
  async function persist(writer: ServiceWriter, attempts: number): Promise<boolean> {
    for (let i = 0; i < attempts; i++) {
      try {
        const result = await writer.append();
        if (result.won) return true;
        await writer.follow();
        return false;
      } catch (error) {
        const { code } = error as { code: string };
        expect(["STORAGE_IO", "STORAGE_FULL", "STORAGE_UNKNOWN"]).toContain(code);
      }
    }
    return false;
  }

  test("with EIO at every step in turn: what it called final outlives the power", async () => {
    const start = async (seed: number) => {
      const disk = newDisk(seed);
      const writer = await ServiceWriter.start(disk.host("a"));
      await writer.grow(4);
      return { disk, writer };
    };
    const quiet = await start(0);
    const before = quiet.disk.steps;
    await quiet.writer.append();
    const steps = quiet.disk.steps - before;
    for (let at = 0; at < steps; at++) {
      for (const happens of [false, true]) {
        const { disk, writer } = await start(at);
        const first = disk.steps;
        disk.fault = ({ number }) => (number === first + at ? { code: "EIO", happens } : undefined);
        await persist(writer, 4);
        disk.fault = undefined;
        disk.losePower();
        const next = await ServiceWriter.start(disk.host("b"));
        expect(next.hashes.slice(0, writer.slot + 1)).toEqual(writer.hashes);
      }
    }
  });

  test("hands a winner on only when it is durable, whoever linked it", async () => {
    for (let seed = 0; seed < SEEDS; seed++) {
      const disk = newDisk(seed);
      const winner = await ServiceWriter.start(disk.host("a"));
      await winner.grow(2);
      const loser = await ServiceWriter.start(disk.host("b"));
      const died = new Promise<void>((resolve) => {
        disk.onCrash = () => resolve();
      });
      disk.fault = ({ host, step }) =>
        host === "a" && step === "syncDirectory" ? { crash: "host" } : undefined;
      await Promise.race([winner.append(), died]);
      disk.fault = undefined;
      const result = await loser.append();
      expect(result.won).toBe(false);
      if (!result.won) loser.step(recordHash(result.winner));
      disk.losePower();
      expect((await ServiceWriter.start(disk.host("c"))).hashes).toEqual(loser.hashes);
    }
  });

  test("two of them under random EIO: the other one settles what one cannot", async () => {
    let doubts = 0;
    for (let seed = 0; seed < 30; seed++) {
      const random = new Random(seed, 9);
      const disk = newDisk(seed);
      const writers = [
        await ServiceWriter.start(disk.host("a")),
        await ServiceWriter.start(disk.host("b")),
      ];
      disk.fault = ({ step, path }) =>
        ["syncDirectory", "syncFile", "write", "link"].includes(step) &&
        path.includes("/log") &&
        random.nextFloat() < 0.08
          ? { code: "EIO", happens: step === "link" && random.nextFloat() < 0.5 }
          : undefined;
      for (let turn = 0; writers[0].slot < 9 || writers[1].slot < 9; turn++) {
        expect(turn).toBeLessThan(200);
        const writer = writers[turn % 2];
        const other = writers[1 - (turn % 2)];
        try {
          if (!(await writer.append()).won) await writer.follow();
        } catch (error) {
          if ((error as { code: string }).code === "STORAGE_UNKNOWN") doubts++;
        }
        // The other one's turn, as after the delay of its place: it reads, and tells.
        await other.follow().catch(() => {});
        if (other.slot > writer.slot) {
          await writer.service.announced(writer.slot + 1, other.hashes[writer.slot + 1]);
          await writer.follow().catch(() => {});
        }
      }
      disk.fault = undefined;
      disk.losePower();
      const next = await ServiceWriter.start(disk.host("c"));
      const length = Math.min(writers[0].slot, writers[1].slot) + 1;
      for (const { hashes } of writers) {
        expect(next.hashes.slice(0, length)).toEqual(hashes.slice(0, length));
      }
    }
    expect(doubts).toBeGreaterThan(10);
  });
});

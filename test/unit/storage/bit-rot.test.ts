/** Bit rot: noticed before use, repaired from whoever has the bytes, kept in quarantine, never cut off. */
import { describe, expect, test } from "bun:test";
import { equalBytes } from "../../../src/base/bytes.ts";
import { Copies } from "../../../src/storage/copies.ts";
import { fold } from "../../../src/storage/folding.ts";
import { Healer } from "../../../src/storage/healer.ts";
import { RecordCache } from "../../../src/storage/record-cache.ts";
import { recover } from "../../../src/storage/recovery.ts";
import { repairRecord } from "../../../src/storage/repair.ts";
import { scrub } from "../../../src/storage/scrub.ts";
import type { SharedLog } from "../../../src/storage/shared-log.ts";
import type { SimulatedDisk } from "../../../src/storage/simulated-disk.ts";
import {
  codeOf,
  grow,
  newLedgerDisk,
  openLog,
  ROOT,
  replay,
} from "../../support/simulated-ledger.ts";
import { toyRecord, ZERO_HASH } from "../../support/toy-record.ts";

const NAMES = Array.from({ length: 7 }, (_, slot) => `record ${slot}`);
const FIRST = { segment: 0, prevHash: ZERO_HASH };

function records(count: number) {
  let hash: Uint8Array = ZERO_HASH;
  return Array.from({ length: count }, (_, slot) => {
    const record = toyRecord(slot, hash, `record ${slot}`);
    hash = record.hash;
    return record;
  });
}

const RECORDS = records(7);
const bytesOf = (slot: number) => Uint8Array.from(Buffer.concat([...RECORDS[slot].parts]));

/** Slots 0 to 6; the first four folded if asked for. */
async function ledger(folded: boolean) {
  const disk = await newLedgerDisk(1);
  await grow(openLog(disk.host("a")), NAMES.length);
  if (folded) await fold(openLog(disk.host("a")), FIRST);
  return disk;
}

function quarantined(disk: SimulatedDisk): string[] {
  return disk.files().filter((path) => path.startsWith(`${ROOT}/quarantine/`));
}

function tailFile(disk: SimulatedDisk, slot: number): string {
  return disk.files().find((path) => path.includes(`/${String(slot).padStart(10, "0")}.`))!;
}

function healerOf(log: SharedLog, mirrors: readonly string[] = [], cache = new RecordCache()) {
  const notices: string[] = [];
  const copies = new Copies(log.context, cache, mirrors);
  const healer = new Healer(log, copies, ({ message }) => notices.push(message));
  return { healer, notices };
}

async function recoverWith(log: SharedLog, healer: Healer): Promise<number> {
  const { slot } = await recover({ log, onRecord: () => {}, heal: (error) => healer.heal(error) });
  return slot;
}

/** Everything below `from` as a second ledger beside the first. */
async function mirror(disk: SimulatedDisk, to: string): Promise<void> {
  const host = disk.host("mirror");
  const made = new Set<string>();
  for (const path of disk.files().filter((each) => each.startsWith(`${ROOT}/`))) {
    const copy = `${to}${path.slice(ROOT.length)}`;
    const parts = copy.split("/");
    for (let i = 2; i < parts.length; i++) {
      const directory = parts.slice(0, i).join("/");
      if (!made.has(directory)) await host.makeDirectory(directory);
      made.add(directory);
    }
    await host.writeExclusive(copy, [await host.readFile(path)]);
  }
}

describe("a copy that is offered", () => {
  for (const folded of [false, true]) {
    test(`is put back, ${folded ? "into the segment" : "in the tail"}, and only if it is the record`, async () => {
      const disk = await ledger(folded);
      const damaged = folded ? `${ROOT}/segments/000000` : tailFile(disk, 2);
      const good = await disk.host("x").readFile(damaged);
      disk.flipBit(damaged, folded ? 32 + 2 * 80 + 50 : 41, 2);
      expect(await codeOf(replay(openLog(disk.host("b"))))).toBe("STORAGE_DAMAGED");
      const log = openLog(disk.host("b"));
      const rotten = bytesOf(2);
      rotten[45] ^= 1;
      const offers = [
        { ...RECORDS[2], bytes: rotten },
        { ...RECORDS[2], bytes: bytesOf(3) },
        { ...RECORDS[2], hash: RECORDS[3].hash, bytes: bytesOf(2) },
      ];
      for (const { bytes, ...record } of offers) {
        expect((await repairRecord(log, record, bytes)).outcome).toBe("refused");
      }
      expect(quarantined(disk)).toEqual([]);
      const repaired = await repairRecord(log, RECORDS[2], bytesOf(2));
      expect(repaired.outcome).toBe("repaired");
      expect(await disk.host("x").readFile(damaged)).toEqual(good);
      expect(quarantined(disk).length).toBe(1);
      expect((await repairRecord(log, RECORDS[2], bytesOf(2))).outcome).toBe("intact");
      disk.losePower();
      expect((await replay(openLog(disk.host("c")))).payloads).toEqual(NAMES);
    });
  }

  test("fills the place of a file that is missing", async () => {
    const disk = await ledger(false);
    await disk.host("x").unlink(tailFile(disk, 5));
    const log = openLog(disk.host("b"));
    expect((await repairRecord(log, RECORDS[5], bytesOf(5))).outcome).toBe("repaired");
    disk.losePower();
    expect((await replay(openLog(disk.host("c")))).payloads).toEqual(NAMES);
  });

  test("power fails at each step of a repair: the damaged file or the right one, never none", async () => {
    for (const folded of [false, true]) {
      const damage = async (seed: number) => {
        const disk = await ledger(folded);
        const path = folded ? `${ROOT}/segments/000000` : tailFile(disk, 2);
        disk.flipBit(path, folded ? 32 + 2 * 80 + 50 : 41, seed % 8);
        return { disk, path };
      };
      const quiet = await damage(0);
      const before = quiet.disk.steps;
      await repairRecord(openLog(quiet.disk.host("b")), RECORDS[2], bytesOf(2));
      const steps = quiet.disk.steps - before;
      for (let at = 0; at < steps; at++) {
        for (const happens of [false, true]) {
          const { disk, path } = await damage(at);
          const first = disk.steps;
          disk.fault = ({ number }) =>
            number === first + at ? { crash: "power", happens } : undefined;
          const repair = repairRecord(openLog(disk.host("b")), RECORDS[2], bytesOf(2));
          await Promise.race([repair, disk.powerLost()]);
          disk.fault = undefined;
          expect(disk.files()).toContain(path);
          const after = await repairRecord(openLog(disk.host("c")), RECORDS[2], bytesOf(2));
          expect(["repaired", "intact"]).toContain(after.outcome);
          expect((await replay(openLog(disk.host("c")))).payloads).toEqual(NAMES);
        }
      }
    }
  });
});

describe("recovery", () => {
  test("repairs what a mirror has, tells, and goes on; a mirror of other bytes is no help", async () => {
    for (const folded of [false, true]) {
      const disk = await ledger(folded);
      await mirror(disk, "/mirror");
      const path = folded ? `${ROOT}/segments/000000` : tailFile(disk, 2);
      disk.flipBit(path, folded ? 32 + 2 * 80 + 50 : 41, 2);
      const bad = folded ? "/mirror/segments/000000" : path.replace(ROOT, "/mirror");
      disk.flipBit(bad, folded ? 32 + 2 * 80 + 51 : 42, 1);
      const log = openLog(disk.host("b"));
      const helpless = healerOf(log, ["/mirror", "/nothing"]);
      expect(await codeOf(recoverWith(log, helpless.healer))).toBe("STORAGE_DAMAGED");
      expect(quarantined(disk)).toEqual([]);
      disk.flipBit(bad, folded ? 32 + 2 * 80 + 51 : 42, 1);
      const { healer, notices } = healerOf(openLog(disk.host("b")), ["/nothing", "/mirror"]);
      expect(await recoverWith(openLog(disk.host("b")), healer)).toBe(6);
      expect(notices.length).toBe(1);
      expect(notices[0]).toContain("/mirror/");
      expect((await replay(openLog(disk.host("c")))).payloads).toEqual(NAMES);
    }
  });

  test("goes on to the next mirror where one holds another record of that place", async () => {
    const disk = await ledger(false);
    await mirror(disk, "/mirror");
    await mirror(disk, "/other");
    const path = tailFile(disk, 2);
    const host = disk.host("x");
    const foreign = toyRecord(2, RECORDS[1].hash, "a chain that nobody follows");
    const there = path.replace(ROOT, "/other");
    await host.unlink(there);
    await host.writeExclusive(there, foreign.parts);
    disk.flipBit(path, 41, 2);
    const log = openLog(disk.host("b"));
    const { healer, notices } = healerOf(log, ["/other", "/mirror"]);
    expect(await recoverWith(log, healer)).toBe(6);
    expect(notices[0]).toContain("from /mirror/");
  });

  test("repairs the tail from a folded segment whose log/S is still there", async () => {
    const disk = await ledger(false);
    // A fold that died before it took log/S away, then rot in the segment.
    let left = 1;
    disk.fault = ({ step }) => (step === "rename" && left-- > 0 ? { code: "EIO" } : undefined);
    await fold(openLog(disk.host("a")), FIRST).catch(() => {});
    disk.fault = undefined;
    disk.flipBit(`${ROOT}/segments/000000`, 32 + 80 + 50, 3);
    const log = openLog(disk.host("b"));
    const { healer, notices } = healerOf(log);
    expect(await recoverWith(log, healer)).toBe(6);
    expect(notices[0]).toContain("/log/000000/");
  });

  test("of a damaged head with no copy stops, and leaves everything as it was", async () => {
    const disk = await ledger(false);
    disk.flipBit(tailFile(disk, 6), 41, 0);
    const files = disk.files();
    const log = openLog(disk.host("b"));
    const { healer } = healerOf(log);
    const stopped = recoverWith(log, healer);
    await expect(stopped).rejects.toMatchObject({
      code: "STORAGE_DAMAGED",
      message: expect.stringContaining("do not delete or truncate"),
      data: { slot: 6, path: tailFile(disk, 6) },
    });
    expect(disk.files()).toEqual(files);
  });

  test("does not take a copy for a head whose hash nothing says, though it is intact", async () => {
    const disk = await ledger(false);
    await mirror(disk, "/mirror");
    disk.flipBit(tailFile(disk, 6), 41, 0);
    const log = openLog(disk.host("b"));
    const { healer } = healerOf(log, ["/mirror"]);
    expect(await codeOf(recoverWith(log, healer))).toBe("STORAGE_DAMAGED");
  });
});

describe("a segment", () => {
  const path = `${ROOT}/segments/000000`;
  const recordsEnd = 32 + 4 * 80;

  test("any flipped bit of header, index or trailer is repaired from its own records", async () => {
    const disk = await ledger(true);
    const good = await disk.host("x").readFile(path);
    for (let byte = 0; byte < good.length; byte++) {
      if (byte >= 32 && byte < recordsEnd) continue;
      disk.flipBit(path, byte, byte % 8);
      const log = openLog(disk.host("b"));
      const { healer, notices } = healerOf(log);
      expect(await recoverWith(log, healer)).toBe(6);
      expect(notices.length).toBe(1);
      expect(await disk.host("x").readFile(path)).toEqual(good);
    }
  });

  test("damaged in index and records at once is made anew from a mirror's records", async () => {
    const disk = await ledger(true);
    await mirror(disk, "/mirror");
    const good = await disk.host("x").readFile(path);
    disk.flipBit(path, 10, 1);
    disk.flipBit(path, 32 + 90, 1);
    disk.flipBit(path, good.length - 3, 1);
    const alone = openLog(disk.host("b"));
    expect(await codeOf(recoverWith(alone, healerOf(alone).healer))).toBe("STORAGE_DAMAGED");
    const log = openLog(disk.host("b"));
    expect(await recoverWith(log, healerOf(log, ["/mirror"]).healer)).toBe(6);
    expect(await disk.host("x").readFile(path)).toEqual(good);
  });

  test("is not made anew as another chain that a mirror holds", async () => {
    const disk = await ledger(true);
    // Another ledger's history under the same genesis: it forked when somebody restored a copy.
    const other = await newLedgerDisk(2);
    const otherLog = openLog(other.host("a"));
    let hash: Uint8Array = ZERO_HASH;
    for (let slot = 0; slot < 7; slot++) {
      const record = toyRecord(slot, hash, `other ${slot}`);
      await otherLog.append(record);
      hash = record.hash;
    }
    await fold(otherLog, FIRST);
    const host = disk.host("x");
    await host.makeDirectory("/mirror");
    await host.makeDirectory("/mirror/segments");
    const foreign = await other.host("x").readFile(path);
    await host.writeExclusive("/mirror/segments/000000", [foreign]);
    const before = await host.readFile(path);
    disk.flipBit(path, 10, 1);
    disk.flipBit(path, 33, 1);
    const log = openLog(disk.host("b"));
    const { healer } = healerOf(log, ["/mirror"]);
    expect(await codeOf(recoverWith(log, healer))).toBe("STORAGE_DAMAGED");
    const after = await host.readFile(path);
    expect(after.length).toBe(before.length);
    expect(equalBytes(after, foreign)).toBe(false);
    expect(disk.files().filter((name) => name.endsWith(".tmp"))).toEqual([]);
  });
});

describe("scrubbing", () => {
  test("finds any flipped byte of any record, names it, and says who can be asked for what", async () => {
    const disk = await ledger(true);
    const log = openLog(disk.host("b"));
    await replay(log);
    const { healer } = healerOf(log);
    expect(await scrub(log, healer, { fromSlot: 0, count: 100 })).toEqual({
      nextSlot: 0,
      checked: 7,
      repaired: 0,
      damaged: [],
    });
    const segment = `${ROOT}/segments/000000`;
    for (let byte = 32; byte < 32 + 4 * 80; byte += 3) {
      disk.flipBit(segment, byte, byte % 8);
      const { damaged } = await scrub(log, healer, { fromSlot: 0, count: 100 });
      const slot = Math.floor((byte - 32) / 80);
      expect(damaged.length).toBe(1);
      expect(damaged[0]).toMatchObject({ path: segment, slot, hash: RECORDS[slot].hash });
      disk.flipBit(segment, byte, byte % 8);
    }
    for (const slot of [4, 5, 6]) {
      const path = tailFile(disk, slot);
      disk.flipBit(path, 44, 1);
      const { damaged } = await scrub(log, healer, { fromSlot: 0, count: 100 });
      expect(damaged).toMatchObject([{ path, slot, hash: RECORDS[slot].hash }]);
      const [{ prevHash, hash }] = damaged;
      const record = { slot, prevHash: prevHash!, hash: hash! };
      expect((await healer.put(record, bytesOf(slot), "a peer")).outcome).toBe("repaired");
    }
    expect((await scrub(log, healer, { fromSlot: 0, count: 100 })).damaged).toEqual([]);
  });

  test("finds a record that is whole and not the one that its child names", async () => {
    const disk = await ledger(false);
    const path = tailFile(disk, 2);
    const host = disk.host("x");
    await host.unlink(path);
    await host.writeExclusive(path, toyRecord(2, RECORDS[1].hash, "another").parts);
    const log = openLog(disk.host("b"));
    // As a rank that executed the chain before the file was swapped.
    for (const record of RECORDS) log.noteSynced(record);
    const { damaged } = await scrub(log, healerOf(log).healer, { fromSlot: 0, count: 100 });
    expect(damaged).toMatchObject([{ path, slot: 2, hash: RECORDS[2].hash }]);
  });

  test("goes on where it ended, and ends with the head", async () => {
    const disk = await ledger(true);
    const log = openLog(disk.host("b"));
    await replay(log);
    const { healer } = healerOf(log);
    const ends: number[] = [];
    for (let from = 0, i = 0; i < 4; i++) {
      const { nextSlot, checked } = await scrub(log, healer, { fromSlot: from, count: 3 });
      ends.push(nextSlot, checked);
      from = nextSlot;
    }
    expect(ends).toEqual([3, 3, 6, 3, 0, 1, 3, 3]);
  });

  test("repairs the index of a segment that was folded before the one before it", async () => {
    const disk = await newLedgerDisk(1);
    await grow(openLog(disk.host("a")), 9);
    const all = records(9);
    // Segment 0 waits: one of its records was damaged when it was its turn.
    await fold(openLog(disk.host("a")), { segment: 1, prevHash: all[3].hash });
    const path = `${ROOT}/segments/000001`;
    const good = await disk.host("x").readFile(path);
    disk.flipBit(path, good.length - 90, 3);
    const log = openLog(disk.host("b"));
    log.noteSynced(all[8]);
    const { healer, notices } = healerOf(log);
    const range = { fromSlot: 4, count: 4 };
    expect(await scrub(log, healer, range)).toMatchObject({ repaired: 1, damaged: [] });
    expect(notices.length).toBe(1);
    expect(await disk.host("x").readFile(path)).toEqual(good);
  });

  test("repairs an index by itself, and reports one that it cannot", async () => {
    const disk = await ledger(true);
    const log = openLog(disk.host("b"));
    await replay(log);
    const path = `${ROOT}/segments/000000`;
    const { healer, notices } = healerOf(log);
    disk.flipBit(path, 5, 1);
    const range = { fromSlot: 0, count: 100 };
    expect(await scrub(log, healer, range)).toMatchObject({ repaired: 1, damaged: [] });
    expect(notices.length).toBe(1);
    disk.flipBit(path, 5, 1);
    disk.flipBit(path, 40, 1);
    const { damaged, checked } = await scrub(log, healer, range);
    expect(damaged).toMatchObject([{ path, byte: expect.any(Number) }]);
    expect(damaged[0].slot).toBeUndefined();
    expect(checked).toBe(7);
  });
});

/** The log on the simulated disk: crashes at every step, failing disks, races, folds. */
import { describe, expect, test } from "bun:test";
import { Random } from "../../../src/base/random.ts";
import { fold } from "../../../src/storage/folding.ts";
import type { Appended } from "../../../src/storage/shared-log.ts";
import { type DiskStep, randomFaults } from "../../../src/storage/simulated-disk.ts";
import {
  codeOf,
  grow,
  newDisk,
  newLedgerDisk,
  openLog,
  ROOT,
  replay,
} from "../../support/simulated-ledger.ts";
import { payloadOf, toyRecord, ZERO_HASH } from "../../support/toy-record.ts";

const SEEDS = 8;

describe("append, crashed at every step", () => {
  // Slot 4 opens a new segment directory: the longest way of an append.
  for (const slot of [0, 3, 4]) {
    test(`slot ${slot}: what was final is there, and the chain goes on`, async () => {
      const quiet = await newLedgerDisk(1);
      const quietLog = openLog(quiet.host("a"));
      const parent = await grow(quietLog, slot);
      const before = quiet.steps;
      await quietLog.append(toyRecord(slot, parent, "last"));
      const steps = quiet.steps - before;
      expect(steps).toBeGreaterThan(7);
      for (let at = 0; at < steps; at++) {
        for (const happens of [false, true]) {
          for (let seed = 0; seed < SEEDS; seed++) await crashAt(slot, at, happens, seed);
        }
      }
    });
  }

  async function crashAt(slot: number, at: number, happens: boolean, seed: number) {
    const disk = await newLedgerDisk(seed * 1000 + at);
    const log = openLog(disk.host("a"));
    const parent = await grow(log, slot);
    const first = disk.steps;
    disk.fault = (step) => (step.number === first + at ? { crash: "power", happens } : undefined);
    const lost = disk.powerLost();
    const result = await Promise.race([log.append(toyRecord(slot, parent, "last")), lost]);
    disk.fault = undefined;
    const { recovered, payloads } = await replay(openLog(disk.host("b")));
    const names = Array.from({ length: slot }, (_, i) => `record ${i}`);
    const wasFinal = result !== undefined && result.outcome === "won";
    if (wasFinal || payloads.length > slot) names.push("last");
    expect(payloads).toEqual(names);
    // Adopted = durable: it must outlive the next loss of power, too, and so must its child.
    const next = openLog(disk.host("b"));
    const again = await replay(next);
    await grow(next, slot + 2, again.recovered);
    disk.losePower();
    const after = await replay(openLog(disk.host("c")));
    expect(after.payloads.slice(0, payloads.length)).toEqual(payloads);
    expect(after.recovered.slot).toBe(slot + 1);
    expect(recovered.slot).toBe(payloads.length - 1);
  }
});

describe("a failing disk", () => {
  const failOnce = (wanted: DiskStep["step"], code: string, happens = false) => {
    let left = 1;
    return ({ step, path }: DiskStep) =>
      step === wanted && path.includes("/log/") && left-- > 0 ? { code, happens } : undefined;
  };

  test("EIO on fsync of a file: written anew under another name, never synced twice", async () => {
    const disk = await newLedgerDisk(1);
    const log = openLog(disk.host("a"));
    const synced: string[] = [];
    const fail = failOnce("syncFile", "EIO");
    disk.fault = (step) => {
      if (step.step === "syncFile") synced.push(step.path);
      return fail(step);
    };
    expect(await log.append(toyRecord(0, ZERO_HASH, "a"))).toEqual({ outcome: "won" });
    expect(new Set(synced).size).toBe(synced.length);
    expect(synced.length).toBe(2);
    disk.losePower();
    expect((await replay(openLog(disk.host("b")))).payloads).toEqual(["a"]);
  });

  test("EIO on every write: a coded error, nothing linked, no litter", async () => {
    const disk = await newLedgerDisk(1);
    const log = openLog(disk.host("a"));
    disk.fault = ({ step }) => (step === "write" ? { code: "EIO" } : undefined);
    expect(await codeOf(log.append(toyRecord(0, ZERO_HASH, "a")))).toBe("STORAGE_IO");
    expect(disk.files()).toEqual([`${ROOT}/genesis`]);
  });

  for (const code of ["ENOSPC", "EDQUOT"]) {
    test(`${code}: a coded error, nothing linked, no litter; then it goes on`, async () => {
      const disk = await newLedgerDisk(1);
      const log = openLog(disk.host("a"));
      for (const step of ["makeDirectory", "create", "write", "syncFile", "link"] as const) {
        disk.fault = failOnce(step, code);
        expect(await codeOf(log.append(toyRecord(0, ZERO_HASH, "a")))).toBe("STORAGE_FULL");
        expect(disk.files()).toEqual([`${ROOT}/genesis`]);
      }
      disk.fault = undefined;
      expect((await log.append(toyRecord(0, ZERO_HASH, "a"))).outcome).toBe("won");
    });
  }

  test("a full disk takes nothing and keeps nothing", async () => {
    const disk = await newLedgerDisk(1);
    const log = openLog(disk.host("a"));
    disk.freeBytes = 50;
    expect(await codeOf(log.append(toyRecord(0, ZERO_HASH, "more than that")))).toBe(
      "STORAGE_FULL",
    );
    disk.freeBytes = 1000;
    expect((await log.append(toyRecord(0, ZERO_HASH, "a"))).outcome).toBe("won");
  });

  test("EIO on fsync of the directory: unknown, and another host makes it final", async () => {
    for (let seed = 0; seed < SEEDS; seed++) {
      const disk = await newLedgerDisk(seed);
      const log = openLog(disk.host("a"));
      await grow(log, 1);
      const record = toyRecord(1, toyRecord(0, ZERO_HASH, "record 0").hash, "x");
      disk.fault = failOnce("syncDirectory", "EIO");
      const result = await log.append(record);
      expect(result.outcome).toBe("unknown");
      disk.fault = undefined;
      const other = openLog(disk.host("b"));
      expect((await other.adopt(record))?.hash).toEqual(record.hash);
      disk.losePower();
      expect((await replay(openLog(disk.host("c")))).payloads).toEqual(["record 0", "x"]);
    }
  });

  test("an EEXIST or EIO of link that hides a success is a win", async () => {
    for (const code of ["EEXIST", "EIO"]) {
      const disk = await newLedgerDisk(1);
      const log = openLog(disk.host("a"));
      disk.fault = failOnce("link", code, true);
      expect(await log.append(toyRecord(0, ZERO_HASH, "a"))).toEqual({ outcome: "won" });
      disk.losePower();
      expect((await replay(openLog(disk.host("b")))).payloads).toEqual(["a"]);
    }
  });

  test("EIO of link that did nothing: tried again", async () => {
    const disk = await newLedgerDisk(1);
    disk.fault = failOnce("link", "EIO");
    const log = openLog(disk.host("a"));
    expect(await log.append(toyRecord(0, ZERO_HASH, "a"))).toEqual({ outcome: "won" });
  });

  test("ESTALE on fsync of the directory: opened again by path", async () => {
    const disk = await newLedgerDisk(1);
    const log = openLog(disk.host("a"));
    await grow(log, 1);
    disk.fault = failOnce("syncDirectory", "ESTALE");
    const record = toyRecord(1, toyRecord(0, ZERO_HASH, "record 0").hash, "x");
    expect(await log.append(record)).toEqual({ outcome: "won" });
  });

  test("random faults and a loss of power: one chain, all that was final in it", async () => {
    for (let seed = 0; seed < 60; seed++) {
      const disk = await newLedgerDisk(seed);
      const random = new Random(seed, 1);
      const chance = () => random.nextFloat();
      disk.fault = randomFaults(chance, { eio: 0.05, enospc: 0.02 });
      const final: string[] = [];
      const log = openLog(disk.host("a"));
      let hash: Uint8Array = ZERO_HASH;
      for (let slot = 0; slot < 10; slot++) {
        const record = toyRecord(slot, hash, `record ${slot}`);
        const result = await settle(() => log.append(record), record.slot);
        if (result?.outcome !== "won") break;
        final.push(`record ${slot}`);
        hash = record.hash;
      }
      disk.fault = undefined;
      disk.losePower();
      const { payloads } = await replay(openLog(disk.host("b")));
      expect(payloads.slice(0, final.length)).toEqual(final);
      expect(payloads.length).toBeLessThanOrEqual(final.length + 1);
    }
  });

  /** Tries until the log says what became of it: as a rank would. */
  async function settle(append: () => Promise<Appended>, slot: number) {
    for (let attempt = 0; attempt < 20; attempt++) {
      try {
        return await append();
      } catch (error) {
        expect(["STORAGE_FULL", "STORAGE_IO"]).toContain((error as { code: string }).code);
      }
    }
    throw new Error(`slot ${slot}: the faults are too many`);
  }
});

describe("many writers", () => {
  test("one slot, many appenders: exactly one wins, the others read its bytes", async () => {
    for (let seed = 0; seed < 20; seed++) {
      const disk = await newLedgerDisk(seed);
      const logs = Array.from({ length: 6 }, (_, i) => openLog(disk.host(`h${i}`)));
      const results = await Promise.all(
        logs.map((log, i) => log.append(toyRecord(0, ZERO_HASH, `from ${i}`))),
      );
      const winners = results.flatMap((result, i) => (result.outcome === "won" ? [i] : []));
      expect(winners.length).toBe(1);
      for (const result of results) {
        if (result.outcome !== "won") {
          expect(result.outcome).toBe("lost");
          if (result.outcome === "lost") expect(payloadOf(result.bytes)).toBe(`from ${winners[0]}`);
        }
      }
      disk.losePower();
      expect((await replay(openLog(disk.host("z")))).payloads).toEqual([`from ${winners[0]}`]);
    }
  });

  test("who loses adopts, and the adopted record outlives the host that linked it", async () => {
    for (let seed = 0; seed < SEEDS; seed++) {
      const disk = await newLedgerDisk(seed);
      const record = toyRecord(0, ZERO_HASH, "a");
      let linked = false;
      const died = new Promise<void>((resolve) => {
        disk.fault = ({ host, step }) => {
          if (host !== "a") return undefined;
          if (step === "link") linked = true;
          if (!linked || step !== "syncDirectory") return undefined;
          resolve();
          return { crash: "host" };
        };
      });
      const other = openLog(disk.host("b"));
      await Promise.race([openLog(disk.host("a")).append(record), died]);
      const result = await other.append(toyRecord(0, ZERO_HASH, "b"));
      expect(result.outcome).toBe("lost");
      const adopted = await other.adopt({ slot: 0, prevHash: ZERO_HASH });
      disk.fault = undefined;
      disk.losePower();
      const { payloads } = await replay(openLog(disk.host("c")));
      expect(payloads).toEqual(["a"]);
      expect(adopted?.hash).toEqual(record.hash);
    }
  });

  test("a child is never linked before its parent is known to be synced", async () => {
    const disk = await newLedgerDisk(1);
    const log = openLog(disk.host("a"));
    const orphan = toyRecord(1, toyRecord(0, ZERO_HASH, "a").hash, "b");
    await expect(log.append(orphan)).rejects.toThrow("before its parent");
  });

  test("a link that the server forgot after the sync is made again", async () => {
    const disk = await newLedgerDisk(1);
    const log = openLog(disk.host("a"));
    let forgotten = false;
    disk.fault = ({ step, path }) => {
      // Just before the fresh look, once.
      if (step === "read" && path.includes("/log/") && !forgotten) {
        forgotten = true;
        const { directory, name } = disk.place(path);
        disk.change([{ directory, name, node: undefined }], "server");
      }
      return undefined;
    };
    expect((await log.append(toyRecord(0, ZERO_HASH, "a"))).outcome).toBe("won");
    expect(forgotten).toBe(true);
    disk.fault = undefined;
    expect((await replay(openLog(disk.host("b")))).payloads).toEqual(["a"]);
  });

  test("a writer that wakes up after the fold: its link is void, on the chain or beside it", async () => {
    const disk = await newLedgerDisk(1);
    const log = openLog(disk.host("a"));
    await grow(log, 5);
    const sleeper = openLog(disk.host("b"));
    sleeper.noteSynced(toyRecord(0, ZERO_HASH, "record 0"));
    expect((await fold(log, { segment: 0, prevHash: ZERO_HASH })).outcome).toBe("folded");
    const parent = toyRecord(0, ZERO_HASH, "record 0").hash;
    const late = await sleeper.append(toyRecord(1, parent, "late"));
    expect(late.outcome).toBe("lost");
    if (late.outcome === "lost") expect(payloadOf(late.bytes)).toBe("record 1");
    const own = await openLog(disk.host("c")).append(toyRecord(0, ZERO_HASH, "record 0"));
    expect(own.outcome).toBe("won");
    const astray = openLog(disk.host("d"));
    const nobody = toyRecord(0, ZERO_HASH, "nobody's");
    astray.noteSynced(nobody);
    expect((await astray.append(toyRecord(1, nobody.hash, "x"))).outcome).toBe("void");
    const astrayPlace = { slot: 1, prevHash: nobody.hash };
    expect(disk.files().some((path) => path.includes("/log/000000/0000000001."))).toBe(true);
    expect(await openLog(disk.host("e")).child(astrayPlace)).toBeUndefined();
    expect(await openLog(disk.host("e")).adopt(astrayPlace)).toBeUndefined();
    // The junk directory that they made again is not read, and goes to quarantine.
    const { payloads } = await replay(openLog(disk.host("e")));
    expect(payloads).toEqual(["record 0", "record 1", "record 2", "record 3", "record 4"]);
  });
});

test("recovery makes the head that it reports durable", async () => {
  for (let seed = 0; seed < SEEDS; seed++) {
    const disk = await newLedgerDisk(seed);
    const log = openLog(disk.host("a"));
    const parent = await grow(log, 1);
    const died = new Promise<void>((resolve) => {
      disk.fault = ({ host, step }) => {
        if (host !== "a" || step !== "syncDirectory") return undefined;
        resolve();
        return { crash: "host" };
      };
    });
    await Promise.race([log.append(toyRecord(1, parent, "x")), died]);
    disk.fault = undefined;
    expect((await replay(openLog(disk.host("b")))).payloads).toEqual(["record 0", "x"]);
    disk.losePower();
    expect((await replay(openLog(disk.host("c")))).payloads).toEqual(["record 0", "x"]);
  }
});

test("readRecord finds records by number in the tail and in segments", async () => {
  const disk = await newLedgerDisk(1);
  const log = openLog(disk.host("a"));
  await grow(log, 6);
  await fold(log, { segment: 0, prevHash: ZERO_HASH });
  const fresh = openLog(disk.host("b"));
  for (let slot = 0; slot < 6; slot++) {
    expect(payloadOf((await fresh.readRecord(slot))!)).toBe(`record ${slot}`);
    expect(payloadOf((await log.readRecord(slot))!)).toBe(`record ${slot}`);
  }
  expect(await fresh.readRecord(6)).toBeUndefined();
});

test("the simulated disk loses what was not synced", async () => {
  let kept = 0;
  for (let seed = 0; seed < 40; seed++) {
    const disk = newDisk(seed);
    const host = disk.host("a");
    await host.writeExclusive("/f", [new Uint8Array(8)]);
    disk.losePower();
    kept += disk.files().length;
  }
  expect(kept).toBeGreaterThan(0);
  expect(kept).toBeLessThan(40);
});

/** Folding on the simulated disk: crashed at every step, raced, and with readers around it. */
import { expect, test } from "bun:test";
import { finishFolding, fold } from "../../../src/storage/folding.ts";
import { walk } from "../../../src/storage/recovery.ts";
import {
  codeOf,
  grow,
  newLedgerDisk,
  openLog,
  ROOT,
  replay,
} from "../../support/simulated-ledger.ts";
import { payloadOf, toyRecord, ZERO_HASH } from "../../support/toy-record.ts";

const FIRST = { segment: 0, prevHash: ZERO_HASH };
const NAMES = Array.from({ length: 6 }, (_, i) => `record ${i}`);

async function ledgerOfSix(seed: number) {
  const disk = await newLedgerDisk(seed);
  const log = openLog(disk.host("a"));
  await grow(log, 6);
  return { disk, log };
}

test("a fold leaves one file, and the chain as it was", async () => {
  const { disk, log } = await ledgerOfSix(1);
  const folded = await fold(log, FIRST);
  expect(folded.outcome).toBe("folded");
  expect(disk.files().filter((path) => path.includes("/log/")).length).toBe(2);
  expect(disk.files()).toContain(`${ROOT}/segments/000000`);
  expect((await replay(openLog(disk.host("b")))).payloads).toEqual(NAMES);
  expect((await fold(log, FIRST)).outcome).toBe("folded");
});

test("crashed at every step, with or without the unsynced: the chain is whole, the rest resumes", async () => {
  const quiet = await ledgerOfSix(1);
  const before = quiet.disk.steps;
  await fold(quiet.log, FIRST);
  const steps = quiet.disk.steps - before;
  for (let at = 0; at < steps; at++) {
    for (let seed = 0; seed < 4; seed++) {
      const { disk, log } = await ledgerOfSix(100 * at + seed);
      const first = disk.steps;
      const happens = seed % 2 === 0;
      disk.fault = ({ number }) =>
        number === first + at ? { crash: "power", happens } : undefined;
      await Promise.race([fold(log, FIRST), disk.powerLost()]);
      disk.fault = undefined;
      const next = openLog(disk.host("b"));
      await finishFolding(next);
      expect((await replay(next)).payloads).toEqual(NAMES);
      expect((await fold(next, FIRST)).outcome).toBe("folded");
      await finishFolding(next);
      expect((await replay(openLog(disk.host("c")))).payloads).toEqual(NAMES);
      // Temporary names may come back with a lost unlink: the cleaner's work. No record does.
      const tail = disk.files().filter((path) => /\/log\/.*\/\d+\.[0-9a-f]+$/.test(path));
      expect(tail.length).toBe(2);
      expect(disk.files().some((path) => path.includes("/.folded-"))).toBe(false);
    }
  }
});

test("who takes over a fold makes it durable before log/S goes", async () => {
  for (let seed = 0; seed < 8; seed++) {
    const { disk, log } = await ledgerOfSix(seed);
    const died = new Promise<void>((resolve) => {
      disk.fault = ({ host, step, path }) => {
        if (host !== "a" || step !== "syncDirectory" || path !== `${ROOT}/segments`)
          return undefined;
        resolve();
        return { crash: "host" };
      };
    });
    await Promise.race([fold(log, FIRST), died]);
    disk.fault = undefined;
    expect((await fold(openLog(disk.host("b")), FIRST)).outcome).toBe("folded");
    disk.losePower();
    expect((await replay(openLog(disk.host("c")))).payloads).toEqual(NAMES);
  }
});

test("several hosts fold at once while others read and walk", async () => {
  for (let seed = 0; seed < 10; seed++) {
    const { disk } = await ledgerOfSix(seed);
    const read = async (host: string) => {
      const names: string[] = [];
      for await (const record of walk(openLog(disk.host(host)), { slot: 0, prevHash: ZERO_HASH })) {
        names.push(payloadOf(record.bytes));
      }
      return names;
    };
    const folds = ["f1", "f2", "f3"].map((host) => fold(openLog(disk.host(host)), FIRST));
    const reads = ["r1", "r2", "r3"].map(read);
    for (const result of await Promise.all(folds)) expect(result.outcome).toBe("folded");
    for (const names of await Promise.all(reads)) expect(names).toEqual(NAMES);
  }
});

test("an incomplete segment is left alone", async () => {
  const { disk, log } = await ledgerOfSix(1);
  const place = { segment: 1, prevHash: toyRecord(0, ZERO_HASH, "other").hash };
  const files = disk.files();
  expect(await fold(log, place)).toEqual({ outcome: "incomplete", slot: 4 });
  expect(disk.files()).toEqual(files);
});

test("EIO while folding: written anew; a directory that cannot be synced keeps log/S", async () => {
  for (const step of ["write", "syncFile", "syncDirectory"] as const) {
    const { disk, log } = await ledgerOfSix(1);
    let left = 1;
    disk.fault = (at) =>
      at.step === step && at.path.includes("/segments") && left-- > 0 ? { code: "EIO" } : undefined;
    const result = await fold(log, FIRST);
    expect(result.outcome).toBe(step === "syncDirectory" ? "unknown" : "folded");
    disk.fault = undefined;
    expect((await replay(openLog(disk.host("b")))).payloads).toEqual(NAMES);
  }
});

test("a record that is damaged is not folded away", async () => {
  const { disk, log } = await ledgerOfSix(1);
  const path = disk.files().find((name) => name.includes("/log/000000/0000000002"))!;
  disk.flipBit(path, 45, 3);
  expect(await codeOf(fold(log, FIRST))).toBe("STORAGE_DAMAGED");
  expect(disk.files()).toContain(path);
});

test("a record that nobody can reach goes to quarantine, not away", async () => {
  const { disk, log } = await ledgerOfSix(1);
  const stray = toyRecord(2, toyRecord(1, ZERO_HASH, "nobody's").hash, "stray");
  const name = `0000000002.${Buffer.from(stray.prevHash).toString("hex")}`;
  await disk.host("a").writeExclusive(`${ROOT}/log/000000/${name}`, stray.parts);
  await fold(log, FIRST);
  expect(disk.files().filter((path) => path.includes(`/quarantine/${name}`)).length).toBe(1);
});

/** A full disk: what waits, what still gets through, and where the room for it comes from. */
import { describe, expect, test } from "bun:test";
import { reserveBytesFor } from "../../../src/storage/reserve.ts";
import type { SimulatedDisk } from "../../../src/storage/simulated-disk.ts";
import { ServiceWriter } from "../../support/service-ledger.ts";
import { codeOf, newDisk, ROOT } from "../../support/simulated-ledger.ts";

const RESERVE = 16_384;
const PIECES = [1024, 3072, 12_288];

function reserveFiles(disk: SimulatedDisk): string[] {
  return disk.files().filter((path) => path.startsWith(`${ROOT}/reserve/`));
}

function temps(disk: SimulatedDisk): string[] {
  return disk.files().filter((path) => path.endsWith(".tmp"));
}

async function fullLedger(seed = 1, now: () => number = () => 0) {
  const disk = newDisk(seed);
  disk.freeBytes = 1_000_000;
  const writer = await ServiceWriter.start(disk.host("a"), { reserveBytes: RESERVE, now });
  await writer.grow(3);
  disk.freeBytes = 100;
  return { disk, writer };
}

describe("the reserve", () => {
  test("is there in pieces, of real bytes, and bounded for a job of any size", async () => {
    const { disk, writer } = await fullLedger();
    const sizes: number[] = [];
    for (const path of reserveFiles(disk)) {
      sizes.push((await disk.host("x").status(path))!.bytes);
      expect(path).toContain(`/reserve/${writer.incarnation}-`);
    }
    expect(sizes).toEqual(PIECES);
    for (const ranks of [1, 20, 64, 500, 1024]) {
      expect(reserveBytesFor(ranks)).toBeGreaterThanOrEqual(256 << 10);
      expect(reserveBytesFor(ranks) * ranks).toBeLessThanOrEqual(256 << 20);
    }
  });

  test("rounds wait, membership records get through, the smallest piece first", async () => {
    const { disk, writer } = await fullLedger();
    expect(await codeOf(writer.append("QUORUM"))).toBe("STORAGE_FULL");
    expect(await codeOf(writer.append("STORAGE"))).toBe("STORAGE_FULL");
    expect(reserveFiles(disk).length).toBe(3);
    expect(temps(disk)).toEqual([]);
    expect((await writer.append("NOOP")).won).toBe(true);
    expect(reserveFiles(disk).map((path) => path.slice(-2))).toEqual(["-1", "-2"]);
    disk.freeBytes = 0;
    expect((await writer.append("INTENT")).won).toBe(true);
    disk.freeBytes = 0;
    // Too large for what the next piece gives: it takes as many as it needs.
    expect((await writer.append("SEAL", 12_000)).won).toBe(true);
    expect(reserveFiles(disk)).toEqual([]);
    disk.freeBytes = 0;
    expect(await codeOf(writer.append("SEAL"))).toBe("STORAGE_FULL");
    expect(temps(disk)).toEqual([]);
    expect((await writer.service.counters()).reserveUses).toBe(3);
    disk.losePower();
    disk.freeBytes = 1000;
    const next = await ServiceWriter.start(disk.host("b"), { reserveBytes: 0 });
    expect(next.slot).toBe(5);
  });

  test("what a clean stop drains may use it, too", async () => {
    const { writer } = await fullLedger();
    const draft = { ...writer.draft("QUORUM", new Uint8Array(500)), urgent: true };
    expect((await writer.service.append(draft)).won).toBe(true);
  });

  test("is made again when there is much room, and not before", async () => {
    let nowMs = 0;
    const { disk, writer } = await fullLedger(1, () => nowMs);
    await writer.append("NOOP");
    disk.freeBytes = 2 * RESERVE;
    nowMs = 100_000;
    await writer.append();
    await turn();
    expect(reserveFiles(disk).length).toBe(2);
    disk.freeBytes = 1_000_000;
    nowMs = 110_000;
    await writer.append();
    await turn();
    expect(reserveFiles(disk).length).toBe(2); // it looks once a minute
    nowMs = 200_000;
    await writer.append();
    await turn();
    expect(reserveFiles(disk).length).toBe(3);
  });

  test("a newcomer on a full disk takes what the dead held, and comes to link its INTENT", async () => {
    const { disk } = await fullLedger();
    disk.host("a").kill();
    disk.freeBytes = 0;
    const newcomer = await ServiceWriter.start(disk.host("b"), { reserveBytes: RESERVE });
    disk.freeBytes = 0;
    expect((await newcomer.append("INTENT")).won).toBe(true);
    expect(newcomer.slot).toBe(3);
  });

  test("of dead processes is removed after a SEAL, of the living it stays", async () => {
    const { disk, writer } = await fullLedger();
    disk.freeBytes = 1_000_000;
    const dead = await ServiceWriter.start(disk.host("b"), { reserveBytes: RESERVE });
    disk.host("b").kill();
    expect(reserveFiles(disk).length).toBe(6);
    const hour = 3_600_000;
    expect(await writer.service.clean([writer.incarnation], hour - 1)).toBe(0);
    expect(await writer.service.clean([], hour + 1)).toBe(3);
    expect(reserveFiles(disk).some((path) => path.includes(dead.incarnation))).toBe(false);
    await writer.service.close();
    expect(reserveFiles(disk)).toEqual([]);
  });

  test("goes with a process that becomes somebody new", async () => {
    const { disk, writer } = await fullLedger();
    const incarnation = new Uint8Array(8).fill(0xcd);
    const { privateKey } = (await import("../../../src/ledger/keys.ts")).generateSigningKey();
    const memberKey = new Uint8Array(privateKey.export({ format: "der", type: "pkcs8" }));
    await writer.service.writeAs({ rank: 1, incarnation, memberKey });
    expect(reserveFiles(disk).map((path) => path.slice(-18))).toEqual(
      [0, 1, 2].map((piece) => `${"cd".repeat(8)}-${piece}`),
    );
    expect((await writer.append("NOOP")).won).toBe(true);
  });

  test("cannot be made on a full disk: the ledger opens all the same", async () => {
    const { disk } = await fullLedger();
    disk.freeBytes = 2000;
    const other = await ServiceWriter.start(disk.host("c"), { reserveBytes: RESERVE });
    expect(reserveFiles(disk).filter((path) => path.includes(other.incarnation)).length).toBe(1);
  });

  test("power fails at each step of its use: one chain, and nothing half", async () => {
    const quiet = await fullLedger();
    const before = quiet.disk.steps;
    await quiet.writer.append("SEAL", 2500);
    const steps = quiet.disk.steps - before;
    expect(steps).toBeGreaterThan(10);
    for (let at = 0; at < steps; at++) {
      for (const happens of [false, true]) {
        const { disk, writer } = await fullLedger(at);
        const first = disk.steps;
        disk.fault = ({ number }) =>
          number === first + at ? { crash: "power", happens } : undefined;
        const lost = disk.powerLost();
        const result = await Promise.race([writer.append("SEAL", 2500), lost]);
        disk.fault = undefined;
        const next = await ServiceWriter.start(disk.host("b"), { reserveBytes: 0 });
        expect([2, 3]).toContain(next.slot);
        if (result !== undefined) expect(next.slot).toBe(3);
        expect(next.hashes.slice(0, 3)).toEqual(writer.hashes.slice(0, 3));
      }
    }
  });
});

/** What runs after an answer has run. */
async function turn(): Promise<void> {
  for (let i = 0; i < 200; i++) await undefined;
}

test("while it is full: unavailable for writing, and says so; then as before", async () => {
  let nowMs = 1000;
  const { disk, writer } = await fullLedger(1, () => nowMs);
  expect((await writer.service.health()).available).toBe(true);
  await codeOf(writer.append());
  nowMs = 5000;
  // That it can be read changes nothing.
  expect(await writer.service.child(writer.slot + 1, writer.hash)).toBeUndefined();
  const health = await writer.service.health();
  expect(health).toMatchObject({ available: false, sinceMs: 4000 });
  expect(health.lastError?.code).toBe("STORAGE_FULL");
  disk.freeBytes = 1_000_000;
  await writer.append();
  expect(await writer.service.health()).toMatchObject({ available: true, sinceMs: 0 });
});

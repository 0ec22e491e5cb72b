/** What writers leave behind: torn temporary files, evidence and dead letters. */
import { describe, expect, test } from "bun:test";
import { toHex } from "../../../src/base/bytes.ts";
import { sha256 } from "../../../src/base/sha256.ts";
import { HashNamedFiles } from "../../../src/storage/hash-named-files.ts";
import {
  type DiskFault,
  type DiskStep,
  SimulatedDisk,
} from "../../../src/storage/simulated-disk.ts";
import { ServiceWriter } from "../../support/service-ledger.ts";
import { codeOf, newDisk, newLedgerDisk, openLog, ROOT } from "../../support/simulated-ledger.ts";

const HOUR_MS = 3_600_000;

function temps(disk: SimulatedDisk): string[] {
  return disk.files().filter((path) => path.endsWith(".tmp"));
}

describe("a torn temporary file", () => {
  /** Power goes while the bytes are written or synced. */
  async function torn(seed: number, step: DiskStep["step"]) {
    const disk = newDisk(seed);
    const writer = await ServiceWriter.start(disk.host("a"));
    await writer.grow(2);
    // The name of the temp reaches the disk, its bytes perhaps not: the worst that can be left.
    disk.fault = ({ step: at, path }): DiskFault | undefined => {
      if (at !== step || !path.includes("/log/")) return undefined;
      const { directory } = disk.place(path);
      disk.syncNames(directory, "a");
      return { crash: "power", happens: true };
    };
    await Promise.race([writer.append("QUORUM", 500), disk.powerLost()]);
    disk.fault = undefined;
    return { disk, writer };
  }

  test("is never a record, and goes once its writer is known to be dead", async () => {
    let litter = 0;
    for (let seed = 0; seed < 12; seed++) {
      const { disk, writer } = await torn(seed, seed % 2 ? "write" : "create");
      litter += temps(disk).length;
      const next = await ServiceWriter.start(disk.host("b"));
      expect(next.slot).toBe(1);
      await next.append("SEAL");
      const { length } = temps(disk);
      expect(await next.service.clean([next.incarnation, writer.incarnation], 2 * HOUR_MS)).toBe(0);
      expect(await next.service.clean([next.incarnation], 2 * HOUR_MS)).toBe(length);
      expect(temps(disk)).toEqual([]);
      expect((await ServiceWriter.start(disk.host("c"))).hashes).toEqual(next.hashes);
    }
    expect(litter).toBeGreaterThan(8);
  });

  test("of a process that died before the SEAL goes at once, of one that came later it stays", async () => {
    let nowMs = 0;
    const disk = new SimulatedDisk({
      random: () => 0.3,
      clock: { now: () => nowMs, schedule: (_, action) => action() },
    });
    const writer = await ServiceWriter.start(disk.host("a"));
    const host = disk.host("x");
    const before = `${ROOT}/log/000000/.00000000000000d1-1.tmp`;
    const after = `${ROOT}/log/000000/.00000000000000d2-1.tmp`;
    await writer.append();
    await host.writeExclusive(before, [new Uint8Array(1)]);
    nowMs = 1000;
    const prevHash = writer.hash;
    await writer.append("SEAL");
    nowMs = 2000;
    await host.writeExclusive(after, [new Uint8Array(1)]);
    const seal = { slot: 1, prevHash };
    expect(await writer.service.clean([], nowMs)).toBe(0);
    expect(await writer.service.clean([], nowMs, seal)).toBe(1);
    expect(temps(disk)).toEqual([after]);
  });

  test("that was taken from a writer who lives costs it a retry and nothing else", async () => {
    const disk = newDisk(1);
    const writer = await ServiceWriter.start(disk.host("a"));
    await writer.grow(2);
    const other = await ServiceWriter.start(disk.host("b"));
    let cleaned = 0;
    let left = 1;
    disk.fault = ({ host, step }) => {
      if (host !== "a" || step !== "link" || left-- <= 0) return undefined;
      // Between the write and the link, as a cleaner elsewhere would do it.
      const temp = temps(disk)[0];
      const { directory, name } = disk.place(temp);
      disk.change([{ directory, name, node: undefined }], "b");
      cleaned++;
      return undefined;
    };
    expect((await writer.append()).won).toBe(true);
    expect(cleaned).toBe(1);
    await other.follow();
    expect(other.hashes).toEqual(writer.hashes);
  });

  test("in any directory of the ledger is found", async () => {
    const disk = newDisk(1);
    const { service } = await ServiceWriter.start(disk.host("a"));
    const host = disk.host("x");
    await host.makeDirectory(`${ROOT}/reserve`);
    const places = ["", "/segments", "/checkpoints", "/evidence", "/quarantine", "/reserve"];
    for (const place of places) {
      await host.writeExclusive(`${ROOT}${place}/.00000000000000ee-7.tmp`, [new Uint8Array(1)]);
    }
    expect(await service.clean([], 2 * HOUR_MS)).toBe(places.length);
    expect(temps(disk)).toEqual([]);
  });
});

describe("evidence and dead letters", () => {
  const proof = new TextEncoder().encode("two votes of one rank");
  const name = `double-vote.${toHex(sha256(proof))}`;

  test("are one file, whoever keeps them, and outlive the power", async () => {
    const disk = newDisk(2);
    const writers = [
      await ServiceWriter.start(disk.host("a")),
      await ServiceWriter.start(disk.host("b")),
    ];
    const paths = await Promise.all(
      writers.map(({ service }) => service.storeEvidence("double-vote", proof)),
    );
    expect(paths).toEqual([`${ROOT}/evidence/${name}`, `${ROOT}/evidence/${name}`]);
    const letter = await writers[0].service.quarantine("bad-puzzle", proof);
    expect(letter.startsWith(`${ROOT}/quarantine/bad-puzzle.`)).toBe(true);
    disk.losePower();
    expect(await disk.host("c").readFile(paths[0])).toEqual(proof);
    expect(await disk.host("c").readFile(letter)).toEqual(proof);
  });

  test("with a name that holds other bytes are damage, not overwritten", async () => {
    const disk = newDisk(2);
    const { service } = await ServiceWriter.start(disk.host("a"));
    const path = await service.storeEvidence("double-vote", proof);
    disk.flipBit(path, 3, 3);
    expect(await codeOf(service.storeEvidence("double-vote", proof))).toBe("STORAGE_DAMAGED");
    disk.flipBit(path, 3, 3);
    expect(await disk.host("x").readFile(path)).toEqual(proof);
  });

  test("do not fill the disk", async () => {
    const { context } = openLog((await newLedgerDisk(1)).host("a"));
    const letters = new HashNamedFiles(context, context.paths.quarantine, {
      filesMax: 3,
      bytesMax: 100,
    });
    await letters.keep("large", new Uint8Array(60));
    expect(await codeOf(letters.keep("larger", new Uint8Array(61)))).toBe("STORAGE_KEPT_ENOUGH");
    await letters.keep("small", new Uint8Array(1));
    await letters.keep("small", new Uint8Array(2));
    expect(await codeOf(letters.keep("small", new Uint8Array(3)))).toBe("STORAGE_KEPT_ENOUGH");
    await expect(letters.keep("../genesis", proof)).rejects.toThrow("plain name");
  });
});

/** Bit rot met by a running rank: repaired from its memory or a peer's; versions from the future. */
import { describe, expect, test } from "bun:test";
import { writeU16, writeU32 } from "../../../src/base/bytes.ts";
import { kernels } from "../../../src/base/kernels.ts";
import { recordHash } from "../../../src/ledger/record.ts";
import { damagedRecordOf } from "../../../src/rank/repairing.ts";
import { reactionTo } from "../../../src/storage/storage-errors.ts";
import { ServiceWriter } from "../../support/service-ledger.ts";
import { newDisk } from "../../support/simulated-ledger.ts";

describe("a running rank", () => {
  test("puts its own damaged head right, from memory, and serves peers with the bytes", async () => {
    const disk = newDisk(1);
    const writer = await ServiceWriter.start(disk.host("a"));
    await writer.grow(6);
    const reader = await ServiceWriter.start(disk.host("b"));
    const { slot, hash } = writer;
    disk.flipBit(writer.path(slot), 260, 1);
    // The author notices when it looks through its records.
    expect(await writer.service.scrub(0, 100)).toMatchObject({ repaired: 1, damaged: [] });
    expect(writer.notices.map(({ code }) => code)).toEqual(["STORAGE_REPAIRED"]);
    // A peer that has only the file is told by who has the bytes.
    disk.flipBit(writer.path(slot), 261, 1);
    const { damaged } = await reader.service.scrub(0, 100);
    expect(damaged).toMatchObject([{ slot }]);
    expect(await reader.service.recordBytes(slot, hash)).toBeUndefined();
    const bytes = (await writer.service.recordBytes(slot, hash))!;
    const place = { slot, prevHash: writer.hashes[slot - 1], hash };
    expect(await reader.service.repair(place, bytes.slice(1))).toBe(false);
    expect(await reader.service.repair(place, bytes)).toBe(true);
    expect((await ServiceWriter.start(disk.host("c"))).hashes).toEqual(writer.hashes);
  });

  test("a new record that is damaged where it lies is not followed, and repaired by a peer's word", async () => {
    const disk = newDisk(1);
    const writer = await ServiceWriter.start(disk.host("a"));
    await writer.grow(3);
    const reader = await ServiceWriter.start(disk.host("b"));
    await writer.append();
    disk.flipBit(writer.path(3), 200, 4);
    const read = () => reader.service.child(3, reader.hash);
    await expect(read()).rejects.toMatchObject({ code: "STORAGE_DAMAGED", data: { slot: 3 } });
    const bytes = (await writer.service.recordBytes(3, writer.hash))!;
    const place = { slot: 3, prevHash: reader.hash, hash: writer.hash };
    expect(await reader.service.repair(place, bytes)).toBe(true);
    await reader.follow();
    expect(reader.hashes).toEqual(writer.hashes);
    expect((await reader.append()).won).toBe(true);
  });

  test("a damaged head that nobody here knows can be asked for once its child names it", async () => {
    const disk = newDisk(1);
    const writer = await ServiceWriter.start(disk.host("a"));
    await writer.grow(3);
    const reader = await ServiceWriter.start(disk.host("b"));
    await writer.append();
    const { hash } = writer;
    disk.flipBit(writer.path(3), 200, 4);
    const damage = () => reader.service.child(3, reader.hash).catch(damagedRecordOf);
    // More often than anything is repaired: what cannot be tried is no attempt.
    for (let i = 0; i < 10; i++) expect(await damage()).toBeUndefined();
    await writer.append();
    const place = { slot: 3, prevHash: reader.hash, hash };
    expect(await damage()).toEqual(place);
    const bytes = (await writer.service.recordBytes(3, hash))!;
    expect(await reader.service.repair(place, bytes)).toBe(true);
    await reader.follow();
    expect(reader.hashes).toEqual(writer.hashes);
  });

  test("answers what is intact on its own host, and nothing else", async () => {
    const disk = newDisk(1);
    const writer = await ServiceWriter.start(disk.host("a"));
    await writer.grow(3);
    const reader = await ServiceWriter.start(disk.host("b"));
    const found = await reader.service.recordBytes(2, writer.hash);
    expect(recordHash(found!)).toEqual(writer.hash);
    expect(await reader.service.recordBytes(2, writer.hashes[1])).toBeUndefined();
    expect(await reader.service.recordBytes(7, writer.hash)).toBeUndefined();
  });

  test("a record version from the future stops it: it is never a NOOP", async () => {
    const disk = newDisk(1);
    const writer = await ServiceWriter.start(disk.host("a"));
    await writer.grow(3);
    const reader = await ServiceWriter.start(disk.host("b"));
    await writer.append();
    const path = writer.path(3);
    const bytes = await disk.host("x").readFile(path);
    writeU16(bytes, 8, 99);
    writeU32(bytes, 20, 0);
    writeU32(bytes, 20, kernels.crc32c(bytes, 0, 256, 0));
    await disk.host("x").unlink(path);
    await disk.host("x").writeExclusive(path, [bytes]);
    const stops = async (action: Promise<unknown>) => {
      const error = await action.catch((thrown: unknown) => thrown);
      expect((error as { code: string }).code).toBe("RECORD_VERSION");
      expect(reactionTo(error)).toBe("stop");
    };
    await stops(reader.service.child(3, reader.hash));
    await stops(reader.append());
    await stops(ServiceWriter.start(disk.host("c")));
    expect(disk.files()).toContain(path);
  });
});

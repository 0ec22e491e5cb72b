/** The writer worker on a real directory: what it repairs, what it says, and a directory that goes away. */
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BlockQueue } from "../../src/queue/block-queue.ts";
import { WriterThread } from "../../src/rank/writer-thread.ts";
import type { StorageNotice } from "../../src/storage/healer.ts";
import { GENESIS, MEMBER_KEY } from "../support/service-ledger.ts";
import { codeOf } from "../support/simulated-ledger.ts";

const place = mkdtempSync(join(tmpdir(), "baash-writer-"));
afterAll(() => rmSync(place, { recursive: true, force: true }));

const ZERO = new Uint8Array(32);
const INCARNATION = "00000000000000ab";

async function start(name: string, incarnation = INCARNATION) {
  const directory = join(place, name);
  const notices: StorageNotice[] = [];
  const heard = Promise.withResolvers<void>();
  const queue = BlockQueue.create({ slots: 16, arenaBytes: 64 << 10 });
  const thread = new WriterThread(
    queue,
    (error) => {
      throw error;
    },
    (notice) => {
      notices.push(notice);
      heard.resolve();
    },
  );
  const reserveBytes = 64 << 10;
  await thread.open({ directory, incarnation, genesis: GENESIS, force: true, reserveBytes });
  await thread.recover(
    () => false,
    () => {},
  );
  const bytes = Uint8Array.from(Buffer.from(incarnation, "hex"));
  const keys = { memberKey: MEMBER_KEY, ledgerKey: MEMBER_KEY };
  await thread.writeAs({ rank: 0, incarnation: bytes, ...keys });
  return { directory, thread, notices, heard: heard.promise };
}

async function append(thread: WriterThread, slot: number, prevHash: Uint8Array) {
  const rounds = { firstRound: 1, lastRound: 0, heightBefore: 0, rounds: [] };
  const place = { slot, prevHash, epoch: ZERO, creationTime: 1 };
  const payload = new TextEncoder().encode(`record ${slot}`);
  const result = await thread.append({ kind: "QUORUM", ...place, ...rounds, payload });
  if (!result.won) throw new Error(`slot ${slot} was lost`);
  return result.hash;
}

/** Flips one bit of the record of a slot, in place, as rot does. */
function damage(directory: string, slot: number): string {
  const tail = join(directory, "log", "000000");
  const name = readdirSync(tail).find((each) => each.startsWith(String(slot).padStart(10, "0")))!;
  const bytes = readFileSync(join(tail, name));
  bytes[260] ^= 4;
  writeFileSync(join(tail, name), bytes);
  return join(tail, name);
}

test("a damaged record is put back from memory, and told across the thread", async () => {
  const { directory, thread, notices, heard } = await start("rot");
  let hash: Uint8Array = ZERO;
  for (let slot = 0; slot < 4; slot++) hash = await append(thread, slot, hash);
  const path = damage(directory, 3);
  expect(await thread.scrub(0, 10)).toEqual({ nextSlot: 0, checked: 4, repaired: 1, damaged: [] });
  await heard;
  expect(notices.map(({ code, data }) => [code, data.path])).toEqual([["STORAGE_REPAIRED", path]]);
  expect(readdirSync(join(directory, "quarantine")).length).toBe(1);

  damage(directory, 3);
  const peer = await start("rot", "00000000000000ac").catch((error: unknown) => error);
  expect(peer).toMatchObject({ code: "STORAGE_DAMAGED", exitCode: 74, data: { slot: 3, path } });
  expect((await thread.recordBytes(3, hash))?.length).toBeGreaterThan(256);
  expect((await thread.recordBytes(3, ZERO)) === undefined).toBe(true);
  expect((await thread.scrub(0, 10)).repaired).toBe(1);
  const evidence = await thread.storeEvidence("double-vote", ZERO);
  expect(readFileSync(evidence).length).toBe(32);
  await thread.close();
  expect(readdirSync(join(directory, "reserve"))).toEqual([]);
});

test("a directory that is moved away and comes back: nothing is made in its place", async () => {
  const { directory, thread } = await start("moved");
  let hash = await append(thread, 0, ZERO);
  hash = await append(thread, 1, hash);
  expect(await thread.health()).toMatchObject({ available: true });
  renameSync(directory, `${directory}.away`);
  expect(await codeOf(append(thread, 2, hash))).toBe("STORAGE_GONE");
  expect(await codeOf(thread.child(2, hash))).toBe("STORAGE_GONE");
  const { available, lastError } = await thread.health();
  expect({ available, code: lastError?.code }).toEqual({ available: false, code: "STORAGE_GONE" });
  expect(readdirSync(place)).not.toContain("moved");
  renameSync(`${directory}.away`, directory);
  hash = await append(thread, 2, hash);
  expect(await thread.child(3, hash)).toBeUndefined();
  expect(await thread.health()).toMatchObject({ available: true });
  await thread.close();
});

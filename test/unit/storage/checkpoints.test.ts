/** Checkpoints and recovery from them, on the simulated disk with a real Ed25519 key. */
import { expect, test } from "bun:test";
import { generateKeyPairSync, type KeyObject, sign, verify } from "node:crypto";
import { sha256 } from "../../../src/base/sha256.ts";
import type { HeadKey } from "../../../src/storage/checkpoint-head.ts";
import { Checkpoints, type NewCheckpoint } from "../../../src/storage/checkpoints.ts";
import { cleanTemps } from "../../../src/storage/cleaning.ts";
import { recover } from "../../../src/storage/recovery.ts";
import type { SimulatedDisk } from "../../../src/storage/simulated-disk.ts";
import {
  codeOf,
  grow,
  newIncarnation,
  newLedgerDisk,
  openLog,
  ROOT,
} from "../../support/simulated-ledger.ts";
import { toyRecord, ZERO_HASH } from "../../support/toy-record.ts";

function newKey(): HeadKey & { privateKey: KeyObject } {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const raw = publicKey.export({ format: "der", type: "spki" }).subarray(-32);
  return {
    privateKey,
    chainId: new Uint8Array(16).fill(7),
    publicKey: new Uint8Array(raw),
    sign: (text) => new Uint8Array(sign(null, text, privateKey)),
    verify: (text, signature) => verify(null, text, publicKey, signature),
  };
}

const KEY = newKey();

/** Hash of the record of `slot` in the chain that `grow` makes. */
function hashAt(slot: number): Uint8Array {
  let hash: Uint8Array = ZERO_HASH;
  for (let i = 0; i <= slot; i++) hash = toyRecord(i, hash, `record ${i}`).hash;
  return hash;
}

function checkpointAt(slot: number): NewCheckpoint {
  return {
    slot,
    size: slot * 3,
    root: sha256(Uint8Array.of(slot)),
    recordHash: hashAt(slot),
    stateRoot: sha256(Uint8Array.of(slot, 1)),
    payload: [new TextEncoder().encode("state "), new TextEncoder().encode(`at ${slot}`)],
  };
}

function open(disk: SimulatedDisk, host: string, key: HeadKey = KEY) {
  const log = openLog(disk.host(host));
  return { log, checkpoints: new Checkpoints(log.context, key) };
}

async function ledgerWithCheckpoints(slots: readonly number[], seed = 1) {
  const disk = await newLedgerDisk(seed);
  const { log, checkpoints } = open(disk, "a");
  await grow(log, 9);
  for (const slot of slots) await checkpoints.write(checkpointAt(slot));
  return { disk, log, checkpoints };
}

async function recoverFrom(disk: SimulatedDisk, key: HeadKey = KEY) {
  const { log, checkpoints } = open(disk, "r", key);
  let state = "none";
  const slots: number[] = [];
  const recovered = await recover({
    log,
    checkpoints,
    onSnapshot: (_, payload) => {
      state = new TextDecoder().decode(payload);
      return true;
    },
    onRecord: (_, slot) => {
      slots.push(slot);
    },
  });
  return { recovered, state, slots };
}

test("recovery starts after the newest checkpoint", async () => {
  const { disk } = await ledgerWithCheckpoints([2, 5]);
  const { recovered, state, slots } = await recoverFrom(disk);
  expect(state).toBe("state at 5");
  expect(slots).toEqual([6, 7, 8]);
  expect(recovered).toMatchObject({ slot: 8, fromSlot: 5, records: 3, warnings: [] });
  expect(recovered.hash).toEqual(hashAt(8));
});

test("the newest two are kept; writing one twice is no conflict", async () => {
  const { disk, checkpoints } = await ledgerWithCheckpoints([1, 3, 5, 7]);
  const names = disk.files().filter((path) => path.includes("/checkpoints/"));
  expect(names.map((path) => path.slice(path.lastIndexOf("/") + 1))).toEqual([
    "0000000005.head",
    "0000000005.state",
    "0000000007.head",
    "0000000007.state",
  ]);
  expect((await checkpoints.write(checkpointAt(7))).outcome).toBe("written");
  const other = { ...checkpointAt(7), payload: [new Uint8Array(3)] };
  expect(await codeOf(checkpoints.write(other))).toBe("STORAGE_CHECKPOINT_CONFLICT");
});

test("any flipped bit of a head or state is noticed, and the one before is used", async () => {
  for (const kind of ["head", "state"]) {
    const path = `${ROOT}/checkpoints/0000000005.${kind}`;
    const { disk } = await ledgerWithCheckpoints([2, 5]);
    const length = (await disk.host("x").readFile(path)).length;
    for (let byte = 0; byte < length; byte += kind === "head" ? 7 : 1) {
      disk.flipBit(path, byte, byte % 8);
      const { recovered, state } = await recoverFrom(disk);
      expect(state).toBe("state at 2");
      expect(recovered.warnings.length).toBe(1);
      expect(recovered.slot).toBe(8);
      disk.flipBit(path, byte, byte % 8);
    }
  }
});

test("a head of another key or another ledger is not believed", async () => {
  const { disk } = await ledgerWithCheckpoints([2, 5]);
  const stranger = await recoverFrom(disk, newKey());
  expect(stranger.recovered).toMatchObject({ fromSlot: -1, slot: 8 });
  expect(stranger.recovered.warnings.length).toBe(2);
  const elsewhere = await recoverFrom(disk, { ...KEY, chainId: new Uint8Array(16) });
  expect(elsewhere.recovered.fromSlot).toBe(-1);
});

test("a log shorter than a signed head stops the rank", async () => {
  const { disk } = await ledgerWithCheckpoints([7]);
  const records = disk.files().filter((path) => path.includes("/log/000001/"));
  for (const path of records.slice(2)) await disk.host("x").unlink(path);
  expect(await codeOf(recoverFrom(disk))).toBe("STORAGE_ROLLED_BACK");
});

test("a record missing in the middle stops the rank; at the end it cannot be known", async () => {
  const { disk } = await ledgerWithCheckpoints([]);
  const records = disk.files().filter((path) => path.includes("/log/"));
  await disk.host("x").unlink(records[8]);
  expect((await recoverFrom(disk)).recovered.slot).toBe(7);
  await disk.host("x").unlink(records[4]);
  expect(await codeOf(recoverFrom(disk))).toBe("STORAGE_ROLLED_BACK");
});

test("a damaged record stops the rank with file and byte, and is not touched", async () => {
  const { disk } = await ledgerWithCheckpoints([]);
  const path = disk.files().filter((name) => name.includes("/log/"))[8];
  disk.flipBit(path, 44, 0);
  const files = disk.files();
  await expect(recoverFrom(disk)).rejects.toMatchObject({
    code: "STORAGE_DAMAGED",
    data: { path, byte: 40, slot: 8 },
  });
  expect(disk.files()).toEqual(files);
});

test("crashed at every step of writing one: the older or the new one is there, whole", async () => {
  const quiet = await ledgerWithCheckpoints([2, 4]);
  const before = quiet.disk.steps;
  await quiet.checkpoints.write(checkpointAt(6));
  const steps = quiet.disk.steps - before;
  for (let at = 0; at < steps; at++) {
    for (let seed = 0; seed < 3; seed++) {
      const { disk, checkpoints } = await ledgerWithCheckpoints([2, 4], 50 * at + seed);
      const first = disk.steps;
      disk.fault = ({ number }) =>
        number === first + at ? { crash: "power", happens: seed === 0 } : undefined;
      await Promise.race([checkpoints.write(checkpointAt(6)), disk.powerLost()]);
      disk.fault = undefined;
      const files = disk.files();
      for (const path of files.filter((name) => name.endsWith(".head"))) {
        expect(files).toContain(path.replace(/head$/, "state"));
      }
      const { recovered, state } = await recoverFrom(disk);
      expect(["state at 4", "state at 6"]).toContain(state);
      expect(recovered.slot).toBe(8);
      expect(recovered.warnings).toEqual([]);
    }
  }
});

test("stale temps go; those of the living, and young ones, stay", async () => {
  const { disk, log } = await ledgerWithCheckpoints([]);
  const living = newIncarnation();
  const dead = newIncarnation();
  const host = disk.host("x");
  for (const incarnation of [living, dead]) {
    await host.writeExclusive(`${ROOT}/log/000002/.${incarnation}-1.tmp`, [new Uint8Array(1)]);
    await host.writeExclusive(`${ROOT}/segments/.${incarnation}-2.tmp`, [new Uint8Array(1)]);
  }
  const alive = new Set([living]);
  expect(await cleanTemps(log.context, { alive, nowMs: 3_599_999 })).toEqual([]);
  const removed = await cleanTemps(log.context, { alive, nowMs: 3_600_001 });
  expect(removed.sort()).toEqual([
    `${ROOT}/log/000002/.${dead}-1.tmp`,
    `${ROOT}/segments/.${dead}-2.tmp`,
  ]);
});

/** Ledgers on a simulated disk, for the storage tests. */

import { toHex } from "../../src/base/bytes.ts";
import { BaashError } from "../../src/base/errors.ts";
import { Random } from "../../src/base/random.ts";
import { sha256 } from "../../src/base/sha256.ts";
import type { FileOps } from "../../src/storage/file-ops.ts";
import { createLedger } from "../../src/storage/ledger-directory.ts";
import { Publisher } from "../../src/storage/publisher.ts";
import { type Recovered, recover } from "../../src/storage/recovery.ts";
import { SharedLog } from "../../src/storage/shared-log.ts";
import { SimulatedDisk } from "../../src/storage/simulated-disk.ts";
import { storageContext } from "../../src/storage/storage-context.ts";
import { judgeToy, payloadOf, toyRecord, ZERO_HASH } from "./toy-record.ts";

export const ROOT = "/ledger";
export const SEGMENT_RECORDS = 4;
let incarnations = 0;

export function newIncarnation(): string {
  return (++incarnations).toString(16).padStart(16, "0");
}

export function genesisFile(fields: Record<string, unknown> = {}): Uint8Array {
  const json = `${JSON.stringify({ format: "baash-ledger", version: 1, ...fields }, null, 2)}\n`;
  const digest = toHex(sha256(new TextEncoder().encode(json)));
  return new TextEncoder().encode(`${json}sha256 ${digest}\ned25519 00\n`);
}

export function newDisk(seed: number): SimulatedDisk {
  const random = new Random(seed);
  return new SimulatedDisk({ random: () => random.nextFloat() });
}

/** A disk with an empty ledger on it. */
export async function newLedgerDisk(seed: number): Promise<SimulatedDisk> {
  const disk = newDisk(seed);
  await createLedger(new Publisher(disk.host("maker"), newIncarnation()), ROOT, genesisFile());
  return disk;
}

export function openLog(ops: FileOps, root = ROOT, segmentRecords = SEGMENT_RECORDS): SharedLog {
  const incarnation = newIncarnation();
  return new SharedLog(storageContext({ ops, root, incarnation, judge: judgeToy, segmentRecords }));
}

/** Appends records until the chain has `count`; returns the hash of the newest. */
export async function grow(log: SharedLog, count: number, from?: Recovered): Promise<Uint8Array> {
  let hash = from?.hash ?? ZERO_HASH;
  for (let slot = (from?.slot ?? -1) + 1; slot < count; slot++) {
    const record = toyRecord(slot, hash, `record ${slot}`);
    const result = await log.append(record);
    if (result.outcome !== "won") throw new Error(`slot ${slot}: ${result.outcome}`);
    hash = record.hash;
  }
  return hash;
}

/** Recovers and returns the payloads beside the outcome. */
export async function replay(
  log: SharedLog,
): Promise<{ recovered: Recovered; payloads: string[] }> {
  const payloads: string[] = [];
  const recovered = await recover({
    log,
    onRecord: (bytes) => {
      payloads.push(payloadOf(bytes));
    },
  });
  return { recovered, payloads };
}

/** The code of the BaashError that `action` must end with. */
export async function codeOf(action: Promise<unknown>): Promise<string> {
  try {
    await action;
  } catch (error) {
    if (error instanceof BaashError) return error.code;
    throw error;
  }
  return "no error";
}

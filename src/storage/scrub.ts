/**
 * Reads old records again, so that bit rot is found while there are still copies. Each is checked by
 * its own checksums, its segment's and its child's name; what can be repaired here is. Runs in the
 * writer worker and pauses after each record, so that an append goes first.
 *
 * It sees what the page cache shows: of records that nobody read or wrote lately that is the disk.
 */
import { equalBytes, fromHex } from "../base/bytes.ts";
import { type BaashError, errorCode } from "../base/errors.ts";
import { readDirectoryIfAny, readFileIfAny } from "./file-ops.ts";
import type { Healer } from "./healer.ts";
import { parseRecordName } from "./paths.ts";
import type { Place, SharedLog } from "./shared-log.ts";
import { judgeOrThrow } from "./storage-context.ts";
import { damagedError } from "./storage-errors.ts";

/** Damage that could not be repaired here: ask others for this record, then `repair`. */
export interface Damaged {
  readonly path: string;
  readonly byte: number;
  readonly reason: string;
  /** Undefined: not a record but the index of a segment. */
  readonly slot?: number;
  readonly prevHash?: Uint8Array;
  /** Undefined: nothing in the directory says which record it was. */
  readonly hash?: Uint8Array;
}

export interface Scrubbed {
  /** Where to go on; 0 when the head was reached. */
  readonly nextSlot: number;
  readonly checked: number;
  readonly repaired: number;
  readonly damaged: readonly Damaged[];
}

/** Checks `count` slots from `fromSlot` on, as far as they are final. */
export async function scrub(
  log: SharedLog,
  healer: Healer,
  range: { readonly fromSlot: number; readonly count: number },
): Promise<Scrubbed> {
  const end = Math.min(range.fromSlot + range.count, log.newestSynced + 1);
  const damaged: Damaged[] = [];
  let repaired = 0;
  let slot = range.fromSlot;
  let tail: Tail | undefined;
  while (slot < end) {
    try {
      const segment = log.segmentOf(slot);
      // The index as it is on disk, once for the slots of a segment that are asked for.
      if (tail?.segment !== segment) tail = await Tail.read(log, segment);
      await check(log, healer, tail, slot);
      slot++;
    } catch (error) {
      if (errorCode(error) !== "STORAGE_DAMAGED") throw error;
      tail = undefined;
      if (await healer.heal(error)) {
        repaired++;
        continue;
      }
      const found = await describe(healer, error as BaashError);
      damaged.push(found);
      // Without its index nothing of a segment can be read.
      slot = found.slot === undefined ? nextSegment(log, slot) : slot + 1;
    }
    await log.context.ops.pause();
  }
  const nextSlot = slot > log.newestSynced ? 0 : slot;
  return { nextSlot, checked: Math.max(0, end - range.fromSlot), repaired, damaged };
}

/** What is known of a segment before its records are read: folded, or the names of its tail. */
class Tail {
  readonly segment: number;
  readonly isFolded: boolean;
  private readonly parents = new Map<number, string[]>();

  private constructor(segment: number, isFolded: boolean) {
    this.segment = segment;
    this.isFolded = isFolded;
  }

  static async read(log: SharedLog, segment: number): Promise<Tail> {
    const { ops, paths, segments } = log.context;
    const tail = new Tail(segment, (await segments.reread(segment)) !== undefined);
    if (tail.isFolded) return tail;
    for (const name of await readDirectoryIfAny(ops, paths.tail(segment))) {
      const place = parseRecordName(name);
      if (place === undefined) continue;
      const others = tail.parents.get(place.slot) ?? [];
      tail.parents.set(place.slot, [...others, place.prevHash]);
    }
    return tail;
  }

  /** The parent of the record of `slot`, where the directory has one file of that slot. */
  onlyParent(slot: number): Uint8Array | undefined {
    const parents = this.parents.get(slot);
    return parents?.length === 1 ? fromHex(parents[0]) : undefined;
  }
}

async function check(log: SharedLog, healer: Healer, tail: Tail, slot: number): Promise<void> {
  const { ops, paths, segments } = log.context;
  if (tail.isFolded) {
    const index = await segments.open(tail.segment);
    if (index === undefined) return;
    const bytes = await segments.read(index, slot);
    const place = { slot, prevHash: index.prevHash(slot) };
    const within = { path: index.path, offset: index.offset(slot) };
    const hash = judgeOrThrow(log.context, place, bytes, within);
    if (equalBytes(hash, index.hash(slot))) return;
    throw damagedError(index.path, within.offset, "the index names another hash", place);
  }
  const prevHash = log.hashOf(slot - 1) ?? tail.onlyParent(slot);
  // Stray files beside the chain, and nothing says which is which: recovery would know.
  if (prevHash === undefined) return;
  const place: Place = { slot, prevHash };
  const path = paths.record(tail.segment, slot, prevHash);
  const bytes = await readFileIfAny(ops, path);
  // Folded away since the directory was read.
  if (bytes === undefined && (await segments.open(tail.segment)) !== undefined) return;
  if (bytes === undefined) throw damagedError(path, 0, "the file is missing", place);
  const hash = judgeOrThrow(log.context, place, bytes);
  const wanted = log.hashOf(slot) ?? tail.onlyParent(slot + 1) ?? (await healer.hashOf(slot));
  if (wanted === undefined || equalBytes(hash, wanted)) return;
  throw damagedError(path, 0, "it is not the record that its child names", {
    ...place,
    hash: wanted,
  });
}

async function describe(healer: Healer, { data }: BaashError): Promise<Damaged> {
  const { path, byte, reason, slot, prevHash, hash } = data;
  const where = { path: String(path), byte: Number(byte), reason: String(reason) };
  if (typeof slot !== "number") return where;
  const known = typeof hash === "string" ? fromHex(hash) : await healer.hashOf(slot);
  return {
    ...where,
    slot,
    ...(typeof prevHash === "string" && { prevHash: fromHex(prevHash) }),
    ...(known && { hash: known }),
  };
}

function nextSegment(log: SharedLog, slot: number): number {
  return (log.segmentOf(slot) + 1) * log.context.segmentRecords;
}

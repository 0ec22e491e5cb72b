/**
 * Repair of bit rot: puts the right bytes where damaged ones are. The only code that replaces a
 * published file, and it can only restore it: a record must have the hash that its child names as its
 * parent, that the index of its segment holds, or that the caller vouches for; a segment must come
 * out as the very file that folding made. The damaged file is kept in quarantine/. Writer worker.
 */
import { equalBytes, readU64 } from "../base/bytes.ts";
import { sha256 } from "../base/sha256.ts";
import { readFileIfAny } from "./file-ops.ts";
import {
  SEGMENT_ENTRY as ENTRY,
  SEGMENT_ENTRY_BYTES as ENTRY_BYTES,
  SEGMENT_HEADER_BYTES as HEADER_BYTES,
  SEGMENT_TRAILER_BYTES as TRAILER_BYTES,
} from "./format.ts";
import { recordName, tempName } from "./paths.ts";
import { SegmentBuilder, type SegmentIndex } from "./segments.ts";
import type { Place, SharedLog } from "./shared-log.ts";
import type { StorageContext } from "./storage-context.ts";

/** One piece of a copy; a segment may be larger than memory. */
const PIECE_BYTES = 8 * 1024 * 1024;

export interface KnownRecord extends Place {
  /** Vouched for by the child's name, by a segment's index, or by who executed the record. */
  readonly hash: Uint8Array;
}

export type Repaired =
  | { readonly outcome: "repaired"; readonly path: string; readonly kept: string | undefined }
  /** The record is there as it should be. */
  | { readonly outcome: "intact" }
  /** What was offered is not that record. */
  | { readonly outcome: "refused"; readonly reason: string };

/** Puts `bytes` where the record is damaged or missing. Errors of the file system pass. */
export async function repairRecord(
  log: SharedLog,
  record: KnownRecord,
  bytes: Uint8Array,
): Promise<Repaired> {
  const { context } = log;
  const judgement = context.judge(bytes, record);
  if (!judgement.intact) return refused(judgement.reason);
  if (!equalBytes(judgement.hash, record.hash)) return refused("it is another record");
  const segment = log.segmentOf(record.slot);
  const index = await context.segments.reread(segment);
  if (index === undefined) return await repairInTail(context, segment, record, bytes);
  if (!equalBytes(index.hash(record.slot), record.hash)) return refused("the segment has another");
  if (!equalBytes(index.sha256(record.slot), sha256(bytes))) return refused("it has other bytes");
  const { path } = index;
  const there = await context.ops.readRange(path, index.offset(record.slot), bytes.length);
  if (equalBytes(there, bytes)) return { outcome: "intact" };
  const content = () => patched(context, index, record.slot, bytes);
  const kept = await replace(context, { directory: context.paths.segments, path, content });
  context.segments.forget();
  return { outcome: "repaired", path, kept };
}

function refused(reason: string): Repaired {
  return { outcome: "refused", reason };
}

async function repairInTail(
  context: StorageContext,
  segment: number,
  record: KnownRecord,
  bytes: Uint8Array,
): Promise<Repaired> {
  const { ops, paths, publisher } = context;
  const directory = paths.tail(segment);
  const path = paths.record(segment, record.slot, record.prevHash);
  const there = await readFileIfAny(ops, path);
  if (there === undefined) {
    // Only its name can be filled by link; should somebody have it by now, that is looked at.
    const name = recordName(record.slot, record.prevHash);
    const published = await publisher.publish({ directory, name, content: [bytes] });
    if (published.outcome === "unknown") throw published.error;
    if (published.outcome === "won") return { outcome: "repaired", path, kept: undefined };
    return await repairInTail(context, segment, record, bytes);
  }
  if (equalBytes(there, bytes)) return { outcome: "intact" };
  const found = context.judge(there, record);
  if (found.intact) return refused("an intact record has the place");
  const kept = await replace(context, { directory, path, content: [bytes] });
  return { outcome: "repaired", path, kept };
}

/** Bytes of the record after `prevHash`, from wherever there may be a copy. */
export type CopyOf = (place: Place) => Promise<Uint8Array | undefined>;

/**
 * Makes a segment anew whose header, index or trailer is damaged, from its own records and, where one
 * of these is damaged too, from copies. Undefined: a record is nowhere to be had, or they do not lead
 * from `firstPrevHash` to `lastHash`, which leave no choice of what lies between.
 */
export async function rebuildSegment(
  log: SharedLog,
  segment: number,
  ends: { readonly firstPrevHash: Uint8Array; readonly lastHash: Uint8Array },
  copyOf: CopyOf,
): Promise<{ readonly path: string; readonly kept: string | undefined } | undefined> {
  const { context } = log;
  const path = context.paths.segment(segment);
  const status = await context.ops.status(path);
  if (status === undefined) return undefined;
  const own = await OwnPieces.of(context, segment, status.bytes);
  const first = segment * context.segmentRecords;
  let isWhole = false;
  /** Yields the file; ends early when a record is missing. */
  const content = async function* (): AsyncGenerator<Uint8Array> {
    const builder = new SegmentBuilder(segment, first);
    yield builder.header;
    let prevHash = ends.firstPrevHash;
    let offset = HEADER_BYTES;
    for (let slot = first; slot < first + context.segmentRecords; slot++) {
      const place = { slot, prevHash };
      const record = (await own.find(place, offset)) ?? (await judged(context, copyOf, place));
      if (record === undefined) return;
      builder.add({ prevHash, ...record });
      yield record.bytes;
      offset += record.bytes.length;
      prevHash = record.hash;
      await context.ops.pause();
    }
    yield* builder.finish();
    isWhole = equalBytes(prevHash, ends.lastHash);
  };
  const directory = context.paths.segments;
  const kept = await replace(context, { directory, path, content, isGood: () => isWhole });
  context.segments.forget();
  return isWhole ? { path, kept } : undefined;
}

interface Piece {
  readonly bytes: Uint8Array;
  readonly hash: Uint8Array;
}

async function judged(
  context: StorageContext,
  copyOf: CopyOf,
  place: Place,
): Promise<Piece | undefined> {
  const bytes = await copyOf(place);
  const judgement = bytes && context.judge(bytes, place);
  return judgement?.intact ? { bytes: bytes!, hash: judgement.hash } : undefined;
}

/** Records of a segment whose index may lie: each length is believed only if the record is intact. */
class OwnPieces {
  private readonly context: StorageContext;
  private readonly path: string;
  private readonly first: number;
  private readonly entries: Uint8Array;
  private readonly indexOffset: number;

  private constructor(context: StorageContext, segment: number, entries: Uint8Array, at: number) {
    this.context = context;
    this.path = context.paths.segment(segment);
    this.first = segment * context.segmentRecords;
    this.entries = entries;
    this.indexOffset = at;
  }

  static async of(context: StorageContext, segment: number, fileBytes: number): Promise<OwnPieces> {
    const bytes = context.segmentRecords * ENTRY_BYTES;
    const at = Math.max(HEADER_BYTES, fileBytes - TRAILER_BYTES - bytes);
    const entries = await context.ops.readRange(context.paths.segment(segment), at, bytes);
    return new OwnPieces(context, segment, entries, at);
  }

  async find(place: Place, offset: number): Promise<Piece | undefined> {
    for (const length of this.lengths(place.slot - this.first, offset)) {
      const bytes = await this.context.ops.readRange(this.path, offset, length);
      const judgement = this.context.judge(bytes, place);
      if (judgement.intact) return { bytes, hash: judgement.hash };
    }
    return undefined;
  }

  /** What the entry says, and what the next one's offset says. */
  private lengths(entry: number, offset: number): number[] {
    const field = (number: number, at: number) =>
      (number + 1) * ENTRY_BYTES <= this.entries.length
        ? readU64(this.entries, number * ENTRY_BYTES + at)
        : Number.NaN;
    const isLast = entry + 1 === this.context.segmentRecords;
    const next = isLast ? this.indexOffset : field(entry + 1, ENTRY.offset);
    const fits = (length: number) => length > 0 && offset + length <= this.indexOffset;
    return [...new Set([field(entry, ENTRY.length), next - offset])].filter(fits);
  }
}

async function* patched(
  context: StorageContext,
  index: SegmentIndex,
  slot: number,
  bytes: Uint8Array,
): AsyncGenerator<Uint8Array> {
  const start = index.offset(slot);
  const end = start + index.length(slot);
  for (let offset = 0; offset < start; offset += PIECE_BYTES) {
    const length = Math.min(PIECE_BYTES, start - offset);
    yield await context.ops.readRange(index.path, offset, length);
  }
  yield bytes;
  for (let offset = end; ; offset += PIECE_BYTES) {
    const piece = await context.ops.readRange(index.path, offset, PIECE_BYTES);
    if (piece.length === 0) return;
    yield piece;
  }
}

/** Answers where the damaged file is kept; undefined when nothing was replaced. */
async function replace(
  context: StorageContext,
  file: {
    directory: string;
    path: string;
    content: readonly Uint8Array[] | (() => AsyncIterable<Uint8Array>);
    /** Asked once the new file is written, before it takes the place. */
    isGood?: () => boolean;
  },
): Promise<string | undefined> {
  const { ops, paths, publisher } = context;
  const temp = `${file.directory}/${tempName(publisher.unique())}`;
  try {
    await ops.writeExclusive(temp, file.content);
    if (file.isGood?.() === false) {
      await ops.unlink(temp);
      return undefined;
    }
    const name = file.path.slice(file.path.lastIndexOf("/") + 1);
    const kept = paths.quarantined(name, publisher.unique());
    await ops.link(file.path, kept);
    await ops.syncDirectory(paths.quarantine);
    // Here replacing is the point: readers see the damaged file or the right one, never none.
    await ops.rename(temp, file.path);
    await ops.syncDirectory(file.directory);
    return kept;
  } catch (error) {
    await ops.unlink(temp).catch(() => {});
    throw error;
  }
}

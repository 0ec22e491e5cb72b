/**
 * Repair of bit rot: puts the right bytes of a record, from a peer or a copy, where damaged ones
 * are. The only code that replaces a published file, and it can only restore it: the bytes must
 * have the hash that the record's child names as its parent (or that the index of the segment
 * holds). The damaged file is kept in quarantine/. Runs in the writer worker.
 */
import { assert } from "../base/assert.ts";
import { concatBytes, equalBytes } from "../base/bytes.ts";
import { sha256 } from "../base/sha256.ts";
import { tempName } from "./paths.ts";
import type { SegmentIndex } from "./segments.ts";
import type { NewRecord, SharedLog } from "./shared-log.ts";
import { judgeOrThrow, type StorageContext } from "./storage-context.ts";

/** One piece of a copy; a segment may be larger than memory. */
const PIECE_BYTES = 8 * 1024 * 1024;

/**
 * `record.hash` is the child's prevHash: the caller vouches for it. Returns the path of the damaged
 * file in quarantine. Throws STORAGE_DAMAGED when the offered bytes are damaged themselves.
 */
export async function repairRecord(log: SharedLog, record: NewRecord): Promise<string> {
  const { context } = log;
  const bytes = concatBytes(record.parts);
  const hash = judgeOrThrow(context, record, bytes, { path: "the copy", offset: 0 });
  assert(equalBytes(hash, record.hash), "only the very record that its child names is put back");
  const segment = log.segmentOf(record.slot);
  const index = await context.segments.open(segment);
  if (index === undefined) {
    const path = context.paths.record(segment, record.slot, record.prevHash);
    const directory = context.paths.tail(segment);
    return await replace(context, { directory, path, content: [bytes] });
  }
  assert(equalBytes(index.hash(record.slot), hash), "the segment holds another chain");
  assert(equalBytes(index.sha256(record.slot), sha256(bytes)), "the copy has other bytes");
  return await replace(context, {
    directory: context.paths.segments,
    path: index.path,
    content: () => patched(context, index, record.slot, bytes),
  });
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

async function replace(
  context: StorageContext,
  file: {
    directory: string;
    path: string;
    content: readonly Uint8Array[] | (() => AsyncIterable<Uint8Array>);
  },
): Promise<string> {
  const { ops, paths, publisher } = context;
  const name = file.path.slice(file.path.lastIndexOf("/") + 1);
  const kept = paths.quarantined(name, publisher.unique());
  await ops.link(file.path, kept);
  await ops.syncDirectory(paths.quarantine);
  const temp = `${file.directory}/${tempName(publisher.unique())}`;
  await ops.writeExclusive(temp, file.content);
  // Here replacing is the point: readers see the damaged file or the right one, never none.
  await ops.rename(temp, file.path);
  await ops.syncDirectory(file.directory);
  return kept;
}

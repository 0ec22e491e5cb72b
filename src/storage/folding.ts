/**
 * Folding: turns the complete directory log/S into the one file segments/S.
 *
 *   write, publish, sync segments/S → read it back and compare → rename log/S away → sync log/
 *   → delete what was folded, quarantine the rest
 *
 * It pauses between records, so that appends of the same thread need not wait for a second of
 * unlinks. Any number of hosts may fold the same segment at once, or die at any point: the file has a
 * write-once name, log/S goes only after it was read back, and `finishFolding` resumes the rest.
 * Records that nobody can reach (late links of paused writers) go to quarantine/, never away.
 */
import { equalBytes } from "../base/bytes.ts";
import { BaashError, EXIT, errorCode } from "../base/errors.ts";
import { isAbsent, readDirectoryIfAny, readFileIfAny, unlinkIfAny } from "./file-ops.ts";
import {
  parseFoldedName,
  parseSegmentName,
  parseTempName,
  recordName,
  segmentName,
} from "./paths.ts";
import type { Seen } from "./publisher.ts";
import { readSegmentIndex, SegmentBuilder, type SegmentIndex } from "./segments.ts";
import type { SharedLog } from "./shared-log.ts";
import { judgeOrThrow, type StorageContext } from "./storage-context.ts";
import { damagedError, ioError, unknownError } from "./storage-errors.ts";

export type Folded =
  /** segments/S is durable and log/S is gone. */
  | { readonly outcome: "folded"; readonly bytes: number }
  /** A slot of the segment has no record yet: fold later. */
  | { readonly outcome: "incomplete"; readonly slot: number }
  /** A directory sync failed: log/S stays. */
  | { readonly outcome: "unknown"; readonly error: BaashError };

class Incomplete extends Error {
  constructor(readonly slot: number) {
    super(`slot ${slot} is empty`);
  }
}

/**
 * Folds a segment all of whose records are final. `prevHash` is the parent of its first record
 * (zeros for segment 0): from there on the names lead from record to record.
 */
export async function fold(
  log: SharedLog,
  place: { segment: number; prevHash: Uint8Array },
): Promise<Folded> {
  const { context } = log;
  const { paths, publisher, segments } = context;
  const path = paths.segment(place.segment);
  const doubt = publisher.doubt(path);
  let index = await (doubt ? segments.reread(place.segment) : segments.open(place.segment));
  if (doubt !== undefined) {
    const tail = await context.ops.status(paths.tail(place.segment));
    if (index !== undefined && tail !== undefined) {
      const error = unknownError(path, doubt.cause, { elsewhere: true });
      return { outcome: "unknown", error };
    }
    // Another host made it durable and has taken log/S away.
    if (tail === undefined) publisher.noteKnown(path);
  }
  if (index === undefined) {
    let builder = new SegmentBuilder(place.segment, place.segment * context.segmentRecords);
    const content = () => {
      builder = new SegmentBuilder(place.segment, place.segment * context.segmentRecords);
      return writeSegment(context, builder, place.prevHash);
    };
    const look = (at: string) => lookAtSegment(context, builder, at);
    try {
      const name = segmentName(place.segment);
      const published = await publisher.publish({ directory: paths.segments, name, content, look });
      if (published.outcome === "unknown") return published;
      // "lost" is thrown by `look`: two folds of one chain have the same bytes.
    } catch (error) {
      if (error instanceof Incomplete) {
        // Somebody else may just have folded it and taken log/S away.
        if ((await segments.open(place.segment)) === undefined) {
          return { outcome: "incomplete", slot: error.slot };
        }
      } else throw error;
    }
    index = await segments.open(place.segment);
    if (index === undefined) throw ioError(path, new Error("it vanished after it was published"));
  }
  await verifyAndSync(context, index);
  log.noteFolded(place.segment);
  await removeTail(context, index);
  const status = await context.ops.status(path);
  return { outcome: "folded", bytes: status?.bytes ?? 0 };
}

/**
 * Takes up what a crash left: tail directories whose segment is folded, and directories renamed
 * away but not yet deleted. Returns what it did, for the log.
 */
export async function finishFolding(log: SharedLog): Promise<string[]> {
  const { context } = log;
  const done: string[] = [];
  for (const name of await readDirectoryIfAny(context.ops, context.paths.log)) {
    const renamed = parseFoldedName(name);
    const segment = renamed ?? parseSegmentName(name);
    if (segment === undefined) continue;
    const index = await context.segments.open(segment);
    if (index === undefined) {
      if (renamed === undefined) continue;
      // Renamed away without its segment: only damage does that. Leave it for a person.
      throw damagedError(`${context.paths.log}/${name}`, 0, "its folded segment is missing");
    }
    // Our own sync of it failed: log/S stays until another host has synced it.
    if (renamed === undefined && context.publisher.doubt(index.path) !== undefined) continue;
    await verifyAndSync(context, index);
    log.noteFolded(segment);
    if (renamed === undefined) await removeTail(context, index);
    else await emptyDirectory(context, index, `${context.paths.log}/${name}`);
    done.push(name);
  }
  return done;
}

async function* writeSegment(
  context: StorageContext,
  builder: SegmentBuilder,
  firstPrevHash: Uint8Array,
): AsyncGenerator<Uint8Array> {
  yield builder.header;
  let prevHash = firstPrevHash;
  const firstSlot = builder.segment * context.segmentRecords;
  for (let slot = firstSlot; slot < firstSlot + context.segmentRecords; slot++) {
    const path = context.paths.record(builder.segment, slot, prevHash);
    const bytes = await readFileIfAny(context.ops, path);
    if (bytes === undefined) throw new Incomplete(slot);
    const hash = judgeOrThrow(context, { slot, prevHash }, bytes);
    builder.add({ prevHash, hash, bytes });
    yield bytes;
    await context.ops.pause();
    prevHash = hash;
  }
  yield* builder.finish();
}

async function lookAtSegment(
  context: StorageContext,
  builder: SegmentBuilder,
  path: string,
): Promise<Seen> {
  const status = await context.ops.status(path);
  if (status === undefined) return "absent";
  const index = await readSegmentIndex(context.ops, path, status.bytes);
  if (builder.matches(index)) return "same";
  throw damagedError(path, index.offset(index.firstSlot), "it holds another chain than log/ does");
}

/** Reads the whole file back against its checksums, and makes it durable whoever wrote it. */
async function verifyAndSync(context: StorageContext, index: SegmentIndex): Promise<void> {
  let prevHash = index.prevHash(index.firstSlot);
  for await (const record of context.segments.records(index)) {
    const within = { path: index.path, offset: index.offset(record.slot) };
    const place = { slot: record.slot, prevHash };
    prevHash = judgeOrThrow(context, place, record.bytes, within);
    if (!equalBytes(prevHash, record.hash)) {
      throw damagedError(index.path, within.offset, "the index names another hash", place);
    }
    await context.ops.pause();
  }
  await context.ops.syncFile(index.path);
  await context.ops.syncDirectory(context.paths.segments);
}

async function removeTail(context: StorageContext, index: SegmentIndex): Promise<void> {
  const { ops, paths, publisher } = context;
  const away = paths.folded(index.segment, publisher.unique());
  try {
    await ops.rename(paths.tail(index.segment), away);
  } catch (error) {
    if (isAbsent(error)) return;
    throw error;
  }
  await ops.syncDirectory(paths.log);
  await emptyDirectory(context, index, away);
}

async function emptyDirectory(
  context: StorageContext,
  index: SegmentIndex,
  directory: string,
): Promise<void> {
  const { ops, paths, publisher } = context;
  const folded = new Set<string>();
  for (let slot = index.firstSlot; slot < index.firstSlot + index.count; slot++) {
    folded.add(recordName(slot, index.prevHash(slot)));
  }
  let moved = false;
  for (const name of await readDirectoryIfAny(ops, directory)) {
    await ops.pause();
    if (folded.has(name) || parseTempName(name) !== undefined) {
      await unlinkIfAny(ops, `${directory}/${name}`);
      continue;
    }
    try {
      await ops.rename(`${directory}/${name}`, paths.quarantined(name, publisher.unique()));
      moved = true;
    } catch (error) {
      if (!isAbsent(error)) throw error;
    }
  }
  if (moved) await ops.syncDirectory(paths.quarantine);
  try {
    await ops.removeDirectory(directory);
  } catch (error) {
    // Another host empties it too, or a late writer has just put a file in: next time.
    if (!["ENOENT", "ENOTEMPTY", "EEXIST"].includes(errorCode(error))) {
      throw new BaashError("STORAGE_IO", `Removing ${directory} failed (${errorCode(error)}).`, {
        exitCode: EXIT.io,
        cause: error,
      });
    }
  }
}

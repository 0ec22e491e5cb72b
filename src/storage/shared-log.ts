/**
 * The log: one record a slot, each a write-once register named by its slot and its parent's full
 * hash. Many processes on many hosts append and read at once without leases, clocks or locks;
 * protocol.md, "What storage holds", is the specification. Runs in the writer worker.
 *
 * Invariants: a child is linked only when its parent is known to be synced; where segments/S
 * exists it alone counts for its slots; "won" and adoption are said only after the syncs and a
 * fresh look at both places.
 */
import { assert } from "../base/assert.ts";
import { equalBytes, toHex } from "../base/bytes.ts";
import { BaashError, EXIT } from "../base/errors.ts";
import {
  isAbsent,
  isFull,
  makeDurableDirectory,
  readDirectoryIfAny,
  readFileIfAny,
} from "./file-ops.ts";
import { parseRecordName, recordName } from "./paths.ts";
import type { SegmentIndex } from "./segments.ts";
import { judgeOrThrow, type StorageContext } from "./storage-context.ts";
import { fullError, ioError, unknownError } from "./storage-errors.ts";

/** The directory may be folded away under us once, and be forgotten by a server once more. */
const ATTEMPTS_MAX = 3;

export interface Place {
  readonly slot: number;
  /** Hash of the record of the slot before; zeros at slot 0. */
  readonly prevHash: Uint8Array;
}

export interface NewRecord extends Place {
  readonly hash: Uint8Array;
  /** The record's bytes, in pieces that need not be joined. */
  readonly parts: readonly Uint8Array[];
}

export interface FoundRecord {
  readonly bytes: Uint8Array;
  readonly hash: Uint8Array;
}

export type Appended =
  /** Synced and linked: final. */
  | { readonly outcome: "won" }
  /** Somebody else has the slot. Judge it, then `adopt` it before building on it. */
  | { readonly outcome: "lost"; readonly bytes: Uint8Array; readonly hash: Uint8Array }
  /** The slot is folded and has another parent: we write to a chain that nobody is on. */
  | { readonly outcome: "void" }
  /** EIO on a directory: nothing is final until another host has synced it. */
  | { readonly outcome: "unknown"; readonly error: BaashError };

export class SharedLog {
  readonly context: StorageContext;
  /** Hashes of records known to be synced, by slot; the newest two segments' worth. */
  readonly #synced = new Map<number, Uint8Array>();
  readonly #syncedTails = new Set<number>();
  readonly #syncedSegments = new Set<number>();

  constructor(context: StorageContext) {
    this.context = context;
  }

  segmentOf(slot: number): number {
    return Math.floor(slot / this.context.segmentRecords);
  }

  /**
   * Puts a record into its slot, if nobody has. Throws STORAGE_FULL or STORAGE_IO when nothing was
   * linked, STORAGE_DAMAGED when the winner cannot be read.
   */
  async append(record: NewRecord): Promise<Appended> {
    this.#assertParentSynced(record);
    const { paths, segments } = this.context;
    const segment = this.segmentOf(record.slot);
    const path = paths.record(segment, record.slot, record.prevHash);
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const published = await this.#publish(segment, record);
      if (published !== undefined && published.outcome === "unknown") return published;
      // Also after a win: a fold that we did not see makes our link void.
      const index = await segments.open(segment);
      if (index !== undefined) return await this.#settleFolded(index, record);
      if (published === undefined) continue;
      if (published.outcome === "won") {
        this.noteSynced(record);
        return { outcome: "won" };
      }
      const bytes = await readFileIfAny(this.context.ops, path);
      if (bytes === undefined) continue;
      return { outcome: "lost", bytes, hash: judgeOrThrow(this.context, record, bytes) };
    }
    throw ioError(path, new Error("its directory keeps vanishing"));
  }

  /**
   * Makes somebody else's record durable and looks again: afterwards it is final and may be built
   * on. Undefined when there is none, or no longer. Throws STORAGE_UNKNOWN when a sync fails.
   */
  async adopt(place: Place): Promise<FoundRecord | undefined> {
    const { ops, paths, segments } = this.context;
    const segment = this.segmentOf(place.slot);
    const path = paths.record(segment, place.slot, place.prevHash);
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const before = await this.child(place);
      if (before === undefined) return undefined;
      try {
        if ((await segments.open(segment)) !== undefined) {
          await this.#syncSegment(segment);
        } else {
          await ops.syncFile(path);
          await ops.syncDirectory(paths.tail(segment));
          if (!this.#syncedTails.has(segment)) await ops.syncDirectory(paths.log);
        }
      } catch (error) {
        if (isAbsent(error)) continue;
        throw unknownError(path, error);
      }
      const after = await this.child(place);
      if (after === undefined) return undefined;
      if (Buffer.compare(before, after) !== 0) continue;
      const hash = judgeOrThrow(this.context, place, after);
      this.noteSynced({ slot: place.slot, hash });
      return { bytes: after, hash };
    }
    throw unknownError(path, new Error("it changes between two looks"));
  }

  /** Tells the log that a record is synced: announced so by its writer, or found in the chain. */
  noteSynced(record: { slot: number; hash: Uint8Array }): void {
    const known = this.#synced.get(record.slot);
    assert(
      known === undefined || equalBytes(known, record.hash),
      `slot ${record.slot} has two records that are both said to be final`,
    );
    if (known !== undefined) return;
    this.#synced.set(record.slot, record.hash.slice());
    this.#synced.delete(record.slot - 2 * this.context.segmentRecords);
  }

  /**
   * The record of `slot` whose parent is `prevHash`, if any; not yet known to be synced.
   * A hit in log/S counts only if segments/S is absent afterwards.
   */
  async child(place: Place): Promise<Uint8Array | undefined> {
    const { ops, paths, segments } = this.context;
    const segment = this.segmentOf(place.slot);
    const bytes = await readFileIfAny(ops, paths.record(segment, place.slot, place.prevHash));
    const index = await segments.open(segment);
    if (index === undefined) return bytes;
    if (!index.isChildOf(place.slot, place.prevHash)) return undefined;
    return await segments.read(index, place.slot);
  }

  /**
   * The record of a slot by number, for reading old blocks. `hash` chooses where a paused writer
   * left a second file for the slot in the tail; without it such a slot is an error.
   */
  async readRecord(slot: number, hash?: Uint8Array): Promise<Uint8Array | undefined> {
    const { segments } = this.context;
    const segment = this.segmentOf(slot);
    const parent = slot === 0 ? new Uint8Array(32) : this.#synced.get(slot - 1);
    if (parent !== undefined) return await this.child({ slot, prevHash: parent });
    const candidates = await this.#candidates(segment, slot);
    const index = await segments.open(segment);
    if (index !== undefined) return await segments.read(index, slot);
    const matching = candidates.filter(
      (found) => hash === undefined || equalBytes(found.hash, hash),
    );
    if (matching.length <= 1) return matching[0]?.bytes;
    throw new BaashError(
      "STORAGE_AMBIGUOUS",
      `Slot ${slot} has ${matching.length} files in the tail: ask with the hash of the record.`,
      { data: { slot }, exitCode: EXIT.software },
    );
  }

  /** Forgets what a fold has made untrue. */
  noteFolded(segment: number): void {
    this.#syncedTails.delete(segment);
    this.#syncedSegments.add(segment);
  }

  /** Undefined when the directory was taken away (folded) while we worked in it. */
  async #publish(segment: number, record: NewRecord) {
    const { ops, paths, publisher } = this.context;
    const directory = paths.tail(segment);
    if (!this.#syncedTails.has(segment)) {
      try {
        await makeDurableDirectory(ops, directory, paths.log);
      } catch (error) {
        throw isFull(error) ? fullError(directory, error) : ioError(directory, error);
      }
      this.#syncedTails.add(segment);
    }
    try {
      const name = recordName(record.slot, record.prevHash);
      return await publisher.publish({ directory, name, content: record.parts });
    } catch (error) {
      if (!isAbsent(error)) throw error;
      this.#syncedTails.delete(segment);
      return undefined;
    }
  }

  async #settleFolded(index: SegmentIndex, record: NewRecord): Promise<Appended> {
    if (!index.isChildOf(record.slot, record.prevHash)) return { outcome: "void" };
    try {
      await this.#syncSegment(index.segment);
    } catch (error) {
      return { outcome: "unknown", error: unknownError(index.path, error) };
    }
    if (equalBytes(index.hash(record.slot), record.hash)) {
      this.noteSynced(record);
      return { outcome: "won" };
    }
    const bytes = await this.context.segments.read(index, record.slot);
    return { outcome: "lost", bytes, hash: judgeOrThrow(this.context, record, bytes) };
  }

  /** Who folded may have died between link and sync. */
  async #syncSegment(segment: number): Promise<void> {
    if (this.#syncedSegments.has(segment)) return;
    const { ops, paths } = this.context;
    await ops.syncFile(paths.segment(segment));
    await ops.syncDirectory(paths.segments);
    this.#syncedSegments.add(segment);
  }

  async #candidates(segment: number, slot: number): Promise<FoundRecord[]> {
    const { ops, paths } = this.context;
    const found: FoundRecord[] = [];
    for (const name of await readDirectoryIfAny(ops, paths.tail(segment))) {
      const place = parseRecordName(name);
      if (place === undefined || place.slot !== slot) continue;
      const bytes = await readFileIfAny(ops, `${paths.tail(segment)}/${name}`);
      if (bytes === undefined) continue;
      const prevHash = Uint8Array.from(Buffer.from(place.prevHash, "hex"));
      found.push({ bytes, hash: judgeOrThrow(this.context, { slot, prevHash }, bytes) });
    }
    return found;
  }

  #assertParentSynced(place: Place): void {
    if (place.slot === 0) return;
    const parent = this.#synced.get(place.slot - 1);
    assert(
      parent !== undefined && equalBytes(parent, place.prevHash),
      `slot ${place.slot} would be linked before its parent ${toHex(place.prevHash, 0, 4)} is synced`,
    );
  }
}

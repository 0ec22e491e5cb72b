/**
 * The log: one record a slot, each a write-once register named by its slot and its parent's full
 * hash. Many processes on many hosts append and read at once without leases, clocks or locks;
 * protocol.md, "What storage holds", is the specification. Runs in the writer worker.
 *
 * Invariants: a child is linked only when its parent is known to be synced; where segments/S
 * exists it alone counts for its slots; "won" and adoption are said only after the syncs and a
 * fresh look at both places. A name whose directory this process could not sync is not adopted by a
 * second sync of this process, which would prove nothing: another host's sync or word settles it.
 */
import { assert } from "../base/assert.ts";
import { equalBytes, fromHex, toHex } from "../base/bytes.ts";
import { BaashError, EXIT, errorCode } from "../base/errors.ts";
import { isAbsent, isGone, isSystemError, readDirectoryIfAny, readFileIfAny } from "./file-ops.ts";
import { parseRecordName, recordName } from "./paths.ts";
import { type Published, saysNothing } from "./publisher.ts";
import type { SegmentIndex } from "./segments.ts";
import { judgeOrThrow, type StorageContext } from "./storage-context.ts";
import { goneError, ioError, unknownError, writeError } from "./storage-errors.ts";

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

/** Hashes of records are remembered for so many of the newest segments. */
const SEGMENTS_REMEMBERED = 2;

export class SharedLog {
  readonly context: StorageContext;
  /** Hashes of records known to be synced, by slot; the newest two segments' worth. */
  readonly #synced = new Map<number, Uint8Array>();
  readonly #syncedTails = new Set<number>();
  readonly #syncedSegments = new Set<number>();
  #newestSynced = -1;
  #newestSeen: Place | undefined;

  constructor(context: StorageContext) {
    this.context = context;
  }

  segmentOf(slot: number): number {
    return Math.floor(slot / this.context.segmentRecords);
  }

  /** The newest slot whose record is known to be final; -1 when none is. */
  get newestSynced(): number {
    return this.#newestSynced;
  }

  /** Where this process itself has seen the newest record that it knows to be final. */
  get newestSeen(): Place | undefined {
    return this.#newestSeen;
  }

  /** The hash of a slot's final record, as far as it is remembered. */
  hashOf(slot: number): Uint8Array | undefined {
    return slot === -1 ? new Uint8Array(32) : this.#synced.get(slot);
  }

  /**
   * Puts a record into its slot, if nobody has. Throws STORAGE_FULL, STORAGE_IO or STORAGE_GONE when
   * nothing was linked, STORAGE_DAMAGED when the winner cannot be read.
   */
  async append(record: NewRecord): Promise<Appended> {
    this.#assertParentSynced(record);
    const { paths } = this.context;
    const segment = this.segmentOf(record.slot);
    const path = paths.record(segment, record.slot, record.prevHash);
    await this.#settleDoubt(path, record);
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const published = await this.#publish(segment, record);
      if (published !== undefined && published.outcome === "unknown") return published;
      // Also after a win: a fold that we did not see makes our link void.
      const index = await this.#openAfterLink(segment, record, published);
      if (index instanceof BaashError) return { outcome: "unknown", error: index };
      if (index !== undefined) return await this.#settleFolded(index, record);
      if (published === undefined) continue;
      if (published.outcome === "won") {
        this.#noteSeen(record);
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
   * on. Undefined when there is none, or no longer. Throws STORAGE_UNKNOWN when a sync fails, or when
   * it is our own record whose sync failed, and nobody has said yet that it is final.
   */
  async adopt(place: Place): Promise<FoundRecord | undefined> {
    const { ops, paths, segments } = this.context;
    const segment = this.segmentOf(place.slot);
    const path = paths.record(segment, place.slot, place.prevHash);
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const before = await this.child(place);
      if (before === undefined) return undefined;
      await this.#settleDoubt(path, place);
      if (this.#synced.has(place.slot)) {
        const hash = judgeOrThrow(this.context, place, before);
        this.#noteSeen({ ...place, hash });
        return { bytes: before, hash };
      }
      this.#refuseDoubt(path, place.slot);
      try {
        if ((await segments.open(segment)) !== undefined) {
          this.#refuseDoubt(paths.segment(segment), place.slot);
          await this.#syncSegment(segment);
        } else {
          this.#refuseDoubt(paths.tail(segment), place.slot);
          await ops.syncFile(path);
          await ops.syncDirectory(paths.tail(segment));
          if (!this.#syncedTails.has(segment)) await ops.syncDirectory(paths.log);
        }
      } catch (error) {
        if (isAbsent(error)) continue;
        if (error instanceof BaashError) throw error;
        if (isGone(error)) throw goneError(path, error);
        throw unknownError(path, error, { slot: place.slot, elsewhere: true });
      }
      const after = await this.child(place);
      if (after === undefined) return undefined;
      if (Buffer.compare(before, after) !== 0) continue;
      const hash = judgeOrThrow(this.context, place, after);
      this.#noteSeen({ ...place, hash });
      return { bytes: after, hash };
    }
    const cause = new Error("it changes between two looks");
    throw unknownError(path, cause, { slot: place.slot, elsewhere: false });
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
    this.#synced.delete(record.slot - SEGMENTS_REMEMBERED * this.context.segmentRecords);
    this.#newestSynced = Math.max(this.#newestSynced, record.slot);
  }

  /**
   * Another host has announced this record as final: what our own sync could not tell is known, the
   * directory that the record lies in included.
   */
  noteAnnounced(record: { slot: number; hash: Uint8Array }): void {
    this.noteSynced(record);
    const { paths, publisher } = this.context;
    const tail = paths.tail(this.segmentOf(record.slot));
    publisher.noteKnown(tail);
    for (const path of [...publisher.doubted()]) {
      if (!path.startsWith(`${tail}/`)) continue;
      if (parseRecordName(path.slice(tail.length + 1))?.slot === record.slot) {
        publisher.noteKnown(path);
      }
    }
  }

  /** After an outage: directories may have been made anew, and handles may be stale. */
  forgetDirectories(): void {
    this.#syncedTails.clear();
    this.#syncedSegments.clear();
    this.context.segments.forget();
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
    if (parent !== undefined) {
      const place = { slot, prevHash: parent };
      const bytes = await this.child(place);
      if (bytes === undefined) return undefined;
      const found = judgeOrThrow(this.context, place, bytes);
      return hash === undefined || equalBytes(found, hash) ? bytes : undefined;
    }
    const { found, damage } = await this.#candidates(segment, slot);
    const index = await segments.open(segment);
    if (index !== undefined) {
      if (hash !== undefined && !equalBytes(index.hash(slot), hash)) return undefined;
      return await segments.read(index, slot);
    }
    const matching = found.filter((one) => hash === undefined || equalBytes(one.hash, hash));
    // It may be the damaged one that was meant.
    if (matching.length === 0 && damage !== undefined) throw damage;
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
    const { paths, publisher } = this.context;
    const directory = paths.tail(segment);
    if (!this.#syncedTails.has(segment)) {
      this.#refuseDoubt(directory, record.slot);
      await this.#makeTail(directory);
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

  /** Where something was linked, an error is no longer one that says that nothing was. */
  async #openAfterLink(segment: number, record: NewRecord, published: Published | undefined) {
    const { paths, segments } = this.context;
    try {
      return await segments.open(segment);
    } catch (error) {
      if (published?.outcome !== "won" || !isSystemError(error)) throw error;
      const { slot, prevHash } = record;
      const path = paths.record(segment, slot, prevHash);
      return unknownError(path, error, { slot, elsewhere: false });
    }
  }

  /** Throws when nothing may be linked there yet; the next attempt makes the directory afresh. */
  async #makeTail(directory: string): Promise<void> {
    const { ops, paths, publisher } = this.context;
    let isOurs = true;
    try {
      await ops.makeDirectory(directory);
    } catch (error) {
      if (errorCode(error) !== "EEXIST") throw writeError(directory, error);
      isOurs = false;
    }
    try {
      // Also when it existed: whoever made it may have died before this sync.
      await ops.syncDirectory(paths.log);
    } catch (error) {
      if (isOurs && !saysNothing(error)) {
        await ops.removeDirectory(directory).catch(() => publisher.noteDoubt(directory, error));
      }
      throw writeError(directory, error);
    }
  }

  /** Somebody has built on it: nobody does that before the record is synced. */
  async #settleDoubt(path: string, place: Place): Promise<void> {
    if (this.context.publisher.doubt(path) === undefined) return;
    const bytes = await this.child(place);
    if (bytes === undefined) return;
    const hash = judgeOrThrow(this.context, place, bytes);
    const child = await this.child({ slot: place.slot + 1, prevHash: hash });
    if (child !== undefined) this.noteAnnounced({ slot: place.slot, hash });
  }

  #refuseDoubt(path: string, slot: number): void {
    const doubt = this.context.publisher.doubt(path);
    if (doubt !== undefined) throw unknownError(path, doubt.cause, { slot, elsewhere: true });
  }

  #noteSeen({ slot, prevHash, hash }: Place & { readonly hash: Uint8Array }): void {
    this.noteSynced({ slot, hash });
    if (slot > (this.#newestSeen?.slot ?? -1)) {
      this.#newestSeen = { slot, prevHash: prevHash.slice() };
    }
  }

  async #settleFolded(index: SegmentIndex, record: NewRecord): Promise<Appended> {
    if (!index.isChildOf(record.slot, record.prevHash)) return { outcome: "void" };
    try {
      this.#refuseDoubt(index.path, record.slot);
      await this.#syncSegment(index.segment);
    } catch (error) {
      if (error instanceof BaashError) return { outcome: "unknown", error };
      const about = { slot: record.slot, elsewhere: true };
      return { outcome: "unknown", error: unknownError(index.path, error, about) };
    }
    if (equalBytes(index.hash(record.slot), record.hash)) {
      this.#noteSeen(record);
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

  async #candidates(
    segment: number,
    slot: number,
  ): Promise<{ found: FoundRecord[]; damage: unknown }> {
    const { ops, paths } = this.context;
    const found: FoundRecord[] = [];
    let damage: unknown;
    for (const name of await readDirectoryIfAny(ops, paths.tail(segment))) {
      const place = parseRecordName(name);
      if (place === undefined || place.slot !== slot) continue;
      const bytes = await readFileIfAny(ops, `${paths.tail(segment)}/${name}`);
      if (bytes === undefined) continue;
      try {
        const prevHash = fromHex(place.prevHash);
        found.push({ bytes, hash: judgeOrThrow(this.context, { slot, prevHash }, bytes) });
      } catch (error) {
        if (errorCode(error) !== "STORAGE_DAMAGED") throw error;
        damage = error;
      }
    }
    return { found, damage };
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

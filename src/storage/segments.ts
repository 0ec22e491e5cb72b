/**
 * Folded segments: SEGMENT_RECORDS records in one immutable, checksummed, indexed file. This file
 * knows their bytes (format.ts, README.md) and reads them; `folding.ts` makes them.
 * Runs in the writer worker. Every byte is covered by a SHA-256 and checked before it is used.
 */
import { assert } from "../base/assert.ts";
import { equalBytes, equalRange, readU16, readU64, writeU16, writeU64 } from "../base/bytes.ts";
import { sha256 } from "../base/sha256.ts";
import type { FileOps } from "./file-ops.ts";
import {
  SEGMENT_ENTRY as ENTRY,
  SEGMENT_ENTRY_BYTES as ENTRY_BYTES,
  SEGMENT_HEADER as HEADER,
  SEGMENT_HEADER_BYTES as HEADER_BYTES,
  SEGMENT_MAGIC,
  SEGMENT_TRAILER_MAGIC,
  SEGMENT_VERSION,
  SEGMENT_TRAILER as TRAILER,
  SEGMENT_TRAILER_BYTES as TRAILER_BYTES,
} from "./format.ts";
import type { LedgerPaths } from "./paths.ts";
import { damagedError, versionError } from "./storage-errors.ts";

/** Indexes kept in memory: 112 KiB each, and reads of old blocks cluster. */
const INDEXES_KEPT = 16;
/** One read of a walk: enough to hide the latency of a parallel file system. */
const READAHEAD_BYTES = 8 * 1024 * 1024;

export interface SegmentRecord {
  readonly slot: number;
  readonly prevHash: Uint8Array;
  readonly hash: Uint8Array;
  readonly bytes: Uint8Array;
}

/** The verified index of one segment file. */
export class SegmentIndex {
  readonly path: string;
  readonly segment: number;
  readonly firstSlot: number;
  readonly count: number;
  readonly entries: Uint8Array;

  constructor(path: string, header: Uint8Array, entries: Uint8Array) {
    this.path = path;
    this.segment = readU64(header, HEADER.segment);
    this.firstSlot = readU64(header, HEADER.firstSlot);
    this.count = entries.length / ENTRY_BYTES;
    this.entries = entries;
  }

  has(slot: number): boolean {
    return slot >= this.firstSlot && slot < this.firstSlot + this.count;
  }

  offset(slot: number): number {
    return readU64(this.entries, this.#at(slot) + ENTRY.offset);
  }

  length(slot: number): number {
    return readU64(this.entries, this.#at(slot) + ENTRY.length);
  }

  prevHash(slot: number): Uint8Array {
    return this.#field(slot, ENTRY.prevHash);
  }

  hash(slot: number): Uint8Array {
    return this.#field(slot, ENTRY.hash);
  }

  sha256(slot: number): Uint8Array {
    return this.#field(slot, ENTRY.sha256);
  }

  isChildOf(slot: number, prevHash: Uint8Array): boolean {
    return equalRange(this.entries, this.#at(slot) + ENTRY.prevHash, prevHash, 0, 32);
  }

  #at(slot: number): number {
    assert(this.has(slot), "the slot lies in another segment");
    return (slot - this.firstSlot) * ENTRY_BYTES;
  }

  #field(slot: number, field: number): Uint8Array {
    const at = this.#at(slot) + field;
    return this.entries.subarray(at, at + 32);
  }
}

/** Reads folded segments. A segment found once is immutable; one not found is asked for afresh. */
export class SegmentReader {
  readonly #ops: FileOps;
  readonly #paths: LedgerPaths;
  readonly #indexes = new Map<number, SegmentIndex>();

  constructor(ops: FileOps, paths: LedgerPaths) {
    this.#ops = ops;
    this.#paths = paths;
  }

  /** The index of a segment, or undefined if it is not folded (a fresh look each time). */
  async open(segment: number): Promise<SegmentIndex | undefined> {
    const known = this.#indexes.get(segment);
    if (known !== undefined) return known;
    const path = this.#paths.segment(segment);
    const status = await this.#ops.status(path);
    if (status === undefined) return undefined;
    const index = await this.#read(segment, path, status.bytes);
    if (this.#indexes.size >= INDEXES_KEPT) {
      for (const oldest of this.#indexes.keys()) {
        this.#indexes.delete(oldest);
        break;
      }
    }
    this.#indexes.set(segment, index);
    return index;
  }

  /** The index as it is on disk now, whatever is remembered of it. */
  async reread(segment: number): Promise<SegmentIndex | undefined> {
    this.#indexes.delete(segment);
    return await this.open(segment);
  }

  /** After an outage, or a repair: the file may be another one. */
  forget(): void {
    this.#indexes.clear();
  }

  async #read(segment: number, path: string, fileBytes: number): Promise<SegmentIndex> {
    const index = await readSegmentIndex(this.#ops, path, fileBytes);
    if (index.segment === segment) return index;
    throw damagedError(path, HEADER.segment, `it says that it is segment ${index.segment}`);
  }

  async read(index: SegmentIndex, slot: number): Promise<Uint8Array> {
    const offset = index.offset(slot);
    const bytes = await this.#ops.readRange(index.path, offset, index.length(slot));
    checkRecord(index, slot, bytes);
    return bytes;
  }

  /** The records from `slot` on, read in large pieces. Each is checked before it is handed out. */
  async *records(index: SegmentIndex, slot = index.firstSlot): AsyncGenerator<SegmentRecord> {
    const end = index.firstSlot + index.count;
    for (let first = slot; first < end; ) {
      let last = first;
      let bytes = index.length(first);
      while (last + 1 < end && bytes + index.length(last + 1) <= READAHEAD_BYTES) {
        bytes += index.length(++last);
      }
      const start = index.offset(first);
      const piece = await this.#ops.readRange(index.path, start, bytes);
      for (; first <= last; first++) {
        const at = index.offset(first) - start;
        const record = piece.subarray(at, at + index.length(first));
        checkRecord(index, first, record);
        yield {
          slot: first,
          prevHash: index.prevHash(first),
          hash: index.hash(first),
          bytes: record,
        };
      }
    }
  }
}

function checkRecord(index: SegmentIndex, slot: number, bytes: Uint8Array): void {
  if (bytes.length !== index.length(slot) || !equalBytes(sha256(bytes), index.sha256(slot))) {
    const reason = `the record of slot ${slot} does not match its checksum in the index`;
    const place = { slot, prevHash: index.prevHash(slot), hash: index.hash(slot) };
    throw damagedError(index.path, index.offset(slot), reason, place);
  }
}

/** Builds the index while the records are being written. */
export class SegmentBuilder {
  readonly header: Uint8Array;
  readonly #segment: number;
  readonly #entries: Uint8Array[] = [];
  #offset = HEADER_BYTES;

  constructor(segment: number, firstSlot: number) {
    this.#segment = segment;
    this.header = new Uint8Array(HEADER_BYTES);
    writeAscii(this.header, HEADER.magic, SEGMENT_MAGIC);
    writeU16(this.header, HEADER.version, SEGMENT_VERSION);
    writeU64(this.header, HEADER.segment, segment);
    writeU64(this.header, HEADER.firstSlot, firstSlot);
  }

  get segment(): number {
    return this.#segment;
  }

  add(record: Omit<SegmentRecord, "slot">): void {
    const entry = new Uint8Array(ENTRY_BYTES);
    writeU64(entry, ENTRY.offset, this.#offset);
    writeU64(entry, ENTRY.length, record.bytes.length);
    entry.set(record.prevHash, ENTRY.prevHash);
    entry.set(record.hash, ENTRY.hash);
    entry.set(sha256(record.bytes), ENTRY.sha256);
    this.#entries.push(entry);
    this.#offset += record.bytes.length;
  }

  /** Index and trailer, which follow the last record. */
  finish(): Uint8Array[] {
    const count = this.#entries.length;
    const trailer = new Uint8Array(TRAILER_BYTES);
    writeAscii(trailer, TRAILER.magic, SEGMENT_TRAILER_MAGIC);
    writeU64(trailer, TRAILER.indexOffset, this.#offset);
    writeU64(trailer, TRAILER.count, count);
    writeU64(trailer, TRAILER.fileBytes, this.#offset + count * ENTRY_BYTES + TRAILER_BYTES);
    const digest = sha256(this.header, ...this.#entries, trailer.subarray(0, TRAILER.sha256));
    trailer.set(digest, TRAILER.sha256);
    return [...this.#entries, trailer];
  }

  /** Whether an index says exactly what this builder wrote. */
  matches(index: SegmentIndex): boolean {
    if (index.count !== this.#entries.length) return false;
    return this.#entries.every((entry, i) =>
      equalRange(index.entries, i * ENTRY_BYTES, entry, 0, ENTRY_BYTES),
    );
  }
}

/** Reads and checks header, index and trailer. Throws STORAGE_DAMAGED with file and byte. */
export async function readSegmentIndex(
  ops: FileOps,
  path: string,
  fileBytes: number,
): Promise<SegmentIndex> {
  if (fileBytes < HEADER_BYTES + ENTRY_BYTES + TRAILER_BYTES) {
    throw damagedError(path, fileBytes, "it is shorter than an empty segment");
  }
  const trailerAt = fileBytes - TRAILER_BYTES;
  const trailer = await ops.readRange(path, trailerAt, TRAILER_BYTES);
  const indexOffset = readU64(trailer, TRAILER.indexOffset);
  const count = readU64(trailer, TRAILER.count);
  const fits =
    trailer.length === TRAILER_BYTES &&
    isAscii(trailer, TRAILER.magic, SEGMENT_TRAILER_MAGIC) &&
    readU64(trailer, TRAILER.fileBytes) === fileBytes &&
    count > 0 &&
    indexOffset + count * ENTRY_BYTES === trailerAt;
  if (!fits) throw damagedError(path, trailerAt, "its trailer does not fit the file");
  const header = await ops.readRange(path, 0, HEADER_BYTES);
  const entries = await ops.readRange(path, indexOffset, count * ENTRY_BYTES);
  const digest = sha256(header, entries, trailer.subarray(0, TRAILER.sha256));
  if (!equalBytes(digest, trailer.subarray(TRAILER.sha256))) {
    throw damagedError(path, indexOffset, "header, index or trailer do not match their checksum");
  }
  if (!isAscii(header, HEADER.magic, SEGMENT_MAGIC)) {
    throw damagedError(path, HEADER.magic, "it is not a segment");
  }
  const version = readU16(header, HEADER.version);
  if (version !== SEGMENT_VERSION) {
    throw versionError(path, version, SEGMENT_VERSION);
  }
  return new SegmentIndex(path, header, entries);
}

export function writeAscii(bytes: Uint8Array, offset: number, text: string): void {
  for (let i = 0; i < text.length; i++) bytes[offset + i] = text.charCodeAt(i);
}

export function isAscii(bytes: Uint8Array, offset: number, text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    if (bytes[offset + i] !== text.charCodeAt(i)) return false;
  }
  return true;
}

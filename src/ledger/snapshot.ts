/**
 * A snapshot of the state, in canonical form: equal states give equal bytes on every rank.
 *
 *     part:  u32 kind | u32 payloadBytes | SHA-256 of the part before | payload | SHA-256 of all these
 *     HEAD        u64 supply | u64 through + 1 | u64 openRound + 1 | effectsDigest | u32 counts, u64 each
 *                 | effects of the open round
 *     ENTRIES     entries as the state root hashes them, in the order of bucket and key
 *     REMEMBERED  57 bytes each: u64 sender | u64 sequence | u64 lastValidRound | txnID | u8 outcome
 *     END         u64 number of entries | u64 number remembered
 *
 * The first part's "part before" is a fixed title, so a snapshot of another version is not mistaken
 * for one of this. Parts hold whole items and are about a megabyte, so reading needs no second copy.
 */
import { equalRange, readU16, readU32, readU64, writeU32, writeU64 } from "../base/bytes.ts";
import { copyRange } from "../base/copy.ts";
import { BaashError, EXIT } from "../base/errors.ts";
import { kernels } from "../base/kernels.ts";
import { KEY_BYTES_MAX, VALIDITY_ROUNDS_MAX } from "../limits.ts";
import { ENTRY, hashKey } from "./entry-hash.ts";
import { compareBytes } from "./field-plan.ts";
import type { NumberTable } from "./number-table.ts";
import { OUTCOME } from "./receipt.ts";
import type { RecordsTable } from "./records-table.ts";
import type { Remembered } from "./remembered.ts";
import { BUCKETS, BucketReader } from "./state-root.ts";

const PART = { head: 1, entries: 2, remembered: 3, end: 4 } as const;
const PART_HEAD_BYTES = 40;
const PART_BYTES = 1 << 20;
const HASH_BYTES = 32;
const REMEMBERED_BYTES = 57;
const HEAD_FIXED_BYTES = 60;
const TITLE = new TextEncoder().encode("baash state snapshot 1\n");

export interface SnapshotTables {
  records: RecordsTable;
  balances: NumberTable;
  floors: NumberTable;
  remembered: Remembered;
}

export interface SnapshotHead {
  supply: number;
  through: number;
  openRound: number;
  effectsDigest: Uint8Array;
  /** Effects of the open round so far. */
  effects: Uint8Array;
  counts: Float64Array;
}

export function writeSnapshot(head: SnapshotHead, tables: SnapshotTables): Uint8Array[] {
  const writer = new PartWriter();
  writer.push(PART.head, encodeHead(head));
  const entries = writeEntries(writer, tables);
  const remembered = writeRemembered(writer, tables.remembered);
  const end = new Uint8Array(16);
  writeU64(end, 0, entries);
  writeU64(end, 8, remembered);
  writer.push(PART.end, end);
  return writer.parts;
}

class PartWriter {
  readonly parts: Uint8Array[] = [];
  readonly #previous = titleHash();

  push(kind: number, payload: Uint8Array): void {
    const end = PART_HEAD_BYTES + payload.length;
    const part = new Uint8Array(end + HASH_BYTES);
    writeU32(part, 0, kind);
    writeU32(part, 4, payload.length);
    part.set(this.#previous, 8);
    part.set(payload, PART_HEAD_BYTES);
    kernels.sha256(part, 0, end, part, end);
    this.#previous.set(part.subarray(end));
    this.parts.push(part);
  }
}

function titleHash(): Uint8Array {
  const hash = new Uint8Array(HASH_BYTES);
  kernels.sha256(TITLE, 0, TITLE.length, hash, 0);
  return hash;
}

function encodeHead(head: SnapshotHead): Uint8Array {
  const countsEnd = HEAD_FIXED_BYTES + 8 * head.counts.length;
  const bytes = new Uint8Array(countsEnd + head.effects.length);
  writeU64(bytes, 0, head.supply);
  writeU64(bytes, 8, head.through + 1);
  writeU64(bytes, 16, head.openRound + 1);
  bytes.set(head.effectsDigest, 24);
  writeU32(bytes, 56, head.counts.length);
  for (let i = 0; i < head.counts.length; i++) {
    writeU64(bytes, HEAD_FIXED_BYTES + 8 * i, head.counts[i]);
  }
  bytes.set(head.effects, countsEnd);
  return bytes;
}

function writeEntries(writer: PartWriter, tables: SnapshotTables): number {
  const reader = new BucketReader(tables.records, [tables.balances, tables.floors]);
  for (let bucket = 0; bucket < BUCKETS; bucket++) {
    reader.append(bucket);
    if (reader.end < PART_BYTES / 2 && bucket < BUCKETS - 1) continue;
    reader.finish();
    if (reader.end > 0) writer.push(PART.entries, reader.bytes.subarray(0, reader.end));
    reader.clear();
  }
  return tables.records.index.count + tables.balances.live + tables.floors.live;
}

function writeRemembered(writer: PartWriter, remembered: Remembered): number {
  const payload = new Uint8Array(REMEMBERED_BYTES * Math.floor(PART_BYTES / REMEMBERED_BYTES));
  let end = 0;
  remembered.forEach((sender, sequence, round, entry) => {
    writeU64(payload, end, sender);
    writeU64(payload, end + 8, sequence);
    writeU64(payload, end + 16, round);
    remembered.copyId(entry, payload, end + 24);
    payload[end + 56] = remembered.outcome(entry);
    end += REMEMBERED_BYTES;
    if (end === payload.length) {
      writer.push(PART.remembered, payload);
      end = 0;
    }
  });
  if (end > 0) writer.push(PART.remembered, payload.subarray(0, end));
  return remembered.count;
}

/** Throws BaashError SNAPSHOT_DAMAGED unless the parts are whole and follow each other. */
export function checkSnapshot(bytes: Uint8Array): void {
  const hash = titleHash();
  let kind: number = 0;
  let at = 0;
  while (kind !== PART.end) {
    need(at + PART_HEAD_BYTES + HASH_BYTES <= bytes.length, "it is cut short");
    const last = kind;
    kind = readU32(bytes, at);
    const end = at + PART_HEAD_BYTES + readU32(bytes, at + 4);
    need(end + HASH_BYTES <= bytes.length, "a part is cut short");
    need(equalRange(bytes, at + 8, hash, 0, HASH_BYTES), "its parts do not follow each other");
    kernels.sha256(bytes, at, end - at, hash, 0);
    need(equalRange(bytes, end, hash, 0, HASH_BYTES), "the checksum of a part is wrong");
    need(kind >= last && kind <= PART.end, "a part is of no known kind");
    need((last === 0) === (kind === PART.head), "its head is not in front");
    at = end + HASH_BYTES;
  }
  need(at === bytes.length, "bytes follow its end");
}

/**
 * Fills empty tables from a snapshot that `checkSnapshot` passed, and calls `touch` with the hash of
 * each entry. Throws BaashError SNAPSHOT_DAMAGED when its contents contradict each other.
 */
export function readSnapshot(
  bytes: Uint8Array,
  tables: SnapshotTables,
  touch: (hash: number) => void,
): SnapshotHead {
  const entries = new EntriesReader(tables, touch);
  const start = PART_HEAD_BYTES;
  let end = start + readU32(bytes, 4);
  const head = decodeHead(bytes, start, end);
  tables.remembered.through = head.through;
  for (let kind: number = PART.head; kind !== PART.end; ) {
    const at = end + HASH_BYTES;
    const partStart = at + PART_HEAD_BYTES;
    kind = readU32(bytes, at);
    end = partStart + readU32(bytes, at + 4);
    if (kind === PART.entries) entries.read(bytes, partStart, end);
    else if (kind === PART.remembered) readRemembered(bytes, partStart, end, tables.remembered);
    else {
      need(end === partStart + 16, "its end is wrong");
      need(readU64(bytes, partStart) === entries.count, "entries are missing");
      need(
        readU64(bytes, partStart + 8) === tables.remembered.count,
        "remembered transactions are missing",
      );
    }
  }
  need(tables.balances.sum() === head.supply, "balances and supply differ");
  return head;
}

function need(condition: boolean, what: string): asserts condition {
  if (condition) return;
  throw new BaashError(
    "SNAPSHOT_DAMAGED",
    `This snapshot of the ledger's state is damaged (${what}): take an older one, or replay the log.`,
    { exitCode: EXIT.io, data: { what } },
  );
}

function decodeHead(bytes: Uint8Array, start: number, end: number): SnapshotHead {
  need(end - start >= HEAD_FIXED_BYTES, "its head is cut short");
  const supply = readU64(bytes, start);
  const through = readU64(bytes, start + 8) - 1;
  const openRound = readU64(bytes, start + 16) - 1;
  const countsLength = readU32(bytes, start + 56);
  const countsEnd = start + HEAD_FIXED_BYTES + 8 * countsLength;
  need(countsLength === Object.keys(OUTCOME).length && countsEnd <= end, "its counts are wrong");
  const counts = new Float64Array(countsLength);
  for (let i = 0; i < countsLength; i++) {
    counts[i] = readU64(bytes, start + HEAD_FIXED_BYTES + 8 * i);
    need(counts[i] >= 0, "a count is wrong");
  }
  // A number that is NaN fails every comparison.
  need(supply >= 0 && through >= -1, "its head is wrong");
  need(openRound === -1 || openRound === through + 1, "its open round is wrong");
  need(openRound >= 0 || countsEnd === end, "it has effects without a round");
  return {
    supply,
    through,
    openRound,
    effectsDigest: bytes.slice(start + 24, start + 56),
    effects: bytes.slice(countsEnd, end),
    counts,
  };
}

/** Reads entries, which must come in canonical order, so none comes twice. */
class EntriesReader {
  count = 0;
  readonly #tables: SnapshotTables;
  readonly #touch: (hash: number) => void;
  #bucket = 0;
  /** Key of the entry before, in `#keyBytes` bytes. */
  readonly #key = new Uint8Array(1 + KEY_BYTES_MAX);
  #keyBytes = 0;
  /** Fields as a transaction carries them, which is what records are made from. */
  #fields = new Uint8Array(0);

  constructor(tables: SnapshotTables, touch: (hash: number) => void) {
    this.#tables = tables;
    this.#touch = touch;
  }

  read(bytes: Uint8Array, start: number, end: number): void {
    const { records, balances, floors } = this.#tables;
    if (this.#fields.length < end - start) this.#fields = new Uint8Array(end - start);
    records.begin(this.#fields, new DataView(this.#fields.buffer));
    let room = 0;
    let at = start;
    while (at < end) {
      need(at + 3 <= end, "an entry is cut short");
      const keyAt = at + 2;
      const keyBytes = readU16(bytes, at);
      const valueAt = keyAt + keyBytes + 4;
      need(keyBytes > 1 && valueAt <= end, "a key is cut short");
      const valueEnd = valueAt + readU32(bytes, valueAt - 4);
      need(valueEnd <= end, "a value is cut short");
      need(keyBytes <= 1 + KEY_BYTES_MAX, "a key is too long");
      const hash = this.#advance(bytes, keyAt, keyBytes);
      const prefix = bytes[keyAt];
      if (prefix === ENTRY.record) {
        room = this.#readRecord(bytes, keyAt, keyBytes, valueAt, valueEnd, hash, room);
      } else {
        need(prefix === ENTRY.account || prefix === ENTRY.floor, "an entry is of no known kind");
        need(keyBytes === 9 && valueEnd === valueAt + 8, "a number has the wrong length");
        const key = readU64(bytes, keyAt + 1);
        const value = readU64(bytes, valueAt);
        need(key >= 0 && value >= (prefix === ENTRY.account ? 1 : 0), "a number is out of range");
        (prefix === ENTRY.account ? balances : floors).set(key, hash, value);
      }
      this.#touch(hash);
      this.count++;
      at = valueEnd;
    }
  }

  /** Checks that the key comes after the one before it and answers its hash. */
  #advance(bytes: Uint8Array, keyAt: number, keyBytes: number): number {
    const hash = hashKey(bytes[keyAt], bytes, keyAt + 1, keyBytes - 1);
    const bucket = hash >>> 16;
    need(
      bucket > this.#bucket ||
        (bucket === this.#bucket &&
          compareBytes(bytes, keyAt, keyBytes, this.#key, 0, this.#keyBytes) > 0),
      "its entries are out of order",
    );
    this.#bucket = bucket;
    copyRange(bytes, keyAt, keyBytes, this.#key, 0);
    this.#keyBytes = keyBytes;
    return hash;
  }

  /** Answers where the next record's fields may be put. */
  #readRecord(
    bytes: Uint8Array,
    keyAt: number,
    keyBytes: number,
    valueAt: number,
    valueEnd: number,
    hash: number,
    room: number,
  ): number {
    const target = this.#fields;
    copyRange(bytes, keyAt + 1, keyBytes - 1, target, room);
    const fieldsAt = room + keyBytes - 1;
    let to = fieldsAt;
    let count = 0;
    let last = -1;
    for (let at = valueAt; at < valueEnd; count++) {
      const nameBytes = bytes[at];
      const dataAt = at + 5 + nameBytes;
      need(nameBytes > 0 && dataAt <= valueEnd, "a field is cut short");
      const dataBytes = readU32(bytes, dataAt - 4);
      need(dataAt + dataBytes <= valueEnd, "a field is cut short");
      need(
        last < 0 || compareBytes(bytes, last + 1, bytes[last], bytes, at + 1, nameBytes) < 0,
        "its fields are out of order",
      );
      target[to] = nameBytes;
      writeU32(target, to + 1, dataBytes);
      copyRange(bytes, at + 1, nameBytes, target, to + 5);
      copyRange(bytes, dataAt, dataBytes, target, to + 5 + nameBytes);
      last = at;
      at = dataAt + dataBytes;
      to += 5 + nameBytes + dataBytes;
    }
    need(count > 0, "a record has no fields");
    this.#tables.records.insert(hash, room, keyBytes - 1, fieldsAt, count);
    return to;
  }
}

function readRemembered(
  bytes: Uint8Array,
  start: number,
  end: number,
  remembered: Remembered,
): void {
  need((end - start) % REMEMBERED_BYTES === 0, "a remembered transaction is cut short");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const { through } = remembered;
  for (let at = start; at < end; at += REMEMBERED_BYTES) {
    const sender = readU64(bytes, at);
    const sequence = readU64(bytes, at + 8);
    const round = readU64(bytes, at + 16);
    const outcome = bytes[at + 56];
    need(sender >= 0 && sequence >= 0, "a remembered transaction is out of range");
    need(round > through && round <= through + 1 + VALIDITY_ROUNDS_MAX, "a round is out of range");
    need(
      outcome === OUTCOME.OK || outcome === OUTCOME.OVERDRAFT || outcome === OUTCOME.NO_SUCH_KEY,
      "an outcome is out of range",
    );
    need(!remembered.isFull(), "it remembers too much");
    need(remembered.find(sender, sequence) === 0, "it remembers a sequence number twice");
    remembered.add(sender, sequence, round, view, at + 24, outcome);
  }
}

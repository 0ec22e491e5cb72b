/**
 * The root of the state: 65536 buckets of entries under a perfect binary tree (see the state chapter
 * of the ledger's format). Buckets that changed are marked as they change; a root hashes those buckets
 * and the nodes above them, nothing else.
 *
 * Nodes are kept at every fourth level only. SHA-256(0x01 ‖ l ‖ r) is RFC 9162's node, so sixteen
 * siblings are one `merkleRoot` call: a quarter of the memory, and few calls.
 */
import { writeU16, writeU32, writeU64 } from "../base/bytes.ts";
import { kernels } from "../base/kernels.ts";
import { compareBytes } from "./field-plan.ts";
import type { NumberTable } from "./number-table.ts";
import type { RecordsTable } from "./records-table.ts";

export const BUCKETS = 65_536;
const FANOUT = 16;
const TITLE = new TextEncoder().encode("baash state\n");
const SCRATCH_BYTES = 1 << 20;
/** Entry of an account or floor: u16 9 | prefix | u64 key | u32 8 | u64 value. */
const NUMBER_ENTRY_BYTES = 23;

/** The entries of a state, bucket by bucket, in canonical form. */
export class BucketReader {
  readonly #records: RecordsTable;
  readonly #numbers: readonly NumberTable[];
  readonly #units: number[] = [];
  readonly #keys: number[] = [];
  bytes = new Uint8Array(SCRATCH_BYTES);
  end = 0;
  #copies = new Uint32Array(3 * 1024);
  #copyCount = 0;

  /** `numbers` in the order of their prefixes. */
  constructor(records: RecordsTable, numbers: readonly NumberTable[]) {
    this.#records = records;
    this.#numbers = numbers;
  }

  /** Appends the entries of a bucket to `bytes`; call `finish` before reading them. */
  append(bucket: number): void {
    this.#appendRecords(bucket);
    for (const table of this.#numbers) this.#appendNumbers(table, bucket);
  }

  /** Completes the bytes that have been appended. */
  finish(): void {
    if (this.#copyCount === 0) return;
    kernels.scatter(this.#records.arena.memory.bytes, this.bytes, this.#copies, this.#copyCount);
    this.#copyCount = 0;
  }

  /** Starts over with empty bytes. */
  clear(): void {
    this.finish();
    this.end = 0;
  }

  #appendRecords(bucket: number): void {
    const records = this.#records;
    const units = this.#units;
    units.length = 0;
    records.index.collect(bucket, units);
    if (units.length > 1) {
      const own = records.arena.memory.bytes;
      units.sort((a, b) => {
        const left = records.entryOffset(a);
        const right = records.entryOffset(b);
        const leftBytes = own[left] | (own[left + 1] << 8);
        const rightBytes = own[right] | (own[right + 1] << 8);
        return compareBytes(own, left + 2, leftBytes, own, right + 2, rightBytes);
      });
    }
    for (const unit of units) {
      const length = records.entryBytes(unit);
      this.#reserve(length);
      if (3 * this.#copyCount === this.#copies.length) this.finish();
      const at = 3 * this.#copyCount++;
      this.#copies[at] = records.entryOffset(unit);
      this.#copies[at + 1] = this.end;
      this.#copies[at + 2] = length;
      this.end += length;
    }
  }

  #appendNumbers(table: NumberTable, bucket: number): void {
    const keys = this.#keys;
    keys.length = 0;
    table.collect(bucket, keys);
    if (keys.length > 1) keys.sort(compareAsBytes);
    for (const key of keys) {
      this.#reserve(NUMBER_ENTRY_BYTES);
      const at = this.end;
      writeU16(this.bytes, at, 9);
      this.bytes[at + 2] = table.prefix;
      writeU64(this.bytes, at + 3, key);
      writeU32(this.bytes, at + 11, 8);
      writeU64(this.bytes, at + 15, table.get(key, table.hash(key)));
      this.end += NUMBER_ENTRY_BYTES;
    }
  }

  #reserve(length: number): void {
    if (this.end + length <= this.bytes.length) return;
    this.finish();
    const larger = new Uint8Array(Math.max(2 * this.bytes.length, this.end + length));
    larger.set(this.bytes.subarray(0, this.end));
    this.bytes = larger;
  }
}

/** Order of two numbers as the bytes of their u64, lowest byte first. */
function compareAsBytes(a: number, b: number): number {
  let left = a;
  let right = b;
  for (let i = 0; i < 8; i++) {
    const difference = (left % 256) - (right % 256);
    if (difference !== 0) return difference;
    left = Math.floor(left / 256);
    right = Math.floor(right / 256);
  }
  return 0;
}

export class StateRoot {
  readonly #reader: BucketReader;
  /** Levels 16, 12, 8, 4 and 0 of the tree, 32 bytes a node; made on the first root. */
  #levels: Uint8Array[] = [];
  /** A bit a bucket. */
  readonly dirty = new Int32Array(BUCKETS / 32);
  readonly #spans = new Uint32Array(2 * 4096);
  readonly #spanBuckets = new Int32Array(4096);
  readonly #hashes = new Uint8Array(32 * 4096);
  #spanCount = 0;

  constructor(records: RecordsTable, numbers: readonly NumberTable[]) {
    this.#reader = new BucketReader(records, numbers);
  }

  /** The entry with this hash changed. */
  touch(hash: number): void {
    const bucket = hash >>> 16;
    this.dirty[bucket >>> 5] |= 1 << (bucket & 31);
  }

  get bytes(): number {
    let bytes = this.#reader.bytes.length;
    for (const level of this.#levels) bytes += level.length;
    return bytes;
  }

  compute(effectsDigest: Uint8Array): Uint8Array {
    if (this.#levels.length === 0) this.#makeLevels();
    let changed = this.#hashDirtyBuckets();
    for (let level = 1; level < this.#levels.length; level++) {
      const parents: number[] = [];
      for (const node of changed) {
        const parent = Math.floor(node / FANOUT);
        if (parents[parents.length - 1] !== parent) parents.push(parent);
      }
      for (const parent of parents) {
        const children = this.#levels[level - 1];
        kernels.merkleRoot(
          children,
          32 * FANOUT * parent,
          FANOUT,
          this.#levels[level],
          32 * parent,
        );
      }
      changed = parents;
    }
    const top = new Uint8Array(TITLE.length + 64);
    top.set(TITLE);
    top.set(this.#levels[this.#levels.length - 1], TITLE.length);
    top.set(effectsDigest, TITLE.length + 32);
    const root = new Uint8Array(32);
    kernels.sha256(top, 0, top.length, root, 0);
    return root;
  }

  /** Makes the tree of a state without entries. */
  #makeLevels(): void {
    this.#levels = [new Uint8Array(32 * BUCKETS)];
    for (let nodes = BUCKETS / FANOUT; nodes >= 1; nodes /= FANOUT) {
      const below = this.#levels[this.#levels.length - 1];
      const level = new Uint8Array(32 * nodes);
      kernels.merkleRoot(below, 0, FANOUT, level, 0);
      for (let end = 32; end < level.length; end *= 2) level.copyWithin(end, 0, end);
      this.#levels.push(level);
    }
  }

  /** Answers the buckets that were dirty, ascending. */
  #hashDirtyBuckets(): number[] {
    const changed: number[] = [];
    const reader = this.#reader;
    for (let word = 0; word < this.dirty.length; word++) {
      let bits = this.dirty[word];
      this.dirty[word] = 0;
      while (bits !== 0) {
        const bucket = 32 * word + 31 - Math.clz32(bits & -bits);
        bits &= bits - 1;
        changed.push(bucket);
        const start = reader.end;
        reader.append(bucket);
        if (reader.end === start) {
          this.#levels[0].fill(0, 32 * bucket, 32 * bucket + 32);
          continue;
        }
        this.#spans[2 * this.#spanCount] = start;
        this.#spans[2 * this.#spanCount + 1] = reader.end - start;
        this.#spanBuckets[this.#spanCount++] = bucket;
        if (this.#spanCount === this.#spanBuckets.length || reader.end > SCRATCH_BYTES / 2) {
          this.#hashSpans();
        }
      }
    }
    this.#hashSpans();
    return changed;
  }

  #hashSpans(): void {
    this.#reader.finish();
    kernels.hashMany(this.#reader.bytes, this.#spans, this.#spanCount, this.#hashes, 0);
    for (let i = 0; i < this.#spanCount; i++) {
      const at = 32 * this.#spanBuckets[i];
      for (let j = 0; j < 32; j++) this.#levels[0][at + j] = this.#hashes[32 * i + j];
    }
    this.#spanCount = 0;
    this.#reader.clear();
  }
}

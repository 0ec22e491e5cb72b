/**
 * Writes YCSB's key names: "user" and the record number (insertorder=ordered) or its FNV hash
 * (hashed), padded with zeros. Keys go straight into the transaction's bytes; those of the first
 * records are kept, since hashing and printing a key costs more than copying one.
 */
import { KEY_BYTES_MAX } from "../../limits.ts";
import { Fnv64 } from "./fnv.ts";

const PREFIX = new TextEncoder().encode("user");
const ZERO = 0x30;
/** Length byte and "user" and 19 digits: what a key of up to 63 bits takes without padding. */
const CACHED_BYTES = 24;
/** 24 MB at most: the tables of the usual workloads fit, larger ones print their tail. */
const CACHED_KEYS_MAX = 1_000_000;

export class KeyNames {
  readonly #ordered: boolean;
  readonly #zeroPadding: number;
  readonly #hash = new Fnv64();
  readonly #digits = new Uint8Array(20);
  readonly #cache: Uint8Array;
  readonly #cachedKeys: number;

  constructor(options: { ordered: boolean; zeroPadding: number; records: number }) {
    this.#ordered = options.ordered;
    this.#zeroPadding = Math.min(options.zeroPadding, KEY_BYTES_MAX - PREFIX.length);
    const cacheable = this.#zeroPadding <= CACHED_BYTES - 1 - PREFIX.length;
    this.#cachedKeys = cacheable ? Math.min(options.records, CACHED_KEYS_MAX) : 0;
    this.#cache = new Uint8Array(this.#cachedKeys * CACHED_BYTES);
  }

  /** Bytes of the longest key. */
  get keyBytesMax(): number {
    return PREFIX.length + Math.max(19, this.#zeroPadding);
  }

  /** Writes the key of record `record` at `offset`; returns its length in bytes. */
  write(record: number, bytes: Uint8Array, offset: number): number {
    if (record >= this.#cachedKeys) return this.#print(record, bytes, offset);
    const cache = this.#cache;
    const start = record * CACHED_BYTES;
    let length = cache[start];
    if (length === 0) {
      length = this.#print(record, cache, start + 1);
      cache[start] = length;
    }
    for (let i = 0; i < length; i++) bytes[offset + i] = cache[start + 1 + i];
    return length;
  }

  /** The key as bytes of its own: for reads, which hand it to the ledger. */
  key(record: number): Uint8Array {
    const bytes = new Uint8Array(this.keyBytesMax);
    return bytes.subarray(0, this.write(record, bytes, 0));
  }

  #print(record: number, bytes: Uint8Array, offset: number): number {
    let high = Math.floor(record / 0x1_0000_0000);
    let low = record - high * 0x1_0000_0000;
    if (!this.#ordered) {
      this.#hash.hash(record);
      high = this.#hash.high;
      low = this.#hash.low;
    }
    // 63 bits in two parts that doubles hold exactly: the last six digits and what is above them.
    const upper = Math.floor(high / 1e6);
    const rest = (high - upper * 1e6) * 0x1_0000_0000 + low;
    const quotient = Math.floor(rest / 1e6);
    let count = this.#printLast(rest - quotient * 1e6, 6, 0);
    const remaining = upper * 0x1_0000_0000 + quotient;
    const top = Math.floor(remaining / 1e7);
    count = this.#printLast(remaining - top * 1e7, 7, count);
    count = this.#printLast(top, 7, count);
    while (count > 1 && this.#digits[count - 1] === ZERO) count--;

    bytes[offset] = PREFIX[0];
    bytes[offset + 1] = PREFIX[1];
    bytes[offset + 2] = PREFIX[2];
    bytes[offset + 3] = PREFIX[3];
    let end = offset + PREFIX.length;
    for (let fill = this.#zeroPadding - count; fill > 0; fill--) bytes[end++] = ZERO;
    while (count > 0) bytes[end++] = this.#digits[--count];
    return end - offset;
  }

  /** `places` digits of `value`, the last one first, from `count` on. */
  #printLast(value: number, places: number, count: number): number {
    let rest = value | 0;
    for (let i = 0; i < places; i++) {
      const shorter = (rest / 10) | 0;
      this.#digits[count + i] = ZERO + rest - shorter * 10;
      rest = shorter;
    }
    return count + places;
  }
}

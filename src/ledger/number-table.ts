/**
 * Numbers by number: balances by account, floors by sender. Open addressing in the order of the entry
 * hash, so the entries of one bucket of the state root lie together. An entry whose value is `absent`
 * does not exist; its slot is given back when the table is next rebuilt. Values of entries that have a
 * slot are changed by native/execution.h as well.
 */
import { hashNumber } from "./entry-hash.ts";

const EMPTY = -1;
const START_BITS = 8;

export class NumberTable {
  readonly prefix: number;
  readonly absent: number;
  /** Keys at 2i, values at 2i+1. Replaced when it grows. */
  slots = new Float64Array(2 << START_BITS).fill(EMPTY);
  shift = 32 - START_BITS;
  /** Entries that exist. */
  live = 0;
  #used = 0;

  constructor(prefix: number, absent: number) {
    this.prefix = prefix;
    this.absent = absent;
  }

  get bytes(): number {
    return this.slots.byteLength;
  }

  hash(key: number): number {
    return hashNumber(this.prefix, key);
  }

  get(key: number, hash: number): number {
    const slots = this.slots;
    const mask = slots.length - 1;
    let at = 2 * (hash >>> this.shift);
    for (let found = slots[at]; found !== EMPTY; found = slots[at]) {
      if (found === key) return slots[at + 1];
      at = (at + 2) & mask;
    }
    return this.absent;
  }

  set(key: number, hash: number, value: number): void {
    const slots = this.slots;
    const mask = slots.length - 1;
    let at = 2 * (hash >>> this.shift);
    for (let found = slots[at]; found !== EMPTY; found = slots[at]) {
      if (found === key) {
        if (slots[at + 1] === this.absent) this.live++;
        if (value === this.absent) this.live--;
        slots[at + 1] = value;
        return;
      }
      at = (at + 2) & mask;
    }
    if (value === this.absent) return;
    slots[at] = key;
    slots[at + 1] = value;
    this.live++;
    this.#used++;
    if (3 * this.#used > mask) this.#rebuild();
  }

  sum(): number {
    let sum = 0;
    for (let at = 0; at < this.slots.length; at += 2) {
      if (this.slots[at] !== EMPTY && this.slots[at + 1] !== this.absent) {
        sum += this.slots[at + 1];
      }
    }
    return sum;
  }

  /** Appends the keys of the entries in bucket `bucket` (upper 16 bits of the hash) to `keys`. */
  collect(bucket: number, keys: number[]): void {
    const slots = this.slots;
    const mask = slots.length - 1;
    const { shift } = this;
    let at = 2 * ((bucket << 16) >>> shift);
    let sure = ((((bucket << 16) | 0xffff) >>> shift) - ((bucket << 16) >>> shift) + 1) | 0;
    for (; sure > 0 || slots[at] !== EMPTY; sure--) {
      const key = slots[at];
      if (key !== EMPTY && slots[at + 1] !== this.absent && this.hash(key) >>> 16 === bucket) {
        keys.push(key);
      }
      at = (at + 2) & mask;
    }
  }

  /** Doubles, unless half of the slots went to entries that no longer exist. */
  #rebuild(): void {
    const old = this.slots;
    const length = 2 * this.live > this.#used ? 2 * old.length : old.length;
    if (length > old.length) this.shift--;
    this.slots = new Float64Array(length).fill(EMPTY);
    this.#used = 0;
    this.live = 0;
    for (let at = 0; at < old.length; at += 2) {
      const key = old[at];
      if (key !== EMPTY && old[at + 1] !== this.absent) this.set(key, this.hash(key), old[at + 1]);
    }
  }
}

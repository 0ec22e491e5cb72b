/**
 * Keys in bytewise order, for scans. Built on the first scan, kept from then on: a sorted array of
 * keys and a small sorted one of those that came since, merged when it has grown. A deleted key stays
 * until the next merge; who scans asks whether the record is still there.
 */
import { compareBytes } from "./field-plan.ts";

/** Keys that came since the last merge, as a share of all: keeps one insertion's move small. */
const RECENT_SHARE = 32;
const RECENT_MIN = 1024;

export class KeyOrder {
  /** u8 keyBytes ‖ key, one after the other. */
  #bytes = new Uint8Array(1 << 16);
  #end = 0;
  #sorted = new Uint32Array(0);
  #recent = new Uint32Array(RECENT_MIN);
  #recentCount = 0;

  get bytes(): number {
    return this.#bytes.length + this.#sorted.byteLength + this.#recent.byteLength;
  }

  /** Takes all keys at once: call `add` for each one, then this. */
  sortAll(): void {
    const bytes = this.#bytes;
    const all = [];
    for (let at = 0; at < this.#end; at += 1 + bytes[at]) all.push(at);
    this.#sorted = Uint32Array.from(all).sort((a, b) => this.#compare(a, b));
    this.#recentCount = 0;
  }

  /** Stores a key without ordering it: only before `sortAll`. */
  append(source: Uint8Array, offset: number, keyBytes: number): number {
    if (this.#end + 1 + keyBytes > this.#bytes.length) {
      const larger = new Uint8Array(2 * this.#bytes.length);
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    const at = this.#end;
    this.#bytes[at] = keyBytes;
    for (let i = 0; i < keyBytes; i++) this.#bytes[at + 1 + i] = source[offset + i];
    this.#end += 1 + keyBytes;
    return at;
  }

  /** Adds a key that is new, or that was deleted before. */
  add(source: Uint8Array, offset: number, keyBytes: number): void {
    const place = this.#lowerBound(this.#recent, this.#recentCount, source, offset, keyBytes);
    if (this.#isAt(this.#recent, this.#recentCount, place, source, offset, keyBytes)) return;
    const older = this.#lowerBound(this.#sorted, this.#sorted.length, source, offset, keyBytes);
    if (this.#isAt(this.#sorted, this.#sorted.length, older, source, offset, keyBytes)) return;
    const at = this.append(source, offset, keyBytes);
    this.#recent.copyWithin(place + 1, place, this.#recentCount);
    this.#recent[place] = at;
    this.#recentCount++;
  }

  /** Whether the next `add` should be preceded by `merge`. */
  isFull(): boolean {
    return this.#recentCount === this.#recent.length;
  }

  /** Merges the recent keys into the sorted ones and drops those that `isLive` denies. */
  merge(isLive: (bytes: Uint8Array, offset: number, keyBytes: number) => boolean): void {
    const old = this.#bytes;
    const oldEnd = this.#end;
    const keys = this.#merged(0, 0, Number.POSITIVE_INFINITY, isLive);
    this.#bytes = new Uint8Array(Math.max(1 << 16, 2 * oldEnd));
    this.#end = 0;
    this.#sorted = Uint32Array.from(keys, (at) => this.append(old, at + 1, old[at]));
    this.#recent = new Uint32Array(
      Math.max(RECENT_MIN, Math.ceil(this.#sorted.length / RECENT_SHARE)),
    );
    this.#recentCount = 0;
  }

  /** Copies of up to `count` live keys from `start` on. */
  scan(
    start: Uint8Array,
    count: number,
    isLive: (bytes: Uint8Array, offset: number, keyBytes: number) => boolean,
  ): Uint8Array[] {
    const i = this.#lowerBound(this.#sorted, this.#sorted.length, start, 0, start.length);
    const j = this.#lowerBound(this.#recent, this.#recentCount, start, 0, start.length);
    const bytes = this.#bytes;
    return this.#merged(i, j, count, isLive).map((at) => bytes.slice(at + 1, at + 1 + bytes[at]));
  }

  #merged(
    sortedFrom: number,
    recentFrom: number,
    count: number,
    isLive: (bytes: Uint8Array, offset: number, keyBytes: number) => boolean,
  ): number[] {
    const keys: number[] = [];
    let i = sortedFrom;
    let j = recentFrom;
    while (keys.length < count && (i < this.#sorted.length || j < this.#recentCount)) {
      const takeRecent =
        i === this.#sorted.length ||
        (j < this.#recentCount && this.#compare(this.#recent[j], this.#sorted[i]) < 0);
      const at = takeRecent ? this.#recent[j++] : this.#sorted[i++];
      if (isLive(this.#bytes, at + 1, this.#bytes[at])) keys.push(at);
    }
    return keys;
  }

  #compare(a: number, b: number): number {
    const bytes = this.#bytes;
    return compareBytes(bytes, a + 1, bytes[a], bytes, b + 1, bytes[b]);
  }

  #isAt(
    list: Uint32Array,
    count: number,
    place: number,
    source: Uint8Array,
    offset: number,
    keyBytes: number,
  ): boolean {
    if (place === count) return false;
    const at = list[place];
    return compareBytes(this.#bytes, at + 1, this.#bytes[at], source, offset, keyBytes) === 0;
  }

  /** First place in `list` whose key is not below the given one. */
  #lowerBound(
    list: Uint32Array,
    count: number,
    source: Uint8Array,
    offset: number,
    keyBytes: number,
  ): number {
    let low = 0;
    let high = count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const at = list[middle];
      if (compareBytes(this.#bytes, at + 1, this.#bytes[at], source, offset, keyBytes) < 0) {
        low = middle + 1;
      } else high = middle;
    }
    return low;
  }
}

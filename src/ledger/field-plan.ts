/**
 * Which fields a record is to have when it is written anew: those of a transaction, sorted by name with
 * the last of equal names, or these merged into the fields of the record as it was. Places are numbers:
 * an offset in the transactions, or ~offset in `old`, the copy of the old record.
 */
import { UNIT_BYTES } from "./arena.ts";
import type { GrowingMemory } from "./growing-memory.ts";
import { FIELD_HEADER_BYTES } from "./transaction.ts";

/** A record: 12 bytes, its field offsets, its entry (see records-table.ts). */
export const RECORD_HEAD_BYTES = 12;
const PLAN_START = 64;

export class FieldPlan {
  places = new Int32Array(PLAN_START);
  count = 0;
  old = new Uint8Array(0);
  oldView = new DataView(this.old.buffer);

  /** Plans the fields of a transaction. */
  takeFields(bytes: Uint8Array, view: DataView, fieldsOffset: number, fieldCount: number): void {
    if (this.places.length < fieldCount) this.places = new Int32Array(2 * fieldCount);
    const places = this.places;
    let at = fieldsOffset;
    let sorted = true;
    for (let i = 0; i < fieldCount; i++) {
      places[i] = at;
      if (sorted && i > 0) sorted = compareNames(bytes, places[i - 1], at) < 0;
      at += FIELD_HEADER_BYTES + bytes[at] + view.getInt32(at + 1, true);
    }
    this.count = fieldCount;
    if (sorted) return;
    // Of equal names the one that comes later has the higher place.
    places.subarray(0, fieldCount).sort((a, b) => compareNames(bytes, a, b) || a - b);
    this.count = 0;
    for (let i = 0; i < fieldCount; i++) {
      const isLast = i + 1 === fieldCount || compareNames(bytes, places[i], places[i + 1]) !== 0;
      if (isLast) places[this.count++] = places[i];
    }
  }

  /** Merges the planned fields into those of the record at `unit`, which is copied to `old`. */
  mergeInto(memory: GrowingMemory, unit: number, bytes: Uint8Array): void {
    const { words } = memory;
    const start = UNIT_BYTES * unit;
    const fieldCount = words[4 * unit + 1];
    const recordBytes = RECORD_HEAD_BYTES + 4 * fieldCount + words[4 * unit + 2];
    if (this.old.length < recordBytes) {
      this.old = new Uint8Array(2 * recordBytes);
      this.oldView = new DataView(this.old.buffer);
    }
    this.old.set(memory.bytes.subarray(start, start + recordBytes));
    const added = this.places.slice(0, this.count);
    if (this.places.length < fieldCount + added.length) {
      this.places = new Int32Array(2 * (fieldCount + added.length));
    }
    this.count = 0;
    let i = 0;
    let j = 0;
    while (i < fieldCount || j < added.length) {
      const own = words[4 * unit + 3 + i];
      const order =
        i === fieldCount
          ? 1
          : j === added.length
            ? -1
            : compareName(this.old, own, bytes, added[j]);
      this.places[this.count++] = order < 0 ? ~own : added[j];
      if (order <= 0) i++;
      if (order >= 0) j++;
    }
  }

  /** Bytes that the planned fields take in an entry. */
  fieldsBytes(bytes: Uint8Array, view: DataView): number {
    let sum = 0;
    for (let i = 0; i < this.count; i++) {
      const at = this.places[i];
      sum += at >= 0 ? 5 + bytes[at] + view.getInt32(at + 1, true) : this.oldFieldBytes(~at);
    }
    return sum;
  }

  /** Bytes of the field at `at` in `old`. */
  oldFieldBytes(at: number): number {
    return 5 + this.old[at] + this.oldView.getInt32(at + 1 + this.old[at], true);
  }
}

/** Order of the names of two fields of transactions. */
function compareNames(bytes: Uint8Array, a: number, b: number): number {
  const skip = FIELD_HEADER_BYTES;
  return compareBytes(bytes, a + skip, bytes[a], bytes, b + skip, bytes[b]);
}

/** Order of the name of a field in a record against that of a field of a transaction. */
export function compareName(
  own: Uint8Array,
  at: number,
  bytes: Uint8Array,
  source: number,
): number {
  return compareBytes(own, at + 1, own[at], bytes, source + FIELD_HEADER_BYTES, bytes[source]);
}

/** Bytewise order; what begins with the other comes after it. */
export function compareBytes(
  a: Uint8Array,
  aOffset: number,
  aBytes: number,
  b: Uint8Array,
  bOffset: number,
  bBytes: number,
): number {
  const length = Math.min(aBytes, bBytes);
  for (let i = 0; i < length; i++) {
    const difference = a[aOffset + i] - b[bOffset + i];
    if (difference !== 0) return difference;
  }
  return aBytes - bBytes;
}

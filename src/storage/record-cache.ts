/**
 * Bytes of the newest records that this process linked or read, to put a damaged file right, its own
 * or a peer's. One ring of memory, so that a copy costs a copy and nothing else. Writer worker.
 */
import { assert } from "../base/assert.ts";
import { toHex } from "../base/bytes.ts";

/** Some ten records of a busy ledger; a damaged head is noticed before the next of them. */
const RING_BYTES = 16 * 1024 * 1024;
/** Of a quiet ledger many more: what rots before it is folded is noticed a walk of the scrub later. */
const RECORDS_MAX = 16_384;

interface Entry {
  readonly slot: number;
  readonly start: number;
  readonly end: number;
}

export class RecordCache {
  private readonly bytesMax: number;
  private readonly recordsMax: number;
  private ring = new Uint8Array(0);
  private end = 0;
  /** By hash, in the order in which they lie in the ring, the oldest first. */
  private readonly entries = new Map<string, Entry>();

  constructor(bytesMax = RING_BYTES, recordsMax = RECORDS_MAX) {
    this.bytesMax = bytesMax;
    this.recordsMax = recordsMax;
  }

  /** Copies the record. One that would push out most others is not kept. */
  keep(record: { slot: number; hash: Uint8Array }, parts: readonly Uint8Array[]): void {
    let length = 0;
    for (const part of parts) length += part.length;
    assert(length > 0, "a record has bytes: nothing would ever push out an empty one");
    const key = toHex(record.hash);
    if (length > this.bytesMax / 2 || this.entries.has(key)) return;
    if (this.ring.length === 0) this.ring = new Uint8Array(this.bytesMax);
    const wraps = this.end + length > this.bytesMax;
    // What lies behind `end` is of the lap before, and older than all of this one.
    if (wraps) this.forget(({ start }) => start >= this.end);
    const start = wraps ? 0 : this.end;
    this.end = start + length;
    this.forget((oldest) => oldest.start < this.end && start < oldest.end);
    this.forget(() => this.entries.size >= this.recordsMax);
    let at = start;
    for (const part of parts) {
      this.ring.set(part, at);
      at += part.length;
    }
    this.entries.set(key, { slot: record.slot, start, end: this.end });
  }

  /** A copy of the bytes, while they are kept. */
  find(slot: number, hash: Uint8Array): Uint8Array | undefined {
    const entry = this.entries.get(toHex(hash));
    return entry?.slot === slot ? this.ring.slice(entry.start, entry.end) : undefined;
  }

  /** Drops the oldest as long as it `goes`. */
  private forget(goes: (oldest: Entry) => boolean): void {
    for (const [key, oldest] of this.entries) {
      if (!goes(oldest)) return;
      this.entries.delete(key);
    }
  }
}

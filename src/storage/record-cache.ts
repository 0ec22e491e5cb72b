/**
 * Bytes of the newest records that this process linked or read, to put a damaged file right, its own
 * or a peer's. One ring of memory, so that a copy costs a copy and nothing else. Writer worker.
 */
import { equalBytes } from "../base/bytes.ts";

/** Some ten records of a busy ledger; a damaged head is noticed before the next of them. */
const RING_BYTES = 16 * 1024 * 1024;
const RECORDS_MAX = 256;

interface Entry {
  readonly slot: number;
  readonly hash: Uint8Array;
  readonly start: number;
  readonly length: number;
}

export class RecordCache {
  private readonly bytesMax: number;
  private ring = new Uint8Array(0);
  private end = 0;
  /** In the order in which they lie in the ring, the oldest first. */
  private readonly entries: Entry[] = [];

  constructor(bytesMax = RING_BYTES) {
    this.bytesMax = bytesMax;
  }

  /** Copies the record. One that would push out most others is not kept. */
  keep(record: { slot: number; hash: Uint8Array }, parts: readonly Uint8Array[]): void {
    let length = 0;
    for (const part of parts) length += part.length;
    if (length > this.bytesMax / 2 || this.find(record.slot, record.hash) !== undefined) return;
    if (this.ring.length === 0) this.ring = new Uint8Array(this.bytesMax);
    const start = this.end + length <= this.bytesMax ? this.end : 0;
    this.end = start + length;
    // What lies after `start` is older than what lies before it.
    const isGone = ({ start: from, length: bytes }: Entry) =>
      from < this.end && start < from + bytes;
    while (this.entries.length > 0 && this.entries.some(isGone)) this.entries.shift();
    if (this.entries.length === RECORDS_MAX) this.entries.shift();
    let at = start;
    for (const part of parts) {
      this.ring.set(part, at);
      at += part.length;
    }
    this.entries.push({ slot: record.slot, hash: record.hash.slice(), start, length });
  }

  /** A copy of the bytes, while they are kept. */
  find(slot: number, hash: Uint8Array): Uint8Array | undefined {
    const entry = this.entries.findLast((one) => one.slot === slot && equalBytes(one.hash, hash));
    return entry && this.ring.slice(entry.start, entry.start + entry.length);
  }
}

/**
 * Where this rank stands in the log, and when it looks at storage for what comes next. A read is
 * asked for by setting a time: reads are paced, and one is under way at most.
 */
import { assert } from "../base/assert.ts";
import { UNRECORDED_ROUNDS_MAX } from "../limits.ts";
import type { Decided } from "./effects.ts";

export class LogTail {
  slot: number;
  hash: string;
  /** When the head moved: turns at the next record are counted from then. */
  movedAt = Number.NEGATIVE_INFINITY;
  /** What is known of the head record: the answer to members that are behind. */
  lastDecided: Decided | undefined;
  private readonly readDelayMs: number;
  /** Announced records above the head, by slot: at most UNRECORDED_ROUNDS_MAX. */
  private readonly decisions = new Map<number, Decided>();
  private reading: number | undefined;
  private readAt = Number.POSITIVE_INFINITY;
  /** Not before then: the last read failed. */
  private retryAt = Number.NEGATIVE_INFINITY;
  /** When a read last found nothing after the head. */
  private emptyAt = Number.NEGATIVE_INFINITY;
  /** Highest slot that anybody announced. */
  private announcedSlot = 0;
  /** Somebody is in a round that this rank may not open before it learns of more records. */
  private roundsBeyond = false;

  constructor(head: { slot: number; hash: string }, readDelayMs: number) {
    this.slot = head.slot;
    this.hash = head.hash;
    this.readDelayMs = readDelayMs;
  }

  announced(decided: Decided, now: number): void {
    if (decided.slot <= this.slot) return;
    this.announcedSlot = Math.max(this.announcedSlot, decided.slot);
    if (decided.slot <= this.slot + UNRECORDED_ROUNDS_MAX) {
      this.decisions.set(decided.slot, decided);
      // An INTENT is answered in time, a SEAL obeyed at once: neither can be told from here.
      const urgent = decided.kind === "INTENT" || decided.kind === "SEAL";
      this.readBy(urgent ? now : now + this.readDelayMs);
    } else this.readBy(now);
  }

  /** What was announced for the next slot. */
  next(): Decided | undefined {
    return this.decisions.get(this.slot + 1);
  }

  heardOfRoundsBeyond(now: number): void {
    this.roundsBeyond = true;
    this.readBy(now + this.readDelayMs);
  }

  /** Somebody is at `slot`: this rank reads until it is there as well. */
  heardOfSlot(slot: number, now: number): void {
    if (slot <= this.announcedSlot || slot <= this.slot) return;
    this.announcedSlot = slot;
    this.readBy(now);
  }

  readBy(at: number): void {
    this.readAt = Math.min(this.readAt, at);
  }

  /** Soon; the answer of a read that is under way will do. */
  look(now: number): void {
    if (this.reading === undefined) this.readBy(now);
  }

  /** True once when a read is due; its answer comes to `found` or `empty`. */
  takeRead(now: number): boolean {
    if (this.reading !== undefined || now < this.readDue()) return false;
    this.readAt = Number.POSITIVE_INFINITY;
    this.reading = this.slot + 1;
    return true;
  }

  /** When the next read falls due; Infinity while one is under way, whose answer is awaited. */
  readDue(): number {
    if (this.reading !== undefined) return Number.POSITIVE_INFINITY;
    return Math.max(this.readAt, this.retryAt);
  }

  /** The record of `slot` was found. If by the read under way, more may follow: read on. */
  found(slot: number, now: number): void {
    if (this.reading !== slot) return;
    this.reading = undefined;
    this.readBy(now);
  }

  /** The read of `slot` found nothing: an announced record may not be visible here yet. */
  empty(slot: number, now: number): void {
    if (this.reading !== slot) return;
    this.reading = undefined;
    if (slot !== this.slot + 1) return;
    this.emptyAt = now;
    if (this.behind) this.readBy(now + this.readDelayMs);
  }

  /** The read of `slot` failed: storage may be away. */
  failed(slot: number, now: number): void {
    if (this.reading !== slot) return;
    this.reading = undefined;
    this.retryAt = now + this.readDelayMs;
    this.readBy(this.retryAt);
  }

  /** Storage was seen to hold no record after the head at `time` or later. */
  emptySince(time: number): boolean {
    return this.emptyAt >= time;
  }

  private get behind(): boolean {
    return this.announcedSlot > this.slot || this.roundsBeyond;
  }

  advance(decided: Decided, now: number): void {
    assert(decided.slot === this.slot + 1, "slots are contiguous");
    const readSoon = this.readAt <= now;
    this.slot = decided.slot;
    this.hash = decided.hash;
    this.lastDecided = decided;
    this.movedAt = now;
    this.emptyAt = Number.NEGATIVE_INFINITY;
    this.decisions.delete(decided.slot);
    this.roundsBeyond = false;
    if (!readSoon) this.readAt = this.behind ? now + this.readDelayMs : Number.POSITIVE_INFINITY;
  }
}

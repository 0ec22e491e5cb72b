/**
 * The operations that a driver has sent and not finished: a slot each, in typed arrays. The tag
 * that travels with a transaction is its slot and a count of the slot's uses, so that a receipt
 * that comes late, for an earlier use, is told from one for the present use.
 */
import { assert } from "../base/assert.ts";
import type { Operation } from "./operation.ts";

export const FLAG = { AGREED: 1 } as const;

/** Tags are positive 32-bit numbers; this leaves 4096 uses before a slot's count comes round. */
const SLOTS_MAX = 1 << 19;

export class InFlight {
  readonly kinds: Uint8Array;
  readonly flags: Uint8Array;
  /** When the operation was due, ms. */
  readonly intended: Float64Array;
  /** When it was made, ms. */
  readonly created: Float64Array;
  readonly #open: Uint8Array;
  readonly #subjects: Float64Array;
  readonly #objects: Float64Array;
  readonly #amounts: Float64Array;
  readonly #tags: Int32Array;
  readonly #mask: number;
  readonly #free: Int32Array;
  #freeCount: number;

  constructor(slotsMin: number) {
    const slots = 2 ** Math.ceil(Math.log2(Math.max(2, slotsMin)));
    assert(slots <= SLOTS_MAX, "the operations in flight fit their tags");
    this.kinds = new Uint8Array(slots);
    this.flags = new Uint8Array(slots);
    this.intended = new Float64Array(slots);
    this.created = new Float64Array(slots);
    this.#open = new Uint8Array(slots);
    this.#subjects = new Float64Array(slots);
    this.#objects = new Float64Array(slots);
    this.#amounts = new Float64Array(slots);
    this.#tags = Int32Array.from({ length: slots }, (_, slot) => slot);
    this.#mask = slots - 1;
    this.#free = Int32Array.from({ length: slots }, (_, i) => slots - 1 - i);
    this.#freeCount = slots;
  }

  get freeCount(): number {
    return this.#freeCount;
  }

  get count(): number {
    return this.#mask + 1 - this.#freeCount;
  }

  /** Takes a slot; the caller made sure that there is one. */
  open(operation: Operation, intended: number, created: number): number {
    assert(this.#freeCount > 0, "a slot is free");
    const slot = this.#free[--this.#freeCount];
    this.#open[slot] = 1;
    this.kinds[slot] = operation.kind;
    this.flags[slot] = 0;
    this.intended[slot] = intended;
    this.created[slot] = created;
    this.#subjects[slot] = operation.subject;
    this.#objects[slot] = operation.object;
    this.#amounts[slot] = operation.amount;
    return slot;
  }

  isOpen(slot: number): boolean {
    return this.#open[slot] === 1;
  }

  close(slot: number): void {
    assert(this.#open[slot] === 1, "a slot is closed once");
    this.#open[slot] = 0;
    this.renew(slot);
    this.#free[this.#freeCount++] = slot;
  }

  tagOf(slot: number): number {
    return this.#tags[slot];
  }

  /** Gives the slot a new tag: receipts for the old one no longer count. */
  renew(slot: number): void {
    this.#tags[slot] = (this.#tags[slot] + this.#mask + 1) & 0x7fff_ffff;
  }

  /** The slot that a tag stands for, or -1 when that use of it is over. */
  slotOf(tag: number): number {
    const slot = tag & this.#mask;
    return this.#tags[slot] === tag ? slot : -1;
  }

  load(slot: number, operation: Operation): void {
    operation.kind = this.kinds[slot];
    operation.subject = this.#subjects[slot];
    operation.object = this.#objects[slot];
    operation.amount = this.#amounts[slot];
  }
}

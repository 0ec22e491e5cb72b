/**
 * Slots with room for a payload. Called under the queue's lock; the number in use alone is read
 * without it. Slots that were never used come last, so that an idle queue touches little memory.
 */
import {
  FREE_SLOT,
  LENGTH,
  NEXT,
  OFFSET,
  RUN,
  SLOT_FREE,
  SLOT_HIGH,
  SLOT_WORDS,
  SLOTS_USED,
} from "./fifo-layout.ts";
import { NONE } from "./fifo-lists.ts";
import type { SlabArena } from "./slab-arena.ts";

export class SlotPool {
  readonly #header: Int32Array;
  readonly #slots: Int32Array;
  readonly #arena: SlabArena;
  readonly #count: number;

  constructor(o: { header: Int32Array; slots: Int32Array; arena: SlabArena; count: number }) {
    this.#header = o.header;
    this.#slots = o.slots;
    this.#arena = o.arena;
    this.#count = o.count;
  }

  /** A slot with a payload of `length` bytes, not labelled yet; NONE when there is no room. */
  take(length: number): number {
    const header = this.#header;
    const slots = this.#slots;
    let slot = header[SLOT_FREE] - 1;
    if (slot < 0 && header[SLOT_HIGH] === this.#count) return NONE;
    const offset = this.#arena.take(length);
    if (offset < 0) return NONE;
    if (slot >= 0) header[SLOT_FREE] = slots[SLOT_WORDS * slot + NEXT];
    else slot = header[SLOT_HIGH]++;
    slots[SLOT_WORDS * slot + OFFSET] = offset;
    slots[SLOT_WORDS * slot + LENGTH] = length;
    header[SLOTS_USED] += 1;
    return slot;
  }

  /** Takes back a slot that is in no list, no chain and not in the index any more. */
  give(slot: number): void {
    const header = this.#header;
    const record = SLOT_WORDS * slot;
    this.#arena.give(this.#slots[record + OFFSET]);
    this.#slots[record + RUN] = FREE_SLOT;
    this.#slots[record + NEXT] = header[SLOT_FREE];
    header[SLOT_FREE] = slot + 1;
    header[SLOTS_USED] -= 1;
  }

  /** How many are not in use. Without the lock a hint: the number of some moment ago. */
  free(): number {
    // Published by the unlock of whoever wrote it.
    return this.#count - Atomics.load(this.#header, SLOTS_USED);
  }
}

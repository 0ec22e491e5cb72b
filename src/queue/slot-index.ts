/**
 * The hash table of a KeyedFifo: from a 32-byte id to its slot. Called under the queue's lock.
 *
 * Ids are SHA-256 hashes, so their first word is as good as any hash; but whoever makes
 * transactions can search for ids of equal low bits. The word is therefore multiplied by an odd
 * number drawn at creation and its upper bits name the bucket. Slots of a bucket are linked.
 */
import { assert } from "../base/assert.ts";
import { BUCKET_NEXT, SLOT_WORDS } from "./fifo-layout.ts";

/** Int32 words of an id. */
export const ID_WORDS = 8;

export class SlotIndex {
  readonly #buckets: Int32Array;
  readonly #slots: Int32Array;
  readonly #idWords: Int32Array;
  readonly #multiplier: number;
  readonly #shift: number;

  constructor(o: {
    buckets: Int32Array;
    slots: Int32Array;
    idWords: Int32Array;
    multiplier: number;
    indexBits: number;
  }) {
    this.#buckets = o.buckets;
    this.#slots = o.slots;
    this.#idWords = o.idWords;
    this.#multiplier = o.multiplier;
    // A shift by 32 would be one by 0: indexBits is at least 1.
    this.#shift = 32 - o.indexBits;
  }

  /** The slot whose id is words[at .. at+8), or -1. */
  lookup(words: Int32Array, at: number): number {
    const first = words[at];
    const slots = this.#slots;
    const ids = this.#idWords;
    let link = this.#buckets[Math.imul(first, this.#multiplier) >>> this.#shift];
    while (link !== 0) {
      const slot = link - 1;
      const id = ID_WORDS * slot;
      if (
        ids[id] === first &&
        ids[id + 1] === words[at + 1] &&
        ids[id + 2] === words[at + 2] &&
        ids[id + 3] === words[at + 3] &&
        ids[id + 4] === words[at + 4] &&
        ids[id + 5] === words[at + 5] &&
        ids[id + 6] === words[at + 6] &&
        ids[id + 7] === words[at + 7]
      ) {
        return slot;
      }
      link = slots[SLOT_WORDS * slot + BUCKET_NEXT];
    }
    return -1;
  }

  /** Gives `slot` the id words[at .. at+8), which is not in the table. */
  insert(slot: number, words: Int32Array, at: number): void {
    const ids = this.#idWords;
    const id = ID_WORDS * slot;
    const first = words[at];
    ids[id] = first;
    ids[id + 1] = words[at + 1];
    ids[id + 2] = words[at + 2];
    ids[id + 3] = words[at + 3];
    ids[id + 4] = words[at + 4];
    ids[id + 5] = words[at + 5];
    ids[id + 6] = words[at + 6];
    ids[id + 7] = words[at + 7];
    const bucket = Math.imul(first, this.#multiplier) >>> this.#shift;
    this.#slots[SLOT_WORDS * slot + BUCKET_NEXT] = this.#buckets[bucket];
    this.#buckets[bucket] = slot + 1;
  }

  /** Takes `slot`, which is in the table, out of it. */
  remove(slot: number): void {
    const slots = this.#slots;
    const bucket = Math.imul(this.#idWords[ID_WORDS * slot], this.#multiplier) >>> this.#shift;
    const after = slots[SLOT_WORDS * slot + BUCKET_NEXT];
    let link = this.#buckets[bucket];
    if (link === slot + 1) {
      this.#buckets[bucket] = after;
      return;
    }
    for (;;) {
      assert(link !== 0, "an element is freed once");
      const record = SLOT_WORDS * (link - 1);
      link = slots[record + BUCKET_NEXT];
      if (link === slot + 1) {
        slots[record + BUCKET_NEXT] = after;
        return;
      }
    }
  }
}

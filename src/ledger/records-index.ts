/**
 * Open addressing in the order of the entry hash: pairs (hash, unit of the record in the arena) in one
 * typed array. The home of a hash is its upper bits, so the records of one bucket of the state root
 * lie together and need no second index. Unit 0 means an empty slot.
 */
const START_BITS = 10;

export class RecordsIndex {
  /** Hash at 2i, unit at 2i+1. Replaced when it grows. */
  slots = new Int32Array(2 << START_BITS);
  mask = (2 << START_BITS) - 1;
  shift = 32 - START_BITS;
  count = 0;

  /** First place to look for `hash`; go on with next(). Places are even. */
  home(hash: number): number {
    return 2 * (hash >>> this.shift);
  }

  next(place: number): number {
    return (place + 2) & this.mask;
  }

  /** Fills an empty place that the search for `hash` ended at. */
  fill(place: number, hash: number, unit: number): void {
    this.slots[place] = hash;
    this.slots[place + 1] = unit;
    this.count++;
    if (3 * this.count > this.mask) this.#grow();
  }

  /** Empties a place and closes the gap, so that searches still end at the first empty place. */
  clear(place: number): void {
    const { slots, mask } = this;
    let hole = place;
    for (let at = this.next(place); slots[at + 1] !== 0; at = this.next(at)) {
      const home = this.home(slots[at]);
      if (((at - home) & mask) < ((at - hole) & mask)) continue;
      slots[hole] = slots[at];
      slots[hole + 1] = slots[at + 1];
      hole = at;
    }
    slots[hole + 1] = 0;
    this.count--;
  }

  /** Appends the units of the records in bucket `bucket` to `units`. */
  collect(bucket: number, units: number[]): void {
    const { slots, shift } = this;
    const first = (bucket << 16) >>> shift;
    let sure = (((bucket << 16) | 0xffff) >>> shift) - first + 1;
    for (let at = 2 * first; sure > 0 || slots[at + 1] !== 0; at = this.next(at)) {
      sure--;
      if (slots[at + 1] !== 0 && slots[at] >>> 16 === bucket) units.push(slots[at + 1]);
    }
  }

  #grow(): void {
    const old = this.slots;
    this.slots = new Int32Array(2 * old.length);
    this.mask = this.slots.length - 1;
    this.shift--;
    for (let from = 0; from < old.length; from += 2) {
      if (old[from + 1] === 0) continue;
      let at = this.home(old[from]);
      while (this.slots[at + 1] !== 0) at = this.next(at);
      this.slots[at] = old[from];
      this.slots[at + 1] = old[from + 1];
    }
  }
}

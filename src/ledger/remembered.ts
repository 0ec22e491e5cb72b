/**
 * The window of remembered transactions: (sender, sequence) → {txnID, outcome}, until the last valid
 * round of each is over. A slab of 64-byte entries with a free list, a hash table of chains over it,
 * and one list of entries for each last valid round, so that forgetting costs what is forgotten.
 *
 * Sixteen sequence numbers in a row share a cache line of chain heads: a sender that counts up, which
 * is what senders do, misses the cache once in sixteen transactions.
 */
import { VALIDITY_ROUNDS_MAX } from "../limits.ts";
import { GrowingMemory } from "./growing-memory.ts";
import type { NumberTable } from "./number-table.ts";

const ENTRY_WORDS = 16;
// Words of an entry; the txnID takes the first eight.
const SENDER_LOW = 8;
const SENDER_HIGH = 9;
const SEQUENCE_LOW = 10;
const SEQUENCE_HIGH = 11;
const NEXT_IN_CHAIN = 12;
const NEXT_IN_ROUND = 13;
const OUTCOME = 14;

const HIGH = 0x1_0000_0000;
/** Last valid rounds that can be remembered at once: the round that is executed and those after it. */
const RING = VALIDITY_ROUNDS_MAX + 1;
const START_CAPACITY = 8192;

export class Remembered {
  /** Entries at most. */
  readonly countMax: number;
  /** Entries in use. */
  count = 0;
  /** Every last valid round up to this one is forgotten. */
  through = -1;
  #memory = new GrowingMemory(4 * ENTRY_WORDS * START_CAPACITY);
  /** Two heads an entry, so chains are short. Entry 0 is none. */
  #heads = new Int32Array(2 * START_CAPACITY);
  #capacity = START_CAPACITY;
  /** Entries 1 .. #end-1 have been handed out at least once. */
  #end = 1;
  #free = 0;
  readonly #rounds = new Int32Array(RING);

  constructor(options: { countMax: number }) {
    this.countMax = options.countMax;
  }

  get bytes(): number {
    return this.#end * 4 * ENTRY_WORDS + this.#heads.byteLength + this.#rounds.byteLength;
  }

  /** Entry of (sender, sequence), or 0. */
  find(sender: number, sequence: number): number {
    const senderLow = sender | 0;
    const senderHigh = high(sender);
    const sequenceLow = sequence | 0;
    const sequenceHigh = high(sequence);
    const words = this.#memory.words;
    let entry = this.#heads[this.#home(senderLow, senderHigh, sequenceLow, sequenceHigh)];
    while (entry !== 0) {
      const at = ENTRY_WORDS * entry;
      if (
        words[at + SEQUENCE_LOW] === sequenceLow &&
        words[at + SENDER_LOW] === senderLow &&
        words[at + SEQUENCE_HIGH] === sequenceHigh &&
        words[at + SENDER_HIGH] === senderHigh
      ) {
        return entry;
      }
      entry = words[at + NEXT_IN_CHAIN];
    }
    return 0;
  }

  hasId(entry: number, ids: DataView, idOffset: number): boolean {
    const words = this.#memory.words;
    for (let i = 0; i < 8; i++) {
      if (words[ENTRY_WORDS * entry + i] !== ids.getInt32(idOffset + 4 * i, true)) return false;
    }
    return true;
  }

  outcome(entry: number): number {
    return this.#memory.words[ENTRY_WORDS * entry + OUTCOME];
  }

  isFull(): boolean {
    return this.count === this.countMax;
  }

  /** Remembers what `find` did not find; `lastValidRound` lies in (through, through + RING]. */
  add(
    sender: number,
    sequence: number,
    lastValidRound: number,
    ids: DataView,
    idOffset: number,
    outcome: number,
  ): void {
    let entry = this.#free;
    if (entry === 0) {
      if (this.#end === this.#capacity) this.#grow();
      entry = this.#end++;
    } else {
      this.#free = this.#memory.words[ENTRY_WORDS * entry + NEXT_IN_ROUND];
    }
    const words = this.#memory.words;
    const at = ENTRY_WORDS * entry;
    for (let i = 0; i < 8; i++) words[at + i] = ids.getInt32(idOffset + 4 * i, true);
    words[at + SENDER_LOW] = sender | 0;
    words[at + SENDER_HIGH] = high(sender);
    words[at + SEQUENCE_LOW] = sequence | 0;
    words[at + SEQUENCE_HIGH] = high(sequence);
    words[at + OUTCOME] = outcome;
    this.#link(entry);
    const round = lastValidRound % RING;
    words[at + NEXT_IN_ROUND] = this.#rounds[round];
    this.#rounds[round] = entry;
    this.count++;
  }

  /**
   * Forgets every last valid round up to `round` and raises the floors of the senders. `onEntry` is
   * told of each entry while it is still there.
   */
  forget(
    round: number,
    floors: NumberTable,
    onFloor: (hash: number) => void,
    onEntry?: (entry: number) => void,
  ): void {
    const last = Math.min(round, this.through + RING);
    // Most of a round's entries come from few senders in a row: one floor is kept at hand.
    let sender = -1;
    let hash = 0;
    let floor = -1;
    for (let r = this.through + 1; r <= last; r++) {
      let entry = this.#rounds[r % RING];
      this.#rounds[r % RING] = 0;
      while (entry !== 0) {
        const words = this.#memory.words;
        const at = ENTRY_WORDS * entry;
        const next = words[at + NEXT_IN_ROUND];
        const owner = (words[at + SENDER_LOW] >>> 0) + HIGH * words[at + SENDER_HIGH];
        if (owner !== sender) {
          sender = owner;
          hash = floors.hash(owner);
          floor = floors.get(owner, hash);
        }
        const sequence = (words[at + SEQUENCE_LOW] >>> 0) + HIGH * words[at + SEQUENCE_HIGH];
        if (sequence > floor) {
          floor = sequence;
          floors.set(sender, hash, floor);
          onFloor(hash);
        }
        onEntry?.(entry);
        this.#unlink(entry);
        words[at + NEXT_IN_ROUND] = this.#free;
        this.#free = entry;
        this.count--;
        entry = next;
      }
    }
    this.through = round;
  }

  /** Visits all entries by last valid round, in the order in which they were added. */
  forEach(visit: (sender: number, sequence: number, round: number, entry: number) => void): void {
    const words = this.#memory.words;
    for (let round = this.through + 1; round <= this.through + RING; round++) {
      let entry = this.#rounds[round % RING];
      // Of the 65,537 rounds of the window most have nothing, and a checkpoint comes this way.
      if (entry === 0) continue;
      const entries = [];
      for (; entry !== 0; entry = words[ENTRY_WORDS * entry + NEXT_IN_ROUND]) entries.push(entry);
      for (const each of entries.reverse()) {
        const at = ENTRY_WORDS * each;
        visit(
          (words[at + SENDER_LOW] >>> 0) + HIGH * words[at + SENDER_HIGH],
          (words[at + SEQUENCE_LOW] >>> 0) + HIGH * words[at + SEQUENCE_HIGH],
          round,
          each,
        );
      }
    }
  }

  /** Copies the txnID of an entry. */
  copyId(entry: number, out: Uint8Array, outOffset: number): void {
    const at = 4 * ENTRY_WORDS * entry;
    out.set(this.#memory.bytes.subarray(at, at + 32), outOffset);
  }

  #home(senderLow: number, senderHigh: number, sequenceLow: number, sequenceHigh: number): number {
    let h = Math.imul(senderLow ^ Math.imul(senderHigh, 0x85ebca6b), 0x9e3779b1);
    h ^= h >>> 15;
    h = Math.imul(h ^ (sequenceLow >>> 4) ^ Math.imul(sequenceHigh, 0x27d4eb2f), 0xc2b2ae35);
    h ^= h >>> 13;
    h = Math.imul(h, 0x85ebca6b);
    h ^= h >>> 16;
    return ((h << 4) | (sequenceLow & 15)) & (this.#heads.length - 1);
  }

  #homeOf(entry: number): number {
    const words = this.#memory.words;
    const at = ENTRY_WORDS * entry;
    return this.#home(
      words[at + SENDER_LOW],
      words[at + SENDER_HIGH],
      words[at + SEQUENCE_LOW],
      words[at + SEQUENCE_HIGH],
    );
  }

  #link(entry: number): void {
    const home = this.#homeOf(entry);
    this.#memory.words[ENTRY_WORDS * entry + NEXT_IN_CHAIN] = this.#heads[home];
    this.#heads[home] = entry;
  }

  #unlink(entry: number): void {
    const words = this.#memory.words;
    const home = this.#homeOf(entry);
    const next = words[ENTRY_WORDS * entry + NEXT_IN_CHAIN];
    if (this.#heads[home] === entry) {
      this.#heads[home] = next;
      return;
    }
    let before = this.#heads[home];
    while (words[ENTRY_WORDS * before + NEXT_IN_CHAIN] !== entry) {
      before = words[ENTRY_WORDS * before + NEXT_IN_CHAIN];
    }
    words[ENTRY_WORDS * before + NEXT_IN_CHAIN] = next;
  }

  /** Doubles. Only called when no entry is free, so all are linked anew. */
  #grow(): void {
    this.#capacity *= 2;
    this.#memory.ensure(4 * ENTRY_WORDS * this.#capacity);
    this.#heads = new Int32Array(2 * this.#capacity);
    for (let entry = 1; entry < this.#end; entry++) this.#link(entry);
  }
}

function high(value: number): number {
  return value < HIGH ? 0 : Math.floor(value / HIGH);
}

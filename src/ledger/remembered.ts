/**
 * The window of remembered transactions: (sender, sequence) → {txnID, outcome}, until the last valid
 * round of each is over. A slab of 64-byte entries with a free list, a hash table of chains over it,
 * and one list of entries for each last valid round, so that forgetting costs what is forgotten.
 *
 * Blocks add to it and rounds forget from it in native/execution.h; here it is looked into, filled from
 * a snapshot and grown.
 *
 * Sixteen sequence numbers in a row share a cache line of chain heads: a sender that counts up, which
 * is what senders do, misses the cache once in sixteen transactions.
 */
import { kernels } from "../base/kernels.ts";
import { VALIDITY_ROUNDS_MAX } from "../limits.ts";
import { GrowingMemory } from "./growing-memory.ts";

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
  /** Two heads an entry, so chains are short. Entry 0 is none. */
  heads = new Int32Array(2 * START_CAPACITY);
  capacity = START_CAPACITY;
  /** Entries 1 .. end-1 have been handed out at least once. */
  end = 1;
  /** The first free one of these, or 0. */
  free = 0;
  /** By last valid round modulo its length: the entry that was added last. */
  readonly rounds = new Int32Array(RING);
  readonly #memory = new GrowingMemory(4 * ENTRY_WORDS * START_CAPACITY);

  constructor(options: { countMax: number }) {
    this.countMax = options.countMax;
  }

  get words(): Int32Array {
    return this.#memory.words;
  }

  get bytes(): number {
    return this.end * 4 * ENTRY_WORDS + this.heads.byteLength + this.rounds.byteLength;
  }

  /** Entry of (sender, sequence), or 0. */
  find(sender: number, sequence: number): number {
    const senderLow = sender | 0;
    const senderHigh = high(sender);
    const sequenceLow = sequence | 0;
    const sequenceHigh = high(sequence);
    const words = this.#memory.words;
    let entry = this.heads[this.#home(senderLow, senderHigh, sequenceLow, sequenceHigh)];
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
    if (this.free === 0 && this.end === this.capacity) this.grow();
    const words = this.#memory.words;
    const entry = this.free === 0 ? this.end++ : this.free;
    const at = ENTRY_WORDS * entry;
    if (entry === this.free) this.free = words[at + NEXT_IN_ROUND];
    for (let i = 0; i < 8; i++) words[at + i] = ids.getInt32(idOffset + 4 * i, true);
    words[at + SENDER_LOW] = sender | 0;
    words[at + SENDER_HIGH] = high(sender);
    words[at + SEQUENCE_LOW] = sequence | 0;
    words[at + SEQUENCE_HIGH] = high(sequence);
    words[at + OUTCOME] = outcome;
    kernels.linkRemembered(words, this.heads, entry, entry + 1);
    const round = lastValidRound % RING;
    words[at + NEXT_IN_ROUND] = this.rounds[round];
    this.rounds[round] = entry;
    this.count++;
  }

  /** Whether anything is last valid in `round`, one that is not forgotten yet. */
  isEmpty(round: number): boolean {
    return this.rounds[round % RING] === 0;
  }

  /** Visits the entries whose last valid round is `round`, one that is not forgotten yet. */
  forEachOf(round: number, visit: (entry: number) => void): void {
    const words = this.#memory.words;
    let entry = this.rounds[round % RING];
    for (; entry !== 0; entry = words[ENTRY_WORDS * entry + NEXT_IN_ROUND]) visit(entry);
  }

  /** Visits all entries by last valid round, in the order in which they were added. */
  forEach(visit: (sender: number, sequence: number, round: number, entry: number) => void): void {
    const words = this.#memory.words;
    for (let round = this.through + 1; round <= this.through + RING; round++) {
      // Of the 65,537 rounds of the window most have nothing, and a checkpoint comes this way.
      if (this.isEmpty(round)) continue;
      const entries: number[] = [];
      this.forEachOf(round, (entry) => entries.push(entry));
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
    return ((h << 4) | (sequenceLow & 15)) & (this.heads.length - 1);
  }

  /** Doubles. Only called when no entry is free, so all are linked anew. */
  grow(): void {
    this.capacity *= 2;
    this.#memory.ensure(4 * ENTRY_WORDS * this.capacity);
    this.heads = new Int32Array(2 * this.capacity);
    kernels.linkRemembered(this.#memory.words, this.heads, 1, this.end);
  }
}

function high(value: number): number {
  return value < HIGH ? 0 : Math.floor(value / HIGH);
}

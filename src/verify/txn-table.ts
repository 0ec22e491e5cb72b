/**
 * A set of txnIDs for tens of millions of entries: open addressing over typed arrays, 17 bytes a
 * place. An entry is the first 16 bytes of its txnID: a SHA-256, so two that agree in these are the
 * same transaction for every purpose but an attack on 64 bits of work, which acknowledges nothing.
 */
import { readU32 } from "../base/bytes.ts";

/** Places in use of those there are: linear probing stays short below it. */
const LOAD_MAX = 0.6;
const WORDS = 4;

export class TxnTable {
  size = 0;
  private words: Uint32Array;
  private marks: Uint8Array;
  private mask: number;

  constructor(expected: number) {
    const places = 2 ** Math.ceil(Math.log2(Math.max(1024, expected / LOAD_MAX)));
    this.words = new Uint32Array(WORDS * places);
    this.marks = new Uint8Array(places);
    this.mask = places - 1;
  }

  /** Place of the id at ids[at .. +32), or -1. */
  find(ids: Uint8Array, at: number): number {
    const place = this.probe(readU32(ids, at), readU32(ids, at + 4), ids, at);
    return this.marks[place] === 0 ? -1 : place;
  }

  /** Adds the id with `mark` (1 to 255), unless it is there; answers its place. */
  add(ids: Uint8Array, at: number, mark: number): number {
    if (this.size >= LOAD_MAX * (this.mask + 1)) this.grow();
    const place = this.probe(readU32(ids, at), readU32(ids, at + 4), ids, at);
    if (this.marks[place] !== 0) return place;
    for (let i = 0; i < WORDS; i++) this.words[WORDS * place + i] = readU32(ids, at + 4 * i);
    this.marks[place] = mark;
    this.size++;
    return place;
  }

  mark(place: number): number {
    return this.marks[place];
  }

  setMark(place: number, mark: number): void {
    this.marks[place] = mark;
  }

  private probe(first: number, second: number, ids: Uint8Array, at: number): number {
    const { words, marks, mask } = this;
    const third = readU32(ids, at + 8);
    const fourth = readU32(ids, at + 12);
    let place = first & mask;
    while (marks[place] !== 0) {
      const i = WORDS * place;
      if (words[i] === first && words[i + 1] === second) {
        if (words[i + 2] === third && words[i + 3] === fourth) break;
      }
      place = (place + 1) & mask;
    }
    return place;
  }

  private grow(): void {
    const { words, marks } = this;
    const places = 2 * marks.length;
    this.words = new Uint32Array(WORDS * places);
    this.marks = new Uint8Array(places);
    this.mask = places - 1;
    for (let old = 0; old < marks.length; old++) {
      if (marks[old] === 0) continue;
      let place = words[WORDS * old] & this.mask;
      while (this.marks[place] !== 0) place = (place + 1) & this.mask;
      this.words.set(words.subarray(WORDS * old, WORDS * old + WORDS), WORDS * place);
      this.marks[place] = marks[old];
    }
  }
}

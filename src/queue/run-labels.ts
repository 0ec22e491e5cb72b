/**
 * Which list an element is in, when whole lists split and join in O(1) and so nobody can write the
 * answer into each element. Called under the queue's lock.
 *
 * Elements carry a run, and runs form union-find trees: the root of an element's run says whose
 * list it is, or that it was split off. Splitting a whole list changes the owner of one root;
 * joining makes the smaller side's root a child of the larger side's. A split after n relabels the
 * n elements that it walks over anyway.
 *
 * A root that was never joined to is reused as soon as its list is empty. The others are collected
 * by a sweep when all runs are used up: it points every element at its root, which leaves at most
 * one run an element. There are twice as many runs as slots, so a sweep of n slots comes after at
 * least n operations: O(1) each.
 */
import { assert } from "../base/assert.ts";
import {
  FREE_SLOT,
  RESERVED_SLOT,
  RUN,
  RUN_FREE,
  RUN_HIGH,
  RUN_WORDS,
  SLOT_HIGH,
  SLOT_WORDS,
} from "./fifo-layout.ts";

/** The run above, itself for a root; for a free run the next free one. */
const PARENT = 0;
/** Of a root: its list, or DETACHED. */
const OWNER = 1;
/** Whether a run was joined to this one (so elements may name it through others). */
const JOINED = 2;
/** In JOINED during a sweep: the run is a root in use. */
const MARKED = 2;

/** Where an element is, besides a list's number. */
export const DETACHED = -1;
export const FREE = -2;
export const RESERVED = -3;

export class RunLabels {
  readonly #header: Int32Array;
  readonly #runs: Int32Array;
  readonly #slots: Int32Array;
  readonly #count: number;

  constructor(o: { header: Int32Array; runs: Int32Array; slots: Int32Array; runCount: number }) {
    this.#header = o.header;
    this.#runs = o.runs;
    this.#slots = o.slots;
    this.#count = o.runCount;
  }

  /** A new root that belongs to `owner`. The caller labels elements with it at once. */
  take(owner: number): number {
    let run = this.#header[RUN_FREE];
    if (run === 0 && this.#header[RUN_HIGH] === this.#count) {
      this.#sweep();
      run = this.#header[RUN_FREE];
    }
    if (run !== 0) this.#header[RUN_FREE] = this.#runs[RUN_WORDS * run + PARENT];
    else run = this.#header[RUN_HIGH] += 1;
    const record = RUN_WORDS * run;
    this.#runs[record + PARENT] = run;
    this.#runs[record + OWNER] = owner;
    this.#runs[record + JOINED] = 0;
    return run;
  }

  /** Gives back the root of a list or chain that has no elements any more. */
  give(root: number): void {
    // Elements elsewhere may still pass through a run that was joined to: the sweep knows.
    if (this.#runs[RUN_WORDS * root + JOINED] !== 0) return;
    this.#runs[RUN_WORDS * root + PARENT] = this.#header[RUN_FREE];
    this.#header[RUN_FREE] = root;
  }

  /** The root of `run`; shortens the way for the next who asks. */
  root(run: number): number {
    const runs = this.#runs;
    let at = run;
    for (;;) {
      const parent = runs[RUN_WORDS * at + PARENT];
      if (parent === at) return at;
      const above = runs[RUN_WORDS * parent + PARENT];
      runs[RUN_WORDS * at + PARENT] = above;
      at = above;
    }
  }

  /** The list of `slot`, or DETACHED, RESERVED or FREE. */
  placeOf(slot: number): number {
    const run = this.#slots[SLOT_WORDS * slot + RUN];
    if (run > 0) return this.#runs[RUN_WORDS * this.root(run) + OWNER];
    return run === RESERVED_SLOT ? RESERVED : FREE;
  }

  /** The root of the chain that `slot` is in; asserts that it is split off from every list. */
  chainOf(slot: number): number {
    const run = this.#slots[SLOT_WORDS * slot + RUN];
    assert(run > 0, "a chain's elements are neither free nor reserved");
    const root = this.root(run);
    assert(this.#runs[RUN_WORDS * root + OWNER] === DETACHED, "a chain is split off once");
    return root;
  }

  setOwner(root: number, owner: number): void {
    this.#runs[RUN_WORDS * root + OWNER] = owner;
  }

  /** Makes everything of `smaller` belong to `larger`. */
  merge(larger: number, smaller: number): void {
    this.#runs[RUN_WORDS * smaller + PARENT] = larger;
    this.#runs[RUN_WORDS * larger + JOINED] = 1;
  }

  #sweep(): void {
    const slots = this.#slots;
    const runs = this.#runs;
    const end = SLOT_WORDS * this.#header[SLOT_HIGH];
    for (let record = 0; record < end; record += SLOT_WORDS) {
      const run = slots[record + RUN];
      if (run === FREE_SLOT || run === RESERVED_SLOT) continue;
      const root = this.root(run);
      slots[record + RUN] = root;
      runs[RUN_WORDS * root + JOINED] = MARKED;
    }
    let free = 0;
    for (let run = this.#header[RUN_HIGH]; run > 0; run--) {
      const record = RUN_WORDS * run;
      if (runs[record + JOINED] === MARKED) {
        runs[record + JOINED] = 0;
      } else {
        runs[record + PARENT] = free;
        free = run;
      }
    }
    this.#header[RUN_FREE] = free;
    assert(free !== 0, "there are more runs than elements");
  }
}

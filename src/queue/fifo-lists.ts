/**
 * The doubly linked lists of a KeyedFifo, and the chains split off from them. Called under the
 * queue's lock; counts alone are read without it. An empty list has no run (run-labels.ts).
 */
import { assert } from "../base/assert.ts";
import {
  LIST_COUNT,
  LIST_HEAD,
  LIST_RUN,
  LIST_TAIL,
  LIST_WORDS,
  NEXT,
  PREVIOUS,
  RUN,
  SLOT_WORDS,
} from "./fifo-layout.ts";
import { DETACHED, type RunLabels } from "./run-labels.ts";

/** Elements that were split off, linked from head to tail; both are -1 when it is empty. */
export interface Chain {
  head: number;
  tail: number;
  count: number;
}

/** No slot. */
export const NONE = -1;

export class FifoLists {
  readonly #lists: Int32Array;
  readonly #slots: Int32Array;
  readonly #runs: RunLabels;

  constructor(o: { lists: Int32Array; slots: Int32Array; runs: RunLabels }) {
    this.#lists = o.lists;
    this.#slots = o.slots;
    this.#runs = o.runs;
  }

  /** Elements of `list`; also without the lock. */
  count(list: number): number {
    // Pairs with the stores of #setCount: who is woken by a push sees its count.
    return Atomics.load(this.#lists, LIST_WORDS * list + LIST_COUNT);
  }

  head(list: number): number {
    return this.#lists[LIST_WORDS * list + LIST_HEAD];
  }

  /** The run for elements that are about to be appended to `list`. */
  runFor(list: number): number {
    const record = LIST_WORDS * list;
    const run = this.#lists[record + LIST_RUN];
    if (run !== 0) return run;
    return (this.#lists[record + LIST_RUN] = this.#runs.take(list));
  }

  /**
   * Appends to `list` elements that are linked and labelled with runFor(list) already; of their
   * links only head's PREVIOUS and tail's NEXT are written here.
   */
  append(list: number, head: number, tail: number, count: number): void {
    const record = LIST_WORDS * list;
    const last = this.#lists[record + LIST_TAIL];
    this.#slots[SLOT_WORDS * head + PREVIOUS] = last;
    this.#slots[SLOT_WORDS * tail + NEXT] = NONE;
    if (last === NONE) this.#lists[record + LIST_HEAD] = head;
    else this.#slots[SLOT_WORDS * last + NEXT] = head;
    this.#lists[record + LIST_TAIL] = tail;
    this.#setCount(list, this.#lists[record + LIST_COUNT] + count);
  }

  /** The first `max` elements of `list`: all of them in O(1), fewer by walking over them. */
  split(list: number, max: number): Chain {
    const record = LIST_WORDS * list;
    const lists = this.#lists;
    const count = lists[record + LIST_COUNT];
    if (count === 0 || max <= 0) return { head: NONE, tail: NONE, count: 0 };
    const head = lists[record + LIST_HEAD];
    if (max >= count) {
      this.#runs.setOwner(lists[record + LIST_RUN], DETACHED);
      lists[record + LIST_RUN] = 0;
      const tail = lists[record + LIST_TAIL];
      lists[record + LIST_HEAD] = NONE;
      lists[record + LIST_TAIL] = NONE;
      this.#setCount(list, 0);
      return { head, tail, count };
    }
    const slots = this.#slots;
    const run = this.#runs.take(DETACHED);
    let tail = head;
    slots[SLOT_WORDS * tail + RUN] = run;
    for (let i = 1; i < max; i++) {
      tail = slots[SLOT_WORDS * tail + NEXT];
      slots[SLOT_WORDS * tail + RUN] = run;
    }
    const rest = slots[SLOT_WORDS * tail + NEXT];
    slots[SLOT_WORDS * tail + NEXT] = NONE;
    slots[SLOT_WORDS * rest + PREVIOUS] = NONE;
    lists[record + LIST_HEAD] = rest;
    this.#setCount(list, count - max);
    return { head, tail, count: max };
  }

  /** Puts a chain at the end of `list`, or at its front; the chain is empty afterwards. O(1). */
  join(list: number, chain: Chain, atFront: boolean): void {
    const record = LIST_WORDS * list;
    const lists = this.#lists;
    const slots = this.#slots;
    const { head, tail, count } = chain;
    const chainRun = this.#runs.chainOf(head);
    const listCount = lists[record + LIST_COUNT];
    const listRun = lists[record + LIST_RUN];
    if (listCount === 0 || count > listCount) {
      this.#runs.setOwner(chainRun, list);
      if (listCount !== 0) this.#runs.merge(chainRun, listRun);
      lists[record + LIST_RUN] = chainRun;
    } else {
      this.#runs.merge(listRun, chainRun);
    }
    if (atFront) {
      const first = lists[record + LIST_HEAD];
      slots[SLOT_WORDS * tail + NEXT] = first;
      if (first === NONE) lists[record + LIST_TAIL] = tail;
      else slots[SLOT_WORDS * first + PREVIOUS] = tail;
      lists[record + LIST_HEAD] = head;
      this.#setCount(list, listCount + count);
    } else {
      this.append(list, head, tail, count);
    }
    clear(chain);
  }

  /** Takes `slot` out of `list`, which it is in. */
  unlink(list: number, slot: number): void {
    const record = LIST_WORDS * list;
    const lists = this.#lists;
    const next = this.#slots[SLOT_WORDS * slot + NEXT];
    const previous = this.#slots[SLOT_WORDS * slot + PREVIOUS];
    if (previous === NONE) lists[record + LIST_HEAD] = next;
    else this.#slots[SLOT_WORDS * previous + NEXT] = next;
    if (next === NONE) lists[record + LIST_TAIL] = previous;
    else this.#slots[SLOT_WORDS * next + PREVIOUS] = previous;
    const count = lists[record + LIST_COUNT] - 1;
    this.#setCount(list, count);
    if (count === 0) {
      this.#runs.give(lists[record + LIST_RUN]);
      lists[record + LIST_RUN] = 0;
    }
  }

  /** Takes `slot` out of `chain`, which it is in. */
  unlinkFrom(chain: Chain, slot: number): void {
    const root = this.#runs.chainOf(slot);
    assert(chain.count > 0 && root === this.#runs.chainOf(chain.head), "the slot is of the chain");
    const next = this.#slots[SLOT_WORDS * slot + NEXT];
    const previous = this.#slots[SLOT_WORDS * slot + PREVIOUS];
    if (previous === NONE) chain.head = next;
    else this.#slots[SLOT_WORDS * previous + NEXT] = next;
    if (next === NONE) chain.tail = previous;
    else this.#slots[SLOT_WORDS * next + PREVIOUS] = previous;
    chain.count -= 1;
    if (chain.count === 0) this.#runs.give(root);
  }

  #setCount(list: number, count: number): void {
    // Pairs with the load in count(), which sleepers and pollers do without the lock.
    Atomics.store(this.#lists, LIST_WORDS * list + LIST_COUNT, count);
  }
}

/** Empties the handle, so that a chain is not freed or joined twice. */
export function clear(chain: Chain): void {
  chain.head = NONE;
  chain.tail = NONE;
  chain.count = 0;
}

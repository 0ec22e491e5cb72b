/**
 * Sleeping until something in shared memory is true, without lost wake-ups and without a system
 * call for the one who makes it true while nobody sleeps. Two words: sequence and sleepers.
 *
 * A sleeper announces itself, reads the sequence, looks at the condition once more and sleeps only
 * while the sequence is the one it read. Who makes the condition true stores it first and looks
 * for sleepers after: in the one total order of atomics at least one of the two sees the other.
 */
import { isMainThread } from "node:worker_threads";
import { assert } from "../base/assert.ts";

const SEQUENCE = 0;
const SLEEPERS = 1;

/** Int32 words that an EventCount takes, all zero at first. */
export const EVENT_COUNT_WORDS = 2;

export class EventCount {
  readonly #words: Int32Array;
  readonly #sequence: number;
  readonly #sleepers: number;

  constructor(words: Int32Array, index: number) {
    this.#words = words;
    this.#sequence = index + SEQUENCE;
    this.#sleepers = index + SLEEPERS;
  }

  /** Wakes at most `limit` sleepers. Call it after the atomic store that makes them ready. */
  notify(limit: number): void {
    // Pairs with the add of sleepers in wait() and waitAsync().
    if (Atomics.load(this.#words, this.#sleepers) === 0) return;
    // Pairs with the load of the sequence before a sleep, and with the sleep's own comparison.
    Atomics.add(this.#words, this.#sequence, 1);
    Atomics.notify(this.#words, this.#sequence, limit);
  }

  /** Parks this worker thread until `ready()` or `timeoutMs` have passed; the last `ready()`. */
  wait(ready: () => boolean, timeoutMs: number): boolean {
    assert(!isMainThread, "the main thread serves signals: it takes waitAsync");
    if (ready()) return true;
    if (timeoutMs <= 0) return false;
    const deadline = performance.now() + timeoutMs;
    // Pairs with the load of sleepers in notify().
    Atomics.add(this.#words, this.#sleepers, 1);
    try {
      for (;;) {
        const seen = Atomics.load(this.#words, this.#sequence);
        if (ready()) return true;
        const leftMs = deadline - performance.now();
        if (leftMs <= 0) return false;
        Atomics.wait(this.#words, this.#sequence, seen, leftMs);
      }
    } finally {
      Atomics.sub(this.#words, this.#sleepers, 1);
    }
  }

  /** As wait(), for a thread that runs an event loop. */
  async waitAsync(ready: () => boolean, timeoutMs: number): Promise<boolean> {
    if (ready()) return true;
    if (timeoutMs <= 0) return false;
    const deadline = performance.now() + timeoutMs;
    // Pairs with the load of sleepers in notify().
    Atomics.add(this.#words, this.#sleepers, 1);
    try {
      for (;;) {
        const seen = Atomics.load(this.#words, this.#sequence);
        if (ready()) return true;
        const leftMs = deadline - performance.now();
        if (leftMs <= 0) return false;
        const sleep = Atomics.waitAsync(this.#words, this.#sequence, seen, leftMs);
        if (sleep.async) await sleep.value;
      }
    } finally {
      Atomics.sub(this.#words, this.#sleepers, 1);
      // An event loop may have stopped caring meanwhile (a race of promises): the wake-up that it
      // used up goes on to a thread that sleeps for this alone.
      if (ready()) this.notify(1);
    }
  }
}

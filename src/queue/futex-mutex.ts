/**
 * A mutex in one word of shared memory, for the short sections of the queues. Any thread.
 *
 * The word is 0 free, 1 held, 2 held and somebody may sleep (Drepper, "Futexes Are Tricky"):
 * an uncontended lock and unlock are one atomic operation each and no system call.
 * A thread must not die while it holds the lock: the queues' sections neither await nor call out.
 */
import { isMainThread } from "node:worker_threads";

const FREE = 0;
const HELD = 1;
const CONTENDED = 2;

/** Sections last a few microseconds: spin about as long before paying 35 µs for a sleep. */
const SPINS = 200;
/** The main thread serves signals and timers: it sleeps in slices and looks again. */
const SLEEP_SLICE_MS = isMainThread ? 1 : Number.POSITIVE_INFINITY;

export class FutexMutex {
  readonly #words: Int32Array;
  readonly #index: number;

  /** The word `words[index]` is zero at first; `words` lies over a SharedArrayBuffer. */
  constructor(words: Int32Array, index: number) {
    this.#words = words;
    this.#index = index;
  }

  lock(): void {
    // Pairs with the exchange in unlock(): what the last holder wrote is seen from here on.
    if (Atomics.compareExchange(this.#words, this.#index, FREE, HELD) !== FREE) this.#lockSlowly();
  }

  unlock(): void {
    // Pairs with compareExchange and exchange in lock(): releases what was written inside.
    if (Atomics.exchange(this.#words, this.#index, FREE) === CONTENDED) {
      Atomics.notify(this.#words, this.#index, 1);
    }
  }

  #lockSlowly(): void {
    const words = this.#words;
    const index = this.#index;
    for (let spin = 0; spin < SPINS; spin++) {
      if (
        Atomics.load(words, index) === FREE &&
        Atomics.compareExchange(words, index, FREE, HELD) === FREE
      ) {
        return;
      }
    }
    // CONTENDED from here on, also once it is ours: others may sleep that we do not know of.
    while (Atomics.exchange(words, index, CONTENDED) !== FREE) {
      Atomics.wait(words, index, CONTENDED, SLEEP_SLICE_MS);
    }
  }
}

/**
 * A bounded ring of messages of any length in a SharedArrayBuffer: what does not fit the slots of
 * a queue but must not cost a postMessage. Many producers, many consumers; each message is taken
 * by exactly one consumer, in the order of the pushes.
 *
 * A message is its length (u32) and its bytes, padded to 4, written around the end of the ring.
 * Copies happen under the lock: the ring is for messages of kilobytes, not for blocks.
 */
import { assert } from "../base/assert.ts";
import { copyRange } from "../base/copy.ts";
import { EventCount } from "./event-count.ts";
import { FutexMutex } from "./futex-mutex.ts";

const MAGIC = 0;
const CLOSED_FLAG = 1;
/** Messages inside. */
const COUNT = 2;
const LOCK = 16;
const EVENT = 20;
/** Next to read and to write, in bytes from the start of the ring, and bytes in use. */
const HEAD = 32;
const TAIL = 33;
const USED = 34;
/** Pushes, pops and refusals, each a double. */
const COUNTERS = 36;
const HEADER_BYTES = 192;
const COUNTER_COUNT = 3;
const PUSHES = 0;
const POPS = 1;
const REFUSALS = 2;

/** "BQR1" */
const RING_MAGIC = 0x31525142;
const LENGTH_BYTES = 4;

const padded = (length: number) => (length + 3) & ~3;

export class MessageRing {
  readonly shared: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #counters: Float64Array;
  readonly #bytes: Uint8Array;
  readonly #lengths: Uint32Array;
  readonly #lock: FutexMutex;
  readonly #event: EventCount;
  readonly #ready: () => boolean;

  /** A ring of `bytes` bytes, four of which each message needs besides its own. */
  static create(o: { bytes: number }): MessageRing {
    assert(
      o.bytes >= 8 && o.bytes < 2 ** 31 - HEADER_BYTES,
      `a ring's bytes fit Int32: ${o.bytes}`,
    );
    const shared = new SharedArrayBuffer(HEADER_BYTES + padded(o.bytes));
    // Pairs with the load in attach().
    Atomics.store(new Int32Array(shared), MAGIC, RING_MAGIC);
    return new MessageRing(shared);
  }

  static attach(shared: SharedArrayBuffer): MessageRing {
    const magic = Atomics.load(new Int32Array(shared, 0, 1), MAGIC);
    assert(magic === RING_MAGIC, "attach takes the `shared` of a MessageRing");
    return new MessageRing(shared);
  }

  private constructor(shared: SharedArrayBuffer) {
    this.shared = shared;
    this.#words = new Int32Array(shared, 0, HEADER_BYTES >>> 2);
    this.#counters = new Float64Array(shared, 4 * COUNTERS, COUNTER_COUNT);
    this.#bytes = new Uint8Array(shared, HEADER_BYTES);
    this.#lengths = new Uint32Array(shared, HEADER_BYTES);
    this.#lock = new FutexMutex(this.#words, LOCK);
    this.#event = new EventCount(this.#words, EVENT);
    this.#ready = () => this.count() > 0 || this.closed();
  }

  /** The longest message there can ever be room for. */
  get messageBytesMax(): number {
    return this.#bytes.length - LENGTH_BYTES;
  }

  /** One message, given whole or in parts; false when there is no room now, or it is closed. */
  tryPush(message: Uint8Array | readonly Uint8Array[]): boolean {
    const length = message instanceof Uint8Array ? message.length : lengthOf(message);
    assert(length <= this.messageBytesMax, `a message of ${length} bytes never fits this ring`);
    const words = this.#words;
    this.#lock.lock();
    const needed = LENGTH_BYTES + padded(length);
    const accepted = !this.closed() && words[USED] + needed <= this.#bytes.length;
    if (accepted) {
      let tail = words[TAIL];
      this.#lengths[tail >>> 2] = length;
      tail = this.#after(tail, LENGTH_BYTES);
      if (message instanceof Uint8Array) {
        this.#write(message, tail);
      } else {
        let at = tail;
        for (const part of message) at = this.#write(part, at);
      }
      words[TAIL] = this.#after(tail, padded(length));
      words[USED] += needed;
      this.#counters[PUSHES] += 1;
      // Pairs with the load in count(), which sleepers do without the lock.
      Atomics.store(words, COUNT, words[COUNT] + 1);
    } else {
      this.#counters[REFUSALS] += 1;
    }
    this.#lock.unlock();
    if (accepted) this.#event.notify(1);
    return accepted;
  }

  /** The oldest message, copied out; undefined when there is none. Also of a closed ring. */
  tryPop(): Uint8Array | undefined {
    if (this.count() === 0) return undefined;
    const words = this.#words;
    let message: Uint8Array | undefined;
    this.#lock.lock();
    try {
      if (words[COUNT] > 0) {
        const length = this.#lengths[words[HEAD] >>> 2];
        const start = this.#after(words[HEAD], LENGTH_BYTES);
        message = new Uint8Array(length);
        const first = Math.min(length, this.#bytes.length - start);
        copyRange(this.#bytes, start, first, message, 0);
        copyRange(this.#bytes, 0, length - first, message, first);
        words[HEAD] = this.#after(start, padded(length));
        words[USED] -= LENGTH_BYTES + padded(length);
        this.#counters[POPS] += 1;
        // Pairs with the load in count().
        Atomics.store(words, COUNT, words[COUNT] - 1);
      }
    } finally {
      this.#lock.unlock();
    }
    return message;
  }

  /** Messages inside. */
  count(): number {
    return Atomics.load(this.#words, COUNT);
  }

  /** Parks a worker thread until there is a message (true), the ring is closed, or timeout. */
  wait(timeoutMs: number): boolean {
    this.#event.wait(this.#ready, timeoutMs);
    return this.count() > 0;
  }

  /** As wait(), for the main thread. A pending call does not keep the process alive. */
  async waitAsync(timeoutMs: number): Promise<boolean> {
    await this.#event.waitAsync(this.#ready, timeoutMs);
    return this.count() > 0;
  }

  /** Refuses pushes from now on and wakes everybody who waits. What is inside may be popped. */
  close(): void {
    this.#lock.lock();
    // Pairs with the load in closed(), under the lock for pushes and without it for sleepers.
    Atomics.store(this.#words, CLOSED_FLAG, 1);
    this.#lock.unlock();
    this.#event.notify(Number.POSITIVE_INFINITY);
  }

  closed(): boolean {
    return Atomics.load(this.#words, CLOSED_FLAG) !== 0;
  }

  counters(): { pushes: number; pops: number; refusals: number } {
    this.#lock.lock();
    const [pushes, pops, refusals] = this.#counters;
    this.#lock.unlock();
    return { pushes, pops, refusals };
  }

  #after(at: number, bytes: number): number {
    const next = at + bytes;
    return next >= this.#bytes.length ? next - this.#bytes.length : next;
  }

  /** Writes `part` at `at`, around the end if need be; where the next byte goes. */
  #write(part: Uint8Array, at: number): number {
    const first = Math.min(part.length, this.#bytes.length - at);
    copyRange(part, 0, first, this.#bytes, at);
    copyRange(part, first, part.length - first, this.#bytes, 0);
    return this.#after(at, part.length);
  }
}

function lengthOf(parts: readonly Uint8Array[]): number {
  let length = 0;
  for (const part of parts) length += part.length;
  return length;
}

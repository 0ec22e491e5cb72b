/**
 * FIFO lists and a hash table over the same elements, in one SharedArrayBuffer that any thread
 * attaches to. Many producers, many consumers; bounded; a refusal is an answer, never a loss.
 *
 * An element has a slot from its push until it is freed, whether it stands in a list or was split
 * off: find() sees it all the time, so an id is there at most once. A chain that was split off
 * belongs to whoever split it; payload, user words and times of its elements are theirs to read
 * and write. Everything else happens under one futex mutex, in sections of microseconds: batches
 * are cut into CHUNK_ELEMENTS, and no section allocates, awaits or calls back.
 */
import { assert } from "../base/assert.ts";
import { copyRange } from "../base/copy.ts";
import { kernels } from "../base/kernels.ts";
import { EventCount } from "./event-count.ts";
import {
  DUPLICATES,
  FINDS,
  type FifoCounters,
  JOINS,
  PUSHES,
  REFUSALS,
  REMOVALS,
  readCounters,
  SPLITS,
} from "./fifo-counters.ts";
import {
  CLOSED_FLAG,
  FIFO_MAGIC,
  type FifoLayout,
  type FifoShape,
  fifoBytes,
  HASH_MULTIPLIER,
  LENGTH,
  LIST_EVENT,
  LIST_HEAD,
  LIST_TAIL,
  LIST_WORDS,
  LOCK,
  layOut,
  MAGIC,
  NEXT,
  OFFSET,
  PREVIOUS,
  RESERVED_SLOT,
  RUN,
  SLOT_WORDS,
  writeShape,
} from "./fifo-layout.ts";
import { type Chain, clear, FifoLists, NONE } from "./fifo-lists.ts";
import { FutexMutex } from "./futex-mutex.ts";
import { PagePool } from "./page-pool.ts";
import { type PushBatch, wordsOfBatch, wordsOfId } from "./push-batch.ts";
import { DETACHED, RESERVED, RunLabels } from "./run-labels.ts";
import { SlabArena } from "./slab-arena.ts";
import { ID_WORDS, SlotIndex } from "./slot-index.ts";
import { SlotPool } from "./slot-pool.ts";

export { type Chain, type FifoCounters, NONE, type PushBatch };

/** No slot or no room now; try again when something was freed. */
export const FULL = -1;
/** The id is there already, in a list or split off. */
export const DUPLICATE = -2;
/** The queue takes no more; what is in it may still be taken out. */
export const CLOSED = -3;
/** Longer than payloadBytesMax: never try again. */
export const TOO_LARGE = -4;

/** Elements and payload bytes of one locked section: some 30 µs, about the price of a sleep. */
const CHUNK_ELEMENTS = 256;
const CHUNK_BYTES = 128 * 1024;
/** Below this many a native call costs more than it saves. */
const SCATTER_MIN = 4;
const TRIPLES = new Uint32Array(3 * CHUNK_ELEMENTS);
const NO_USER = {};

export class KeyedFifo {
  readonly shared: SharedArrayBuffer;
  /** The payload arena. */
  readonly bytes: Uint8Array;
  /** 32 bytes a slot. */
  readonly ids: Uint8Array;
  /** Four user words a slot. */
  readonly words: Int32Array;
  /** Two user doubles a slot. */
  readonly times: Float64Array;
  readonly slotCount: number;
  readonly payloadBytesMax: number;

  readonly #lock: FutexMutex;
  readonly #header: Int32Array;
  readonly #lists: FifoLists;
  readonly #slots: Int32Array;
  readonly #counters: Float64Array;
  readonly #index: SlotIndex;
  readonly #runs: RunLabels;
  readonly #arena: SlabArena;
  readonly #pageBytes: number;
  readonly #pool: SlotPool;
  readonly #events: EventCount[];
  readonly #ready: Array<() => boolean>;

  /** A new queue. Its memory is touched only as it fills. */
  static create(shape: FifoShape): KeyedFifo {
    const shared = new SharedArrayBuffer(fifoBytes(shape));
    writeShape(shared, shape);
    const layout = layOut(shared);
    new PagePool(layout.pool, layout.pages, layout.pageCount).initialize();
    for (let list = 0; list < shape.lists; list++) {
      layout.lists[LIST_WORDS * list + LIST_HEAD] = NONE;
      layout.lists[LIST_WORDS * list + LIST_TAIL] = NONE;
    }
    layout.header[HASH_MULTIPLIER] = crypto.getRandomValues(new Int32Array(1))[0] | 1;
    // Pairs with the load in attach(), which any later thread does first.
    Atomics.store(layout.header, MAGIC, FIFO_MAGIC);
    return new KeyedFifo(shared, layout);
  }

  /** The queue of another thread, by the buffer that it sent. */
  static attach(shared: SharedArrayBuffer): KeyedFifo {
    const magic = Atomics.load(new Int32Array(shared, 0, 1), MAGIC);
    assert(magic === FIFO_MAGIC, "attach takes the `shared` of a KeyedFifo");
    return new KeyedFifo(shared, layOut(shared));
  }

  private constructor(shared: SharedArrayBuffer, layout: FifoLayout) {
    this.shared = shared;
    this.bytes = layout.arena;
    this.ids = layout.ids;
    this.words = layout.words;
    this.times = layout.times;
    this.slotCount = layout.shape.slots;
    this.payloadBytesMax = layout.shape.payloadBytesMax;
    this.#lock = new FutexMutex(layout.header, LOCK);
    this.#header = layout.header;
    this.#slots = layout.slots;
    this.#counters = layout.counters;
    this.#index = new SlotIndex({ ...layout, multiplier: layout.header[HASH_MULTIPLIER] });
    this.#runs = new RunLabels(layout);
    this.#lists = new FifoLists({ lists: layout.lists, slots: layout.slots, runs: this.#runs });
    this.#pageBytes = 2 ** layout.pageShift;
    this.#arena = new SlabArena({
      ...layout,
      pool: new PagePool(layout.pool, layout.pages, layout.pageCount),
      arena: layout.arenaWords,
    });
    this.#pool = new SlotPool({ ...layout, arena: this.#arena, count: this.slotCount });
    this.#events = [];
    this.#ready = [];
    for (let list = 0; list < layout.shape.lists; list++) {
      this.#events.push(new EventCount(layout.lists, LIST_WORDS * list + LIST_EVENT));
      this.#ready.push(() => this.count(list) > 0 || this.closed());
    }
  }

  // ---------------------------------------------------------------- pushing

  /** One element at the end of `list`: its slot, or FULL, DUPLICATE, CLOSED or TOO_LARGE. */
  tryPush(
    list: number,
    id: Uint8Array,
    idOffset: number,
    payload: Uint8Array,
    offset: number,
    length: number,
    user: { owner?: number; tag?: number; time?: number } = NO_USER,
  ): number {
    assert(offset >= 0 && offset + length <= payload.length, "the payload lies in its buffer");
    if (length > this.payloadBytesMax) return TOO_LARGE;
    const words = wordsOfId(id, idOffset);
    this.#lock.lock();
    let slot = this.#admit(words, 0);
    if (slot === NONE) slot = this.#allocate(length);
    if (slot >= 0) {
      this.#index.insert(slot, words, 0);
      copyRange(payload, offset, length, this.bytes, this.#slots[SLOT_WORDS * slot + OFFSET]);
      this.#setUser(slot, user.owner ?? 0, user.tag ?? 0, user.time ?? 0);
      this.#append(list, slot);
    }
    this.#lock.unlock();
    if (slot >= 0) this.#events[list].notify(1);
    return slot;
  }

  /**
   * Elements at the end of `list`, in order, until one is refused for want of room. Returns the
   * index after the last one treated: b.count, or that of the first answered FULL (or CLOSED).
   */
  tryPushMany(list: number, b: PushBatch): number {
    const idWords = wordsOfBatch(b);
    let at = b.from;
    while (at < b.count) {
      this.#lock.lock();
      const next = this.#pushChunk(list, b, idWords, at);
      this.#lock.unlock();
      const treated = next < 0 ? ~next : next;
      if (treated > at) this.#events[list].notify(treated - at);
      if (next < 0) return treated;
      at = next;
    }
    return at;
  }

  /** A slot whose payload of `length` bytes is to be written in place; or FULL, CLOSED, TOO_LARGE. */
  tryReserve(length: number): number {
    if (length > this.payloadBytesMax) return TOO_LARGE;
    this.#lock.lock();
    const slot = this.closed() ? CLOSED : this.#allocate(length);
    if (slot >= 0) {
      this.#slots[SLOT_WORDS * slot + RUN] = RESERVED_SLOT;
      this.#setUser(slot, 0, 0, 0);
    }
    this.#lock.unlock();
    return slot;
  }

  /**
   * Appends a reserved slot under its id. Answers the slot, or DUPLICATE or CLOSED: then the slot
   * stays reserved, for the caller to discard.
   */
  commit(slot: number, list: number, id: Uint8Array, idOffset: number): number {
    const words = wordsOfId(id, idOffset);
    assert(this.#runs.placeOf(slot) === RESERVED, "commit takes a reserved slot");
    this.#lock.lock();
    const refusal = this.#admit(words, 0);
    if (refusal === NONE) {
      this.#index.insert(slot, words, 0);
      this.#append(list, slot);
    }
    this.#lock.unlock();
    if (refusal !== NONE) return refusal;
    this.#events[list].notify(1);
    return slot;
  }

  /** Frees a reserved slot. */
  discard(slot: number): void {
    assert(this.#runs.placeOf(slot) === RESERVED, "discard takes a reserved slot");
    this.#lock.lock();
    this.#pool.give(slot);
    this.#lock.unlock();
  }

  // ---------------------------------------------------------------- finding and taking

  /** The slot of an id, wherever its element is (a list or a chain); NONE when it is not here. */
  find(id: Uint8Array, idOffset: number): number {
    const words = wordsOfId(id, idOffset);
    this.#lock.lock();
    this.#counters[FINDS] += 1;
    const slot = this.#index.lookup(words, 0);
    this.#lock.unlock();
    return slot;
  }

  /** The list that the element of `slot` is in; DETACHED when it was split off (run-labels.ts). */
  placeOf(slot: number): number {
    this.#lock.lock();
    const place = this.#runs.placeOf(slot);
    this.#lock.unlock();
    return place;
  }

  /** Takes the first `max` elements of `list` out of it: all of them in O(1), fewer in O(max). */
  split(list: number, max: number): Chain {
    this.#lock.lock();
    this.#counters[SPLITS] += 1;
    const chain = this.#lists.split(list, max);
    this.#lock.unlock();
    return chain;
  }

  /** Puts a chain at the end of `list`, also of a closed queue; the chain is empty afterwards. */
  join(list: number, chain: Chain): void {
    this.#join(list, chain, false);
  }

  /** Puts a chain at the front of `list`. */
  joinFront(list: number, chain: Chain): void {
    this.#join(list, chain, true);
  }

  /** Frees an element that is in a list. Only for slots that nobody else may take meanwhile. */
  remove(slot: number): void {
    this.#lock.lock();
    const place = this.#runs.placeOf(slot);
    if (place >= 0) this.#free(place, slot);
    this.#lock.unlock();
    assert(place >= 0, "remove takes an element of a list; removeFrom one of a chain");
  }

  /**
   * Frees the element of this id if it is in a list: true. False when it is not here, or was split
   * off and so is somebody's. Finding and removing are one step: other threads may go on.
   */
  tryRemove(id: Uint8Array, idOffset: number): boolean {
    const words = wordsOfId(id, idOffset);
    this.#lock.lock();
    this.#counters[FINDS] += 1;
    const slot = this.#index.lookup(words, 0);
    const place = slot === NONE ? DETACHED : this.#runs.placeOf(slot);
    if (place >= 0) this.#free(place, slot);
    this.#lock.unlock();
    return place >= 0;
  }

  /** Frees one element of a chain that the caller split off. */
  removeFrom(chain: Chain, slot: number): void {
    this.#lock.lock();
    try {
      this.#lists.unlinkFrom(chain, slot);
      this.#index.remove(slot);
      this.#pool.give(slot);
      this.#counters[REMOVALS] += 1;
    } finally {
      this.#lock.unlock();
    }
  }

  /** Frees all elements of a chain; the chain is empty afterwards. */
  free(chain: Chain): void {
    while (chain.count > 0) {
      this.#lock.lock();
      try {
        this.#freeChunk(chain);
      } finally {
        this.#lock.unlock();
      }
    }
    clear(chain);
  }

  // ---------------------------------------------------------------- looking

  /** The element after `slot` in a chain of the caller's; NONE at its end. */
  next(slot: number): number {
    return this.#slots[SLOT_WORDS * slot + NEXT];
  }

  count(list: number): number {
    return this.#lists.count(list);
  }

  /** times[0] of the first element of `list`; NaN when it is empty. */
  headTime(list: number): number {
    if (this.count(list) === 0) return Number.NaN;
    this.#lock.lock();
    const head = this.#lists.head(list);
    const time = head === NONE ? Number.NaN : this.times[2 * head];
    this.#lock.unlock();
    return time;
  }

  /** Where the payload of `slot` begins in `bytes`: a multiple of 16. */
  payloadOffset(slot: number): number {
    return this.#slots[SLOT_WORDS * slot + OFFSET];
  }

  payloadLength(slot: number): number {
    return this.#slots[SLOT_WORDS * slot + LENGTH];
  }

  freeSlots(): number {
    return this.#pool.free();
  }

  /** Pages of the payload arena that hold nothing: all of them once everything is freed. */
  freePages(): number {
    return this.#arena.freePages();
  }

  /** The same in bytes: what lies in pages that are in use already has room beside it. */
  freeBytes(): number {
    return this.freePages() * this.#pageBytes;
  }

  counters(): FifoCounters {
    this.#lock.lock();
    const counters = readCounters(this.#counters);
    this.#lock.unlock();
    return counters;
  }

  // ---------------------------------------------------------------- waiting

  /** Parks a worker thread until `list` has elements (true), the queue is closed, or timeout. */
  wait(list: number, timeoutMs: number): boolean {
    this.#events[list].wait(this.#ready[list], timeoutMs);
    return this.count(list) > 0;
  }

  /** As wait(), for the main thread. A pending call does not keep the process alive. */
  async waitAsync(list: number, timeoutMs: number): Promise<boolean> {
    await this.#events[list].waitAsync(this.#ready[list], timeoutMs);
    return this.count(list) > 0;
  }

  /** Refuses pushes from now on and wakes everybody who waits. What is inside may be taken. */
  close(): void {
    this.#lock.lock();
    // Pairs with the load in closed(), under the lock for pushes and without it for sleepers.
    Atomics.store(this.#header, CLOSED_FLAG, 1);
    this.#lock.unlock();
    for (const event of this.#events) event.notify(Number.POSITIVE_INFINITY);
  }

  closed(): boolean {
    return Atomics.load(this.#header, CLOSED_FLAG) !== 0;
  }

  // ---------------------------------------------------------------- under the lock

  /** NONE when an element of this id may come in, else why not. */
  #admit(words: Int32Array, at: number): number {
    return this.closed() ? CLOSED : this.#refuseTwice(words, at);
  }

  #refuseTwice(words: Int32Array, at: number): number {
    if (this.#index.lookup(words, at) === NONE) return NONE;
    this.#counters[DUPLICATES] += 1;
    return DUPLICATE;
  }

  /** A slot with room for a payload of `length` bytes, not labelled yet; or FULL. */
  #allocate(length: number): number {
    const slot = this.#pool.take(length);
    if (slot !== NONE) return slot;
    this.#counters[REFUSALS] += 1;
    return FULL;
  }

  #setUser(slot: number, owner: number, tag: number, time: number): void {
    const word = 4 * slot;
    this.words[word] = owner;
    this.words[word + 1] = tag;
    this.words[word + 2] = 0;
    this.words[word + 3] = 0;
    this.times[2 * slot] = time;
    this.times[2 * slot + 1] = 0;
  }

  #append(list: number, slot: number): void {
    this.#slots[SLOT_WORDS * slot + RUN] = this.#lists.runFor(list);
    this.#lists.append(list, slot, slot, 1);
    this.#counters[PUSHES] += 1;
  }

  /** Pushes elements from `from` on; the index reached, or its complement after a refusal. */
  #pushChunk(list: number, b: PushBatch, idWords: Int32Array, from: number): number {
    if (this.closed()) {
      b.slots[from] = CLOSED;
      return ~from;
    }
    const slots = this.#slots;
    const owner = b.owner ?? 0;
    const end = Math.min(b.count, from + CHUNK_ELEMENTS);
    let head = NONE;
    let tail = NONE;
    let run = 0;
    let pushed = 0;
    let bytes = 0;
    let refused = false;
    let at = from;
    for (; at < end && bytes < CHUNK_BYTES; at++) {
      const length = b.spans[2 * at + 1];
      let slot = this.#refuseTwice(idWords, ID_WORDS * at);
      if (slot === NONE) slot = length > this.payloadBytesMax ? TOO_LARGE : this.#allocate(length);
      b.slots[at] = slot;
      if (slot < 0) {
        refused = slot === FULL;
        if (refused) break;
        continue;
      }
      if (run === 0) run = this.#lists.runFor(list);
      this.#index.insert(slot, idWords, ID_WORDS * at);
      this.#setUser(slot, owner, b.tags === undefined ? 0 : b.tags[at], b.times?.[at] ?? 0);
      const record = SLOT_WORDS * slot;
      slots[record + RUN] = run;
      slots[record + PREVIOUS] = tail;
      if (tail === NONE) head = slot;
      else slots[SLOT_WORDS * tail + NEXT] = slot;
      tail = slot;
      TRIPLES[3 * pushed] = b.spans[2 * at];
      TRIPLES[3 * pushed + 1] = slots[record + OFFSET];
      TRIPLES[3 * pushed + 2] = length;
      pushed += 1;
      bytes += length;
    }
    if (pushed > 0) {
      this.#copyPayloads(b.payload, pushed);
      this.#lists.append(list, head, tail, pushed);
      this.#counters[PUSHES] += pushed;
    }
    return refused ? ~at : at;
  }

  #copyPayloads(payload: Uint8Array, count: number): void {
    if (count >= SCATTER_MIN) {
      kernels.scatter(payload, this.bytes, TRIPLES, count);
      return;
    }
    for (let i = 0; i < 3 * count; i += 3) {
      copyRange(payload, TRIPLES[i], TRIPLES[i + 2], this.bytes, TRIPLES[i + 1]);
    }
  }

  #join(list: number, chain: Chain, atFront: boolean): void {
    if (chain.count === 0) return;
    const count = chain.count;
    this.#lock.lock();
    try {
      this.#lists.join(list, chain, atFront);
      this.#counters[JOINS] += 1;
    } finally {
      this.#lock.unlock();
    }
    this.#events[list].notify(count);
  }

  #free(list: number, slot: number): void {
    this.#lists.unlink(list, slot);
    this.#index.remove(slot);
    this.#pool.give(slot);
    this.#counters[REMOVALS] += 1;
  }

  #freeChunk(chain: Chain): void {
    const root = this.#runs.chainOf(chain.head);
    const count = Math.min(chain.count, CHUNK_ELEMENTS);
    let slot = chain.head;
    for (let i = 0; i < count; i++) {
      assert(slot !== NONE, "a chain is as long as its count says");
      const next = this.#slots[SLOT_WORDS * slot + NEXT];
      this.#index.remove(slot);
      this.#pool.give(slot);
      slot = next;
    }
    chain.head = slot;
    chain.count -= count;
    this.#counters[REMOVALS] += count;
    assert(
      (chain.count === 0) === (slot === NONE),
      "a chain's count is the number of its elements",
    );
    if (chain.count === 0) this.#runs.give(root);
  }
}

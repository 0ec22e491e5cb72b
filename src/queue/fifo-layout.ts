/**
 * Where everything of a KeyedFifo lies in its SharedArrayBuffer. The header holds the four numbers
 * of the shape, so that whoever attaches computes the same places. Nothing but the header, the
 * lists and the page table is written at creation: 0 means "none yet" everywhere else.
 */
import { assert } from "../base/assert.ts";
import { COUNTERS } from "./fifo-counters.ts";
import { PAGE_POOL_WORDS, PAGE_WORDS } from "./page-pool.ts";
import { SLAB_CLASSES } from "./slab-arena.ts";

/** What a KeyedFifo is made for. */
export interface FifoShape {
  /** Elements at most. */
  slots: number;
  /** Bytes for payloads, rounded up to whole pages. */
  arenaBytes: number;
  lists: number;
  /** Longest payload; longer ones are answered TOO_LARGE. */
  payloadBytesMax: number;
}

// Header words. The lock and what is polled without it have a cache line of their own.
export const MAGIC = 0;
const SHAPE = 1;
export const HASH_MULTIPLIER = 5;
export const LOCK = 16;
export const CLOSED_FLAG = 32;
export const SLOTS_USED = 33;
export const SLOT_FREE = 48;
export const SLOT_HIGH = 49;
export const RUN_FREE = 50;
export const RUN_HIGH = 51;
const POOL = 52;
const HEADER_WORDS = 64;

/** "BQ01": a buffer of another version or kind is refused. */
export const FIFO_MAGIC = 0x31305142;

/** Int32 words of a list: its ends, its count, its run, and who waits for it. */
export const LIST_WORDS = 16;
export const LIST_HEAD = 0;
export const LIST_TAIL = 1;
export const LIST_COUNT = 2;
export const LIST_RUN = 3;
export const LIST_EVENT = 4;

/** Int32 words of a slot's record: half a cache line, since a visit reads most of them. */
export const SLOT_WORDS = 8;
export const NEXT = 0;
export const PREVIOUS = 1;
/** Next slot + 1 of the same bucket. */
export const BUCKET_NEXT = 2;
/** The run that the element belongs to, or FREE_SLOT or RESERVED_SLOT. */
export const RUN = 3;
export const OFFSET = 4;
export const LENGTH = 5;

export const FREE_SLOT = 0;
export const RESERVED_SLOT = -1;

/** Int32 words of a run (run-labels.ts). */
export const RUN_WORDS = 3;

const CACHE_LINE = 64;
const PAGE_BYTES_MIN = 4096;
const PAGE_BYTES_MAX = 1024 * 1024;
/** About as many pages: enough that some thirty classes in use strand little, few to scan. */
const PAGES_WANTED = 1024;
/** Offsets are Int32 words. */
const ARENA_BYTES_MAX = 2 ** 31 - PAGE_BYTES_MAX;

export interface FifoLayout {
  shape: FifoShape;
  pageShift: number;
  pageCount: number;
  indexBits: number;
  /** Runs are numbered from 1 to this. */
  runCount: number;
  totalBytes: number;
  header: Int32Array;
  pool: Int32Array;
  counters: Float64Array;
  lists: Int32Array;
  classes: Int32Array;
  pages: Int32Array;
  runs: Int32Array;
  buckets: Int32Array;
  slots: Int32Array;
  idWords: Int32Array;
  ids: Uint8Array;
  words: Int32Array;
  times: Float64Array;
  arena: Uint8Array;
  arenaWords: Int32Array;
}

/** The parts in order, each from a cache line on: [name, bytes]. */
function parts(shape: FifoShape) {
  const { slots, lists, payloadBytesMax } = shape;
  for (const value of [slots, lists, payloadBytesMax, shape.arenaBytes]) {
    assert(Number.isSafeInteger(value) && value > 0, `a queue's sizes are whole numbers: ${value}`);
  }
  assert(slots < 2 ** 26, "slot records are addressed by Int32 words");
  assert(lists <= 64, "lists are few: they are named by constants");
  assert(shape.arenaBytes <= ARENA_BYTES_MAX, "payload offsets are Int32");
  assert(payloadBytesMax <= shape.arenaBytes, "the arena holds at least one payload of any size");
  const wanted = 2 ** Math.ceil(Math.log2(shape.arenaBytes / PAGES_WANTED));
  const pageBytes = Math.min(PAGE_BYTES_MAX, Math.max(PAGE_BYTES_MIN, wanted));
  const pageShift = Math.log2(pageBytes);
  const pageCount = Math.ceil(shape.arenaBytes / pageBytes);
  // Twice as many buckets as slots, so that a bucket seldom has two. At least 2: see slot-index.
  const indexBits = Math.max(1, Math.ceil(Math.log2(2 * slots)));
  // A sweep leaves at most one run a slot, so at least as many operations pass until the next one.
  const runCount = 2 * slots + 1;
  const sizes = {
    header: 4 * HEADER_WORDS,
    counters: 8 * COUNTERS,
    lists: 4 * LIST_WORDS * lists,
    classes: 4 * SLAB_CLASSES,
    pages: 4 * PAGE_WORDS * pageCount,
    runs: 4 * RUN_WORDS * (runCount + 1),
    buckets: 4 * 2 ** indexBits,
    slots: 4 * SLOT_WORDS * slots,
    ids: 32 * slots,
    words: 16 * slots,
    times: 16 * slots,
    arena: pageCount * pageBytes,
  };
  const offsets: Record<string, number> = {};
  let totalBytes = 0;
  for (const [name, bytes] of Object.entries(sizes)) {
    offsets[name] = totalBytes;
    totalBytes += Math.ceil(bytes / CACHE_LINE) * CACHE_LINE;
  }
  return { sizes, offsets: offsets as typeof sizes, totalBytes, pageShift, pageCount, indexBits };
}

/** Bytes of the SharedArrayBuffer of a queue of this shape. */
export function fifoBytes(shape: FifoShape): number {
  return parts(shape).totalBytes;
}

export function writeShape(shared: SharedArrayBuffer, shape: FifoShape): void {
  const header = new Int32Array(shared, 0, HEADER_WORDS);
  header.set([shape.slots, shape.arenaBytes, shape.lists, shape.payloadBytesMax], SHAPE);
}

/** The views over a buffer whose header holds its shape. */
export function layOut(shared: SharedArrayBuffer): FifoLayout {
  const header = new Int32Array(shared, 0, HEADER_WORDS);
  const shape: FifoShape = {
    slots: header[SHAPE],
    arenaBytes: header[SHAPE + 1],
    lists: header[SHAPE + 2],
    payloadBytesMax: header[SHAPE + 3],
  };
  const { sizes, offsets, totalBytes, pageShift, pageCount, indexBits } = parts(shape);
  assert(shared.byteLength === totalBytes, "the buffer is as long as its header says");
  const int32 = (name: keyof typeof sizes) =>
    new Int32Array(shared, offsets[name], sizes[name] >>> 2);
  const float64 = (name: keyof typeof sizes) =>
    new Float64Array(shared, offsets[name], sizes[name] >>> 3);
  return {
    shape,
    pageShift,
    pageCount,
    indexBits,
    runCount: 2 * shape.slots + 1,
    totalBytes,
    header,
    pool: header.subarray(POOL, POOL + PAGE_POOL_WORDS),
    counters: float64("counters"),
    lists: int32("lists"),
    classes: int32("classes"),
    pages: int32("pages"),
    runs: int32("runs"),
    buckets: int32("buckets"),
    slots: int32("slots"),
    idWords: int32("ids"),
    ids: new Uint8Array(shared, offsets.ids, sizes.ids),
    words: int32("words"),
    times: float64("times"),
    arena: new Uint8Array(shared, offsets.arena, sizes.arena),
    arenaWords: int32("arena"),
  };
}

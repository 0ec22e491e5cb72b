/**
 * Memory for payloads: cells of size classes on pages that are handed to a class on demand, and
 * runs of whole pages for payloads above half a page. Called under the queue's lock.
 *
 * Invariants: a page of cells that becomes wholly free goes back to the pool at once, so a change
 * of payload sizes strands nothing; every offset is a multiple of 16; a page's cells are handed
 * out by a high-water mark first, so memory is touched only once it is used. The free cells of a
 * page are linked through their own first word.
 */
import { PAGE_KIND, PAGE_WORDS, type PagePool } from "./page-pool.ts";

const CELLS = 1;
const LARGE = 2;

const CELL_BYTES = 2;
/** Offset + 1, within the page, of the first free cell below the high-water mark; 0 = none. */
const FREE_CELL = 3;
const HIGH_WATER = 4;
const CELLS_USED = 5;
/** Neighbours, page + 1, among the pages of the class that have room. */
const NEXT_PAGE = 6;
const PREVIOUS_PAGE = 7;

/** Steps of 16 bytes to 128, then eight classes a doubling: at most an eighth is lost. */
const LINEAR_CLASSES = 8;
const CLASSES_PER_DOUBLING = 8;
/** Classes up to half of the largest page (512 KiB). */
export const SLAB_CLASSES = LINEAR_CLASSES + 12 * CLASSES_PER_DOUBLING;

function classOf(length: number): number {
  if (length <= 128) return length === 0 ? 0 : (length - 1) >>> 4;
  const log = 31 - Math.clz32(length - 1);
  return LINEAR_CLASSES + (log - 7) * CLASSES_PER_DOUBLING + (((length - 1) >>> (log - 3)) & 7);
}

function cellBytesOf(cellClass: number): number {
  if (cellClass < LINEAR_CLASSES) return (cellClass + 1) << 4;
  const above = cellClass - LINEAR_CLASSES;
  return ((above & 7) + 9) << ((above >>> 3) + 4);
}

export class SlabArena {
  readonly #pool: PagePool;
  readonly #pages: Int32Array;
  /** First page + 1 with room, by class. */
  readonly #classes: Int32Array;
  readonly #cells: Int32Array;
  readonly #pageShift: number;

  constructor(o: {
    pool: PagePool;
    pages: Int32Array;
    classes: Int32Array;
    arena: Int32Array;
    pageShift: number;
  }) {
    this.#pool = o.pool;
    this.#pages = o.pages;
    this.#classes = o.classes;
    this.#cells = o.arena;
    this.#pageShift = o.pageShift;
  }

  /** Offset of a cell for `length` bytes; -1 when there is no room now. */
  take(length: number): number {
    const cellClass = classOf(length);
    const cellBytes = cellBytesOf(cellClass);
    const pageBytes = 1 << this.#pageShift;
    if (cellBytes > pageBytes >>> 1) {
      const page = this.#pool.takeRun((length + pageBytes - 1) >>> this.#pageShift, LARGE);
      return page < 0 ? -1 : page * pageBytes;
    }
    const pages = this.#pages;
    let page = this.#classes[cellClass] - 1;
    if (page < 0) {
      page = this.#pool.takePage(CELLS);
      if (page < 0) return -1;
      this.#openPage(page, cellClass, cellBytes);
    }
    const record = PAGE_WORDS * page;
    const pageOffset = page * pageBytes;
    const free = pages[record + FREE_CELL];
    let offset: number;
    if (free !== 0) {
      offset = pageOffset + free - 1;
      pages[record + FREE_CELL] = this.#cells[offset >>> 2];
    } else {
      offset = pageOffset + pages[record + HIGH_WATER];
      pages[record + HIGH_WATER] += cellBytes;
    }
    pages[record + CELLS_USED] += 1;
    if (pages[record + FREE_CELL] === 0 && pages[record + HIGH_WATER] + cellBytes > pageBytes) {
      this.#unlink(record, cellClass);
    }
    return offset;
  }

  /** Gives back what take() answered. */
  give(offset: number): void {
    const page = offset >>> this.#pageShift;
    const pages = this.#pages;
    const record = PAGE_WORDS * page;
    if (pages[record + PAGE_KIND] === LARGE) {
      this.#pool.give(page);
      return;
    }
    const pageBytes = 1 << this.#pageShift;
    const cellBytes = pages[record + CELL_BYTES];
    const free = pages[record + FREE_CELL];
    const wasFull = free === 0 && pages[record + HIGH_WATER] + cellBytes > pageBytes;
    const used = pages[record + CELLS_USED] - 1;
    pages[record + CELLS_USED] = used;
    if (used === 0) {
      if (!wasFull) this.#unlink(record, classOf(cellBytes));
      this.#pool.give(page);
      return;
    }
    this.#cells[offset >>> 2] = free;
    pages[record + FREE_CELL] = offset - page * pageBytes + 1;
    if (wasFull) this.#link(page, classOf(cellBytes));
  }

  /** Pages that hold nothing. */
  freePages(): number {
    return this.#pool.freePages();
  }

  #openPage(page: number, cellClass: number, cellBytes: number): void {
    const record = PAGE_WORDS * page;
    this.#pages[record + CELL_BYTES] = cellBytes;
    this.#pages[record + FREE_CELL] = 0;
    this.#pages[record + HIGH_WATER] = 0;
    this.#pages[record + CELLS_USED] = 0;
    this.#link(page, cellClass);
  }

  #link(page: number, cellClass: number): void {
    const first = this.#classes[cellClass];
    this.#pages[PAGE_WORDS * page + NEXT_PAGE] = first;
    this.#pages[PAGE_WORDS * page + PREVIOUS_PAGE] = 0;
    if (first !== 0) this.#pages[PAGE_WORDS * (first - 1) + PREVIOUS_PAGE] = page + 1;
    this.#classes[cellClass] = page + 1;
  }

  #unlink(record: number, cellClass: number): void {
    const next = this.#pages[record + NEXT_PAGE];
    const previous = this.#pages[record + PREVIOUS_PAGE];
    if (next !== 0) this.#pages[PAGE_WORDS * (next - 1) + PREVIOUS_PAGE] = previous;
    if (previous !== 0) this.#pages[PAGE_WORDS * (previous - 1) + NEXT_PAGE] = next;
    else this.#classes[cellClass] = next;
  }
}

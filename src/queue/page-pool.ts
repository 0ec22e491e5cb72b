/**
 * Runs of contiguous pages of the payload arena, with boundary tags so that neighbours that are
 * free become one run whatever the order of frees. Called under the queue's lock.
 *
 * Single pages (for small payloads) are taken from the low end and longer runs from the high end,
 * so that the two do not break up each other's room. Nothing here touches the pages themselves.
 */

/** Int32 words of a page's record. The first two are the pool's, the rest the slab arena's. */
export const PAGE_WORDS = 8;
/** What the page is used for: FREE_PAGE, or a value of the owner's. Kept at both ends of a run. */
export const PAGE_KIND = 0;
/** Pages of the run, at its first and its last page. */
const PAGE_RUN = 1;

export const FREE_PAGE = 0;

/** Words of the pool's own state: LOW, HIGH and the number of free pages. */
export const PAGE_POOL_WORDS = 3;
/** A boundary of runs below which no page is free. */
const LOW = 0;
/** A boundary of runs above which no page is free. */
const HIGH = 1;
const FREE_COUNT = 2;

export class PagePool {
  readonly #state: Int32Array;
  readonly #pages: Int32Array;
  readonly #count: number;

  constructor(state: Int32Array, pages: Int32Array, count: number) {
    this.#state = state;
    this.#pages = pages;
    this.#count = count;
  }

  /** Makes one free run of all pages; once, by who creates the queue. */
  initialize(): void {
    this.#state[LOW] = 0;
    this.#state[HIGH] = this.#count;
    this.#state[FREE_COUNT] = this.#count;
    this.#tag(0, this.#count, FREE_PAGE);
  }

  freePages(): number {
    return this.#state[FREE_COUNT];
  }

  /** A page for `kind`, the lowest that is free; -1 when none is. */
  takePage(kind: number): number {
    for (let page = this.#state[LOW]; page < this.#count; ) {
      const run = this.#pages[PAGE_WORDS * page + PAGE_RUN];
      if (this.#pages[PAGE_WORDS * page + PAGE_KIND] === FREE_PAGE) {
        if (run > 1) this.#tag(page + 1, run - 1, FREE_PAGE);
        this.#state[LOW] = page + 1;
        this.#tag(page, 1, kind);
        this.#state[FREE_COUNT] -= 1;
        return page;
      }
      page += run;
    }
    this.#state[LOW] = this.#count;
    return -1;
  }

  /** The first of `count` contiguous pages, the highest that are free; -1 when there are none. */
  takeRun(count: number, kind: number): number {
    if (this.#state[FREE_COUNT] < count) return -1;
    let highest = -1;
    for (let end = this.#state[HIGH]; end > 0; ) {
      const run = this.#pages[PAGE_WORDS * (end - 1) + PAGE_RUN];
      if (this.#pages[PAGE_WORDS * (end - 1) + PAGE_KIND] === FREE_PAGE) {
        if (highest < 0) this.#state[HIGH] = highest = end;
        if (run >= count) {
          const page = end - count;
          if (run > count) this.#tag(end - run, run - count, FREE_PAGE);
          this.#tag(page, count, kind);
          this.#state[FREE_COUNT] -= count;
          return page;
        }
      }
      end -= run;
    }
    return -1;
  }

  /** Gives back the run that begins at `page` and joins it with its free neighbours. */
  give(page: number): void {
    let start = page;
    let end = page + this.#pages[PAGE_WORDS * page + PAGE_RUN];
    this.#state[FREE_COUNT] += end - start;
    if (start > 0 && this.#pages[PAGE_WORDS * (start - 1) + PAGE_KIND] === FREE_PAGE) {
      start -= this.#pages[PAGE_WORDS * (start - 1) + PAGE_RUN];
    }
    if (end < this.#count && this.#pages[PAGE_WORDS * end + PAGE_KIND] === FREE_PAGE) {
      end += this.#pages[PAGE_WORDS * end + PAGE_RUN];
    }
    this.#tag(start, end - start, FREE_PAGE);
    if (start < this.#state[LOW]) this.#state[LOW] = start;
    if (end > this.#state[HIGH]) this.#state[HIGH] = end;
  }

  #tag(page: number, run: number, kind: number): void {
    const first = PAGE_WORDS * page;
    const last = PAGE_WORDS * (page + run - 1);
    this.#pages[first + PAGE_KIND] = kind;
    this.#pages[first + PAGE_RUN] = run;
    this.#pages[last + PAGE_KIND] = kind;
    this.#pages[last + PAGE_RUN] = run;
  }
}

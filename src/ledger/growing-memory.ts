/**
 * Memory that grows in place. A WebAssembly memory is used for nothing but this: the engine reserves
 * its addresses ahead, so growing copies nothing, pauses nobody and never holds two copies, and pages
 * that were not touched cost nothing. Where the engine cannot reserve, it copies instead.
 * Growing replaces the views: read them afresh after any call that may grow.
 */
import { BaashError } from "../base/errors.ts";

const PAGE_BYTES = 65_536;
/** 4 GiB is what WebAssembly addresses; the last page is left out so that lengths fit 32 bits. */
const PAGES_MAX = 65_535;

export class GrowingMemory {
  bytes: Uint8Array;
  words: Int32Array;
  view: DataView;
  readonly #memory: WebAssembly.Memory;

  constructor(bytes: number) {
    this.#memory = new WebAssembly.Memory({
      initial: Math.ceil(bytes / PAGE_BYTES),
      maximum: PAGES_MAX,
    });
    this.bytes = new Uint8Array(this.#memory.buffer);
    this.words = new Int32Array(this.#memory.buffer);
    this.view = new DataView(this.#memory.buffer);
  }

  /** Makes room for at least `bytes`; half as much again, so that a copying engine copies seldom. */
  ensure(bytes: number): void {
    if (bytes <= this.bytes.length) return;
    const pages = this.bytes.length / PAGE_BYTES;
    const needed = Math.ceil(bytes / PAGE_BYTES);
    const target = Math.min(PAGES_MAX, Math.max(needed, Math.ceil(1.5 * pages)));
    try {
      this.#memory.grow(target - pages);
    } catch (cause) {
      throw new BaashError(
        "STATE_FULL",
        `The state of the ledger needs ${bytes} bytes in one table and the system gives no more: use fewer ranks a host or a host with more memory.`,
        { data: { bytes }, cause },
      );
    }
    this.bytes = new Uint8Array(this.#memory.buffer);
    this.words = new Int32Array(this.#memory.buffer);
    this.view = new DataView(this.#memory.buffer);
  }
}

/** The payload arena: no overlap, no loss, nothing stranded by sizes or the order of frees. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { PAGE_POOL_WORDS, PAGE_WORDS, PagePool } from "../../../src/queue/page-pool.ts";
import { SLAB_CLASSES, SlabArena } from "../../../src/queue/slab-arena.ts";
import { seededShuffle } from "./programs/shuffle.ts";

const PAGE_SHIFT = 12;
const PAGE_BYTES = 1 << PAGE_SHIFT;

function createArena(pageCount: number) {
  const pages = new Int32Array(PAGE_WORDS * pageCount);
  const pool = new PagePool(new Int32Array(PAGE_POOL_WORDS), pages, pageCount);
  pool.initialize();
  const arena = new Int32Array((pageCount * PAGE_BYTES) >>> 2);
  const classes = new Int32Array(SLAB_CLASSES);
  return new SlabArena({ pool, pages, classes, arena, pageShift: PAGE_SHIFT });
}

/** Takes payloads of `length` until there is no room. */
function fillUp(arena: SlabArena, length: number): number[] {
  const offsets: number[] = [];
  for (let offset = arena.take(length); offset >= 0; offset = arena.take(length)) {
    offsets.push(offset);
  }
  return offsets;
}

describe("SlabArena", () => {
  test("never hands out bytes twice and gets every page back", () => {
    const pageCount = 24;
    const takeOrGive = fc.tuple(
      fc.boolean(),
      fc.nat(10_000),
      fc.oneof(fc.nat(400), fc.nat(20_000)),
    );
    fc.assert(
      fc.property(fc.array(takeOrGive, { maxLength: 400, size: "max" }), (steps) => {
        const arena = createArena(pageCount);
        const owner = new Int32Array(pageCount * PAGE_BYTES);
        const taken: Array<{ offset: number; length: number; tag: number }> = [];
        let tag = 0;
        for (const [take, pick, length] of steps) {
          if (take) {
            const offset = arena.take(length);
            if (offset < 0) continue;
            expect(offset % 16).toBe(0);
            expect(owner.subarray(offset, offset + length).every((t) => t === 0)).toBe(true);
            owner.fill(++tag, offset, offset + length);
            taken.push({ offset, length, tag });
          } else if (taken.length > 0) {
            const [gone] = taken.splice(pick % taken.length, 1);
            owner.fill(0, gone.offset, gone.offset + gone.length);
            arena.give(gone.offset);
          }
        }
        for (const { offset } of taken) arena.give(offset);
        expect(arena.freePages()).toBe(pageCount);
        expect(arena.take(pageCount * PAGE_BYTES)).toBe(0);
      }),
      { numRuns: 60 },
    );
  });

  test("has the same room for every size, whatever was in it before and in whatever order", () => {
    const arena = createArena(64);
    const sizes = [16, 64, 182, 1000, 2048, 2049, 4096, 9000, 64 * PAGE_BYTES];
    const room = sizes.map((size) => {
      const offsets = fillUp(arena, size);
      for (const offset of offsets) arena.give(offset);
      return offsets.length;
    });
    expect(room[0]).toBe((64 * PAGE_BYTES) / 16);
    expect(room.at(-1)).toBe(1);
    for (let seed = 1; seed <= 20; seed++) {
      const size = sizes[seed % sizes.length];
      const offsets = fillUp(arena, size);
      expect(offsets.length).toBe(room[seed % sizes.length]);
      for (const offset of seededShuffle(offsets, seed)) arena.give(offset);
      expect(arena.freePages()).toBe(64);
    }
  });

  test("fills the holes of full pages again", () => {
    const arena = createArena(16);
    const offsets = seededShuffle(fillUp(arena, 182), 3);
    const holes = offsets.slice(0, offsets.length >>> 1);
    for (const offset of holes) arena.give(offset);
    expect(fillUp(arena, 182).sort()).toEqual(holes.sort());
  });

  test("loses at most an eighth to rounding on a page of small payloads", () => {
    for (const length of [64, 130, 182, 200, 250, 300]) {
      const arena = createArena(1);
      const used = fillUp(arena, length).length * length;
      expect(used / PAGE_BYTES).toBeGreaterThan(0.8);
    }
  });
});

import { expect, test } from "bun:test";
import fc from "fast-check";
import { RecordCache } from "../../../src/storage/record-cache.ts";

const hashOf = (slot: number) => new Uint8Array(32).fill(slot & 255).fill(slot >> 8, 0, 1);
const bytesOf = (slot: number, length: number) =>
  Uint8Array.from({ length }, (_, at) => slot * 31 + at);

test("what is found is what was kept, and the newest are", () => {
  const lengths = fc.array(fc.integer({ min: 1, max: 90 }), { maxLength: 200 });
  fc.assert(
    fc.property(lengths, (all) => {
      const cache = new RecordCache(200, 20);
      const kept: number[] = [];
      for (const [slot, length] of all.entries()) {
        const half = Math.floor(length / 2);
        const bytes = bytesOf(slot, length);
        cache.keep({ slot, hash: hashOf(slot) }, [bytes.subarray(0, half), bytes.subarray(half)]);
        kept.push(slot);
        const found = kept.filter((one) => cache.find(one, hashOf(one)) !== undefined);
        for (const one of found)
          expect(cache.find(one, hashOf(one))).toEqual(bytesOf(one, all[one]));
        // Without a gap, the newest among them.
        expect(found).toEqual(kept.slice(kept.length - found.length));
        expect(found.length).toBeLessThanOrEqual(20);
        expect(found).toContain(slot);
      }
    }),
  );
});

test("a record is found by its slot and hash only, and one beyond half of the ring is not kept", () => {
  const cache = new RecordCache(100);
  cache.keep({ slot: 1, hash: hashOf(1) }, [bytesOf(1, 30)]);
  expect(cache.find(2, hashOf(1))).toBeUndefined();
  expect(cache.find(1, hashOf(2))).toBeUndefined();
  cache.keep({ slot: 2, hash: hashOf(2) }, [bytesOf(2, 51)]);
  expect(cache.find(2, hashOf(2))).toBeUndefined();
  expect(cache.find(1, hashOf(1))).toEqual(bytesOf(1, 30));
});

test("thousands of small records stay while there is room for their bytes", () => {
  const cache = new RecordCache();
  for (let slot = 0; slot < 2_000; slot++)
    cache.keep({ slot, hash: hashOf(slot) }, [bytesOf(slot, 400)]);
  expect(cache.find(0, hashOf(0))).toEqual(bytesOf(0, 400));
});

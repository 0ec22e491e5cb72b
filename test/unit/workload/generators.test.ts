import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Random } from "../../../src/base/random.ts";
import { Fnv64 } from "../../../src/workload/generators/fnv.ts";
import { KeyNames } from "../../../src/workload/generators/key-names.ts";
import {
  DiscreteGenerator,
  ExponentialGenerator,
  HistogramGenerator,
  HotspotGenerator,
  SequentialGenerator,
  UniformGenerator,
} from "../../../src/workload/generators/spread.ts";
import {
  LatestGenerator,
  ScrambledZipfianGenerator,
  ZipfianGenerator,
} from "../../../src/workload/generators/zipfian.ts";

/** YCSB's hash as its text defines it, in 64-bit arithmetic: Math.abs of the signed result. */
function referenceHash(value: bigint): bigint {
  let hash = 0xcbf29ce484222325n;
  for (let octet = 0n; octet < 8n; octet++) {
    hash ^= (value >> (8n * octet)) & 0xffn;
    hash = (hash * 1099511628211n) & 0xffff_ffff_ffff_ffffn;
  }
  const signed = BigInt.asIntN(64, hash);
  return signed < 0n ? -signed : signed;
}

const recordNumber = fc.oneof(
  fc.integer({ min: 0, max: 100_000 }),
  fc.maxSafeNat(),
  // Draws of the scrambled zipfian lie above 2^53, where doubles are even.
  fc.integer({ min: 0, max: 10 ** 15 }).map((n) => n * 10),
);

function counts(generator: { next(): number }, draws: number, items: number): Float64Array {
  const counted = new Float64Array(items);
  for (let i = 0; i < draws; i++) counted[generator.next()]++;
  return counted;
}

/** Pearson's statistic against expected shares, in standard deviations above its mean. */
function chiSquareDeviations(counted: Float64Array, shares: (i: number) => number): number {
  const draws = counted.reduce((sum, count) => sum + count, 0);
  let statistic = 0;
  counted.forEach((count, i) => {
    const expected = draws * shares(i);
    statistic += (count - expected) ** 2 / expected;
  });
  const freedom = counted.length - 1;
  return (statistic - freedom) / Math.sqrt(2 * freedom);
}

describe("Random", () => {
  test("the same seed gives the same sequence, another stream another one", () => {
    const draw = (seed: number, stream: number) => {
      const random = new Random(seed, stream);
      return Array.from({ length: 8 }, () => random.nextUint32());
    };
    expect(draw(7, 1)).toEqual(draw(7, 1));
    expect(draw(7, 1)).not.toEqual(draw(7, 2));
    expect(draw(7, 1)).not.toEqual(draw(8, 1));
  });

  test("bytes, small ranges and wide ranges are uniform", () => {
    const random = new Random(1);
    const bytes = new Uint8Array(100_000);
    random.fill(bytes);
    const counted = new Float64Array(256);
    for (const byte of bytes) counted[byte]++;
    expect(Math.abs(chiSquareDeviations(counted, () => 1 / 256))).toBeLessThan(5);
    const wide = 2 ** 40;
    const tenths = { next: () => Math.floor((random.nextBelow(wide) / wide) * 10) };
    const small = { next: () => random.nextBelow(10) };
    for (const generator of [tenths, small]) {
      const deviations = chiSquareDeviations(counts(generator, 100_000, 10), () => 0.1);
      expect(Math.abs(deviations)).toBeLessThan(5);
    }
  });
});

describe("Fnv64", () => {
  test("equals the reference in 64-bit arithmetic", () => {
    const hash = new Fnv64();
    fc.assert(
      fc.property(recordNumber, (value) => {
        hash.hash(value);
        const whole = (BigInt(hash.high) << 32n) | BigInt(hash.low);
        expect(whole).toBe(referenceHash(BigInt(value)));
      }),
      { numRuns: 2000 },
    );
  });

  test("the remainder is exact for every table size that is allowed", () => {
    const hash = new Fnv64();
    fc.assert(
      fc.property(recordNumber, fc.integer({ min: 1, max: 2 ** 37 - 1 }), (value, divisor) => {
        hash.hash(value);
        expect(BigInt(hash.modulo(divisor))).toBe(referenceHash(BigInt(value)) % BigInt(divisor));
      }),
      { numRuns: 2000 },
    );
  });
});

describe("KeyNames", () => {
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

  test("hashed keys are YCSB's, kept or printed", () => {
    const keys = new KeyNames({ ordered: false, zeroPadding: 1, records: 1000 });
    // The first key of every hashed YCSB table.
    expect(decode(keys.key(0))).toBe("user6284781860667377211");
    fc.assert(
      fc.property(fc.oneof(fc.nat(2000), fc.integer({ min: 0, max: 2 ** 36 })), (record) => {
        const expected = `user${referenceHash(BigInt(record))}`;
        expect(decode(keys.key(record))).toBe(expected);
        expect(decode(keys.key(record))).toBe(expected);
      }),
    );
  });

  test("ordered keys are padded", () => {
    const keys = new KeyNames({ ordered: true, zeroPadding: 8, records: 10 });
    expect(decode(keys.key(5))).toBe("user00000005");
    expect(decode(keys.key(123_456_789))).toBe("user123456789");
    const bare = new KeyNames({ ordered: true, zeroPadding: 1, records: 10 });
    expect(decode(bare.key(0))).toBe("user0");
    expect(decode(bare.key(1_000_000))).toBe("user1000000");
    const wide = new KeyNames({ ordered: true, zeroPadding: 30, records: 10 });
    expect(decode(wide.key(7))).toBe(`user${"7".padStart(30, "0")}`);
    expect(wide.keyBytesMax).toBe(34);
  });
});

describe("distributions", () => {
  test("zipfian: the head has the shares of the law, the whole its order", () => {
    const items = 1000;
    let zeta = 0;
    for (let i = 1; i <= items; i++) zeta += 1 / i ** 0.99;
    const draws = 400_000;
    const counted = counts(
      new ZipfianGenerator(new Random(3), { min: 0, max: items - 1 }),
      draws,
      items,
    );
    // Gray's method is exact for the first two items and approximate after them.
    for (const [item, tolerance] of [
      [0, 0.02],
      [1, 0.03],
      [10, 0.15],
      [100, 0.25],
    ] as const) {
      const expected = draws / (item + 1) ** 0.99 / zeta;
      expect(Math.abs(counted[item] / expected - 1)).toBeLessThan(tolerance);
    }
  });

  test("zipfian: growing step by step equals building at once", () => {
    const grown = new ZipfianGenerator(new Random(5), { min: 0, max: 9 });
    for (const items of [11, 50, 200]) grown.resize(items);
    grown.resize(100);
    const built = new ZipfianGenerator(new Random(5), { min: 0, max: 99 });
    for (let i = 0; i < 1000; i++) expect(grown.next()).toBe(built.next());
  });

  test("scrambled zipfian: the most popular record is where the hash of draw 0 puts it", () => {
    const items = 1000;
    const counted = counts(
      new ScrambledZipfianGenerator(new Random(3), { min: 0, max: items - 1 }),
      200_000,
      items,
    );
    const popular = Number(referenceHash(0n) % BigInt(items));
    const second = Number(referenceHash(1n) % BigInt(items));
    expect(counted.indexOf(Math.max(...counted))).toBe(popular);
    // Shares 1/zeta and 0.5^0.99/zeta of 10^16 items, and what the others happen to add.
    expect(counted[popular] / 200_000).toBeGreaterThan(0.037);
    expect(counted[popular] / 200_000).toBeLessThan(0.0405);
    expect(counted[second] / 200_000).toBeGreaterThan(0.018);
    expect(counted.every((count) => count > 0)).toBe(true);
  });

  test("latest: the newest leads, also after the table grew", () => {
    let newest = 99;
    const latest = new LatestGenerator(new Random(2), () => newest);
    expect(counts(latest, 20_000, 100).indexOf(0)).toBe(-1);
    newest = 149;
    const counted = counts(latest, 50_000, 150);
    expect(counted.indexOf(Math.max(...counted))).toBe(149);
  });

  test("uniform and sequential cover their range evenly", () => {
    const uniform = new UniformGenerator(new Random(4), { min: 0, max: 99 });
    expect(chiSquareDeviations(counts(uniform, 100_000, 100), () => 0.01)).toBeLessThan(5);
    const sequential = new SequentialGenerator({ min: 3, max: 5 }, 4);
    expect(Array.from({ length: 5 }, () => sequential.next())).toEqual([4, 5, 3, 4, 5]);
  });

  test("hotspot: its share of operations goes to its share of records", () => {
    const hotspot = new HotspotGenerator(new Random(6), {
      min: 0,
      max: 99,
      hotData: 0.2,
      hotOperations: 0.8,
    });
    const shares = (i: number) => (i < 20 ? 0.8 / 20 : 0.2 / 80);
    expect(chiSquareDeviations(counts(hotspot, 100_000, 100), shares)).toBeLessThan(5);
    const allHot = new HotspotGenerator(new Random(6), {
      min: 0,
      max: 2,
      hotData: 1,
      hotOperations: 0,
    });
    for (let i = 0; i < 100; i++) expect(allHot.next()).toBeLessThan(3);
  });

  test("exponential: the percentile lies where it was asked for", () => {
    const exponential = new ExponentialGenerator(new Random(8), { percentile: 95, range: 1000 });
    let below = 0;
    for (let i = 0; i < 100_000; i++) if (exponential.next() < 1000) below++;
    expect(below / 100_000).toBeCloseTo(0.95, 2);
  });

  test("histogram and discrete follow their weights", () => {
    const histogram = new HistogramGenerator(new Random(9), { blockSize: 8, weights: [1, 0, 3] });
    const lengths = counts(histogram, 40_000, 25);
    expect(lengths[8] / 40_000).toBeCloseTo(0.25, 1);
    expect(lengths[16]).toBe(0);
    expect(lengths[24] / 40_000).toBeCloseTo(0.75, 1);
    const discrete = new DiscreteGenerator(new Random(9), [
      { kind: 4, weight: 0 },
      { kind: 1, weight: 2 },
      { kind: 3, weight: 2 },
    ]);
    const kinds = counts(discrete, 40_000, 5);
    expect(kinds[4]).toBe(0);
    expect(kinds[1] / 40_000).toBeCloseTo(0.5, 1);
  });
});

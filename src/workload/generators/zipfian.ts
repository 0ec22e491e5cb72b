/**
 * The zipfian family of YCSB. Items are drawn with P(i) ~ 1 / (i+1)^theta by the method of Gray et
 * al., "Quickly Generating Billion-Record Synthetic Databases" (SIGMOD 1994).
 */
import { assert } from "../../base/assert.ts";
import type { Random } from "../../base/random.ts";
import { Fnv64 } from "./fnv.ts";
import type { NumberGenerator } from "./number-generator.ts";

export const ZIPFIAN_THETA = 0.99;
/** YCSB scrambles draws out of this many items, whatever the size of the table … */
const SCRAMBLED_ITEMS = 1e16;
/** … whose zeta would take hours to sum up, so it is given. */
const SCRAMBLED_ZETA = 26.46902820178302;

/** Draws from [min, max], the smaller the likelier. The number of items may grow. */
export class ZipfianGenerator implements NumberGenerator {
  readonly #random: Random;
  readonly #min: number;
  readonly #theta: number;
  readonly #alpha: number;
  readonly #zeta2: number;
  readonly #secondBound: number;
  #items: number;
  #zeta: number;
  #eta = 0;

  constructor(random: Random, range: { min: number; max: number; theta?: number; zeta?: number }) {
    this.#random = random;
    this.#min = range.min;
    this.#items = range.max - range.min + 1;
    assert(this.#items >= 1, "a zipfian range holds at least one item");
    this.#theta = range.theta ?? ZIPFIAN_THETA;
    this.#alpha = 1 / (1 - this.#theta);
    this.#zeta2 = zeta({ from: 0, to: 2, theta: this.#theta, sum: 0 });
    this.#secondBound = 1 + 0.5 ** this.#theta;
    this.#zeta = range.zeta ?? zeta({ from: 0, to: this.#items, theta: this.#theta, sum: 0 });
    this.#deriveEta();
  }

  next(): number {
    const uniform = this.#random.nextFloat();
    const scaled = uniform * this.#zeta;
    if (scaled < 1 || this.#items === 1) return this.#min;
    if (scaled < this.#secondBound) return this.#min + 1;
    return (
      this.#min + Math.floor(this.#items * (this.#eta * uniform - this.#eta + 1) ** this.#alpha)
    );
  }

  /** Draws from `items` items from now on. Growing adds the new terms of zeta only. */
  resize(items: number): void {
    if (items === this.#items || items < 1) return;
    const grows = items > this.#items;
    this.#zeta = zeta({
      from: grows ? this.#items : 0,
      to: items,
      theta: this.#theta,
      sum: grows ? this.#zeta : 0,
    });
    this.#items = items;
    this.#deriveEta();
  }

  #deriveEta(): void {
    const numerator = 1 - (2 / this.#items) ** (1 - this.#theta);
    this.#eta = numerator / (1 - this.#zeta2 / this.#zeta);
  }
}

/** Draws from [min, max] with popular items scattered over the whole range. */
export class ScrambledZipfianGenerator implements NumberGenerator {
  readonly #ranks: ZipfianGenerator;
  readonly #hash = new Fnv64();
  readonly #min: number;
  readonly #items: number;

  constructor(random: Random, range: { min: number; max: number }) {
    this.#min = range.min;
    this.#items = range.max - range.min + 1;
    assert(this.#items >= 1, "a scrambled range holds at least one item");
    // max is 10^16 itself, as in YCSB: one item more than its zeta counts, which changes nothing.
    this.#ranks = new ZipfianGenerator(random, {
      min: 0,
      max: SCRAMBLED_ITEMS,
      zeta: SCRAMBLED_ZETA,
    });
  }

  next(): number {
    this.#hash.hash(this.#ranks.next());
    return this.#min + this.#hash.modulo(this.#items);
  }
}

/** Draws from [0, newest()], the newest the likeliest: YCSB's "latest". */
export class LatestGenerator implements NumberGenerator {
  readonly #distances: ZipfianGenerator;
  readonly #newest: () => number;

  constructor(random: Random, newest: () => number) {
    this.#newest = newest;
    this.#distances = new ZipfianGenerator(random, { min: 0, max: newest() });
  }

  next(): number {
    const newest = this.#newest();
    this.#distances.resize(newest + 1);
    return newest - this.#distances.next();
  }
}

/** Sum of 1/(i+1)^theta for i in [from, to), on top of `sum`. */
function zeta(span: { from: number; to: number; theta: number; sum: number }): number {
  let sum = span.sum;
  for (let i = span.from; i < span.to; i++) sum += 1 / (i + 1) ** span.theta;
  return sum;
}

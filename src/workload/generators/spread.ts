/** The plain distributions: constant, uniform, sequential, hotspot, exponential, histogram. */
import { assert } from "../../base/assert.ts";
import type { Random } from "../../base/random.ts";
import type { NumberGenerator } from "./number-generator.ts";

interface Range {
  readonly min: number;
  /** Inclusive. */
  readonly max: number;
}

export class ConstantGenerator implements NumberGenerator {
  readonly #value: number;

  constructor(value: number) {
    this.#value = value;
  }

  next(): number {
    return this.#value;
  }
}

export class UniformGenerator implements NumberGenerator {
  readonly #random: Random;
  readonly #min: number;
  readonly #items: number;

  constructor(random: Random, range: Range) {
    assert(range.max >= range.min, "a uniform range holds at least one item");
    this.#random = random;
    this.#min = range.min;
    this.#items = range.max - range.min + 1;
  }

  next(): number {
    return this.#min + this.#random.nextBelow(this.#items);
  }
}

/** min, min+1, …, max, min, … beginning at `first`, so that ranks may begin apart. */
export class SequentialGenerator implements NumberGenerator {
  readonly #range: Range;
  #following: number;

  constructor(range: Range, first = range.min) {
    this.#range = range;
    this.#following = first;
  }

  next(): number {
    const value = this.#following;
    this.#following = value >= this.#range.max ? this.#range.min : value + 1;
    return value;
  }
}

/** A share of the operations goes to a share of the items at the start of the range. */
export class HotspotGenerator implements NumberGenerator {
  readonly #random: Random;
  readonly #hotOperations: number;
  readonly #min: number;
  readonly #hotItems: number;
  readonly #coldItems: number;

  constructor(random: Random, range: Range & { hotData: number; hotOperations: number }) {
    const items = range.max - range.min + 1;
    this.#random = random;
    this.#min = range.min;
    this.#hotItems = Math.floor(items * range.hotData);
    this.#coldItems = items - this.#hotItems;
    // A share that holds no item cannot be drawn from, whatever was asked for.
    this.#hotOperations =
      this.#hotItems === 0 ? 0 : this.#coldItems === 0 ? 1 : range.hotOperations;
  }

  next(): number {
    return this.#random.nextFloat() < this.#hotOperations
      ? this.#min + this.#random.nextBelow(this.#hotItems)
      : this.#min + this.#hotItems + this.#random.nextBelow(this.#coldItems);
  }
}

/** Exponential: `percentile` percent of the draws lie below `range`. Draws are not bounded. */
export class ExponentialGenerator implements NumberGenerator {
  readonly #random: Random;
  readonly #gamma: number;

  constructor(random: Random, shape: { percentile: number; range: number }) {
    this.#random = random;
    this.#gamma = -Math.log(1 - shape.percentile / 100) / shape.range;
  }

  next(): number {
    return Math.floor(-Math.log(1 - this.#random.nextFloat()) / this.#gamma);
  }
}

/** Draws i·blockSize with the weight given for bucket i: YCSB's field length histogram. */
export class HistogramGenerator implements NumberGenerator {
  readonly #random: Random;
  readonly #blockSize: number;
  readonly #sums: Float64Array;

  constructor(random: Random, histogram: { blockSize: number; weights: readonly number[] }) {
    this.#random = random;
    this.#blockSize = histogram.blockSize;
    this.#sums = new Float64Array(histogram.weights.length);
    let sum = 0;
    for (let i = 0; i < histogram.weights.length; i++) {
      sum += histogram.weights[i];
      this.#sums[i] = sum;
    }
    assert(sum > 0, "a histogram has at least one weight above zero");
  }

  next(): number {
    const draw = this.#random.nextFloat() * this.#sums[this.#sums.length - 1];
    let bucket = 0;
    while (this.#sums[bucket] <= draw) bucket++;
    return (bucket + 1) * this.#blockSize;
  }
}

/** Chooses among a few kinds by weight: which operation comes next. */
export class DiscreteGenerator implements NumberGenerator {
  readonly #random: Random;
  readonly #kinds: Uint8Array;
  readonly #bounds: Float64Array;

  constructor(random: Random, choices: readonly { kind: number; weight: number }[]) {
    const some = choices.filter((choice) => choice.weight > 0);
    const total = some.reduce((sum, choice) => sum + choice.weight, 0);
    assert(total > 0, "at least one kind of operation has a weight");
    this.#random = random;
    this.#kinds = Uint8Array.from(some, (choice) => choice.kind);
    let sum = 0;
    this.#bounds = Float64Array.from(some, (choice) => (sum += choice.weight / total));
  }

  next(): number {
    const last = this.#kinds.length - 1;
    if (last === 0) return this.#kinds[0];
    const draw = this.#random.nextFloat();
    let index = 0;
    while (index < last && draw >= this.#bounds[index]) index++;
    return this.#kinds[index];
  }
}

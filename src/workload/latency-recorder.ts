/**
 * Counts latencies in the buckets of an HdrHistogram of three digits from 1 µs to 1 h. Recording
 * through hdr-histogram-js takes two logarithms, here a shift. Everything else
 * (percentiles, merging, encoding) is left to the library, which gets the filled buckets.
 */
import { build, type Histogram } from "hdr-histogram-js";

export const LATENCY_US_MAX = 3_600_000_000;
export const LATENCY_DIGITS = 3;
/** 2 · 10^3 rounded up to a power of two: values below it have a bucket each. */
const SUB_BUCKETS = 2048;
const HALF = SUB_BUCKETS / 2;
/** Buckets of doubling width up to 2^32 > LATENCY_US_MAX. */
const BUCKETS = 22;

export function newHistogram(): Histogram {
  return build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: LATENCY_US_MAX,
    numberOfSignificantValueDigits: LATENCY_DIGITS,
    bitBucketSize: 64,
    autoResize: false,
    useWebAssembly: false,
  });
}

export class LatencyRecorder {
  readonly #counts = new Uint32Array((BUCKETS + 1) * HALF);
  #count = 0;
  #min = LATENCY_US_MAX;
  #max = 0;

  get count(): number {
    return this.#count;
  }

  record(microseconds: number): void {
    // Whole microseconds first: the rest is integer arithmetic.
    const value = microseconds < 1 ? 1 : Math.min(microseconds, LATENCY_US_MAX) >>> 0;
    // Values below SUB_BUCKETS have at least 21 zeros in front and lie in bucket 0.
    const zeros = Math.clz32(value);
    const bucket = zeros > 20 ? 0 : 21 - zeros;
    this.#counts[bucket * HALF + (value >>> bucket)]++;
    this.#count++;
    if (value < this.#min) this.#min = value;
    if (value > this.#max) this.#max = value;
  }

  /** Adds everything recorded to a histogram and begins anew. */
  drainInto(histogram: Histogram): void {
    if (this.#count === 0) return;
    const min = this.#min;
    const max = this.#max;
    // The extremes are known exactly: one sample each enters as itself, not as its bucket's edge.
    this.#discount(min);
    histogram.recordValue(min);
    if (this.#count > 1) {
      this.#discount(max);
      histogram.recordValue(max);
    }
    const first = this.#indexOf(min);
    const last = this.#indexOf(max);
    for (let index = first; index <= last; index++) {
      const count = this.#counts[index];
      const value = index === first ? min : lowestOf(index);
      if (count > 0) histogram.recordValueWithCount(value, count);
    }
    this.#counts.fill(0);
    this.#count = 0;
    this.#min = LATENCY_US_MAX;
    this.#max = 0;
  }

  #discount(value: number): void {
    this.#counts[this.#indexOf(value)]--;
  }

  #indexOf(value: number): number {
    const bucket = Math.max(0, 21 - Math.clz32(value));
    return bucket * HALF + (value >>> bucket);
  }
}

/** Lowest value of a bucket. */
function lowestOf(index: number): number {
  if (index < SUB_BUCKETS) return index;
  const bucket = Math.floor(index / HALF) - 1;
  return (index - bucket * HALF) * 2 ** bucket;
}

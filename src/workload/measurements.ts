/**
 * What a rank measures in a phase, and the result that it sends to rank 0: counts and histograms
 * that merge by adding. Histograms travel compressed, in base64, as .hlog files hold them.
 *
 * A series is an operation, a level and a clock: "UPDATE|final|intended". Levels: agreed, final
 * (answers that were good), local (reads, which ask the rank's own state), failed, and the name of
 * a failure with reportlatencyforeacherror. Clocks: intended (from the operation's slot in the
 * schedule; without a target from its creation) and op (from its creation).
 */
import {
  decodeFromCompressedBase64,
  encodeIntoCompressedBase64,
  type Histogram,
} from "hdr-histogram-js";
import { LatencyRecorder, newHistogram } from "./latency-recorder.ts";
import { OPERATION_NAMES, RESULT_NAMES } from "./operation.ts";
import { MergedUsage, type Usage } from "./usage.ts";

export const LEVEL = { AGREED: 0, FINAL: 1, LOCAL: 2, FAILED: 3 } as const;
const LEVEL_NAMES = ["agreed", "final", "local", "failed"];
/** Series of a level: one a clock. */
const CLOCKS = ["intended", "op"] as const;
/** Levels, then one for each kind of failure. */
const LEVELS = LEVEL_NAMES.length + RESULT_NAMES.length;

export type IntervalKind = "op" | "intended" | "both";

export interface Counters {
  /** Operations that are complete at the level asked for, good or not. */
  operations: number;
  /** Transactions that are final and were executed. */
  transactions: number;
  reads: number;
  /** Transactions made anew because they expired or the window was full. */
  retries: number;
  /** Times that the queue was full. */
  refusals: number;
}

export interface RankResult {
  readonly rank: number;
  readonly phase: string;
  /** Milliseconds since 1970. */
  readonly startedAt: number;
  /** From the start to the last acknowledgement at the level asked for, ms. */
  readonly durationMs: number;
  readonly counters: Readonly<Counters>;
  /** Operation name → result name → count. */
  readonly results: Readonly<Record<string, Readonly<Record<string, number>>>>;
  /** Series → histogram. */
  readonly histograms: Readonly<Record<string, string>>;
  /** What the rank spent meanwhile; a client of it does not know. */
  readonly usage?: Usage;
}

/** One rank in one phase. Runs on the thread of the driver, whose receipts it counts. */
export class Measurements {
  readonly counters: Counters = newCounters();
  readonly #recorders: (LatencyRecorder | undefined)[] = [];
  readonly #totals: (Histogram | undefined)[] = [];
  /** In the totals already, and in no interval yet. */
  #untaken: (Histogram | undefined)[] = [];
  readonly #results = new Float64Array(OPERATION_NAMES.length * RESULT_NAMES.length);
  readonly #intended: boolean;
  readonly #op: boolean;
  readonly #eachError: boolean;
  #taken: { counters: Counters; results: Float64Array };

  constructor(options: { interval: IntervalKind; latencyForEachError: boolean }) {
    this.#intended = options.interval !== "op";
    this.#op = options.interval !== "intended";
    this.#eachError = options.latencyForEachError;
    this.#taken = { counters: newCounters(), results: this.#results.slice() };
  }

  /** Latencies of one operation at one level, from its intended start and from its creation, ms. */
  latency(kind: number, level: number, sinceIntended: number, sinceCreated: number): void {
    const series = (kind * LEVELS + level) * CLOCKS.length;
    if (this.#intended) this.#recorder(series).record(sinceIntended * 1000);
    if (this.#op) this.#recorder(series + 1).record(sinceCreated * 1000);
  }

  result(kind: number, result: number): void {
    this.#results[kind * RESULT_NAMES.length + result]++;
  }

  /** A failed operation: its result, and its latency under FAILED. */
  failure(kind: number, result: number, sinceIntended: number, sinceCreated: number): void {
    this.result(kind, result);
    this.latency(kind, LEVEL.FAILED, sinceIntended, sinceCreated);
    if (this.#eachError) {
      this.latency(kind, LEVEL_NAMES.length + result, sinceIntended, sinceCreated);
    }
  }

  /** Everything since the last call of this method, for status lines; it still is in the total. */
  takeInterval(frame: Omit<RankResult, "counters" | "results" | "histograms">): RankResult {
    this.#drain();
    const histograms = encodeAll(this.#untaken);
    this.#untaken = [];
    const counters = difference(this.counters, this.#taken.counters);
    const results = this.#results.map((count, i) => count - this.#taken.results[i]);
    this.#taken = { counters: { ...this.counters }, results: this.#results.slice() };
    return { ...frame, counters, results: nameResults(results), histograms };
  }

  /** Everything since the start. */
  total(frame: Omit<RankResult, "counters" | "results" | "histograms">): RankResult {
    this.#drain();
    return {
      ...frame,
      counters: { ...this.counters },
      results: nameResults(this.#results),
      histograms: encodeAll(this.#totals),
    };
  }

  #recorder(series: number): LatencyRecorder {
    return (this.#recorders[series] ??= new LatencyRecorder());
  }

  /** Moves what was recorded into the totals and the interval. */
  #drain(): void {
    this.#recorders.forEach((recorder, series) => {
      if (recorder === undefined || recorder.count === 0) return;
      const histogram = newHistogram();
      recorder.drainInto(histogram);
      addTo(this.#untaken, series, histogram);
      addTo(this.#totals, series, histogram);
    });
  }
}

function addTo(sums: (Histogram | undefined)[], series: number, histogram: Histogram): void {
  (sums[series] ??= newHistogram()).add(histogram);
}

function encodeAll(histograms: readonly (Histogram | undefined)[]): Record<string, string> {
  const encoded: Record<string, string> = {};
  histograms.forEach((histogram, series) => {
    if (histogram) encoded[seriesName(series)] = encodeIntoCompressedBase64(histogram);
  });
  return encoded;
}

/** Results of several ranks as one. */
export class MergedResult {
  readonly counters: Counters = newCounters();
  readonly results: Record<string, Record<string, number>> = {};
  readonly histograms = new Map<string, Histogram>();
  startedAt = Number.POSITIVE_INFINITY;
  /** The longest of the ranks: they start together, and clocks of hosts differ. */
  durationMs = 0;
  ranks = 0;
  readonly usage = new MergedUsage();

  static of(results: Iterable<RankResult>): MergedResult {
    const merged = new MergedResult();
    for (const result of results) merged.add(result);
    return merged;
  }

  add(result: RankResult): void {
    this.ranks++;
    if (result.usage !== undefined) this.usage.add(result.usage);
    this.startedAt = Math.min(this.startedAt, result.startedAt);
    this.durationMs = Math.max(this.durationMs, result.durationMs);
    for (const name of Object.keys(this.counters) as (keyof Counters)[]) {
      this.counters[name] += result.counters[name];
    }
    for (const [operation, counts] of Object.entries(result.results)) {
      const sums = (this.results[operation] ??= {});
      for (const [name, count] of Object.entries(counts)) sums[name] = (sums[name] ?? 0) + count;
    }
    for (const [series, encoded] of Object.entries(result.histograms)) {
      const histogram = this.histograms.get(series) ?? newHistogram();
      histogram.add(decodeFromCompressedBase64(encoded, 64));
      this.histograms.set(series, histogram);
    }
  }

  /** All operations' latencies at a level, as one histogram; undefined when there are none. */
  allAt(level: string): Histogram | undefined {
    let all: Histogram | undefined;
    for (const clock of CLOCKS) {
      for (const [series, histogram] of this.histograms) {
        if (!series.endsWith(`|${level}|${clock}`)) continue;
        all ??= newHistogram();
        all.add(histogram);
      }
      if (all !== undefined) return all;
    }
    return all;
  }

  histogram(operation: string, level: string, clock: "intended" | "op"): Histogram | undefined {
    return this.histograms.get(`${operation}|${level}|${clock}`);
  }

  /** Operations that failed. */
  failures(operation: string): number {
    let failed = 0;
    for (const [name, count] of Object.entries(this.results[operation] ?? {})) {
      if (name !== "OK") failed += count;
    }
    return failed;
  }
}

export function seriesName(series: number): string {
  const clock = CLOCKS[series % CLOCKS.length];
  const level = Math.floor(series / CLOCKS.length) % LEVELS;
  const operation = OPERATION_NAMES[Math.floor(series / CLOCKS.length / LEVELS)];
  return `${operation}|${LEVEL_NAMES[level] ?? RESULT_NAMES[level - LEVEL_NAMES.length]}|${clock}`;
}

function newCounters(): Counters {
  return { operations: 0, transactions: 0, reads: 0, retries: 0, refusals: 0 };
}

function difference(a: Counters, b: Counters): Counters {
  const rest = newCounters();
  for (const name of Object.keys(rest) as (keyof Counters)[]) rest[name] = a[name] - b[name];
  return rest;
}

function nameResults(counts: Float64Array): Record<string, Record<string, number>> {
  const named: Record<string, Record<string, number>> = {};
  counts.forEach((count, i) => {
    if (count === 0) return;
    const operation = OPERATION_NAMES[Math.floor(i / RESULT_NAMES.length)];
    (named[operation] ??= {})[RESULT_NAMES[i % RESULT_NAMES.length]] = count;
  });
  return named;
}

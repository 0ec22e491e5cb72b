/**
 * What storage and failures cost, as ratios of runs that alternate on one machine (the paper's Figures 13
 * and 14): the storage validator for every round against decisions in memory, and the time that blocks
 * take to be agreed while ranks die in mid-validation against the time before, of the same run.
 */
import type { Measured, MeasuredSpec } from "./measured-job.ts";
import { type Plan, parsePlan } from "./plan.ts";
import type { RunReport } from "./run.ts";

/** The paper's setting: blocks of four, small transactions, two ranks and more. */
const WORKLOAD = [
  ...["workload=transfers", "baash.accounts=1000"],
  ...["baash.blocksize=4", "baash.validityrounds=32768"],
];
const PAPER_FLAGS = ["--block-transactions", "4", "--supply", "1000000000"];

export interface StorageOverhead {
  readonly ranks: number;
  /** In the order in which they were run. */
  readonly runs: readonly { readonly storageOn: StorageOn; readonly measured: Measured }[];
  /** Time a transaction takes with storage always, of that in memory: medians of the pairs. */
  readonly timeRatio: number;
  readonly agreedRatio: number;
  readonly finalRatio: number;
}

export type StorageOn = "no-majority" | "always";

export interface StorageOptions {
  readonly ranks: readonly number[];
  readonly pairs: number;
  readonly seconds: number;
  /** Operations a second of each rank; 0: as fast as they can. */
  readonly ratePerRank: number;
  readonly measure: (spec: MeasuredSpec) => Promise<Measured>;
  say(text: string): void;
}

/** Which of the two begins changes from pair to pair: a machine that warms or slows favours neither. */
export function orderOf(pair: number): readonly StorageOn[] {
  return pair % 2 === 0 ? ["no-majority", "always"] : ["always", "no-majority"];
}

export async function storageOverhead(options: StorageOptions): Promise<StorageOverhead[]> {
  const { pairs, seconds, ratePerRank, measure, say } = options;
  const all: StorageOverhead[] = [];
  for (const ranks of options.ranks) {
    const runs: { storageOn: StorageOn; measured: Measured }[] = [];
    for (let pair = 0; pair < pairs; pair++) {
      for (const storageOn of orderOf(pair)) {
        const measured = await measure({
          ranks,
          seconds,
          flags: ["--storage-on", storageOn, ...PAPER_FLAGS],
          properties: [...WORKLOAD, `baash.targetperrank=${ratePerRank}`],
        });
        runs.push({ storageOn, measured });
        const rate = measured.transactionsPerSecond.toFixed(0);
        say(`${ranks} ranks, --storage-on ${storageOn}: ${rate} tx/s`);
      }
    }
    all.push({ ranks, runs, ...ratiosOf(runs) });
  }
  return all;
}

/** Each pair's ratio for itself: what changes between pairs is in both of its runs. */
export function ratiosOf(runs: StorageOverhead["runs"]) {
  const ratio = (figure: (measured: Measured) => number) => {
    const ratios: number[] = [];
    for (let i = 0; i + 1 < runs.length; i += 2) {
      const of = (wanted: StorageOn) =>
        figure(runs.slice(i, i + 2).find(({ storageOn }) => storageOn === wanted)!.measured);
      ratios.push(of("always") / of("no-majority"));
    }
    return median(ratios);
  };
  return {
    timeRatio: ratio(({ transactionsPerSecond }) => 1 / transactionsPerSecond),
    agreedRatio: ratio(({ agreedMs }) => agreedMs.p50),
    finalRatio: ratio(({ finalMs }) => finalMs.p50),
  };
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length === 0) return Number.NaN;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** "hook": SIGKILL from within a validation (BAASH_FAULT). "kill": SIGKILL at a moment of the load. */
export type FailureWay = "hook" | "kill";

export interface FailureOverhead {
  readonly killed: number;
  readonly ranks: number;
  readonly good: boolean;
  /** From a transaction's intended start until it is agreed, ms: before the failures, and from the
   * first of them until transactions were agreed at half the rate again. */
  readonly beforeMs: { readonly p50: number; readonly p99: number } | undefined;
  readonly duringMs: { readonly p50: number; readonly p99: number } | undefined;
  readonly p50Ratio: number | undefined;
  readonly p99Ratio: number | undefined;
  readonly stallMs: number;
  /** With "hook": ranks that reached the validation in which they were to die. */
  readonly gone: number | undefined;
}

export interface FailureOptions {
  readonly ranks: number;
  readonly killed: readonly number[];
  readonly seconds: number;
  readonly rate: number;
  readonly by: FailureWay;
  /** Validations before a rank ends. */
  readonly count: number;
  readonly runPlan: (plan: Plan) => Promise<RunReport>;
  say(text: string): void;
}

/** How one of the runs goes. Process 0 lives: it speaks for the others, which is no part of this. */
export function failurePlan(
  options: Omit<FailureOptions, "runPlan" | "say">,
  killed: number,
): Plan {
  const { ranks, seconds, rate, by, count } = options;
  const victims = Array.from({ length: killed }, (_, i) => 1 + i);
  const which = killed === 1 ? "1" : `1-${killed}`;
  const hook = { fault: `kill@validation:after=${count},process=${which}` };
  const kill = { do: "kill", at: seconds / 2, places: victims };
  return parsePlan(
    {
      ...{ version: 1, ranks, seconds, load: { rate, clients: Math.min(ranks, 8) } },
      job: { flags: ["--block-transactions", "4"], ...(by === "hook" && killed > 0 && hook) },
      events: by === "kill" && killed > 0 ? [kill] : [],
    },
    "overhead",
  );
}

export async function failureOverhead(options: FailureOptions): Promise<FailureOverhead[]> {
  const all: FailureOverhead[] = [];
  for (const killed of options.killed) {
    const report = await options.runPlan(failurePlan(options, killed));
    const overhead = failureFigures(report, killed, options.by);
    all.push(overhead);
    const ratio = overhead.p50Ratio?.toFixed(2) ?? "unknown";
    options.say(
      `${killed} of ${options.ranks} ranks gone: agreed after ${ratio} times the time before`,
    );
  }
  return all;
}

function failureFigures(report: RunReport, killed: number, by: FailureWay): FailureOverhead {
  const { figures, good, plan } = report;
  const { before, during } = figures;
  const of = (phase: typeof before) => phase.agreedLatency;
  const [b, d] = [of(before), of(during)];
  const ratio = (name: "p50" | "p99") =>
    b === undefined || d === undefined ? undefined : d[name] / b[name];
  return {
    killed,
    ranks: plan.ranks,
    good,
    beforeMs: b,
    duringMs: d,
    p50Ratio: ratio("p50"),
    p99Ratio: ratio("p99"),
    stallMs: Math.max(0, ...figures.incidents.map(({ agreedStallMs }) => agreedStallMs)),
    gone: by === "hook" ? report.gone : undefined,
  };
}

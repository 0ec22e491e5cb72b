/** One seed from what was asked for to what is told of it: plain data, so that it crosses processes. */
import type { Quorum } from "../ledger/genesis.ts";
import { type RunReport, simulate } from "./cluster.ts";
import { planOf, type Scenario } from "./plan.ts";
import type { Family } from "./trace.ts";

export interface SeedSpec {
  readonly seed: number;
  /** Family of faults; by the seed if there is none. */
  readonly faults?: Scenario | undefined;
  /** Of the job; by the seed if there is none. */
  readonly ranks?: number | undefined;
  readonly quorum?: Quorum | undefined;
}

export interface Broken {
  /** The rule of protocol.md, or CRASH, HALT, ALERT, QUEUE. */
  readonly rule: string;
  readonly family: Family;
  readonly message: string;
}

export interface SeedResult {
  readonly seed: number;
  readonly scenario: Scenario;
  readonly ranks: number;
  readonly broken: Broken | undefined;
  /** Of a run that broke something: the last rounds in words. */
  readonly timeline: readonly string[];
  readonly jobs: number;
  readonly virtualMs: number;
  readonly events: number;
  readonly slots: number;
  readonly rounds: number;
  /** In the log, each counted once. */
  readonly transactions: number;
  readonly receipts: number;
  readonly settledAfterMs: number;
  readonly evictedAfterMs: number;
  readonly kinds: Readonly<Record<string, number>>;
  readonly faults: Readonly<Record<string, number>>;
  readonly ways: Readonly<Record<string, number>>;
  /** Of everything that happened: equal for two runs of one seed and one commit. */
  readonly digest: string;
}

export async function runSeed(spec: SeedSpec, print?: (line: string) => void): Promise<SeedResult> {
  const { seed, faults, ranks, quorum } = spec;
  const plan = planOf(seed, { scenario: faults, ranks });
  return resultOf(await simulate(plan, { quorum, print }));
}

export function resultOf(report: RunReport): SeedResult {
  const { plan, violation, counts, kinds, faults, ways, digest } = report;
  const { virtualMs, events, slots, rounds, transactions } = report;
  const { settledAfterMs, evictedAfterMs } = report;
  return {
    ...{ seed: plan.seed, scenario: plan.scenario, ranks: plan.ranks },
    broken: violation && {
      ...{ rule: violation.rule, family: violation.family, message: violation.message },
    },
    timeline: violation === undefined ? [] : report.timeline,
    ...{ jobs: counts.jobs, receipts: counts.finals },
    ...{ virtualMs, events, slots, rounds, transactions, settledAfterMs, evictedAfterMs },
    ...{ kinds, faults, ways, digest },
  };
}

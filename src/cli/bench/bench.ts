/** The pairs of scripts/bench: one run of the ledger, then one of its ceiling, and again. */
import type { JobFacts } from "../../job/reporter.ts";
import { FIELD_HEADER_BYTES, TXN_HEADER_BYTES } from "../../ledger/transaction.ts";
import type { MergedResult } from "../../workload/measurements.ts";
import { type LoadPlan, planLoad } from "../ycsb/options.ts";
import { type LoadOutcome, payloadText } from "../ycsb/report.ts";
import { runLoad } from "../ycsb/run.ts";
import { runCeiling } from "./ceiling.ts";

const BLOCK_TRANSACTIONS = 1000;
const VALUE_BYTES = 100;
/** "user" and the 19 digits that most hashes have. */
const KEY_BYTES = 23;
const FIELD_NAME = "field0";
const TXN_BYTES =
  TXN_HEADER_BYTES + KEY_BYTES + FIELD_HEADER_BYTES + FIELD_NAME.length + VALUE_BYTES;

export interface BenchOptions {
  readonly ranks: number;
  readonly pairs: number;
  readonly seconds: number;
  readonly records: number;
  readonly difficulty: string;
  readonly ack: string;
}

/** Microseconds. */
interface Latency {
  readonly p50: number;
  readonly p99: number;
}

interface Pair {
  /** Transactions a second. */
  readonly ledger: number;
  readonly ceiling: number;
  readonly ratio: number;
  /** Of the ceiling: as large as the ledger's rounds were. */
  readonly blocksPerRound: number;
  readonly agreed: Latency;
  readonly final: Latency;
}

export interface BenchResult {
  readonly facts: JobFacts;
  readonly payload: string;
  readonly verified: boolean;
  readonly runs: readonly Pair[];
  readonly median: Pair;
}

export async function bench(options: BenchOptions): Promise<BenchResult> {
  const plan = await planOf(options);
  const runs: Pair[] = [];
  let facts: JobFacts | undefined;
  let verified = true;
  for (let i = 0; i < options.pairs; i++) {
    say(`pair ${i + 1} of ${options.pairs}: the ledger, ${options.seconds} s`);
    const outcome = await runLoad(plan);
    for (const problem of outcome.proof.problems) say(problem);
    verified &&= outcome.proof.verified;
    facts = outcome.facts;
    say(`pair ${i + 1} of ${options.pairs}: the ceiling, ${options.seconds} s`);
    const perRound = blocksPerRound(outcome, options.ranks);
    const ceiling = await runCeiling({
      ranks: options.ranks,
      txnBytes: TXN_BYTES,
      blockTransactions: BLOCK_TRANSACTIONS,
      blocksPerRound: perRound,
      difficulty: facts.difficulty,
      seconds: options.seconds,
    });
    runs.push(pairOf(outcome.phases.at(-1)!.merged, ceiling, perRound));
  }
  return {
    facts: facts!,
    payload: payloadText(plan.workload),
    verified,
    runs,
    median: medianOf(runs),
  };
}

function planOf({ ranks, seconds, records, difficulty, ack }: BenchOptions): Promise<LoadPlan> {
  const properties = {
    recordcount: records,
    operationcount: 0,
    maxexecutiontime: seconds,
    fieldcount: 1,
    fieldlength: VALUE_BYTES,
    readproportion: 0,
    updateproportion: 1,
    requestdistribution: "uniform",
    // One status line at the end of a run.
    "status.interval": 86_400,
  };
  return planLoad(undefined, {
    p: Object.entries(properties).map(([name, value]) => `${name}=${value}`),
    ranks: String(ranks),
    blockSize: String(BLOCK_TRANSACTIONS),
    difficulty,
    ack,
    load: "ranks",
  });
}

/** The ceiling works in rounds as large as the ledger's were on average. */
function blocksPerRound({ proof }: LoadOutcome, ranks: number): number {
  const { transactions = 0, rounds = 0 } = proof.ledger ?? {};
  return Math.max(1, Math.round(transactions / BLOCK_TRANSACTIONS / Math.max(1, rounds * ranks)));
}

function pairOf(merged: MergedResult, ceiling: number, blocksPerRound: number): Pair {
  const ledger = (merged.counters.transactions * 1000) / Math.max(1, merged.durationMs);
  const at = (level: string): Latency => {
    const histogram = merged.allAt(level);
    return {
      p50: histogram?.getValueAtPercentile(50) ?? 0,
      p99: histogram?.getValueAtPercentile(99) ?? 0,
    };
  };
  return {
    ledger,
    ceiling,
    ratio: ledger / ceiling,
    blocksPerRound,
    agreed: at("agreed"),
    final: at("final"),
  };
}

/** Of each figure by itself, but for the ratio, which is that of the medians. */
function medianOf(runs: readonly Pair[]): Pair {
  const middle = (of: (run: Pair) => number) => {
    const sorted = runs.map(of).sort((a, b) => a - b);
    return (
      (sorted[Math.floor((sorted.length - 1) / 2)] + sorted[Math.floor(sorted.length / 2)]) / 2
    );
  };
  const latency = (level: "agreed" | "final"): Latency => ({
    p50: middle((run) => run[level].p50),
    p99: middle((run) => run[level].p99),
  });
  const ledger = middle((run) => run.ledger);
  const ceiling = middle((run) => run.ceiling);
  return {
    ledger,
    ceiling,
    ratio: ledger / ceiling,
    blocksPerRound: middle((run) => run.blocksPerRound),
    agreed: latency("agreed"),
    final: latency("final"),
  };
}

function say(text: string): void {
  process.stderr.write(`bench: ${text}\n`);
}

/** One run that drives a ledger: ycsb-load's, and what it gives as figures. */
import type { MergedResult } from "../../workload/measurements.ts";
import { type LoadPlan, planLoad } from "../ycsb/options.ts";
import { runLoad } from "../ycsb/run.ts";
import { breakdownOf } from "./breakdown.ts";
import { hasCeiling, runCeiling } from "./ceiling.ts";
import type { Measured } from "./measured.ts";
import type { Figures, MetricName } from "./metrics.ts";
import type { Setting } from "./setting.ts";

/** All operations are meant to start at once: latencies then count from the start of the run. */
const AT_ONCE = 1e9;
const MIB = 2 ** 20;

export interface LoadRunOptions {
  /** Of the main thread's stages too, at the price of a clock that is read often. */
  readonly breakdown: boolean;
}

/** The ledger, then its ceiling if it has one. Throws what ycsb-load throws, and CEILING_…. */
export async function measureLoad(setting: Setting, options: LoadRunOptions): Promise<Measured> {
  const outcome = await runLoad(await planOf(setting, options));
  const { facts, phases, proof, reports, interrupted } = outcome;
  const { merged } = phases.at(-1)!;
  let figures = figuresOf(setting, merged);
  if (hasCeiling(setting) && !interrupted) {
    const ceiling = await runCeiling(setting, merged.usage);
    figures = { ...figures, ceiling, ratio: figures.throughput! / ceiling };
  }
  const breakdown = options.breakdown ? breakdownOf(merged.usage, reports) : {};
  return { figures, breakdown, facts, problems: proof.problems };
}

/** Of ycsb-load; what a suite varies is all here. */
export function propertiesOf(setting: Setting): Record<string, string | number | boolean> {
  const { blocks, blockTransactions, offered, valueBytes, workload } = setting;
  return {
    recordcount: setting.records,
    operationcount: blocks * blockTransactions,
    maxexecutiontime: blocks > 0 ? 0 : setting.seconds,
    "baash.warmup": setting.warmup,
    target: blocks > 0 ? AT_ONCE : offered,
    ...(blocks > 0 && { "baash.window": 131_072 }),
    "baash.quorum": setting.quorum,
    "baash.sync": setting.sync === "on",
    fieldlength: valueBytes,
    ...(workload === "updates" && {
      fieldcount: 1,
      readproportion: 0,
      updateproportion: 1,
      requestdistribution: "uniform",
    }),
    // One status line at the end of a run.
    "status.interval": 86_400,
  };
}

export function planOf(setting: Setting, { breakdown }: LoadRunOptions): Promise<LoadPlan> {
  const { workload } = setting;
  return planLoad(undefined, {
    ...(workload !== "updates" && { P: [workload] }),
    p: Object.entries(propertiesOf(setting)).map(([name, value]) => `${name}=${value}`),
    ranks: String(setting.ranks),
    blockSize: String(setting.blockTransactions),
    difficulty: String(setting.difficulty),
    ack: setting.ack,
    load: "ranks",
    breakdown,
  });
}

function figuresOf(setting: Setting, merged: MergedResult): Figures {
  const { counters, durationMs, usage } = merged;
  const { ranks, rounds, transactions } = usage;
  const hashes = hashesOf(setting, usage.blocks, transactions);
  const seconds = durationMs / 1000;
  const all: Record<string, number | undefined> = {
    throughput: counters.transactions / seconds,
    operations: counters.operations / seconds,
    ...latencies(merged),
    transactionsPerRound: transactions / rounds,
    roundsPerS: rounds / seconds,
    cpuUsPerTransaction: usage.cpuTotalUs / transactions,
    cpuUsPerTransactionRank: usage.cpuTotalUs / transactions / ranks,
    cpuUsPerRoundRank: usage.cpuTotalUs / rounds / ranks,
    hashesPerTransaction: hashes / transactions,
    hashesPerRoundRank: hashes / rounds / ranks,
    messagesPerTransaction: usage.messages / transactions,
    messagesPerRoundRank: usage.messages / rounds / ranks,
    bytesPerTransaction: usage.bytes / transactions,
    bytesPerRoundRank: usage.bytes / rounds / ranks,
    blocks: usage.blocks,
    memoryMiB: usage.memory / ranks / MIB,
    ...(setting.blocks > 0 && {
      agreedMs: largestMs(merged, "agreed"),
      finalMs: largestMs(merged, "final"),
    }),
  } satisfies Partial<Record<MetricName, number | undefined>>;
  // A run that only reads has no cost of a transaction.
  const known = Object.entries(all).filter(([, value]) => Number.isFinite(value));
  return Object.fromEntries(known) as Figures;
}

function latencies(merged: MergedResult) {
  const at = (level: string, percentile: number) => {
    const us = merged.allAt(level)?.getValueAtPercentile(percentile);
    return us === undefined ? undefined : us / 1000;
  };
  return {
    agreedP50Ms: at("agreed", 50),
    agreedP99Ms: at("agreed", 99),
    finalP50Ms: at("final", 50),
    finalP99Ms: at("final", 99),
  };
}

function largestMs(merged: MergedResult, level: string): number | undefined {
  const us = merged.allAt(level)?.maxValue;
  return us === undefined ? undefined : us / 1000;
}

/**
 * SHA-256 computations that blocks of this shape ask of all ranks, by counting and not by measuring:
 * each rank hashes each transaction (a leaf), joins the leaves to a root, and hashes the header; the
 * miner tries 2^difficulty headers on average.
 */
function hashesOf({ ranks, difficulty }: Setting, blocks: number, transactions: number): number {
  const leaves = transactions;
  const joins = transactions - blocks;
  return ranks * (leaves + joins + blocks) + blocks * 2 ** difficulty;
}

/** Real jobs of ranks under a load that is asked for, measured as ycsb-load measures. */
import { spawnSync } from "node:child_process";
import { BaashError, EXIT } from "../../base/errors.ts";
import type { Figures, Measurement } from "../../emulation/fit.ts";
import { planLoad } from "../ycsb/options.ts";
import { runLoad } from "../ycsb/run.ts";

export const BLOCK_TRANSACTIONS = 4;
export const DIFFICULTY = 8;
/** Records that are updated: few, so that loading them is short. */
const RECORDS = 1000;
/** Until an engine has compiled what it runs: so many seconds of its own, and of each rank more than cores. */
const WARM_UP_S = 8;
const WARM_UP_PER_RANK_S = 2;

export interface JobOptions {
  readonly ranks: number;
  /** Transactions a second of each rank. */
  readonly load: number;
  readonly blockTransactions: number;
  readonly seconds: number;
  /** The job may run on so many, the first ones of the machine. */
  readonly cores: number;
}

type Row = readonly [ranks: number, cores: number, load: number, blockTransactions: number];
/** Small blocks and large ones, few and many, with and without a core of one's own. */
const ROWS: readonly Row[] = [
  ...([[2, 2, 50, 4] as const, [2, 2, 3200, 4] as const, [2, 2, 1600, 1] as const] as const),
  ...([[2, 1, 3200, 4] as const, [2, 1, 800, 1] as const] as const),
  ...([[4, 2, 50, 4] as const, [4, 2, 1600, 4] as const, [4, 2, 6400, 4] as const] as const),
  ...([[4, 2, 800, 1] as const, [4, 2, 3200, 1] as const, [4, 2, 25_600, 4] as const] as const),
  ...([[4, 1, 800, 4] as const, [4, 1, 3200, 4] as const, [4, 1, 800, 1] as const] as const),
];
export const CALIBRATION_JOBS: readonly Omit<JobOptions, "seconds">[] = ROWS.map(
  ([ranks, cores, load, blockTransactions]) => ({ ranks, cores, load, blockTransactions }),
);

/** The paper's setting at this size and load. Throws what ycsb-load throws. */
export async function measureJob(job: JobOptions): Promise<Measurement> {
  const { ranks, load, blockTransactions, seconds, cores } = job;
  const properties = {
    recordcount: RECORDS,
    operationcount: 0,
    maxexecutiontime: seconds,
    "baash.warmup": WARM_UP_S + WARM_UP_PER_RANK_S * Math.max(0, ranks - cores),
    "baash.targetperrank": load,
    // One status line at the end of a run.
    "status.interval": 86_400,
  };
  const plan = await planLoad(undefined, {
    P: ["paper"],
    p: Object.entries(properties).map(([name, value]) => `${name}=${value}`),
    ranks: String(ranks),
    blockSize: String(blockTransactions),
    difficulty: String(DIFFICULTY),
    load: "ranks",
    breakdown: true,
  });
  const { phases } = await onCores(cores, () => runLoad(plan));
  const { merged } = phases.at(-1)!;
  const { usage, durationMs, counters } = merged;
  const ofRound = (times: Record<string, number>) =>
    Object.fromEntries(
      Object.entries(times).map(([name, us]) => [name, us / usage.ranks / usage.rounds]),
    );
  const ms = (level: string) => (merged.allAt(level)?.getValueAtPercentile(50) ?? 0) / 1000;
  return {
    ...{ ranks, cores, load, blockTransactions, difficulty: DIFFICULTY },
    throughput: (1000 * counters.transactions) / durationMs,
    roundsPerS: (1000 * usage.rounds) / durationMs,
    agreedMs: ms("agreed"),
    finalMs: ms("final"),
    work: {
      threadsUs: ofRound(usage.cpuUs),
      stagesUs: ofRound(usage.stagesUs),
      records: usage.records / usage.rounds,
      blocks: usage.blocks / usage.rounds,
      transactions: usage.transactions / usage.rounds,
    },
    busy: usage.cpuTotalUs / (1000 * durationMs * cores),
  };
}

/** What is started meanwhile runs on the first `cores` of those that we may use. */
async function onCores<T>(cores: number, action: () => Promise<T>): Promise<T> {
  const allowed = affinity();
  const list = cpusOf(allowed);
  if (cores > list.length) {
    const message = `${cores} cores are needed, and this process may use ${list.length}.`;
    throw new BaashError("CALIBRATION_FAILED", message, { exitCode: EXIT.unavailable });
  }
  setAffinity(list.slice(0, cores).join(","));
  try {
    return await action();
  } finally {
    setAffinity(allowed);
  }
}

/** As taskset(1) writes it: "0-3,6". */
function affinity(): string {
  return taskset(["-cp", String(process.pid)])
    .replace(/^.*:\s*/s, "")
    .trim();
}

function setAffinity(list: string): void {
  taskset(["-cp", list, String(process.pid)]);
}

function taskset(args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync("taskset", args, { encoding: "utf8" });
  if (status === 0) return stdout;
  const message = `taskset ${args.join(" ")} failed (${(error?.message ?? stderr).trim()}): calibration needs taskset of util-linux.`;
  throw new BaashError("CALIBRATION_FAILED", message, { exitCode: EXIT.unavailable });
}

function cpusOf(list: string): number[] {
  return list.split(",").flatMap((part) => {
    const [first, last = first] = part.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
}

export type { Figures, Measurement };

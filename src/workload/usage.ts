/**
 * What a phase cost: the processor time of a rank's threads, and the work of the ledger that it went
 * into. Taken at the two ends of a phase, so that neither starting nor warming up is in it.
 */
import { readdirSync, readFileSync } from "node:fs";

/** Threads of a rank, by what the system calls them; all others are the engine's. */
const THREADS: Readonly<Record<string, string>> = {
  "baash-mpi": "mpi",
  "writer-worker": "writer",
  // The system cuts names after 15 bytes.
  "transaction-wor": "transactions",
  "block-worker": "blocks",
};

export interface Usage {
  /** Microseconds of processor time by thread; empty where the system does not say (not Linux). */
  readonly cpuUs: Readonly<Record<string, number>>;
  /** Of the main thread by stage, the same unit; empty without `--breakdown` (rank/stage-clock.ts). */
  readonly stagesUs: Readonly<Record<string, number>>;
  /** Of the ledger, as this rank saw it: records, settled rounds, blocks and transactions in them. */
  readonly records: number;
  readonly rounds: number;
  readonly blocks: number;
  readonly transactions: number;
  /** Point-to-point messages and bytes that this rank sent, and collectives that it took part in. */
  readonly messages: number;
  readonly bytes: number;
  readonly collectives: number;
  /** Bytes of memory that this process has at the moment, with what it shares with others. */
  readonly memory: number;
}

export type UsageCounts = Omit<Usage, "cpuUs" | "stagesUs" | "memory">;
export const USAGE_COUNTS = [
  ...(["records", "rounds", "blocks", "transactions"] as const),
  ...(["messages", "bytes", "collectives"] as const),
];

/** Processor time of each thread of this process so far, from /proc (proc(5), schedstat). */
export function processorTime(directory = "/proc/self/task"): Record<string, number> {
  const spent: Record<string, number> = {};
  let threads: string[];
  try {
    threads = readdirSync(directory);
  } catch {
    return spent;
  }
  for (const thread of threads) {
    try {
      const name = readFileSync(`${directory}/${thread}/comm`, "latin1").trim();
      const [nanoseconds] = readFileSync(`${directory}/${thread}/schedstat`, "latin1").split(" ");
      const what = Number(thread) === process.pid ? "main" : (THREADS[name] ?? "engine");
      spent[what] = (spent[what] ?? 0) + Number(nanoseconds) / 1000;
    } catch {
      // It ended while we looked.
    }
  }
  return spent;
}

export function usageBetween(before: Usage, after: Usage): Usage {
  const counts = USAGE_COUNTS.map((name) => [name, after[name] - before[name]]);
  return {
    cpuUs: timeBetween(before.cpuUs, after.cpuUs),
    stagesUs: timeBetween(before.stagesUs, after.stagesUs),
    ...(Object.fromEntries(counts) as UsageCounts),
    memory: after.memory,
  };
}

/** A thread may have ended since. */
function timeBetween(before: Usage["cpuUs"], after: Usage["cpuUs"]): Record<string, number> {
  const passed = Object.entries(after).map(([name, us]) => [
    name,
    Math.max(0, us - (before[name] ?? 0)),
  ]);
  return Object.fromEntries(passed);
}

/** Of all ranks: what they spent and sent together; the ledger's work is the same at each of them. */
export class MergedUsage {
  ranks = 0;
  readonly cpuUs: Record<string, number> = {};
  readonly stagesUs: Record<string, number> = {};
  records = 0;
  rounds = 0;
  blocks = 0;
  transactions = 0;
  messages = 0;
  bytes = 0;
  collectives = 0;
  memory = 0;

  add(usage: Usage): void {
    this.ranks++;
    addTimes(this.cpuUs, usage.cpuUs);
    addTimes(this.stagesUs, usage.stagesUs);
    for (const name of ["records", "rounds", "blocks", "transactions"] as const)
      this[name] = Math.max(this[name], usage[name]);
    for (const name of ["messages", "bytes", "collectives", "memory"] as const)
      this[name] += usage[name];
  }

  /** Of all threads. */
  get cpuTotalUs(): number {
    return Object.values(this.cpuUs).reduce((sum, us) => sum + us, 0);
  }
}

function addTimes(sums: Record<string, number>, times: Usage["cpuUs"]): void {
  for (const [name, us] of Object.entries(times)) sums[name] = (sums[name] ?? 0) + us;
}

/** Real jobs of ranks under a load that is asked for, measured as ycsb-load measures. */
import type { Figures, Measurement } from "../../emulation/fit.ts";
import { planLoad } from "../ycsb/options.ts";
import { runLoad } from "../ycsb/run.ts";

export const BLOCK_TRANSACTIONS = 4;
export const DIFFICULTY = 8;
/** Records that are updated: few, so that loading them is short. */
const RECORDS = 1000;

export interface JobOptions {
  readonly ranks: number;
  /** Transactions a second of each rank. */
  readonly load: number;
  readonly seconds: number;
}

/** The paper's setting at this size and load. Throws what ycsb-load throws. */
export async function measureJob({ ranks, load, seconds }: JobOptions): Promise<Measurement> {
  const properties = {
    recordcount: RECORDS,
    operationcount: 0,
    maxexecutiontime: seconds,
    "baash.targetperrank": load,
    // One status line at the end of a run.
    "status.interval": 86_400,
  };
  const plan = await planLoad(undefined, {
    P: ["paper"],
    p: Object.entries(properties).map(([name, value]) => `${name}=${value}`),
    ranks: String(ranks),
    blockSize: String(BLOCK_TRANSACTIONS),
    difficulty: String(DIFFICULTY),
    load: "ranks",
  });
  const { phases, proof } = await runLoad(plan);
  const { merged } = phases.at(-1)!;
  const ms = (level: string) => (merged.allAt(level)?.getValueAtPercentile(50) ?? 0) / 1000;
  return {
    ...{ ranks, load },
    throughput: (1000 * merged.counters.transactions) / merged.durationMs,
    // The rounds of the short load phase are counted with them.
    roundsPerS: (1000 * (proof.ledger?.rounds ?? 0)) / merged.durationMs,
    agreedMs: ms("agreed"),
    finalMs: ms("final"),
  };
}

export type { Figures, Measurement };

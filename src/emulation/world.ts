/** What all parts of one emulation share: time, resources, the log, the epoch, what was asked for. */
import type { HyBEOptions } from "../consensus/ballot.ts";
import type { Timing } from "../consensus/effects.ts";
import type { VirtualClock } from "../simulation/virtual-clock.ts";
import type { Cohort, Judge } from "./cohort.ts";
import type { CostModel } from "./cost-model.ts";
import type { Dissemination } from "./dissemination.ts";
import type { Load } from "./load.ts";
import type { EmulatedLog } from "./log.ts";
import type { Measures } from "./measures.ts";
import type { Resources } from "./resources.ts";

export interface EmulationOptions {
  readonly ranks: number;
  /** Rounds that are measured; as many as a twentieth of them go before, to warm up. */
  readonly rounds: number;
  /** Transactions a second of each rank. */
  readonly load: number;
  readonly blockTransactions: number;
  readonly blockDelayMs: number;
  readonly transactionBytes: number;
  /** Leading zero bits of the puzzle of a block. */
  readonly difficulty: number;
  readonly pipelineDepth: number;
  readonly ranksPerNode: number;
  readonly coresPerNode: number;
  readonly dissemination: "auto" | "direct" | "gathered";
  /** So many ranks, the highest ones, are dead from that round on. */
  readonly kills: ReadonlyArray<{ readonly ranks: number; readonly round: number }>;
  /** What so many ranks send leaves so much late. */
  readonly late: { readonly ranks: number; readonly delayMs: number } | undefined;
  readonly model: CostModel;
}

export interface Epoch {
  readonly number: number;
  readonly ranks: number;
  readonly cohorts: readonly Cohort[];
  /** Members that are dead. */
  readonly dead: Set<number>;
  /** All members know it. */
  suspected: boolean;
  /** First round whose proposals and votes may go by collective. */
  readonly lanesFrom: number;
  /** Judges of single ranks: who records, who seals. */
  readonly alone: Set<Judge>;
  over: boolean;
}

export interface World {
  readonly options: EmulationOptions;
  readonly clock: VirtualClock;
  readonly resources: Resources;
  readonly measures: Measures;
  readonly log: EmulatedLog;
  readonly dissemination: Dissemination;
  readonly timing: Timing;
  /** Of each cohort, by name. */
  readonly loads: Map<string, Load>;
  epoch: Epoch;
}

/** A core that begins at the head of `cohort`'s representative. */
export function coreOptions(
  { timing, options }: Pick<World, "timing" | "options">,
  at: { head: { slot: number; hash: string }; settled: number },
): Omit<HyBEOptions, "epoch"> {
  const { pipelineDepth } = options;
  return { timing, pipelineDepth, ...at, storageOn: "alert", minoritySeals: true };
}

/** Calls back at `at`, unless the epoch is over by then. */
export function schedule(world: World, at: number, callback: () => void): void {
  const { epoch } = world;
  world.clock.schedule(at, () => {
    if (!epoch.over) callback();
  });
}

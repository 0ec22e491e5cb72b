/** What a rank's driver needs of a configuration that speaks of all ranks together. */
import { CoreWorkload } from "./core-workload.ts";
import { type Sender, shareOf, type Workload } from "./operation.ts";
import { WINDOW_MAX } from "./property-schema.ts";
import { TransfersWorkload } from "./transfers.ts";
import type { WorkloadConfig } from "./workload-config.ts";

export interface DriverSettings {
  readonly ack: "agreed" | "final";
  readonly window: number;
  readonly rate: number;
  readonly timeLimitMs: number;
  readonly validityRounds: number;
}

/** Ranks that make the load of a run: no more than there are threads to share. */
export function driversOf(config: WorkloadConfig, ranks: number): number {
  return config.threadcount > 0 ? Math.min(ranks, config.threadcount) : ranks;
}

/**
 * Of driver `rank` of `ranks`. `prepares`: the load that comes before a run and is not measured for itself. It is neither
 * throttled nor cut off, since a run on half a table measures nothing. `warms`: the load of the run,
 * for as long as it takes to warm up.
 */
export function driverSettings(
  config: WorkloadConfig,
  options: { rank: number; ranks: number; prepares: boolean; warms?: boolean },
): DriverSettings {
  const seconds = options.warms ? config["baash.warmup"] : config.maxexecutiontime;
  const { rank, ranks } = options;
  const own = Math.max(1, shareOf(config.threadcount, rank, ranks).count);
  const rate = config["baash.targetperrank"] || config.target / ranks;
  return {
    ack: config["baash.ack"],
    window: config.threadcount > 0 ? Math.min(own, WINDOW_MAX) : config["baash.window"],
    rate: options.prepares ? 0 : rate,
    timeLimitMs: options.prepares ? 0 : seconds * 1000,
    validityRounds: config["baash.validityrounds"],
  };
}

export function createWorkload(options: {
  readonly config: WorkloadConfig;
  readonly phase: "load" | "run";
  readonly rank: number;
  readonly ranks: number;
  readonly sender: Sender;
  /** What account 0 holds. */
  readonly treasury: number;
}): Workload {
  return options.config.kind === "core"
    ? new CoreWorkload(options)
    : new TransfersWorkload(options);
}

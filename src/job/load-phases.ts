/**
 * One rank's share of the load phase, of warming up and of the run phase, with all ranks starting each
 * phase together. Runs inside the rank (the paper's nodes spawn transactions themselves) or in a client
 * process beside it: the service says which.
 */
import { closeSync, mkdirSync, openSync, readFileSync, writeSync } from "node:fs";
import { BaashError, EXIT, errorCode } from "../base/errors.ts";
import { LoadDriver } from "../workload/driver.ts";
import { createWorkload, driverSettings, driversOf } from "../workload/driver-settings.ts";
import { Measurements, type RankResult } from "../workload/measurements.ts";
import { type LoadService, Sender, type Workload } from "../workload/operation.ts";
import { mergeProperties, readPropertyFile } from "../workload/properties.ts";
import { type Usage, usageBetween } from "../workload/usage.ts";
import { buildWorkloadConfig, type WorkloadConfig } from "../workload/workload-config.ts";

/** One rank's progress in the phase under way: sent to rank 0 now and then. */
export interface PhaseProgress {
  readonly phase: Phase;
  readonly done: number;
  /** null: only time ends the phase. */
  readonly total: number | null;
  readonly elapsedMs: number;
  /** The last word of this rank about the phase. */
  readonly ended: boolean;
  readonly interval: RankResult;
}

/** A warm-up is the run's load before the run, in figures of its own. */
export type Phase = "load" | "warmup" | "run";
/** What can be asked for; warming up goes with the run. */
export type AskedPhase = "load" | "run" | "all";

export interface LoadPhasesOptions {
  readonly workload: WorkloadConfig;
  readonly phase: AskedPhase;
  /** Directory of the journals of what was acknowledged. */
  readonly journal: string | undefined;
  readonly service: LoadService;
  /** Six fresh random bytes: the sender's number. */
  readonly random: Uint8Array;
  /** Called at the end of each phase, for a last look at its progress. */
  readonly onPhaseEnd: () => void;
  /** What this rank has spent so far, where it makes the load itself. */
  readonly usage?: () => Usage;
}

/** The workload of property files and assignments; undefined when there are none. */
export async function readWorkload(given: {
  readonly properties: readonly string[];
  readonly property: readonly string[];
}): Promise<WorkloadConfig | undefined> {
  if (given.properties.length === 0 && given.property.length === 0) return undefined;
  const files = await Promise.all(given.properties.map(readPropertyFile));
  return buildWorkloadConfig(mergeProperties(files, given.property), (path) =>
    readFileSync(path, "utf8"),
  );
}

/** The phases that a run consists of. */
export function phasesOf(phase: AskedPhase, workload: WorkloadConfig): readonly Phase[] {
  if (phase === "load" || !workload.dotransactions) return ["load"];
  const run: readonly Phase[] = workload["baash.warmup"] > 0 ? ["warmup", "run"] : ["run"];
  return phase === "run" ? run : ["load", ...run];
}

export class LoadPhases {
  private readonly options: LoadPhasesOptions;
  private readonly phases: readonly Phase[];
  private readonly sender: Sender;
  private readonly journalFile: number | undefined;
  private driver: LoadDriver | undefined;
  /** Of warm-up and run: the one goes on where the other ended. */
  private running: Workload | undefined;
  private phase: Phase = "load";
  private ended = false;
  private stopping = false;

  constructor(options: LoadPhasesOptions) {
    this.options = options;
    this.phases = phasesOf(options.phase, options.workload);
    this.sender = new Sender(options.random);
    if (options.journal !== undefined) {
      mkdirSync(options.journal, { recursive: true });
      this.journalFile = openSync(journalPath(options.journal, options.service.rank), "w", 0o600);
    }
  }

  /**
   * `meet` returns when every rank has come to it. A rank that is told to stop meets the others as
   * often as one that is not: they may hear of it a phase later.
   */
  async run(meet: () => Promise<void>): Promise<RankResult[]> {
    const results: RankResult[] = [];
    for (const phase of this.phases) {
      await meet();
      if (!this.stopping) results.push(await this.runPhase(phase));
    }
    await meet();
    if (this.journalFile !== undefined) closeSync(this.journalFile);
    return results;
  }

  private async runPhase(phase: Phase): Promise<RankResult> {
    const { workload: config, service, usage } = this.options;
    const prepares = phase === "load" && this.phases.includes("run");
    const place = this.placeIn(phase);
    this.phase = phase;
    this.ended = false;
    this.driver = new LoadDriver(service, {
      workload: await this.workloadOf(phase),
      measurements: new Measurements({
        interval: config["measurement.interval"],
        latencyForEachError: config.reportlatencyforeacherror,
      }),
      phase,
      ...driverSettings(config, { ...place, prepares, warms: phase === "warmup" }),
      ...(this.journalFile !== undefined && {
        journal: (entries: Uint8Array) => this.write(entries),
      }),
    });
    // With fewer threads than ranks this one has none: it is a member and nothing else.
    const isIdle = place.rank < service.rank;
    if (this.stopping || isIdle) this.driver.stop();
    const before = isIdle ? undefined : usage?.();
    const result = await this.driver.run();
    const spent = before && usage && usageBetween(before, usage());
    this.ended = true;
    this.options.onPhaseEnd();
    this.driver = undefined;
    return spent === undefined ? result : { ...result, usage: spent };
  }

  /** Which of the drivers of this phase this rank is; one that has nothing to do stands in for the first. */
  private placeIn(phase: Phase): { rank: number; ranks: number } {
    const { workload: config, service } = this.options;
    const { rank } = service;
    if (phase === "load") return { rank, ranks: service.ranks };
    const ranks = driversOf(config, service.ranks);
    return { rank: rank < ranks ? rank : 0, ranks };
  }

  private async workloadOf(phase: Phase): Promise<Workload> {
    const { sender } = this;
    const { workload: config, service } = this.options;
    const { rank, ranks } = this.placeIn(phase);
    if (phase !== "load" && this.running !== undefined) return this.running;
    const treasury = await service.balance(0);
    const kind = phase === "load" ? "load" : "run";
    const workload = createWorkload({ config, phase: kind, rank, ranks, sender, treasury });
    if (kind === "run") this.running = workload;
    return workload;
  }

  private write(entries: Uint8Array): void {
    try {
      for (let offset = 0; offset < entries.length; )
        offset += writeSync(this.journalFile!, entries, offset, entries.length - offset);
    } catch (cause) {
      const path = journalPath(this.options.journal!, this.options.service.rank);
      throw new BaashError(
        "JOURNAL_FAILED",
        `The journal ${path} cannot be written (${errorCode(cause)}): what is acknowledged could not be proven; make room, or give another directory with --journal.`,
        { exitCode: EXIT.io, cause },
      );
    }
  }

  progress(): PhaseProgress | undefined {
    const { driver } = this;
    if (driver === undefined) return undefined;
    const { phase, ended } = this;
    const { done, total, elapsedMs } = driver.progress();
    return {
      phase,
      done,
      total: Number.isFinite(total) ? total : null,
      elapsedMs,
      ended,
      interval: driver.takeInterval(),
    };
  }

  /** Starts no further operation; `run` ends when all outstanding are answered. */
  stop(): void {
    this.stopping = true;
    this.driver?.stop();
  }
}

export function journalPath(directory: string, rank: number): string {
  return `${directory}/rank-${rank}.journal`;
}

export function socketPath(directory: string, rank: number): string {
  return `${directory}/rank-${rank}.sock`;
}

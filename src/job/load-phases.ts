/**
 * The generator inside a rank (the paper's nodes spawn transactions themselves): runs this rank's
 * share of the load phase and of the run phase, with all ranks starting each phase together.
 */
import { closeSync, mkdirSync, openSync, readFileSync, writeSync } from "node:fs";
import type { RankConfig } from "../config.ts";
import type { LedgerService } from "../ledger/service.ts";
import { LoadDriver } from "../workload/driver.ts";
import { createWorkload, driverSettings } from "../workload/driver-settings.ts";
import { Measurements, type RankResult } from "../workload/measurements.ts";
import { Sender } from "../workload/operation.ts";
import { mergeProperties, readPropertyFile } from "../workload/properties.ts";
import { buildWorkloadConfig, type WorkloadConfig } from "../workload/workload-config.ts";

/** One rank's progress in the phase under way: sent to rank 0 now and then. */
export interface PhaseProgress {
  readonly phase: string;
  readonly done: number;
  /** null: only time ends the phase. */
  readonly total: number | null;
  readonly elapsedMs: number;
  readonly interval: RankResult;
}

export async function readWorkload(config: RankConfig): Promise<WorkloadConfig | undefined> {
  if (config.properties.length === 0 && config.property.length === 0) return undefined;
  const files = await Promise.all(config.properties.map(readPropertyFile));
  return buildWorkloadConfig(mergeProperties(files, config.property), (path) =>
    readFileSync(path, "utf8"),
  );
}

export class LoadPhases {
  private readonly workload: WorkloadConfig;
  private readonly config: RankConfig;
  private readonly service: LedgerService;
  private readonly sender: Sender;
  private readonly journalFile: number | undefined;
  private driver: LoadDriver | undefined;
  private phase = "";
  private stopping = false;

  constructor(options: {
    workload: WorkloadConfig;
    config: RankConfig;
    service: LedgerService;
    random: Uint8Array;
  }) {
    this.workload = options.workload;
    this.config = options.config;
    this.service = options.service;
    this.sender = new Sender(options.random);
    if (options.config.journal !== undefined) {
      mkdirSync(options.config.journal, { recursive: true });
      this.journalFile = openSync(journalPath(options.config.journal, options.service.rank), "w", 0o600);
    }
  }

  /** `meet` returns when every rank has come to it. */
  async run(meet: () => Promise<void>): Promise<RankResult[]> {
    const results: RankResult[] = [];
    for (const phase of this.phases()) {
      await meet();
      if (this.stopping) break;
      results.push(await this.runPhase(phase));
    }
    await meet();
    if (this.journalFile !== undefined) closeSync(this.journalFile);
    return results;
  }

  private phases(): ("load" | "run")[] {
    if (this.config.phase === "load" || !this.workload.dotransactions) return ["load"];
    return this.config.phase === "run" ? ["run"] : ["load", "run"];
  }

  private async runPhase(phase: "load" | "run"): Promise<RankResult> {
    const { workload: config, service, sender } = this;
    const { rank, ranks } = service;
    const prepares = phase === "load" && this.phases().includes("run");
    this.phase = phase;
    this.driver = new LoadDriver(service, {
      workload: createWorkload({ config, phase, rank, ranks, sender }),
      measurements: new Measurements({
        interval: config["measurement.interval"],
        latencyForEachError: config.reportlatencyforeacherror,
      }),
      phase,
      ...driverSettings(config, { ranks, prepares }),
      ...(this.journalFile !== undefined && { journal: (entries: Uint8Array) => this.write(entries) }),
    });
    if (this.stopping) this.driver.stop();
    return this.driver.run();
  }

  private write(entries: Uint8Array): void {
    for (let offset = 0; offset < entries.length; )
      offset += writeSync(this.journalFile!, entries, offset, entries.length - offset);
  }

  progress(): PhaseProgress | undefined {
    const { driver } = this;
    if (driver === undefined) return undefined;
    const { done, total, elapsedMs } = driver.progress();
    return {
      phase: this.phase,
      done,
      total: Number.isFinite(total) ? total : null,
      elapsedMs,
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

/**
 * What rank 0 says to the world: progress as JSON lines on stdout where a program reads them, the
 * merged result as a file or as YCSB's report. The other ranks are silent but for their logs.
 */
import { mkdirSync } from "node:fs";
import { availableParallelism, hostname } from "node:os";
import { BaashError, EXIT } from "../base/errors.ts";
import { logger, startLog } from "../base/log.ts";
import type { RankConfig } from "../config.ts";
import type { RunningRank } from "../rank/start.ts";
import { MergedResult, type RankResult } from "../workload/measurements.ts";
import { reportLines, ycsbReport } from "../workload/report.ts";
import type { WorkloadConfig } from "../workload/workload-config.ts";
import type { RankReport } from "./job.ts";
import type { PhaseProgress } from "./load-phases.ts";

/** Facts that a figure is worth nothing without. */
export interface JobFacts {
  readonly host: string;
  readonly cores: number;
  readonly ranks: number;
  readonly hosts: number;
  readonly ledger: string;
  readonly fileSystem: string;
  readonly created: boolean;
  readonly chainId: string;
  readonly difficulty: number;
  readonly blockTransactions: number;
  readonly authentication: string;
  readonly synced: boolean;
}

export interface JobResult {
  readonly facts: JobFacts;
  readonly ranks: readonly RankReport[];
}

const log = logger("job");

export class Reporter {
  /** Between two words about progress; 0: none. */
  readonly intervalMs: number;
  private readonly config: RankConfig;
  private readonly ranks: number;
  private readonly speaks: boolean;
  private readonly logging: ReturnType<typeof startLog> | undefined;
  private readonly reports = new Map<number, RankReport>();
  private workload: WorkloadConfig | undefined;
  private facts: JobFacts | undefined;
  private complete: (() => void) | undefined;

  constructor(config: RankConfig, { rank, ranks }: { rank: number; ranks: number }) {
    this.config = config;
    this.intervalMs = 1000 * config.statusInterval;
    this.ranks = ranks;
    this.speaks = rank === 0;
    if (config.log === undefined) return;
    mkdirSync(config.log, { recursive: true });
    const file = `${config.log}/rank-${rank}.log`;
    this.logging = startLog({ level: "info", file, fields: { rank } });
  }

  /** The last lines of the log leave. */
  async close(): Promise<void> {
    await this.logging?.close();
  }

  /** A sentence for a person, on stderr. */
  say(sentence: string): void {
    if (this.speaks) process.stderr.write(`baash: ${sentence}\n`);
  }

  /** Something that cost no transaction, but that somebody should know of. */
  alert(code: string, message: string): void {
    log.warning("{message}", { code, message });
  }

  started(rank: RunningRank, workload: WorkloadConfig | undefined): void {
    this.workload = workload;
    const { chain, opened, settings } = rank;
    this.facts = {
      host: hostname(),
      cores: availableParallelism(),
      ranks: this.ranks,
      hosts: new Set(chain.epoch.members.map(({ host }) => host)).size,
      ledger: this.config.ledger,
      fileSystem: opened.fileSystem,
      created: opened.created,
      chainId: Buffer.from(chain.chainId).toString("hex"),
      difficulty: chain.genesis.difficulty,
      blockTransactions: settings.blockTransactions,
      authentication: "HMAC-SHA256 under the epoch's session key; records signed with Ed25519",
      synced: true,
    };
    this.line({ type: "started", facts: this.facts });
    log.info("started at slot {slot}", { slot: chain.slot, head: chain.hash });
    if (workload === undefined) this.say(`rank 0 of ${this.ranks} serves at slot ${chain.slot}`);
  }

  listening(sockets: string): void {
    this.line({ type: "listening", sockets });
  }

  progress(progress: PhaseProgress): void {
    this.line({ type: "progress", ...progress });
  }

  private line(value: Record<string, unknown>): void {
    if (this.speaks && this.config.statusInterval > 0)
      process.stdout.write(`${JSON.stringify(value)}\n`);
  }

  result(rank: number, report: RankReport): void {
    this.reports.set(rank, report);
    if (this.reports.size === this.ranks) this.complete?.();
  }

  /** Waits for every rank's report, then writes the result. */
  async whenComplete(timeoutMs: number): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    await new Promise<void>((resolve, reject) => {
      this.complete = resolve;
      timer = setTimeout(() => reject(this.incomplete()), timeoutMs);
      if (this.reports.size === this.ranks) resolve();
    });
    clearTimeout(timer);
    const ranks = [...this.reports.values()].sort((a, b) => a.rank - b.rank);
    const result: JobResult = { facts: this.facts!, ranks };
    if (this.config.results !== undefined) {
      await Bun.write(this.config.results, JSON.stringify(result));
    } else if (this.workload !== undefined) {
      await Bun.write(Bun.stdout, this.text(result, this.workload));
    }
  }

  private incomplete(): BaashError {
    return new BaashError(
      "REPORT_INCOMPLETE",
      `Only ${this.reports.size} of ${this.ranks} ranks reported their result; what they made final is in the ledger.`,
      { exitCode: EXIT.failed },
    );
  }

  private text(result: JobResult, workload: WorkloadConfig): string {
    const last = result.ranks.flatMap(({ phases }) => phases.slice(-1)) as RankResult[];
    const lines = reportLines(MergedResult.of(last), {
      ack: workload["baash.ack"],
      interval: workload["measurement.interval"],
      percentiles: workload["hdrhistogram.percentiles"],
    });
    return ycsbReport(lines);
  }
}

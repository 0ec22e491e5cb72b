/**
 * What the speaking member says to the world: progress as JSON lines on stdout where a program reads
 * them, the merged result as a file or as YCSB's report, and status.json. The others are silent but
 * for their logs.
 */
import { mkdirSync } from "node:fs";
import { availableParallelism, hostname } from "node:os";
import { BaashError, EXIT } from "../base/errors.ts";
import { logger, startLog } from "../base/log.ts";
import type { RankConfig } from "../config.ts";
import type { MonitorEvent } from "../monitor/monitor-events.ts";
import type { RunningRank } from "../rank/start.ts";
import { MergedResult, type RankResult } from "../workload/measurements.ts";
import { reportLines, ycsbReport } from "../workload/report.ts";
import type { WorkloadConfig } from "../workload/workload-config.ts";
import type { RankReport } from "./job.ts";
import type { PhaseProgress } from "./load-phases.ts";
import { StatusKeeper } from "./status-keeper.ts";

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

const AUTHENTICATION = {
  majority: "HMAC-SHA256 under the epoch's session key; records signed with Ed25519",
  byzantine: "Ed25519 under every proposal, vote and record, and HMAC-SHA256 around them",
};

const log = logger("job");

export class Reporter {
  /** Between two words about progress; 0: none. */
  readonly intervalMs: number;
  private readonly config: RankConfig;
  private readonly process: number;
  private readonly speaks: () => boolean;
  private readonly logging: ReturnType<typeof startLog> | undefined;
  private readonly reports = new Map<number, RankReport>();
  private expected = Number.POSITIVE_INFINITY;
  private status: StatusKeeper | undefined;
  private workload: WorkloadConfig | undefined;
  private facts: JobFacts | undefined;
  private complete: (() => void) | undefined;

  constructor(config: RankConfig, of: { process: number; speaks: () => boolean }) {
    const { process, speaks } = of;
    this.config = config;
    this.intervalMs = 1000 * config.statusInterval;
    this.process = process;
    this.speaks = speaks;
    if (config.log === undefined) return;
    mkdirSync(config.log, { recursive: true });
    const file = `${config.log}/rank-${process}.log`;
    this.logging = startLog({ level: "info", file, fields: { rank: process } });
  }

  /** The last lines of the log leave. */
  async close(): Promise<void> {
    await this.status?.close();
    await this.logging?.close();
  }

  /** A sentence for a person, on stderr. */
  say(sentence: string): void {
    if (this.speaks()) process.stderr.write(`baash: ${sentence}\n`);
  }

  /** Something that cost no transaction, but that somebody should know of. */
  alert(code: string, message: string): void {
    log.warning("{message}", { code, message });
    if (code === "STORAGE_FULL" || code === "STORAGE_IO" || code === "STORAGE_GONE")
      this.status?.storage(message);
  }

  /** A record became final: storage takes them. */
  final(): void {
    this.status?.storage(undefined);
  }

  /** Something that the fault monitor saw or did. */
  event(event: MonitorEvent): void {
    const { kind, rank: member, checkpoint, text: message } = event;
    log.info("{message}", { kind, member, checkpoint, message });
    this.status?.event(event);
  }

  /** Keeps status.json while this member speaks. */
  watch(rank: RunningRank, everyMs: number): void {
    if (this.config.status === undefined && this.config.metrics === undefined) return;
    this.status = new StatusKeeper(this.config, rank, this.speaks);
    this.status.start(everyMs);
  }

  draining(): void {
    this.status?.turn("draining");
  }

  ended(): void {
    this.status?.turn("stopped");
  }

  failed(reason: { code: string; message: string; exitCode: number }): void {
    this.status?.turn("failed", reason);
  }

  started(rank: RunningRank, workload: WorkloadConfig | undefined): void {
    this.workload = workload;
    const { chain, opened, settings } = rank;
    this.facts = {
      host: hostname(),
      cores: availableParallelism(),
      ranks: chain.ranks,
      hosts: new Set(chain.epoch.members.map(({ host }) => host)).size,
      ledger: this.config.ledger,
      fileSystem: opened.fileSystem,
      created: opened.created,
      chainId: Buffer.from(chain.chainId).toString("hex"),
      difficulty: chain.genesis.difficulty,
      blockTransactions: settings.blockTransactions,
      authentication: AUTHENTICATION[chain.genesis.quorum],
      synced: this.config.sync,
    };
    this.line({ type: "started", facts: this.facts });
    if (!this.config.sync) {
      const warning =
        "nothing is synced (--no-sync): final means linked, and a loss of power may take it";
      this.say(warning);
      log.warning(warning);
    }
    log.info("started at slot {slot}", { slot: chain.slot, head: chain.hash });
    if (workload === undefined)
      this.say(`rank ${this.process} of ${chain.ranks} serves at slot ${chain.slot}`);
  }

  listening(sockets: string): void {
    this.line({ type: "listening", sockets });
  }

  progress(progress: PhaseProgress): void {
    this.line({ type: "progress", ...progress });
  }

  private line(value: Record<string, unknown>): void {
    if (this.speaks() && this.config.statusInterval > 0)
      process.stdout.write(`${JSON.stringify(value)}\n`);
  }

  result(report: RankReport): void {
    this.reports.set(report.rank, report);
    if (this.reports.size >= this.expected) this.complete?.();
  }

  /** Waits for the reports of so many ranks, then writes the result. */
  async whenComplete(count: number, timeoutMs: number): Promise<void> {
    this.expected = count;
    let timer: ReturnType<typeof setTimeout> | undefined;
    await new Promise<void>((resolve, reject) => {
      this.complete = resolve;
      timer = setTimeout(() => reject(this.incomplete()), timeoutMs);
      if (this.reports.size >= count) resolve();
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
      `Only ${this.reports.size} of ${this.expected} ranks reported their result; what they made final is in the ledger.`,
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

/**
 * What one rank process does from start to end: starts the rank, runs its share of the load or
 * serves clients, drains, closes the ledger and reports to rank 0. Only rank 0 speaks to the
 * terminal.
 */
import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { BaashError, EXIT, type ExitCode, errorCode, exitCodeOf } from "../base/errors.ts";
import type { RankConfig } from "../config.ts";
import { Intake } from "../gateway/intake.ts";
import type { RankEvents } from "../rank/context.ts";
import type { Status } from "../rank/envelope.ts";
import { openTransport, type RunningRank, START_TIMEOUT_MS, startRank } from "../rank/start.ts";
import type { Transport } from "../transport/transport.ts";
import { Checkpointer } from "./checkpointer.ts";
import { LoadPhases, readWorkload, socketPath } from "./load-phases.ts";
import { Reporter } from "./reporter.ts";

/** What each rank says of itself at the end. */
export interface RankReport {
  readonly rank: number;
  readonly slot: number;
  readonly head: string;
  readonly stateRoot: string;
  readonly balanceTotal: number;
  readonly phases: readonly unknown[];
  readonly counters: Readonly<Record<string, unknown>>;
  readonly alerts: Readonly<Record<string, number>>;
}

/** Everything is final by then; only the answers of the other ranks are waited for. */
const REPORT_TIMEOUT_MS = 60_000;
/** A log that hangs must not keep a rank from ending the job. */
const LOG_CLOSE_MS = 1000;
/** Between two sentences about storage that does not take records. */
const STORAGE_SAY_MS = 30_000;
/** For a broken rank to say why it ends. */
const BROKEN_MS = 5000;
/** A phase may take days: what ends a rank that waits for another is the job's end. */
const PHASE_TIMEOUT_MS = 30 * 24 * 3600 * 1000;

export async function runJob(config: RankConfig): Promise<ExitCode> {
  const workload = await readWorkload(config);
  const transport = await openTransport();
  const job = new Job(config, transport);
  try {
    return await job.run(workload);
  } catch (error) {
    await job.fail(error);
    return exitCodeOf(error);
  }
}

class Job {
  private readonly config: RankConfig;
  private readonly transport: Transport;
  private readonly reporter: Reporter;
  private readonly alerts = new Map<string, number>();
  private rank: RunningRank | undefined;
  private checkpointer: Checkpointer | undefined;
  private phases: LoadPhases | undefined;
  private intake: Intake | undefined;
  private stopAsked = false;
  private sealed!: () => void;
  private failed!: (error: unknown) => void;
  private readonly whenSealed = new Promise<void>((resolve, reject) => {
    this.sealed = resolve;
    this.failed = reject;
  });

  constructor(config: RankConfig, transport: Transport) {
    this.config = config;
    this.transport = transport;
    this.reporter = new Reporter(config, { rank: transport.rank, ranks: transport.size });
    this.whenSealed.catch(() => {}); // whoever waits for it hears it there
    for (const signal of ["SIGTERM", "SIGINT", "SIGUSR1"] as const)
      process.on(signal, () => this.askAll());
    // A broken assertion, or an exception where nothing can be undone: this rank ends.
    for (const event of ["uncaughtException", "unhandledRejection"] as const)
      process.on(event, (error: unknown) => this.broken(error));
  }

  /** Nothing more is taken from here on: what the rank knows can no longer be trusted. */
  private broken(error: unknown): void {
    this.rank?.loop.stop();
    this.failed(error);
    // Whoever waits for the failure ends the job; should nobody come to it, this does.
    setTimeout(() => this.transport.abort(exitCodeOf(error)), BROKEN_MS).unref();
  }

  async run(workload: Awaited<ReturnType<typeof readWorkload>>): Promise<ExitCode> {
    const rank = await startRank(this.config, this.transport, {
      events: this.events(),
      onFailure: (error) => this.failed(error),
      onWait: (sentence) => this.reporter.say(sentence),
    });
    this.rank = rank;
    this.checkpointer = new Checkpointer(rank, this.config.checkpointRecords);
    this.reporter.started(rank, workload);
    if (this.config.sockets !== undefined) await this.listen(rank, this.config.sockets);
    const results = await Promise.race([this.work(workload), this.whenSealed.then(() => [])]);
    rank.loop.drain();
    await this.whenSealed;
    this.intake?.close();
    await this.report(results);
    await rank.pool.close();
    rank.storage.close();
    await this.transport.close();
    await this.reporter.close();
    return EXIT.ok;
  }

  /** Takes clients; says so once every rank does. */
  private async listen(rank: RunningRank, directory: string): Promise<void> {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const path = socketPath(directory, this.transport.rank);
    this.intake = new Intake({ path, service: rank.loop.context.intake });
    await this.transport.barrier(START_TIMEOUT_MS);
    this.reporter.listening(directory);
  }

  private async work(workload: Awaited<ReturnType<typeof readWorkload>>): Promise<unknown[]> {
    const rank = this.rank!;
    if (workload !== undefined && this.config.generate) {
      this.phases = new LoadPhases({
        workload,
        phase: this.config.phase,
        journal: this.config.journal,
        service: rank.loop.context.intake,
        random: new Uint8Array(randomBytes(6)),
        onPhaseEnd: () => this.tick(),
      });
      if (this.stopAsked) this.phases.stop();
      const { intervalMs } = this.reporter;
      const ticker = intervalMs > 0 ? setInterval(() => this.tick(), intervalMs) : undefined;
      try {
        return await this.phases.run(() => this.transport.barrier(PHASE_TIMEOUT_MS));
      } finally {
        clearInterval(ticker);
      }
    }
    await new Promise<void>((resolve) => {
      this.served = resolve;
      if (this.stopAsked) resolve();
    });
    return [];
  }
  private served: (() => void) | undefined;

  private events(): RankEvents {
    return {
      onFinal: (slot) => this.checkpointer?.onFinal(slot),
      onHalt: (code, reason) => {
        const exitCode = code === "SEALED_OUT" ? EXIT.busy : EXIT.software;
        this.failed(
          new BaashError(code, `Rank ${this.transport.rank} stops: ${reason}.`, { exitCode }),
        );
      },
      onAlert: ({ code, message }) => {
        this.alerts.set(code, (this.alerts.get(code) ?? 0) + 1);
        this.reporter.alert(code, message);
        if (code.startsWith("STORAGE_")) this.sayOfStorage(message);
      },
      onSealed: () => this.sealed(),
      onStatus: (from, status) => this.onStatus(from, status),
    };
  }

  private storageSaidAt = Number.NEGATIVE_INFINITY;

  /** Without storage nothing becomes final and clients wait: a person has to hear of it. */
  private sayOfStorage(message: string): void {
    if (performance.now() - this.storageSaidAt < STORAGE_SAY_MS) return;
    this.storageSaidAt = performance.now();
    const rank = this.transport.rank;
    process.stderr.write(
      `baash: rank ${rank} cannot make records final, and tries again: ${message}\n`,
    );
  }

  private onStatus(from: number, status: Status): void {
    if (status.kind === "stop") this.stop();
    else if (status.kind === "progress") this.reporter.progress(JSON.parse(status.json));
    else this.reporter.result(from, JSON.parse(status.json) as RankReport);
  }

  private tick(): void {
    if (this.reporter.intervalMs === 0) return;
    const progress = this.phases?.progress();
    if (progress !== undefined)
      this.rank!.loop.status(0, { kind: "progress", json: JSON.stringify(progress) });
  }

  /** A signal reached this rank: it may have reached no other. */
  private askAll(): void {
    for (let rank = 0; rank < this.transport.size; rank++)
      this.rank?.loop.status(rank, { kind: "stop", json: "" });
    this.stop();
  }

  private stop(): void {
    this.stopAsked = true;
    this.phases?.stop();
    this.served?.();
  }

  private async report(phases: readonly unknown[]): Promise<void> {
    const { loop, chain, storage, pool } = this.rank!;
    const stateRoot = await this.checkpointer!.close();
    const { transactions, outgoing, incoming, intake } = loop.context;
    const report: RankReport = {
      rank: this.transport.rank,
      slot: chain.slot,
      head: chain.hash,
      stateRoot,
      balanceTotal: chain.state.total(),
      phases,
      counters: {
        ...loop.counters,
        intake: intake.counters,
        ...(this.intake && { clients: this.intake.counters() }),
        queues: {
          transactions: transactions.counters(),
          outgoing: outgoing.counters(),
          incoming: incoming.counters(),
        },
        pool: pool.counters(),
        writer: await storage.counters(),
        transport: this.transport.counters(),
        state: chain.state.size(),
      },
      alerts: Object.fromEntries(this.alerts),
    };
    loop.status(0, { kind: "result", json: JSON.stringify(report) });
    if (this.transport.rank === 0) await this.reporter.whenComplete(REPORT_TIMEOUT_MS);
  }

  /** Something ended this rank: say what once, and do not leave the others hanging. */
  async fail(error: unknown): Promise<void> {
    const silent = error instanceof BaashError && error.code === "OTHER_RANK_FAILED";
    const first = this.transport.rank === 0 || this.rank !== undefined;
    if (!silent && first) {
      const text =
        error instanceof BaashError ? error.message : String((error as Error)?.stack ?? error);
      process.stderr.write(`baash: ${text}\n`);
    }
    this.reporter.alert(errorCode(error), String(error));
    await Promise.race([this.reporter.close(), Bun.sleep(LOG_CLOSE_MS)]);
    const code = exitCodeOf(error);
    // Before the epoch all ranks fail together and may part in peace; later one ends the job.
    if (this.rank === undefined) await this.transport.close(5000);
    else this.transport.abort(code);
  }
}

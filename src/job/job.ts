/**
 * What one rank process does from start to end: starts the rank, runs its share of the load or
 * serves clients, drains, closes the ledger and reports. Only the lowest member speaks to the
 * terminal: rank 0, until it is gone.
 */
import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { BaashError, EXIT, type ExitCode, errorCode, exitCodeOf } from "../base/errors.ts";
import type { RankConfig } from "../config.ts";
import { Intake } from "../gateway/intake.ts";
import type { RankEvents } from "../rank/context.ts";
import type { Status } from "../rank/envelope.ts";
import { openTransport, type RunningRank, startRank } from "../rank/start.ts";
import type { Transport } from "../transport/transport.ts";
import { processorTime, type Usage } from "../workload/usage.ts";
import { Checkpointer } from "./checkpointer.ts";
import { LoadPhases, readWorkload, socketPath } from "./load-phases.ts";
import { Meetings } from "./meetings.ts";
import { Reporter } from "./reporter.ts";

/** What each rank says of itself at the end. */
export interface RankReport {
  /** Number of the process in the job. */
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
/** A log or status file that hangs must not keep a rank from ending. */
const LOG_CLOSE_MS = 2000;
/** Between two sentences about storage that does not take records. */
const STORAGE_SAY_MS = 30_000;
/** For a broken rank to say why it ends. */
const BROKEN_MS = 5000;
/** For the last words of a rank that ends alone to leave. */
const GOODBYE_MS = 300;
const STATUS_MS = 500;

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
  private readonly meetings: Meetings;
  private readonly alerts = new Map<string, number>();
  private rank: RunningRank | undefined;
  private checkpointer: Checkpointer | undefined;
  private phases: LoadPhases | undefined;
  private intake: Intake | undefined;
  private stopAsked = false;
  private readonly sealed = Promise.withResolvers<void>();
  /** This rank takes part for the first time. */
  private readonly taken = Promise.withResolvers<void>();

  constructor(config: RankConfig, transport: Transport) {
    this.config = config;
    this.transport = transport;
    this.reporter = new Reporter(config, { process: transport.rank, speaks: () => this.speaks });
    this.meetings = new Meetings({
      process: transport.rank,
      participants: Array.from({ length: transport.size }, (_, process) => process),
      present: () => this.processes(),
      announce: (number) => this.tell("phase", { process: transport.rank, number }),
    });
    // Whoever waits for these hears of it there.
    this.sealed.promise.catch(() => {});
    this.taken.promise.catch(() => {});
    for (const signal of ["SIGTERM", "SIGINT", "SIGUSR1"] as const)
      process.on(signal, () => this.askAll());
    // A broken assertion, or an exception where nothing can be undone: this rank ends.
    for (const event of ["uncaughtException", "unhandledRejection"] as const)
      process.on(event, (error: unknown) => this.broken(error));
  }

  /** The lowest member speaks for the job. */
  private get speaks(): boolean {
    const session = this.rank?.loop.context?.session;
    if (session !== undefined) return session.self === 0;
    return this.rank === undefined && this.transport.rank === 0 && !this.transport.spawned;
  }

  /** Processes of the members. */
  private processes(): number[] {
    const session = this.rank?.loop.context?.session;
    return session?.processesOf(session.members.map(({ rank }) => rank)) ?? [];
  }

  private tell(kind: Status["kind"], value: unknown): void {
    this.rank?.loop.statusToAll({ kind, json: JSON.stringify(value) });
  }

  private failed(error: unknown): void {
    this.taken.reject(error);
    this.sealed.reject(error);
  }

  /** Nothing more is taken from here on: what the rank knows can no longer be trusted. */
  private broken(error: unknown): void {
    this.rank?.loop.stop();
    this.failed(error);
    // Whoever waits for the failure ends this process; should nobody come to it, this does.
    setTimeout(() => process.exit(exitCodeOf(error)), BROKEN_MS).unref();
  }

  async run(workload: Awaited<ReturnType<typeof readWorkload>>): Promise<ExitCode> {
    const rank = await startRank(this.config, this.transport, {
      events: this.events(),
      onLoop: (running) => this.began(running),
      onFailure: (error) => this.failed(error),
      onWait: (sentence) => this.reporter.say(sentence),
    });
    await this.taken.promise;
    this.reporter.started(rank, workload);
    if (this.config.sockets !== undefined) await this.listen(rank, this.config.sockets);
    const results = await Promise.race([this.work(workload), this.sealed.promise.then(() => [])]);
    rank.loop.drain();
    this.reporter.draining();
    await this.sealed.promise;
    this.intake?.close();
    await this.report(results);
    this.reporter.ended();
    await rank.pool.close();
    await rank.storage.close();
    await this.transport.close();
    await this.reporter.close();
    return EXIT.ok;
  }

  private began(rank: RunningRank): void {
    this.rank = rank;
    this.checkpointer = new Checkpointer(rank, rank.settings);
    this.reporter.watch(rank, STATUS_MS);
  }

  /** Takes clients; says so once every rank does. */
  private async listen(rank: RunningRank, directory: string): Promise<void> {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const path = socketPath(directory, this.transport.rank);
    this.intake = new Intake({ path, service: rank.loop.intake });
    if (this.transport.spawned) return;
    await Promise.race([this.meetings.meet(), this.sealed.promise]);
    this.reporter.listening(directory);
  }

  private async work(workload: Awaited<ReturnType<typeof readWorkload>>): Promise<unknown[]> {
    const rank = this.rank!;
    if (workload !== undefined && this.config.generate && !this.transport.spawned) {
      this.phases = new LoadPhases({
        workload,
        phase: this.config.phase,
        journal: this.config.journal,
        service: rank.loop.intake,
        random: new Uint8Array(randomBytes(6)),
        onPhaseEnd: () => this.tick(),
        usage: () => usageOf(rank, this.transport),
      });
      if (this.stopAsked) this.phases.stop();
      const { intervalMs } = this.reporter;
      const ticker = intervalMs > 0 ? setInterval(() => this.tick(), intervalMs) : undefined;
      try {
        return await this.phases.run(() => this.meetings.meet());
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
      onFinal: (slot) => {
        this.checkpointer?.onFinal(slot);
        this.reporter.final();
      },
      onEpoch: () => {
        this.taken.resolve();
        this.meetings.membersChanged();
        if (this.stopAsked) this.tell("stop", {});
      },
      onHalt: (code, reason, given) => {
        const exitCode = given ?? HALTS[code] ?? EXIT.software;
        this.failed(
          new BaashError(code, `Rank ${this.transport.rank} stops: ${reason}.`, { exitCode }),
        );
      },
      onAlert: ({ code, message }) => {
        this.alerts.set(code, (this.alerts.get(code) ?? 0) + 1);
        this.reporter.alert(code, message);
        if (REFUSALS.has(code)) this.sayOfStorage(message);
      },
      onMonitor: (event) => this.reporter.event(event),
      onSealed: () => this.sealed.resolve(),
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

  private onStatus(_from: number, { kind, json }: Status): void {
    switch (kind) {
      case "stop":
        return this.stop();
      case "progress":
        return this.reporter.progress(JSON.parse(json));
      case "result":
        return this.reporter.result(JSON.parse(json) as RankReport);
      case "phase": {
        const { process, number } = JSON.parse(json) as { process: number; number: number };
        return this.meetings.came(process, number);
      }
      case "drained":
        // A load that is over ends for those as well that were started meanwhile.
        if (this.transport.spawned) this.stop();
        return;
      case "bye":
        return;
    }
  }

  private tick(): void {
    if (this.reporter.intervalMs === 0) return;
    const progress = this.phases?.progress();
    if (progress !== undefined)
      this.rank!.loop.status(0, { kind: "progress", json: JSON.stringify(progress) });
  }

  /** A signal reached this rank: it may have reached no other. */
  private askAll(): void {
    this.stop();
    this.tell("stop", {});
  }

  private stop(): void {
    this.stopAsked = true;
    // A replacement that nobody has let in yet has nothing to make final.
    if (this.transport.spawned && this.rank?.loop.context === undefined)
      this.failed(new BaashError("STOPPED_OUTSIDE", "stopped", { exitCode: EXIT.ok }));
    this.phases?.stop();
    this.served?.();
  }

  private async report(phases: readonly unknown[]): Promise<void> {
    const { loop, chain, storage, pool } = this.rank!;
    const stateRoot = await this.checkpointer!.close(this.speaks);
    const { transactions, outgoing, incoming, intake } = loop.shared;
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
    if (this.speaks) await this.reporter.whenComplete(this.processes().length, REPORT_TIMEOUT_MS);
  }

  /** Something ended this rank: say what once, and do not leave the others waiting. */
  async fail(error: unknown): Promise<void> {
    const silent = error instanceof BaashError && UNSAID.has(error.code);
    const first = this.transport.rank === 0 || this.rank !== undefined;
    if (!silent && first) {
      const text =
        error instanceof BaashError ? error.message : String((error as Error)?.stack ?? error);
      process.stderr.write(`baash: ${text}\n`);
    }
    this.reporter.alert(errorCode(error), String(error));
    const code = exitCodeOf(error);
    this.reporter.failed({ code: errorCode(error), message: String(error), exitCode: code });
    this.tell("bye", { code: errorCode(error) });
    await Promise.race([this.reporter.close(), Bun.sleep(LOG_CLOSE_MS)]);
    // Before the epoch all ranks fail together and may part in peace; later the others go on.
    await this.transport.close(this.rank === undefined ? 5000 : GOODBYE_MS);
  }
}

/** What this rank has spent, and what the ledger did with it. */
function usageOf({ chain, loop }: RunningRank, transport: Transport): Usage {
  const { blocks, transactions } = loop.counters;
  const { sends, sendBytes, collectives } = transport.counters();
  return {
    cpuUs: processorTime(),
    stagesUs: loop.shared.stages.spent(),
    ...{ records: chain.slot, rounds: chain.settledRound, blocks, transactions },
    ...{ messages: sends, bytes: sendBytes, collectives },
    memory: process.memoryUsage.rss(),
  };
}

/** Ends that need no sentence: another rank says why, or there is nothing to say. */
const UNSAID = new Set(["OTHER_RANK_FAILED", "LEDGER_CLOSED", "STOPPED_OUTSIDE"]);

/** Alerts that say that storage takes no records; its other ones tell of repairs. */
const REFUSALS = new Set(["STORAGE_FULL", "STORAGE_IO", "STORAGE_GONE", "STORAGE_UNKNOWN"]);

/** What a halt of the core means for who looks at exit codes; all others are bugs. */
const HALTS: Readonly<Record<string, ExitCode>> = {
  SEALED_OUT: EXIT.busy,
  NOT_ADMITTED: EXIT.busy,
  STORAGE_AND_MAJORITY_LOST: EXIT.unavailable,
};

/**
 * A seeded run: a job on a simulated disk and network under load and faults, then peace, then the
 * questions that only the end can answer. Faults come from the plan alone; all chance from the seed.
 */
import { Random } from "../base/random.ts";
import { createGenesis, type Quorum } from "../ledger/genesis.ts";
import { UNRECORDED_ROUNDS_MAX } from "../limits.ts";
import { type DiskFault, type DiskStep, SimulatedDisk } from "../storage/simulated-disk.ts";
import { Checkers } from "./checkers.ts";
import { DiskFaults } from "./disk-faults.ts";
import { DiskWatch } from "./disk-watch.ts";
import { Ending } from "./ending.ts";
import type { Epoch, EpochEnd } from "./epochs.ts";
import { Faults } from "./faults.ts";
import type { Incident } from "./incidents.ts";
import { SimulatedJob } from "./job.ts";
import { LogOracle } from "./log-oracle.ts";
import { Misfortunes } from "./misfortunes.ts";
import { evictionMsMax, type Plan, storageAnswers } from "./plan.ts";
import { Presence } from "./presence.ts";
import { type RankProcess, ROOT, type World } from "./rank-process.ts";
import { seededKey } from "./seeded-keys.ts";
import { Timeline } from "./timeline.ts";
import { Trace, Violation } from "./trace.ts";
import { Users } from "./users.ts";
import { turn, VirtualClock } from "./virtual-clock.ts";
import { Ways } from "./ways.ts";

/** In peace, for the log to reach the size that the plan asks for. */
const GROWTH_MS = 120_000;
/** Users come so much more seldom once the log has its size, while faults last. */
const GROWN_PACE = 6;
/** A member that is awake is heard at least once in so many heartbeats. */
const SILENT_BEATS = 20;
/** For incidents that nobody was there for, beyond the end of the faults. */
const WAIT_MS = 60_000;
const INSIST_MS = 400;
const RESTART_MS = 200;
const LOOK_MS = 5;
const SUPPLY = 10_000;

export interface ClusterOptions {
  /** What wins in the ledger: "majority" unless told otherwise. */
  readonly quorum?: Quorum | undefined;
  readonly print?: ((line: string) => void) | undefined;
  /** Tests of the checkers change the production objects of a rank here, once it takes part. */
  readonly onRank?: (process: RankProcess) => void;
  /** The same, of a process that has not started. */
  readonly onProcess?: (process: RankProcess) => void;
  /** What the disk does beside what the plan has it do. */
  readonly diskFault?: (step: DiskStep) => DiskFault | undefined;
  /** What is on the disk when nothing is left to ask. */
  readonly onEnd?: (disk: SimulatedDisk) => void;
}

export interface RunReport {
  readonly plan: Plan;
  readonly digest: string;
  readonly violation: Violation | undefined;
  /** The last rounds in words. */
  readonly timeline: readonly string[];
  readonly virtualMs: number;
  readonly events: number;
  /** From the end of the load, which comes after the faults', until all is answered. */
  readonly settledAfterMs: number;
  /** From a death until the SEAL that left the dead out was written: the longest, and where. */
  readonly evictedAfterMs: number;
  readonly slots: number;
  readonly rounds: number;
  /** In the log, each counted once. */
  readonly transactions: number;
  readonly kinds: Readonly<Record<string, number>>;
  readonly counts: Readonly<Record<string, number>>;
  readonly faults: Readonly<Record<string, number>>;
  readonly ways: Readonly<Record<string, number>>;
}

export async function simulate(plan: Plan, options: ClusterOptions = {}): Promise<RunReport> {
  const cluster = new Cluster(plan, options);
  const unhandled = (error: unknown) => cluster.fail(error);
  process.on("unhandledRejection", unhandled);
  try {
    await cluster.run();
  } catch (error) {
    cluster.fail(error);
  }
  await turn();
  process.off("unhandledRejection", unhandled);
  return cluster.report();
}

class Cluster {
  private readonly plan: Plan;
  private readonly options: ClusterOptions;
  private readonly clock = new VirtualClock();
  private readonly trace: Trace;
  private readonly timeline: Timeline;
  private readonly faults = new Faults();
  private readonly disk: SimulatedDisk;
  private readonly diskFaults: DiskFaults;
  private readonly world: World;
  private readonly random: Random;
  private readonly ways = new Ways();
  private readonly presence = new Presence();
  private readonly misfortunes: Misfortunes;
  private readonly ending: Ending;
  /** By name, which is its host's name on the disk too. */
  private readonly processes = new Map<string, RankProcess>();
  /** The job that users talk to, and newcomers beside it. */
  private job!: SimulatedJob;
  private readonly newcomers: SimulatedJob[] = [];
  /** Incidents that have not happened. */
  private readonly waiting = new Set<Incident>();
  /** In the order in which they started. */
  private readonly everyJob: SimulatedJob[] = [];
  /** The job was stopped: none is started again, and nobody has to speak. */
  private over = false;
  private settledAfterMs = 0;
  private evictedAfterMs = 0;
  private violation: Violation | undefined;

  constructor(plan: Plan, options: ClusterOptions) {
    const { seed } = plan;
    this.plan = plan;
    this.options = options;
    this.trace = new Trace(() => this.clock.now(), options.print);
    this.timeline = new Timeline(() => this.clock.now());
    this.random = new Random(seed, 2);
    const diskRandom = new Random(seed, 3);
    this.diskFaults = new DiskFaults(plan, diskRandom, this.faults);
    this.disk = new SimulatedDisk({
      random: () => diskRandom.nextFloat(),
      clock: {
        now: () => this.clock.now(),
        schedule: (delayMs, action) => this.scheduleDisk(delayMs, action),
      },
    });
    const keys = new Random(seed, 4);
    const ledgerKey = seededKey("ed25519", keys);
    const nonce = new Uint8Array(16);
    keys.fill(nonce);
    const { genesis, bytes } = createGenesis(
      {
        created: this.clock.wall(),
        nonce,
        difficulty: 1,
        storageDifficulty: 3,
        blockTransactionsMax: 64,
        supply: SUPPLY,
        quorum: options.quorum ?? "majority",
      },
      ledgerKey,
    );
    const fail = (error: unknown) => this.fail(error);
    const { clock, disk, trace, timeline, faults, ways, presence } = this;
    const onEpochEnd = (epoch: Epoch, end: EpochEnd) => this.epochEnded(epoch, end);
    const oracle = new LogOracle({
      ...{
        disk,
        root: ROOT,
        genesis,
        segmentRecords: plan.settings.segmentRecords,
        trace,
        timeline,
        ways,
        presence,
        onEpochEnd,
      },
    });
    const checkers = new Checkers(oracle, fail, (process, round) => timeline.voted(process, round));
    const wall = () => clock.wall();
    this.world = {
      plan,
      clock,
      disk,
      trace,
      timeline,
      faults,
      checkers,
      users: new Users({ random: new Random(seed, 5), checkers, trace, wall }),
      ways,
      presence,
      processes: [],
      genesisBytes: bytes,
      ledgerKey,
      faulty: true,
      fail,
    };
    this.misfortunes = new Misfortunes(this.world, this.diskFaults, {
      job: () => this.job,
      startNewcomer: (ranks) => void this.newcomers.push(this.startJob(ranks)),
      endJobs: (withHosts) => this.endJobs(withHosts),
      losePower: () => this.losePower(),
    });
    this.ending = new Ending(this.world, { genesis, rotten: this.misfortunes.rotten });
    const diskWatch = new DiskWatch(clock, oracle, ways);
    this.disk.fault = (step) => {
      this.trace.add(`${step.host} ${step.step} ${step.path.slice(-24)}`);
      try {
        diskWatch.saw(step);
      } catch (error) {
        this.fail(error);
      }
      const more = options.diskFault?.(step);
      if (more !== undefined) return more;
      return this.diskFaults.of(step, this.processes.get(step.host), this.world.faulty);
    };
    this.disk.onCrash = (host) => this.diskCrashed(host);
  }

  /** The first failure is the one to look at. */
  fail(error: unknown): void {
    if (this.violation !== undefined) return;
    const text = error instanceof Error ? (error.stack ?? String(error)) : String(error);
    this.violation = error instanceof Violation ? error : new Violation("CRASH", text, error);
    this.trace.add(this.violation.message.split("\n")[0]);
    this.timeline.note(this.violation.message.split("\n")[0]);
  }

  private get failed(): boolean {
    return this.violation !== undefined;
  }

  async run(): Promise<void> {
    const { plan, clock, world, ending } = this;
    this.job = this.startJob(plan.ranks);
    for (const incident of plan.incidents) this.await(incident, incident.atMs);
    clock.schedule(plan.faultsUntilMs, () => this.tryPeace());
    this.supervise();
    this.load();
    this.insist();
    this.listen();
    await clock.run(plan.loadUntilMs, () => this.failed);
    const peaceful = () => this.failed || !world.faulty;
    await clock.run(plan.loadUntilMs + WAIT_MS, peaceful);
    this.makePeace();
    await clock.run(clock.now() + GROWTH_MS, () => this.failed || this.isGrown);
    if (!this.failed && !this.isGrown)
      this.fail(ending.explain(this.job, "the log does not grow", "L1"));
    const peaceAt = clock.now();
    const what = await this.settle(peaceAt + ending.patienceMs);
    this.settledAfterMs = clock.now() - peaceAt;
    if (!this.failed && what !== undefined) this.fail(ending.explain(this.job, what));
    if (!this.failed) ending.check(this.job, this.newcomers);
    if (!this.failed) await ending.stopCleanly(this.job, () => this.failed);
    this.over = true;
    if (!this.failed) await ending.checkLeaks(this.job);
    if (!this.failed) {
      this.losePower();
      await ending.recoverAfresh();
      this.options.onEnd?.(this.disk);
    }
    world.faulty = false;
  }

  /** Goes on until everything has come to an end, or until then; answers what has not. */
  private async settle(until: number): Promise<string | undefined> {
    const { clock, ending } = this;
    let what: string | undefined = "nothing was looked at";
    const look = () => {
      what = ending.unsettled(this.job, this.newcomers);
      if (what !== undefined) clock.after(LOOK_MS, look);
    };
    look();
    await clock.run(until, () => this.failed || what === undefined);
    return what;
  }

  // The disk: each step takes time, on the clock of the process that asked for it.

  /** A step of the disk ended in a crash: of one host, or of all, which takes everybody with it. */
  private diskCrashed(host: string): void {
    const process = this.processes.get(host);
    if (!process?.alive) return;
    const ours = this.job.ranks.includes(process);
    if (this.diskFaults.dying === host && ours) this.misfortunes.rankDies(process, true);
    else this.endJobs(false);
  }

  private scheduleDisk(delayMs: number, action: () => void): void {
    const clock = this.processes.get(this.diskFaults.host)?.clock ?? this.clock;
    clock.schedule(this.clock.now() + delayMs, action);
  }

  // The log.

  private epochEnded(epoch: Epoch, end: EpochEnd): void {
    const { plan, presence, ways } = this;
    const { checkers } = this.world;
    const inTime = storageAnswers(plan);
    checkers.epochEnded(epoch, end, { presence, deadlineMs: plan.takeoverMs, inTime });
    if (end.kind === "foreign" || end.kind === "clean") return;
    let alive = 0;
    for (const incarnation of end.evicted) {
      const diedAt = presence.processOf(incarnation)?.diedAt ?? Number.POSITIVE_INFINITY;
      if (diedAt > end.at) alive++;
      else this.evictedAfterMs = Math.max(this.evictedAfterMs, end.at - diedAt);
    }
    if (this.evictedAfterMs > evictionMsMax(plan)) {
      const after = `${Math.round(this.evictedAfterMs)} ms after their end`;
      this.fail(new Violation("L5", `slot ${end.slot} leaves members out ${after}`));
    }
    ways.took("live member evicted", alive);
    if (2 * alive === epoch.members.length) ways.took("SEAL of an even split");
  }

  // Jobs and what befalls them.

  private startJob(size: number): SimulatedJob {
    const number = this.everyJob.length;
    const onRank = this.options.onRank;
    const job = new SimulatedJob(this.world, {
      number,
      size,
      onRank: (process) => onRank?.(process),
      onProcess: (process) => {
        this.processes.set(process.name, process);
        this.options.onProcess?.(process);
      },
    });
    this.everyJob.push(job);
    return job;
  }

  /** What a person or Slurm does: a job that ended is started again. */
  private supervise(): void {
    const { clock } = this;
    clock.after(RESTART_MS, () => {
      if (this.over) return;
      const newcomer = this.newcomers.find((job) => job.up);
      if (newcomer !== undefined && this.job.ended !== undefined) {
        this.newcomers.splice(this.newcomers.indexOf(newcomer), 1);
        this.job = newcomer;
      }
      const underWay = this.newcomers.some((job) => job.ended === undefined);
      if (this.job.ended !== undefined && !underWay) {
        this.job.kill(false);
        this.job = this.startJob(this.plan.ranksLater);
      }
      for (const job of this.newcomers) if (job.ended !== undefined) job.kill(false);
      this.supervise();
    });
  }

  private endJobs(withHosts: boolean): void {
    for (const job of [this.job, ...this.newcomers]) {
      job.kill(withHosts);
      job.ended ??= "KILLED";
    }
  }

  private losePower(): void {
    this.trace.add("all power is lost");
    this.timeline.note("all power is lost");
    this.endJobs(false);
    this.disk.losePower();
  }

  /** Lets it happen at that time, or as soon as there is somebody whom it can befall. */
  private await(incident: Incident, atMs: number): void {
    const { clock, waiting } = this;
    waiting.add(incident);
    clock.schedule(atMs, () => {
      if (this.failed || !this.world.faulty) return;
      if (this.misfortunes.happen(incident)) waiting.delete(incident);
      else this.await(incident, clock.now() + LOOK_MS);
    });
  }

  /** Faults end when all of them have happened: a job may take its time to come up. */
  private tryPeace(): void {
    const { clock, plan } = this;
    if (this.waiting.size === 0 || clock.now() >= plan.faultsUntilMs + WAIT_MS)
      return this.makePeace();
    clock.after(LOOK_MS, () => this.tryPeace());
  }

  private makePeace(): void {
    if (!this.world.faulty) return;
    this.trace.add("faults end");
    this.timeline.note("faults end");
    this.world.faulty = false;
    this.diskFaults.calm();
    for (const job of [this.job, ...this.newcomers]) {
      job.network.heal();
      for (const process of job.live) process.healEars();
      job.applyFaults();
    }
  }

  /** L3, L7: nobody falls silent, and nobody holds more than W rounds. */
  private listen(): void {
    if (this.over) return;
    const { heartbeatMs } = this.plan.settings.monitoring;
    for (const { name, silentMs, unsettled } of this.job.live) {
      if (silentMs > SILENT_BEATS * heartbeatMs)
        this.fail(new Violation("L3", `${name} has said nothing for ${Math.round(silentMs)} ms`));
      if (unsettled > UNRECORDED_ROUNDS_MAX)
        this.fail(new Violation("L7", `${name} holds ${unsettled} rounds that are in no record`));
    }
    if (!this.failed) this.clock.after(heartbeatMs, () => this.listen());
  }

  // Load.

  /** Who sleeps answers nobody. */
  private anyRank(): RankProcess | undefined {
    const live = this.job.live.filter((one) => one.counter !== undefined && !one.clock.frozen);
    return live.length === 0 ? undefined : live[this.random.nextBelow(live.length)];
  }

  /** The log has the size that the plan asks for. */
  private get isGrown(): boolean {
    const { rounds, transactions } = this.plan.size;
    const { oracle } = this.world.checkers;
    const settled = oracle.head?.settledRound ?? 0;
    return settled >= rounds && oracle.transactions.size >= transactions;
  }

  private load(): void {
    const { plan, clock, random } = this;
    const slower = this.isGrown && plan.size.rounds > 0 ? GROWN_PACE : 1;
    clock.after(plan.loadIntervalMs * slower * 2 * random.nextFloat(), () => {
      if ((clock.now() >= plan.loadUntilMs && this.isGrown) || this.failed) return;
      const process = this.anyRank();
      if (process !== undefined && this.world.users.open < plan.openMax) this.visit(process);
      this.load();
    });
  }

  private visit(process: RankProcess): void {
    const { users, ways } = this.world;
    const before = users.counts.turnedAway;
    // Where rounds are missing and transactions are not, each visit is to be a round.
    const { size, batchMax } = this.plan;
    const enough = this.world.checkers.oracle.transactions.size > Math.max(1, size.transactions);
    users.visit(process.counter!, enough && size.rounds > 0 ? 1 : batchMax);
    if (process.atLimit && users.counts.turnedAway > before) ways.took("back-pressure at W");
  }

  /** Users send again what nobody answered: the rank that took it may be gone. */
  private insist(): void {
    if (this.failed) return;
    const { users, faulty } = this.world;
    // While faults last they wait, unless nobody else would come.
    const insists = !faulty || users.open >= this.plan.openMax;
    const counter = insists && this.job.up ? this.anyRank()?.counter : undefined;
    if (counter !== undefined) users.insist(counter);
    this.clock.after(INSIST_MS, () => this.insist());
  }

  private allFaults(): Record<string, number> {
    for (const { network } of this.everyJob) {
      const { lost, cutOff, collectivesBroken } = network.counters();
      this.faults.happened("message lost", lost + cutOff);
      this.faults.happened("collective broken", collectivesBroken);
    }
    return this.faults.all;
  }

  report(): RunReport {
    const { checkers, users } = this.world;
    const { records } = checkers.oracle;
    const kinds: Record<string, number> = {};
    for (const { kind, counts } of records) {
      const name = counts ? kind : `${kind} (void)`;
      kinds[name] = (kinds[name] ?? 0) + 1;
    }
    return {
      plan: this.plan,
      violation: this.violation,
      digest: this.trace.digest(),
      timeline: this.timeline.lines(),
      virtualMs: this.clock.now(),
      events: this.clock.events,
      settledAfterMs: this.settledAfterMs,
      evictedAfterMs: this.evictedAfterMs,
      slots: records.length,
      rounds: records.at(-1)?.settledRound ?? 0,
      transactions: checkers.oracle.transactions.size,
      kinds,
      counts: { ...checkers.counts, ...users.counts, jobs: this.everyJob.length },
      faults: this.allFaults(),
      ways: this.ways.all,
    };
  }
}

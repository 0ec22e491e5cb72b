/**
 * A seeded run: a job on a simulated disk and network under load and faults, then peace, then the
 * questions that only the end can answer. Faults come from the plan alone; all chance from the seed.
 */
import { Random } from "../base/random.ts";
import { createGenesis, type Genesis } from "../ledger/genesis.ts";
import { answersMin } from "../ledger/judge.ts";
import { replayLedger } from "../rank/opening.ts";
import { type DiskFault, type DiskStep, SimulatedDisk } from "../storage/simulated-disk.ts";
import { StorageService } from "../storage/storage-service.ts";
import { Checkers } from "./checkers.ts";
import { SimulatedJob } from "./job.ts";
import { LogOracle } from "./log-oracle.ts";
import type { Incident, Plan } from "./plan.ts";
import { type RankProcess, ROOT, type World } from "./rank-process.ts";
import { seededKey } from "./seeded-keys.ts";
import { Trace, Violation } from "./trace.ts";
import { Users } from "./users.ts";
import { turn, VirtualClock } from "./virtual-clock.ts";

/** Peace for so long, in virtual time, must be enough for everything to come to an end. */
const LIVENESS_MS = 30_000;
const INSIST_MS = 400;
const RESTART_MS = 200;
const SUPPLY = 10_000;

export interface ClusterOptions {
  readonly print?: ((line: string) => void) | undefined;
  /** Tests of the checkers change the production objects of a rank here, once it takes part. */
  readonly onRank?: (process: RankProcess) => void;
}

export interface RunReport {
  readonly plan: Plan;
  readonly digest: string;
  readonly violation: Violation | undefined;
  readonly newest: readonly string[];
  readonly virtualMs: number;
  readonly events: number;
  /** From the end of the load, which comes after the faults', until all is answered. */
  readonly settledAfterMs: number;
  readonly slots: number;
  readonly kinds: Readonly<Record<string, number>>;
  readonly counts: Readonly<Record<string, number>>;
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
  private readonly disk: SimulatedDisk;
  private readonly genesis: Genesis;
  private readonly world: World;
  private readonly random: Random;
  private readonly diskRandom: Random;
  private readonly processes = new Map<string, RankProcess>();
  /** The job that users talk to, and newcomers beside it. */
  private job!: SimulatedJob;
  private readonly newcomers: SimulatedJob[] = [];
  private jobs = 0;
  private stepsToCrash = Number.POSITIVE_INFINITY;
  private stepCrashAfter = false;
  private stepHost = "";
  private changesToDeath = Number.POSITIVE_INFINITY;
  private deathAfter = false;
  private dying: string | undefined;
  /** No job is started again. */
  private over = false;
  private settledAfterMs = 0;
  private violation: Violation | undefined;

  constructor(plan: Plan, options: ClusterOptions) {
    const { seed } = plan;
    this.plan = plan;
    this.options = options;
    this.trace = new Trace(() => this.clock.now(), options.print);
    this.random = new Random(seed, 2);
    this.diskRandom = new Random(seed, 3);
    this.disk = new SimulatedDisk({
      random: () => this.diskRandom.nextFloat(),
      clock: {
        now: () => this.clock.now(),
        schedule: (delayMs, action) => this.scheduleDisk(delayMs, action),
      },
    });
    this.disk.fault = (step) => this.diskFault(step);
    this.disk.onCrash = (host) => this.diskCrashed(host);
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
      },
      ledgerKey,
    );
    this.genesis = genesis;
    const oracle = new LogOracle({ disk: this.disk, root: ROOT, genesis, trace: this.trace });
    const checkers = new Checkers(oracle, (error) => this.fail(error));
    this.world = {
      plan,
      clock: this.clock,
      disk: this.disk,
      trace: this.trace,
      checkers,
      users: new Users({
        random: new Random(seed, 5),
        checkers,
        trace: this.trace,
        wall: () => this.clock.wall(),
      }),
      genesisBytes: bytes,
      ledgerKey,
      faulty: true,
      fail: (error) => this.fail(error),
    };
  }

  /** The first failure is the one to look at. */
  fail(error: unknown): void {
    if (this.violation !== undefined) return;
    const text = error instanceof Error ? (error.stack ?? String(error)) : String(error);
    this.violation = error instanceof Violation ? error : new Violation("CRASH", text, error);
    this.trace.add(this.violation.message.split("\n")[0]);
  }

  private get failed(): boolean {
    return this.violation !== undefined;
  }

  async run(): Promise<void> {
    const { plan, clock, world } = this;
    this.job = this.startJob(plan.ranks);
    for (const incident of plan.incidents)
      clock.schedule(incident.atMs, () => this.happen(incident));
    clock.schedule(plan.faultsUntilMs, () => this.makePeace());
    this.supervise();
    this.load();
    await clock.run(plan.loadUntilMs, () => this.failed);
    this.makePeace();
    this.insist();
    const peaceAt = clock.now();
    await clock.run(clock.now() + LIVENESS_MS, () => this.failed || this.settled());
    this.settledAfterMs = clock.now() - peaceAt;
    if (!this.failed && !this.settled()) this.explainUnsettled();
    if (!this.failed) this.checkPromises();
    if (!this.failed && this.job.live.length === this.job.ranks.length) await this.stopCleanly();
    if (!this.failed) this.checkLeaks();
    if (!this.failed) await this.recoverAfresh();
    world.faulty = false;
  }

  // The disk: each step takes time, on the clock of the process that asked for it.

  private diskFault(step: DiskStep): DiskFault | undefined {
    this.stepHost = step.host;
    const { plan, diskRandom } = this;
    const slow = step.host.endsWith(`.${plan.slowRank}`) ? plan.slowFactor : 1;
    const delayMs = 0.02 + diskRandom.nextFloat() * plan.diskStepMsMax * slow;
    this.trace.add(`${step.host} ${step.step} ${step.path.slice(-24)}`);
    if (--this.stepsToCrash === 0) {
      return { delayMs, crash: "power", happens: this.stepCrashAfter };
    }
    if (!this.world.faulty) return { delayMs };
    const changes = ["create", "write", "syncFile", "link", "syncDirectory"].includes(step.step);
    if (changes && --this.changesToDeath === 0) {
      this.dying = step.host;
      return { delayMs, crash: "host", happens: this.deathAfter };
    }
    const { eio, readEio, enospc, spike, spikeMsMax } = plan.storage;
    const chance = diskRandom.nextFloat();
    if (!changes) return chance < readEio ? { delayMs, code: "EIO" } : { delayMs };
    const happens = step.step === "link" && diskRandom.nextFloat() < 0.5;
    if (chance < eio) return { delayMs, code: "EIO", happens };
    if (chance < eio + enospc && step.step === "write") return { delayMs, code: "ENOSPC" };
    if (chance > 1 - spike) return { delayMs: diskRandom.nextFloat() * spikeMsMax };
    return { delayMs };
  }

  /** A step of the disk ended in a crash: of one host, or of all, which takes everybody with it. */
  private diskCrashed(host: string): void {
    const process = this.processes.get(host);
    if (!process?.alive) return;
    const ours = this.job.ranks.includes(process);
    if (this.dying === host && ours) this.rankDies(process.rank, true);
    else this.endJobs(false);
  }

  private scheduleDisk(delayMs: number, action: () => void): void {
    const clock = this.processes.get(this.stepHost)?.clock ?? this.clock;
    clock.schedule(this.clock.now() + delayMs, action);
  }

  // Jobs and what befalls them.

  private startJob(size: number): SimulatedJob {
    const number = this.jobs++;
    const onRank = this.options.onRank;
    const job: SimulatedJob = new SimulatedJob(this.world, {
      number,
      size,
      onRank: (process) => onRank?.(process),
      onProcess: (process) => this.processes.set(process.name, process),
    });
    return job;
  }

  /** What a person or Slurm does: a job that ended is started again. */
  private supervise(): void {
    const { clock } = this;
    clock.after(RESTART_MS, () => {
      if (this.over) return;
      const newcomer = this.newcomers.find((job) => job.up);
      if (newcomer !== undefined && this.job.ended !== undefined) {
        if (this.plan.scenario === "second-job")
          this.fail(new Violation("S9", `job ${newcomer.number} took over from one that lived`));
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

  private happen(incident: Incident): void {
    if (this.failed) return;
    const { job, trace } = this;
    trace.add(`incident ${incident.kind}`);
    switch (incident.kind) {
      case "rank-crash":
        this.rankDies(incident.rank, incident.host);
        return;
      case "recorder-crash":
        this.changesToDeath = incident.changes;
        this.deathAfter = incident.after;
        return;
      case "partition": {
        if (!job.up) return;
        const all = job.ranks.map(({ rank }) => rank);
        const cut = all.filter((rank) => incident.ranks.includes(rank));
        const others = all.filter((rank) => !incident.ranks.includes(rank));
        job.network.partition(cut, others);
        this.clock.after(incident.forMs, () => job.network.heal());
        return;
      }
      case "freeze-rank":
        if (job.up) job.ranks[incident.rank]?.clock.freeze(incident.forMs);
        return;
      case "job-crash":
        if (incident.power) this.losePower();
        else this.endJobs(false);
        return;
      case "step-crash":
        this.stepsToCrash = incident.steps;
        this.stepCrashAfter = incident.after;
        return;
      case "second-job":
        if (job.up) this.newcomers.push(this.startJob(incident.ranks));
        return;
      case "freeze":
        if (job.up) job.freeze(incident.forMs);
        return;
    }
  }

  /** Before the epoch a job ends with its first dead rank. */
  private rankDies(rank: number, withHost: boolean): void {
    const { job } = this;
    if (!job.up || job.live.length <= 1) this.endJobs(withHost);
    else if (job.ranks[rank]?.alive) job.crash(rank, withHost);
  }

  private endJobs(withHosts: boolean): void {
    for (const job of [this.job, ...this.newcomers]) {
      job.kill(withHosts);
      job.ended ??= "KILLED";
    }
  }

  private losePower(): void {
    this.trace.add("all power is lost");
    this.endJobs(false);
    this.disk.losePower();
  }

  private makePeace(): void {
    if (!this.world.faulty) return;
    this.trace.add("faults end");
    this.world.faulty = false;
    this.stepsToCrash = Number.POSITIVE_INFINITY;
    this.changesToDeath = Number.POSITIVE_INFINITY;
    // Fewer than R members cannot go on (protocol.md, step 8): whoever watches starts the job again.
    if (this.job.live.length < answersMin(this.job.ranks.length)) this.endJobs(false);
    for (const job of [this.job, ...this.newcomers]) {
      job.network.heal();
      job.applyFaults();
    }
  }

  // Load.

  private anyRank(): RankProcess | undefined {
    const live = this.job.live.filter(({ counter }) => counter !== undefined);
    return live.length === 0 ? undefined : live[this.random.nextBelow(live.length)];
  }

  private load(): void {
    const { plan, clock, random, world } = this;
    clock.after(plan.loadIntervalMs * 2 * random.nextFloat(), () => {
      if (clock.now() >= plan.loadUntilMs || this.failed) return;
      const counter = this.anyRank()?.counter;
      if (counter !== undefined) world.users.visit(counter, plan.batchMax);
      this.load();
    });
  }

  /** Users send again what nobody answered: the rank that took it may be gone. */
  private insist(): void {
    if (this.failed) return;
    const counter = this.job.up ? this.anyRank()?.counter : undefined;
    if (counter !== undefined) this.world.users.insist(counter);
    this.clock.after(INSIST_MS, () => this.insist());
  }

  // The end.

  private settled(): boolean {
    const { job, world } = this;
    if (!job.up || job.live.length === 0) return false;
    if (this.newcomers.some((one) => one.ended === undefined)) return false;
    if (!world.users.submissions.every(({ resolved }) => resolved)) return false;
    if (!job.live.every(({ idle, counter }) => idle && counter!.pending.size === 0)) return false;
    world.checkers.oracle.advance();
    const head = world.checkers.oracle.head?.hash;
    return job.live.every(({ chain }) => chain!.hash === head);
  }

  private explainUnsettled(): void {
    const { job, world } = this;
    const open = world.users.submissions.filter(({ resolved }) => !resolved).length;
    const ranks = job.ranks.map((process) => {
      const { name, alive, loop, counter, chain } = process;
      if (!alive) return `${name} is dead`;
      if (loop === undefined) return `${name} has not started`;
      const { core, transactions, own } = loop.context;
      return `${name}: slot ${chain?.slot}, settled ${core.settled}, unsettled ${core.unsettled}, waiting ${transactions.waiting()}, retrying ${transactions.retrying()}, in flight ${own.inFlight}, pending ${counter?.pending.size}, core idle ${core.idle}`;
    });
    const head = world.checkers.oracle.head?.slot;
    this.fail(
      new Violation(
        "L2",
        `after ${LIVENESS_MS} ms of peace ${open} transactions have no answer (storage ends at slot ${head}; job ${job.number}, ended ${job.ended})\n  ${ranks.join("\n  ")}`,
      ),
    );
  }

  private checkPromises(): void {
    for (const { counter } of this.job.ranks) {
      for (const id of counter?.agreed ?? []) this.world.checkers.agreedIsIn(id);
    }
    for (const { name, chain } of this.job.live) this.world.checkers.root(name, chain!);
    for (const job of this.newcomers) {
      if (job.ended !== "LEDGER_IN_USE" && this.plan.scenario === "second-job")
        this.fail(
          new Violation("S9", `the second job ended with ${job.ended}, not with LEDGER_IN_USE`),
        );
    }
  }

  private async stopCleanly(): Promise<void> {
    const { job, clock } = this;
    for (const { loop } of job.live) loop!.drain();
    await clock.run(
      clock.now() + LIVENESS_MS,
      () => this.failed || job.live.every(({ sealed }) => sealed),
    );
    if (this.failed) return;
    if (!job.live.every(({ sealed }) => sealed)) {
      const rest = job.live.filter(({ sealed }) => !sealed).map(({ name }) => name);
      this.fail(new Violation("L1", `the job does not end: ${rest.join()} was not sealed`));
    }
    this.world.checkers.oracle.advance();
    if (this.world.checkers.oracle.members.length > 0)
      this.fail(new Violation("L1", "the job ended without a SEAL that nobody is in"));
  }

  private checkLeaks(): void {
    for (const process of this.job.live) {
      const leaks = process.leaks();
      if (leaks.length > 0)
        this.fail(new Violation("QUEUE", `${process.name} keeps ${leaks.join(", ")}`));
    }
  }

  /** A reader that comes after everybody is gone, with what power left behind. */
  private async recoverAfresh(): Promise<void> {
    this.over = true;
    this.losePower();
    const ops = this.disk.host("auditor");
    const blocks = { block: () => new Uint8Array(0) };
    const storage = new StorageService({ ops, now: () => this.clock.now(), blocks });
    const read = async () => {
      await storage.open({ directory: ROOT, incarnation: "ffffffffffffffff" });
      return await replayLedger(this.genesis, storage);
    };
    let done = false;
    read()
      .then((chain) => this.world.checkers.recovered(chain))
      .catch((error) => this.fail(error))
      .finally(() => {
        done = true;
      });
    await turn();
    await this.clock.run(this.clock.now() + LIVENESS_MS, () => done);
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
      newest: this.trace.newest,
      virtualMs: this.clock.now(),
      events: this.clock.events,
      settledAfterMs: this.settledAfterMs,
      slots: records.length,
      kinds,
      counts: { ...checkers.counts, ...users.counts, jobs: this.jobs },
    };
  }
}

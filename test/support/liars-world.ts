/**
 * Four ranks of a byzantine ledger on the in-process twins, of which one lies: the production rank
 * with a mouth that says something else. What is asked of the honest ones is what the simulation
 * asks of all: one log, one state, no promise broken, everything answered in the end.
 */
import { Random } from "../../src/base/random.ts";
import type { Chain } from "../../src/ledger/chain.ts";
import { createGenesis, type Genesis, type Quorum } from "../../src/ledger/genesis.ts";
import { DEFAULT_SETTINGS } from "../../src/rank/context.ts";
import { replayLedger } from "../../src/rank/opening.ts";
import { Checkers } from "../../src/simulation/checkers.ts";
import { Faults } from "../../src/simulation/faults.ts";
import { SimulatedJob } from "../../src/simulation/job.ts";
import { LogOracle } from "../../src/simulation/log-oracle.ts";
import { type Plan, planOf } from "../../src/simulation/plan.ts";
import { Presence } from "../../src/simulation/presence.ts";
import { RankProcess, ROOT, type World } from "../../src/simulation/rank-process.ts";
import { seededKey } from "../../src/simulation/seeded-keys.ts";
import { Timeline } from "../../src/simulation/timeline.ts";
import { Trace, Violation } from "../../src/simulation/trace.ts";
import { Users } from "../../src/simulation/users.ts";
import { turn, VirtualClock } from "../../src/simulation/virtual-clock.ts";
import { Ways } from "../../src/simulation/ways.ts";
import { SimulatedDisk } from "../../src/storage/simulated-disk.ts";
import { StorageService } from "../../src/storage/storage-service.ts";
import { SharedEndpoint } from "./twin.ts";

const SUPPLY = 10_000;
/** After so long a rank dies and its twin comes. */
const FORGETS_MS = 150;
/** In virtual time: for all that is under way to come to an end. */
const PATIENCE_MS = 60_000;
const JOB = 0;

/** The checks of the simulation, but for what liars say and do themselves. */
class HonestCheckers extends Checkers {
  private readonly isLiar: (name: string) => boolean;

  constructor(
    oracle: LogOracle,
    fail: (error: unknown) => void,
    isLiar: (name: string) => boolean,
  ) {
    super(oracle, fail);
    this.isLiar = isLiar;
  }

  override sent(...args: Parameters<Checkers["sent"]>): void {
    if (!this.isLiar(args[0])) super.sent(...args);
  }
  override final(...args: Parameters<Checkers["final"]>): void {
    if (!this.isLiar(args[0])) super.final(...args);
  }
  override toldAsFinal(...args: Parameters<Checkers["toldAsFinal"]>): void {
    if (!this.isLiar(args[0])) super.toldAsFinal(...args);
  }
}

export interface LiarsOptions {
  readonly seed?: number;
  readonly ranks?: number;
  readonly quorum?: Quorum;
  /** Process numbers. */
  readonly liars: readonly number[];
  /** The same identity runs twice, at once, or again after the first one died and forgot. */
  readonly twins?: "beside" | "after";
  /** A liar has its loop: from now on it lies. */
  lie?(liar: RankProcess, world: LiarsWorld): void;
  /** The job takes transactions from now on: what is to happen meanwhile is scheduled here. */
  meanwhile?(world: LiarsWorld): void;
  readonly loadMs?: number;
  /** Clients come to liars as well, and later with the same to somebody else. */
  readonly feedsLiars?: boolean;
  readonly settings?: Partial<Plan["settings"]>;
  readonly print?: (line: string) => void;
}

export class LiarsWorld {
  readonly clock = new VirtualClock();
  readonly disk: SimulatedDisk;
  readonly world: World;
  readonly oracle: LogOracle;
  readonly trace: Trace;
  job!: SimulatedJob;
  violation: Violation | undefined;
  private readonly options: LiarsOptions;
  private readonly genesis: Genesis;
  private readonly random: Random;
  private readonly plan: Plan;

  constructor(options: LiarsOptions) {
    const { seed = 1, ranks = 4, quorum = "byzantine", liars } = options;
    this.options = options;
    const base = planOf(seed, { scenario: "calm", ranks });
    // Nothing is corrupted on the way (there are no faults here), and yet blocks may be bad.
    const calm = { checkThrowsRate: 0, poolDelayMsMax: 0, slowRank: -1, corruptRate: 1 };
    // A liar lies in what it sends: of a collective each member has the same.
    const { gatherFrom } = DEFAULT_SETTINGS;
    const own = { heal: "off" as const, gatherFrom, ...options.settings };
    const settings = { ...base.settings, ...own };
    const plan: Plan = { ...base, ...calm, ranksPerHost: 1, settings, incidents: [] };
    this.plan = plan;
    const { clock } = this;
    this.trace = new Trace(() => clock.now(), options.print);
    this.random = new Random(seed, 2);
    const diskRandom = new Random(seed, 3);
    this.disk = new SimulatedDisk({
      random: () => diskRandom.nextFloat(),
      clock: {
        now: () => clock.now(),
        schedule: (delayMs, action) => clock.schedule(clock.now() + delayMs, action),
      },
    });
    const keys = new Random(seed, 4);
    const ledgerKey = seededKey("ed25519", keys);
    const nonce = new Uint8Array(16);
    keys.fill(nonce);
    const { genesis, bytes } = createGenesis(
      {
        ...{ created: clock.wall(), nonce, difficulty: 1, storageDifficulty: 3 },
        ...{ blockTransactionsMax: 64, supply: SUPPLY, quorum },
      },
      ledgerKey,
    );
    this.genesis = genesis;
    const fail = (error: unknown) => this.fail(error);
    const ways = new Ways();
    const presence = new Presence();
    this.oracle = new LogOracle({
      ...{
        disk: this.disk,
        root: ROOT,
        genesis,
        trace: this.trace,
        segmentRecords: plan.settings.segmentRecords,
        ways,
        presence,
      },
      onEpochEnd: () => {},
      mayLie: (incarnation) => this.isLiar(presence.processOf(incarnation)?.name ?? ""),
    });
    const checkers = new HonestCheckers(this.oracle, fail, (name) => this.isLiar(name));
    const { trace, disk } = this;
    const users = new Users({
      ...{ random: new Random(seed, 5), checkers, trace },
      wall: () => clock.wall(),
    });
    const shared = { plan, clock, disk, trace, checkers, users, ways, presence, ledgerKey };
    const timeline = new Timeline(() => clock.now());
    const told = { timeline, faults: new Faults() };
    const nothing = { ...told, processes: [], rotten: new Map(), faulty: false };
    this.world = { ...shared, ...nothing, genesisBytes: bytes, fail };
    this.liarNames = new Set(liars.map((rank) => `${JOB}.${rank}`));
  }

  private readonly liarNames: ReadonlySet<string>;
  readonly twins: RankProcess[] = [];

  private isLiar(name: string): boolean {
    return this.liarNames.has(name.replace("'", ""));
  }

  fail(error: unknown): void {
    if (this.violation !== undefined) return;
    const text = error instanceof Error ? (error.stack ?? String(error)) : String(error);
    this.violation = error instanceof Violation ? error : new Violation("CRASH", text, error);
    this.trace.add(this.violation.message.split("\n")[0]);
  }

  get liars(): RankProcess[] {
    return this.job.ranks.filter(({ name }) => this.isLiar(name));
  }
  get honest(): RankProcess[] {
    return this.job.ranks.filter(({ name, alive }) => alive && !this.isLiar(name));
  }

  /** Files of a directory of the ledger, by name. */
  files(folder: string): string[] {
    const directory = this.disk.find(`${ROOT}/${folder}`);
    return [...(directory?.durableEntries.keys() ?? [])].filter((name) => !name.startsWith("."));
  }

  fileBytes(folder: string, name: string): Uint8Array {
    return this.disk.find(`${ROOT}/${folder}`)!.durableEntries.get(name)!.durableBytes!;
  }

  /** What honest ranks count of that process. */
  misdeeds(process: number): Record<string, number> {
    const all: Record<string, number> = {};
    const honest = this.job.ranks.filter(({ name }) => !this.isLiar(name));
    for (const { loop } of honest)
      for (const [reason, count] of Object.entries(loop!.counters.misdeeds[process] ?? {}))
        all[reason] = (all[reason] ?? 0) + count;
    return all;
  }

  /** Load, peace, a clean stop; whatever is broken on the way is in `violation`. */
  async run(): Promise<this> {
    const onUnhandled = (error: unknown) => this.fail(error);
    process.on("unhandledRejection", onUnhandled);
    try {
      await this.play();
    } catch (error) {
      this.fail(error);
    }
    await turn();
    process.off("unhandledRejection", onUnhandled);
    return this;
  }

  private async play(): Promise<void> {
    const { clock, options } = this;
    const { loadMs = 1500 } = options;
    this.startJob(JOB);
    await this.until(() => this.job.formed, PATIENCE_MS, "the epoch");
    options.meanwhile?.(this);
    const end = clock.now() + loadMs;
    this.load(end);
    await clock.run(end, () => this.violation !== undefined);
    this.insist();
    await this.until(() => this.isSettled(), PATIENCE_MS, "an answer to everybody");
    for (const process of this.honest) this.world.checkers.root(process.name, process.chain!);
    this.checkAgreed();
    await this.stop();
    await this.recoverAfresh();
  }

  private startJob(number: number): void {
    const shared: SharedEndpoint[] = [];
    this.job = new SimulatedJob(this.world, {
      number,
      share: (endpoint) => {
        if (this.options.twins === undefined || !this.isLiar(`${JOB}.${endpoint.rank}`))
          return endpoint;
        shared[endpoint.rank] = new SharedEndpoint(endpoint, this.clock, this.random);
        return shared[endpoint.rank].first;
      },
      size: this.options.ranks ?? 4,
      onProcess: () => {},
      onRank: (process) => {
        if (!this.isLiar(process.name)) return;
        believesOtherwise(process);
        this.options.lie?.(process, this);
        if (shared[process.rank] !== undefined) this.startTwin(process, shared[process.rank]);
      },
    });
  }

  /** A second process of the same identity: beside the first one, or after it. */
  private startTwin(original: RankProcess, endpoint: SharedEndpoint): void {
    const { world, clock, options } = this;
    const transport = endpoint.second;
    const settings = { ...this.plan.settings, ranksWanted: this.job.size };
    const start = () => {
      const twin = new RankProcess(
        world,
        { job: JOB, transport, settings, twin: true },
        {
          onStarted: believesOtherwise,
          onStartFailed: (process) => process.kill(false),
          onHalt: (process) => process.kill(false),
        },
      );
      nameTempsApart(twin);
      this.twins.push(twin);
      // Whoever watches the process sees that it is there.
      world.processes[original.pid] = twin;
      twin.startAs(original);
    };
    if (options.twins === "beside") return start();
    clock.after(FORGETS_MS, () => {
      original.kill(false);
      endpoint.forgetFirst();
      start();
    });
  }

  /** All ranks die, and the job comes again. */
  restart(): void {
    this.job.kill(false);
    this.startJob(this.job.number + 1);
  }

  private async until(done: () => boolean, patienceMs: number, what: string): Promise<void> {
    const { clock } = this;
    let isDone = done();
    const look = () => {
      isDone = done();
      if (!isDone) clock.after(5, look);
    };
    look();
    const over = () => isDone || this.violation !== undefined;
    await clock.run(clock.now() + patienceMs, over);
    if (!over()) this.fail(new Violation("L2", `${what} does not come`));
  }

  private anyHonest(): RankProcess | undefined {
    const able = this.honest.filter(({ counter }) => counter !== undefined);
    return able[this.random.nextBelow(Math.max(1, able.length))];
  }

  private load(end: number): void {
    const { clock, random, plan, world } = this;
    clock.after(2 * plan.loadIntervalMs * random.nextFloat(), () => {
      if (clock.now() >= end || this.violation !== undefined) return;
      const counter = this.anyHonest()?.counter;
      if (counter !== undefined) world.users.visit(counter, plan.batchMax);
      if (this.options.feedsLiars)
        for (const liar of [...this.liars, ...this.twins])
          if (liar.counter !== undefined && liar.alive)
            world.users.visit(liar.counter, plan.batchMax);
      this.load(end);
    });
  }

  private insist(): void {
    if (this.violation !== undefined || this.isSettled()) return;
    const counter = this.anyHonest()?.counter;
    if (counter !== undefined) this.world.users.insist(counter);
    this.clock.after(400, () => this.insist());
  }

  private isSettled(): boolean {
    if (this.world.users.open > 0) return false;
    this.oracle.advance();
    const hash = this.oracle.head?.hash;
    return this.honest.every(({ chain, counter, epoch }) => {
      return epoch !== undefined && chain?.hash === hash && counter!.pending.size === 0;
    });
  }

  private checkAgreed(): void {
    for (const { counter } of this.honest)
      for (const told of counter?.agreed ?? []) {
        const [id, epoch] = told.split(" ");
        this.world.checkers.agreedIsIn(id, epoch);
      }
  }

  private async stop(): Promise<void> {
    if (this.violation !== undefined) return;
    // Without signatures a clean stop needs everybody, and a liar whose blocks nobody takes is never
    // done.
    if (this.genesis.quorum === "majority" && this.options.feedsLiars) return;
    const willing = this.genesis.quorum === "majority" ? this.job.live : this.honest;
    for (const { loop } of willing) loop!.drain();
    await this.until(() => this.honest.every(({ sealed }) => sealed), PATIENCE_MS, "a clean stop");
    for (const honest of this.honest) {
      const leaks = honest.leaks();
      if (leaks.length > 0) this.fail(new Violation("QUEUE", `${honest.name}: ${leaks.join()}`));
    }
    this.oracle.advance();
    if (this.oracle.members.length > 0 && this.violation === undefined)
      this.fail(new Violation("L1", "the ledger is not closed"));
  }

  /** A reader that comes after everybody is gone. */
  private async recoverAfresh(): Promise<void> {
    if (this.violation !== undefined) return;
    const { clock, disk, genesis } = this;
    this.job.kill(false);
    for (const twin of this.twins) twin.kill(false);
    const ops = disk.host("auditor");
    const blocks = { block: () => new Uint8Array(0) };
    const { segmentRecords } = this.plan.settings;
    const now = () => clock.now();
    const storage = new StorageService({ ops, now, blocks, segmentRecords });
    let chain: Chain | undefined;
    const read = async () => {
      await storage.open({ directory: ROOT, incarnation: "ffffffffffffffff" });
      chain = await replayLedger(genesis, storage);
    };
    read().catch((error) => this.fail(error));
    await this.until(() => chain !== undefined, PATIENCE_MS, "a fresh reader");
    if (chain !== undefined) this.world.checkers.recovered(chain);
  }
}

/** It proposed something else than what comes of it. */
function believesOtherwise({ loop }: RankProcess): void {
  const own = loop!.shared.own as unknown as Record<string, () => void>;
  for (const name of ["executed", "settle"]) own[name] = () => {};
}

/** Temporary names are of an incarnation alone: of two processes under one, each needs its own. */
function nameTempsApart({ host }: RankProcess): void {
  const own = (path: string) =>
    path.replace(/\/\.([0-9a-f])([0-9a-f]{15}-\d+\.tmp)$/, (_, first, rest) => {
      return `/.${(Number.parseInt(first, 16) ^ 8).toString(16)}${rest}`;
    });
  const { writeExclusive, link, unlink } = host;
  host.writeExclusive = (path, content) => writeExclusive.call(host, own(path), content);
  host.link = (from, to) => link.call(host, own(from), to);
  host.unlink = (path) => unlink.call(host, own(path));
}

/**
 * One MPI job of the simulation: its network and its ranks. They start together; later each lives,
 * dies and is replaced on its own, and the job ends with the last of them.
 */
import { errorCode } from "../base/errors.ts";
import { Random } from "../base/random.ts";
import { PROPOSAL_LANES } from "../rank/lanes.ts";
import { createInProcessNetwork, type InProcessNetwork } from "../transport/in-process.ts";
import type { Transport } from "../transport/transport.ts";
import { RankProcess, type World } from "./rank-process.ts";
import { Violation } from "./trace.ts";
import type { Way } from "./ways.ts";

const VOTE_LANES = 4;

/** Codes with which a rank may stop that is not broken. */
const HALTS: ReadonlyMap<string, Way> = new Map([
  ["SEALED_OUT", "sealed out"],
  ["NOT_ADMITTED", "not admitted"],
  ["STORAGE_AND_MAJORITY_LOST", "storage and majority lost"],
  ["MAJORITY_LOST", "storage and majority lost"],
  ["STORAGE_UNKNOWN", "single host in doubt"],
]);

export class SimulatedJob {
  readonly number: number;
  readonly size: number;
  /** By process number, dead ones included. */
  readonly ranks: RankProcess[] = [];
  readonly network: InProcessNetwork;
  private readonly world: World;
  private readonly onRank: (process: RankProcess) => void;
  private readonly onProcess: (process: RankProcess) => void;
  private readonly share: (endpoint: Transport) => Transport;
  private readonly random: Random;
  /** Code of what ended it: an error at its start, or what its last rank stopped with. */
  ended: string | undefined;
  /** Everybody took part in its first epoch. */
  formed = false;

  constructor(
    world: World,
    options: {
      number: number;
      size: number;
      /** A process exists, and later: it has a loop. */
      onProcess(process: RankProcess): void;
      onRank(process: RankProcess): void;
      /** What a process has of its endpoint: all of it, unless somebody else has a part. */
      share?(endpoint: Transport): Transport;
    },
  ) {
    this.world = world;
    this.number = options.number;
    this.onRank = options.onRank;
    this.onProcess = options.onProcess;
    this.share = options.share ?? ((endpoint) => endpoint);
    this.random = new Random(world.plan.seed, 50_000 + this.number);
    const { plan, clock } = world;
    const { size } = options;
    this.size = size;
    this.network = createInProcessNetwork({
      size,
      lanes: VOTE_LANES + PROPOSAL_LANES,
      clock,
      random: this.random,
      ranksPerHost: Math.min(plan.ranksPerHost, size),
      delayMaxMs: plan.delayMsMax,
      spawnDelayMaxMs: plan.spawnDelayMsMax,
      onSpawn: (endpoint) => this.addProcess(endpoint).start(),
    });
    for (let rank = 0; rank < size; rank++) this.addProcess(this.network.endpoint(rank));
    this.applyFaults();
    world.trace.add(`job ${this.number} starts with ${size} ranks`);
    world.timeline.note(`job ${this.number} starts with ${size} ranks`);
    for (const process of this.ranks) process.start();
  }

  private addProcess(transport: Transport): RankProcess {
    const settings = { ...this.world.plan.settings, ranksWanted: this.size };
    const place = { job: this.number, transport: this.share(transport), settings };
    const process = new RankProcess(this.world, place, {
      onStarted: (started) => this.started(started),
      onStartFailed: (failed, error) => this.startFailed(failed, error),
      onHalt: (halted, code, reason) => this.halted(halted, code, reason),
    });
    this.ranks.push(process);
    this.onProcess(process);
    return process;
  }

  /** The network is as the world is: kind or not. */
  applyFaults(): void {
    const { plan, faulty } = this.world;
    const { network, delayMsMax, spawnFailRate } = plan;
    const kind = { lossRate: 0, reorder: false, collectiveHangRate: 0, collectivePartialRate: 0 };
    Object.assign(this.network.model, kind, { delayMaxMs: delayMsMax, spawnFailRate: 0 });
    if (faulty && this.up) Object.assign(this.network.model, { ...network, spawnFailRate });
  }

  get live(): RankProcess[] {
    return this.ranks.filter(({ alive }) => alive);
  }

  /** Its ranks take part, or took part. */
  get up(): boolean {
    return this.ended === undefined && this.formed;
  }

  private started(process: RankProcess): void {
    this.world.trace.add(`${process.name} started`);
    this.onRank(process);
    this.seeWhetherFormed();
  }

  private seeWhetherFormed(): void {
    if (this.formed || !this.live.every(({ loop }) => loop !== undefined)) return;
    this.formed = true;
    this.applyFaults();
  }

  private startFailed(process: RankProcess, error: unknown): void {
    const code = errorCode(error);
    this.world.trace.add(`${process.name} does not start: ${code}`);
    if (code === "UNKNOWN")
      this.world.fail(
        new Violation("CRASH", `${process.name} does not start: ${String(error)}`, error),
      );
    // Once there is an epoch each fails alone; before it all fail together.
    if (this.ranks.some(({ loop }) => loop !== undefined)) return this.leave(process, code);
    // The first rank knows why; what the others say follows from it.
    if (this.ended === undefined || process.rank === 0) this.ended = code;
    process.kill(false);
  }

  private halted(process: RankProcess, code: string, reason: string): void {
    const { world } = this;
    world.trace.add(`${process.name} halts: ${code}`);
    world.timeline.note(`${process.name} halts: ${code}`);
    const way = HALTS.get(code);
    if (way !== undefined) world.ways.took(way);
    else world.fail(new Violation("HALT", `${process.name}: ${code}: ${reason}`));
    this.leave(process, code);
  }

  /** It ends by itself; the others go on. */
  private leave(process: RankProcess, code: string): void {
    this.network.crash(process.rank);
    process.kill(false);
    if (this.live.length === 0) this.ended ??= code;
    else this.seeWhetherFormed();
  }

  crash(rank: number, withHost: boolean): void {
    this.world.trace.add(`rank ${this.number}.${rank} dies`);
    this.world.timeline.note(`${this.number}.${rank} dies`);
    this.network.crash(rank);
    this.ranks[rank].kill(withHost);
    if (this.live.length === 0) this.ended ??= "KILLED";
  }

  kill(withHosts: boolean): void {
    for (const { rank, alive } of this.ranks) if (alive) this.crash(rank, withHosts);
  }

  /** Nothing passes between these and the others for so long, or until peace. */
  partition(cut: readonly RankProcess[], forMs: number): void {
    if (!this.up) return;
    const others = this.ranks.filter((process) => !cut.includes(process));
    const numbers = (list: readonly RankProcess[]) => list.map(({ rank }) => rank);
    this.network.partition(numbers(cut), numbers(others));
    this.world.clock.after(forMs, () => this.network.heal());
  }

  freeze(forMs: number): void {
    for (const process of this.live) process.freeze(forMs);
  }
}

/** One MPI job of the simulation: its network and its ranks, which start, crash and end together. */
import { errorCode } from "../base/errors.ts";
import { Random } from "../base/random.ts";
import { createInProcessNetwork, type InProcessNetwork } from "../transport/in-process.ts";
import { RankProcess, type World } from "./rank-process.ts";
import { Violation } from "./trace.ts";

const LANES = 4;

export class SimulatedJob {
  readonly number: number;
  readonly ranks: RankProcess[];
  readonly network: InProcessNetwork;
  private readonly world: World;
  private readonly onRank: (process: RankProcess) => void;
  /** Code of what ended it: an error at its start, or a rank that halted. */
  ended: string | undefined;

  constructor(
    world: World,
    options: {
      number: number;
      size: number;
      /** A process exists, and later: it takes part. */
      onProcess(process: RankProcess): void;
      onRank(process: RankProcess): void;
    },
  ) {
    this.world = world;
    this.number = options.number;
    this.onRank = options.onRank;
    const { plan, clock } = world;
    const { size } = options;
    this.network = createInProcessNetwork({
      size,
      lanes: LANES,
      clock,
      random: new Random(plan.seed, 50_000 + this.number),
      ranksPerHost: Math.min(plan.ranksPerHost, size),
      delayMaxMs: plan.delayMsMax,
    });
    const events = {
      onStarted: (process: RankProcess) => this.started(process),
      onStartFailed: (process: RankProcess, error: unknown) => this.startFailed(process, error),
      onHalt: (process: RankProcess, code: string, reason: string) =>
        this.halted(process, code, reason),
    };
    this.ranks = Array.from({ length: size }, (_, rank) => {
      const transport = this.network.endpoint(rank);
      const process = new RankProcess(world, { job: this.number, transport }, events);
      options.onProcess(process);
      return process;
    });
    this.applyFaults();
    world.trace.add(`job ${this.number} starts with ${size} ranks`);
    for (const process of this.ranks) process.start();
  }

  /** The network is as the world is: kind or not. */
  applyFaults(): void {
    const { plan, faulty } = this.world;
    const kind = { lossRate: 0, reorder: false, collectiveHangRate: 0, collectivePartialRate: 0 };
    Object.assign(this.network.model, kind, { delayMaxMs: plan.delayMsMax });
    if (faulty && this.up) Object.assign(this.network.model, plan.network);
  }

  get live(): RankProcess[] {
    return this.ranks.filter(({ alive }) => alive);
  }

  /** All ranks take part. */
  get up(): boolean {
    return (
      this.ended === undefined &&
      this.ranks.every(({ loop, alive }) => !alive || loop !== undefined)
    );
  }

  private started(process: RankProcess): void {
    this.world.trace.add(`${process.name} started`);
    this.onRank(process);
    if (this.up) this.applyFaults();
  }

  private startFailed(process: RankProcess, error: unknown): void {
    const code = errorCode(error);
    this.world.trace.add(`${process.name} does not start: ${code}`);
    if (code === "UNKNOWN")
      this.world.fail(
        new Violation("CRASH", `${process.name} does not start: ${String(error)}`, error),
      );
    // The first rank knows why; what the others say follows from it.
    if (this.ended === undefined || process.rank === 0) this.ended = code;
    process.kill(false);
  }

  /** A rank that halts ends its job, as `transport.abort` does. */
  private halted(process: RankProcess, code: string, reason: string): void {
    this.world.trace.add(`${process.name} halts: ${code}`);
    if (code !== "SEALED_OUT")
      this.world.fail(new Violation("HALT", `${process.name}: ${code}: ${reason}`));
    this.ended = code;
    this.kill(false);
  }

  crash(rank: number, withHost: boolean): void {
    this.world.trace.add(`rank ${this.number}.${rank} dies`);
    this.network.crash(rank);
    this.ranks[rank].kill(withHost);
  }

  kill(withHosts: boolean): void {
    for (const { rank, alive } of this.ranks) if (alive) this.crash(rank, withHosts);
  }

  freeze(forMs: number): void {
    for (const { clock } of this.ranks) clock.freeze(forMs);
  }
}

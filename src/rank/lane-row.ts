/**
 * Collectives of one kind, one a round: round r goes on lane `first + r mod count`. The k-th call on a
 * lane must mean the same round to everybody, so each member contributes to each round once and in
 * round order, with nothing where it has nothing to say. Main thread.
 */
import type { Transport } from "../transport/transport.ts";

const NEVER = Number.POSITIVE_INFINITY;
const NOTHING = new Uint8Array(0);

export interface LaneRowOptions {
  readonly transport: Pick<Transport, "allgather" | "lanePoisoned">;
  readonly first: number;
  readonly count: number;
  /** Of one contribution; equal at all members. */
  readonly bytesMax: number;
  readonly deadlineMs: number;
  /** The last round that was settled before this epoch, at all members: none goes by these lanes. */
  readonly settled: number;
}

export class LaneRow {
  private readonly options: LaneRowOptions;
  /** First round that goes by collective. */
  private from = NEVER;
  /** All rounds up to this one have their contribution. */
  private passed: number;
  /** Contributions to later rounds, which wait for those before them. */
  private readonly early = new Map<number, Uint8Array>();
  /** By lane: rounds whose collective is under way, oldest first. */
  private readonly underWay: number[][];

  constructor(options: LaneRowOptions) {
    this.options = options;
    this.passed = options.settled;
    this.underWay = Array.from({ length: options.count }, () => []);
  }

  has(lane: number): boolean {
    const { first, count } = this.options;
    return lane >= first && lane < first + count;
  }

  /** Members use the lanes from this round on: who hears of it late makes up for what it missed. */
  use(round: number): void {
    if (this.from !== NEVER) return;
    this.from = round;
    const first = Math.max(round, this.options.settled + 1);
    for (let missed = first; missed <= this.passed; missed++) this.gather(missed, NOTHING);
  }

  isUsed(round: number): boolean {
    return round >= this.from && !this.poisoned(round);
  }

  /**
   * Contributes to `round`, unless that is done already. True when these bytes go by collective: else
   * they are the caller's to send.
   */
  contribute(round: number, bytes: Uint8Array): boolean {
    if (round <= this.passed || this.early.has(round)) return false;
    const fits = bytes.length <= this.options.bytesMax;
    const goes = fits && this.isUsed(round);
    this.early.set(round, goes ? bytes : NOTHING);
    for (;;) {
      const next = this.early.get(this.passed + 1);
      if (next === undefined) return goes;
      this.passed++;
      this.early.delete(this.passed);
      if (this.passed >= this.from) this.gather(this.passed, next);
    }
  }

  /** Whatever was not contributed to rounds up to this one never will be. */
  skipTo(round: number): void {
    for (let next = this.passed + 1; next <= round; next++) this.contribute(next, NOTHING);
  }

  /** The oldest collective of that lane has ended. */
  ended(lane: number): void {
    this.underWay[lane - this.options.first].shift();
  }

  /** Rounds whose collectives have not ended. */
  get open(): readonly number[] {
    return this.underWay.flat();
  }

  /** Rounds whose collectives never will, each told once. */
  takeLost(): number[] {
    const { first } = this.options;
    const isLost = (index: number) => this.options.transport.lanePoisoned(first + index);
    return this.underWay.flatMap((rounds, index) => (isLost(index) ? rounds.splice(0) : []));
  }

  private gather(round: number, bytes: Uint8Array): void {
    const { transport, bytesMax, deadlineMs } = this.options;
    if (this.poisoned(round)) return;
    this.underWay[round % this.options.count].push(round);
    transport.allgather(this.lane(round), bytes, bytesMax, deadlineMs);
  }

  private poisoned(round: number): boolean {
    return this.options.transport.lanePoisoned(this.lane(round));
  }

  private lane(round: number): number {
    return this.options.first + (round % this.options.count);
  }
}

/**
 * How long the deadlines of rounds are, as a multiple: they double when proposals come, or are judged, only
 * after this rank's vote, and go back bit by bit. Without that a job whose rounds take longer than the
 * deadlines allow would include nothing, for ever. Pure.
 */
import type { EpochView } from "./effects.ts";

const TIMES_MAX = 32;
/** What is left of it after a round in which nothing was missing. */
const KEPT = 0.9;

export class Patience {
  times = 1;
  private readonly epoch: EpochView;
  /** Members, this rank aside, who have to be late in one round. */
  private readonly many: number;
  private lastLate = 0;
  private readonly late = new Map<number, Set<number>>();

  /** `mayLie`: f members of a byzantine epoch may be late on purpose; one more is none of them. */
  constructor(epoch: EpochView, mayLie: boolean) {
    this.epoch = epoch;
    this.many = mayLie ? epoch.ranks - epoch.answersMin + 1 : 1;
  }

  /** `rank`'s proposal of a round that this rank has voted in came only now; its own one: was judged. */
  wasLate(round: number, rank: number): void {
    if (round <= this.lastLate) return;
    const ranks = this.late.get(round) ?? new Set();
    this.late.set(round, ranks.add(rank));
    if (rank !== this.epoch.self && ranks.size < this.many) return;
    this.lastLate = round;
    this.times = Math.min(2 * this.times, TIMES_MAX);
  }

  /** This rank votes in a round with everything there and judged. */
  wasComplete(): void {
    this.times = Math.max(1, KEPT * this.times);
  }

  settled(round: number): void {
    for (const each of this.late.keys()) if (each <= round) this.late.delete(each);
  }
}

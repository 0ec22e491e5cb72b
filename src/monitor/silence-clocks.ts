/**
 * How long each member has been silent, in time that this rank has itself been awake to hear it.
 * A rank that was stopped, or starved of its core, knows nothing of the time between: it would call
 * everybody dead on waking, while their messages still wait to be read. So a gap between two steps
 * counts up to a bound only, and a long one starts all clocks afresh; as that happens once in a
 * while at most, a member that is truly silent is found even by a rank that is always late.
 */

export interface SilenceClocksOptions {
  readonly ranks: number;
  readonly heartbeatMs: number;
  readonly suspectMs: number;
  readonly evictMs: number;
  readonly now: number;
}

export class SilenceClocks {
  private readonly options: SilenceClocksOptions;
  /** The most that one gap between two steps counts. */
  private readonly gapMax: number;
  private steppedAt: number;
  private restartedAt = Number.NEGATIVE_INFINITY;
  /** Milliseconds awake since the start of the epoch: the time of all clocks here. */
  awake = 0;
  /** By member: when it was last heard, by the clock of the caller. */
  private readonly heardAt: Float64Array;
  /** Heard since the last step. */
  private readonly fresh: Uint8Array;
  /** Awake time from which silence counts. */
  private readonly from: Float64Array;

  constructor(options: SilenceClocksOptions) {
    const { ranks, suspectMs, now } = options;
    this.options = options;
    this.gapMax = suspectMs / 4;
    this.steppedAt = now;
    this.heardAt = new Float64Array(ranks).fill(now);
    this.fresh = new Uint8Array(ranks);
    // Members enter an epoch one after the other, as they learn of its SEAL.
    this.from = new Float64Array(ranks).fill(suspectMs);
  }

  heard(rank: number, now: number): void {
    this.heardAt[rank] = now;
    this.fresh[rank] = 1;
  }

  heardAgoMs(rank: number, now: number): number {
    return Math.max(0, now - this.heardAt[rank]);
  }

  /**
   * Goes on to `now`; calls back for each member heard since the last time. Answers the gap since
   * then if this rank was away in it, and 0 otherwise.
   */
  advance(now: number, onHeard: (rank: number) => void): number {
    const { suspectMs, evictMs } = this.options;
    const gap = Math.max(0, now - this.steppedAt);
    const counted = Math.min(gap, this.gapMax);
    this.steppedAt = now;
    this.awake += counted;
    const isLate = gap > suspectMs / 2;
    if (isLate && this.awake - this.restartedAt >= 2 * evictMs) this.restartedAt = this.awake;
    for (let rank = 0; rank < this.fresh.length; rank++) {
      if (this.fresh[rank] === 0) continue;
      this.fresh[rank] = 0;
      const heard = this.awake - Math.min(Math.max(0, now - this.heardAt[rank]), counted);
      if (heard > this.from[rank]) this.from[rank] = heard;
      onHeard(rank);
    }
    return isLate ? gap : 0;
  }

  silence(rank: number): number {
    return this.awake - Math.max(this.from[rank], this.restartedAt);
  }

  /** Whether something said at `at` (awake time) was said before the clocks started afresh. */
  isStale(at: number): boolean {
    return at < this.restartedAt || this.awake - at > 2 * this.options.evictMs;
  }

  /**
   * There is reason to look closer at `rank`: unless it was heard just now, it counts as silent for
   * half of what makes a suspect. Of a member that was not watched, older silence says nothing.
   */
  hurry(rank: number, wasWatched: boolean): void {
    const { heartbeatMs, suspectMs } = this.options;
    if (this.awake - this.from[rank] <= 2 * heartbeatMs) return;
    const half = this.awake - suspectMs / 2;
    this.from[rank] = wasWatched ? Math.min(this.from[rank], half) : half;
  }
}

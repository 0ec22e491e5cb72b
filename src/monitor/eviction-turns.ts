/**
 * When this rank proposes the SEAL that goes on without some members. The lowest member that is not
 * suspected is first, the k-th comes k·Δ later if the epoch has not ended by then: whoever is first
 * may have died too. Deaths that come together are waited for a moment, so that the death of a host
 * is one SEAL. Times are those of the caller's clock.
 */

export interface TurnTiming {
  /** A death may be followed so long by another that belongs to it. */
  readonly gatherMs: number;
  /** Longer than that nobody waits, however many die one after the other. */
  readonly gatherMaxMs: number;
  readonly turnDelayMs: number;
  /** Until the first repetition; each next one takes twice as long, up to BACK_OFF_MAX_MS. */
  readonly repeatMs: number;
}

const BACK_OFF_MAX_MS = 30_000;

export class EvictionTurns {
  private readonly timing: TurnTiming;
  private ranks: readonly number[] = [];
  private firstAt = 0;
  private grownAt = 0;
  private proposals = 0;
  private proposedAt = 0;
  /** When `take` has to be called again. */
  dueAt = Number.POSITIVE_INFINITY;

  constructor(timing: TurnTiming) {
    this.timing = timing;
  }

  /** `ranks` may be evicted now and `place` members come before this one: is it this one's turn? */
  take(ranks: readonly number[], place: number, now: number): boolean {
    const hasGrown = ranks.some((rank) => !this.ranks.includes(rank));
    if (hasGrown) {
      if (this.ranks.length === 0 || this.proposals > 0) this.firstAt = now;
      this.grownAt = now;
      this.proposals = 0;
    }
    this.ranks = ranks;
    this.dueAt = ranks.length === 0 ? Number.POSITIVE_INFINITY : this.due(place);
    if (now < this.dueAt) return false;
    this.proposals++;
    this.proposedAt = now;
    this.dueAt = this.due(place);
    return true;
  }

  private due(place: number): number {
    const { gatherMs, gatherMaxMs, turnDelayMs, repeatMs } = this.timing;
    if (this.proposals > 0) {
      const backOff = repeatMs * 2 ** Math.min(this.proposals - 1, 16);
      return this.proposedAt + Math.min(backOff, Math.max(BACK_OFF_MAX_MS, repeatMs));
    }
    const gathered = Math.min(this.grownAt + gatherMs, this.firstAt + gatherMaxMs);
    return gathered + place * turnDelayMs;
  }
}

/**
 * How many of this rank's own transactions that are not settled are last valid in which round: so that
 * a round that is over need not be compared with all of them. Main thread.
 */
import { VALIDITY_ROUNDS_MAX } from "../limits.ts";

/** What is accepted is last valid in one of the rounds ahead: each has a place of its own. */
const RING = VALIDITY_ROUNDS_MAX + 1;

export class LastRounds {
  private readonly counts = new Int32Array(RING);

  /** Answers the place of the round, for `settled`. */
  accepted(lastValidRound: number): number {
    const place = lastValidRound % RING;
    this.counts[place]++;
    return place;
  }

  settled(place: number): void {
    this.counts[place]--;
  }

  has(round: number): boolean {
    return this.counts[round % RING] > 0;
  }
}

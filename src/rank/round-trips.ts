/**
 * How long own proposals take to be agreed. Where that is short, a transaction that finds none of its
 * rank's own under way goes at once; what comes meanwhile is gathered, and goes together (as in RFC
 * 896). Where ranks share cores a round is long, and waiting for more to go with it costs less than it
 * saves.
 */

/** A round is short that takes this part of the block delay at most */
const SHORT = 2 / 5;
/** Of a new round in the mean. */
const WEIGHT = 1 / 8;

export class RoundTrips {
  /** Mean of the newest ones, ms; 0 as long as nothing is known. */
  meanMs = 0;
  /** Round → when its proposal was ready. */
  private readonly open = new Map<number, number>();

  /** A proposal that is not empty. */
  proposed(round: number, now: number): void {
    this.open.set(round, now);
  }

  agreed(round: number, now: number): void {
    const since = this.open.get(round);
    if (since === undefined) return;
    this.open.delete(round);
    this.meanMs += WEIGHT * (now - since - this.meanMs);
  }

  /** It was settled otherwise, or will never be. */
  over(round: number): void {
    this.open.delete(round);
  }

  areShort(blockDelayMs: number): boolean {
    return this.meanMs <= SHORT * blockDelayMs;
  }
}

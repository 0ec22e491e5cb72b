/**
 * What this rank believes of each member, by member. Suspected: silent or certainly dead; the two
 * differ in that who is silent may be heard again.
 */

/** After so many evictMs without a wrong suspicion a member is as little waited for as any other. */
const FORGIVEN_AFTER = 10;
/** Beyond any evictMs in suspectMs, which is what bounds the wait. */
const PATIENCE_MAX = 128;

export class MemberStates {
  readonly suspected: Uint8Array;
  /** Its process has ended. */
  readonly certain: Uint8Array;
  /** Its heartbeats come to this rank. */
  readonly ring: Uint8Array;
  /** There was reason to look closer, and it has not been heard since. */
  readonly checked: Uint8Array;
  /** This rank is one of those who tell the others of it. */
  readonly firstHand: Uint8Array;
  /** Awake times (silence-clocks.ts) of the last probe and of the last accusation. */
  readonly probedAt: Float64Array;
  readonly accusedAt: Float64Array;
  /** How many suspectMs of silence it is allowed, and when it was last suspected wrongly. */
  private readonly patience: Uint8Array;
  private readonly absolvedAt: Float64Array;

  constructor(ranks: number) {
    this.suspected = new Uint8Array(ranks);
    this.certain = new Uint8Array(ranks);
    this.ring = new Uint8Array(ranks);
    this.checked = new Uint8Array(ranks);
    this.firstHand = new Uint8Array(ranks);
    this.probedAt = new Float64Array(ranks).fill(Number.NEGATIVE_INFINITY);
    this.accusedAt = new Float64Array(ranks).fill(Number.NEGATIVE_INFINITY);
    this.patience = new Uint8Array(ranks).fill(1);
    this.absolvedAt = new Float64Array(ranks).fill(Number.NEGATIVE_INFINITY);
  }

  /** Suspected, and may be heard again. */
  isSilent(rank: number): boolean {
    return this.suspected[rank] === 1 && this.certain[rank] === 0;
  }

  /** This rank waits to hear it. */
  isWatched(rank: number): boolean {
    return this.ring[rank] === 1 || this.checked[rank] === 1;
  }

  suspect(rank: number): void {
    this.suspected[rank] = 1;
    this.checked[rank] = 0;
    this.firstHand[rank] = 1;
  }

  bury(rank: number, isFirstHand: boolean): void {
    this.suspected[rank] = 1;
    this.certain[rank] = 1;
    this.checked[rank] = 0;
    this.firstHand[rank] = Number(isFirstHand);
  }

  /** It was suspected wrongly: next time it is waited for twice as long. */
  absolve(rank: number, awake: number, evictMs: number): void {
    this.patience[rank] = Math.min(2 * this.patienceWith(rank, awake, evictMs), PATIENCE_MAX);
    this.absolvedAt[rank] = awake;
    this.suspected[rank] = 0;
    this.firstHand[rank] = 0;
  }

  /** Multiples of suspectMs that `rank` may be silent. */
  patienceWith(rank: number, awake: number, evictMs: number): number {
    return awake - this.absolvedAt[rank] > FORGIVEN_AFTER * evictMs ? 1 : this.patience[rank];
  }
}

/**
 * Transactions that the ranks are asked for: so many a second of each rank, spread evenly over ranks
 * and time. Transactions are numbered in the order they come, so that a proposal is a span of numbers
 * and the time at which each came follows from its number.
 */
import { RoundTrips } from "../rank/round-trips.ts";

export interface LoadOptions {
  /** Transactions a second of each rank. */
  readonly perRank: number;
  readonly ranks: number;
  readonly blockTransactions: number;
  readonly blockDelayMs: number;
  /** Blocks in one proposal, at most. */
  readonly proposalBlocksMax: number;
}

/** Transactions first … first + count - 1 that `ranks` ranks propose together. */
export interface Batch {
  readonly first: number;
  readonly count: number;
}

export interface Share {
  readonly batches: readonly Batch[];
  readonly count: number;
  /** Blocks of all ranks together. */
  readonly blocks: number;
  /** Blocks, and transactions, of the rank that proposes most. */
  readonly blocksMost: number;
  readonly most: number;
}

export class Load {
  readonly roundTrips = new RoundTrips();
  private readonly options: LoadOptions;
  /** Transactions a millisecond of all ranks. */
  private readonly rate: number;
  private readonly startedAt: number;
  private ranks: number;
  private taken = 0;
  private returned: Batch[] = [];
  private returnedCount = 0;
  /** Proposed and not final. */
  private inFlight = 0;

  constructor(options: LoadOptions, startedAt: number) {
    this.options = options;
    this.rate = (options.perRank * options.ranks) / 1000;
    this.ranks = options.ranks;
    this.startedAt = startedAt;
  }

  /** When transaction `number` came. */
  cameAt(number: number): number {
    return this.startedAt + (number + 1) / this.rate;
  }

  /** How many came by `time`. */
  came(time: number): number {
    // What came at this very moment has come, whatever rounding says.
    return Math.max(0, Math.floor((time - this.startedAt) * this.rate + 1e-6));
  }

  waiting(now: number): number {
    return this.came(now) - this.taken + this.returnedCount;
  }

  /** As rank/demand.ts: a rank that has nothing under way waits for nothing where rounds are short. */
  private get delayMs(): number {
    const { blockDelayMs } = this.options;
    // Of most ranks nothing is under way: so many have one transaction each, or fewer have more.
    const areIdle = this.inFlight < this.ranks / 2;
    return areIdle && this.roundTrips.areShort(blockDelayMs) ? 0 : blockDelayMs;
  }

  /** When somebody has a block to propose: a full one, or one whose oldest waited long enough. */
  dueAt(now: number): number {
    if (this.returnedCount > 0) return now;
    const { blockTransactions } = this.options;
    const waited = this.cameAt(this.taken) + this.delayMs;
    const full = this.cameAt(this.taken + blockTransactions * this.ranks - 1);
    return Math.min(waited, full);
  }

  /** The ranks have full blocks of their own: nobody has to be rung. */
  allDue(now: number): boolean {
    return this.waiting(now) >= this.options.blockTransactions * this.ranks;
  }

  /** Takes what `ranks` of the ranks propose now: full blocks, and what has waited long enough. */
  take(now: number, ranks: number): Share {
    const { blockTransactions, proposalBlocksMax } = this.options;
    const mean = (this.came(now) - this.taken) / ranks;
    // Of a rank that fills block after block only the last one is not full, and it may wait.
    const ready =
      mean >= 2 * blockTransactions
        ? Math.floor(mean / blockTransactions) * blockTransactions * ranks
        : Math.max(
            this.came(now - this.delayMs) - this.taken,
            mean >= blockTransactions ? blockTransactions * ranks : 0,
          );
    const room = proposalBlocksMax * blockTransactions * ranks;
    const batches = this.returned;
    const back = this.returnedCount;
    this.returned = [];
    this.returnedCount = 0;
    const fresh = Math.max(0, Math.min(ready, room - back, this.came(now) - this.taken));
    if (fresh > 0) batches.push({ first: this.taken, count: fresh });
    this.taken += fresh;
    const count = back + fresh;
    this.inFlight += count;
    const most = Math.ceil(count / ranks);
    const blocksMost = Math.ceil(most / blockTransactions);
    const full = Math.floor(count / ranks);
    const withMore = count - full * ranks;
    const blocks =
      withMore * Math.ceil((full + 1) / blockTransactions) +
      (ranks - withMore) * Math.ceil(full / blockTransactions);
    return { batches, count, blocks, blocksMost, most };
  }

  /** What was proposed in vain waits again. */
  giveBack(batches: readonly Batch[]): void {
    for (const batch of batches) {
      this.returned.push(batch);
      this.returnedCount += batch.count;
      this.inFlight -= batch.count;
    }
  }

  /** So many of what was proposed are final. */
  settled(count: number): void {
    this.inFlight -= count;
  }

  /** So many ranks go on; what the others had accepted is not asked for again. */
  shrink(ranks: number): void {
    this.ranks = ranks;
  }
}

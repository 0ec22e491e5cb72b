/**
 * Own blocks whose fate is not final: which of this rank's transactions wait for which receipt.
 * The transactions themselves stay in the transaction queue, split off as one chain a block, so
 * that giving them back or settling them is O(1). Main thread.
 */
import { assert } from "../base/assert.ts";
import { toHex } from "../base/bytes.ts";
import type { ReceiptBatch } from "../ledger/service.ts";
import type { ForgettingWatch } from "../ledger/state.ts";
import type { BlockQueue } from "../queue/block-queue.ts";
import { type Chain, NONE } from "../queue/keyed-fifo.ts";
import { LAST_ROUND, type TransactionQueue } from "../queue/transaction-queue.ts";
import { LastRounds } from "./last-rounds.ts";
import { RoundTrips } from "./round-trips.ts";

interface OwnBlock {
  readonly chain: Chain;
  outcomes: Uint8Array | undefined;
}

/** Receipts of one owner, collected in reused arrays. */
class Collector {
  count = 0;
  tags = new Int32Array(1024);
  times = new Float64Array(1024);
  outcomes = new Uint8Array(1024);
  ids = new Uint8Array(32 * 1024);
  idWords = new Int32Array(this.ids.buffer);

  grow(): void {
    const capacity = 2 * this.tags.length;
    const grown = new Collector();
    grown.tags = new Int32Array(capacity);
    grown.times = new Float64Array(capacity);
    grown.outcomes = new Uint8Array(capacity);
    grown.ids = new Uint8Array(32 * capacity);
    for (const field of ["tags", "times", "outcomes", "ids"] as const) {
      (grown[field] as Uint8Array).set(this[field] as Uint8Array);
      (this[field] as unknown) = grown[field];
    }
    this.idWords = new Int32Array(this.ids.buffer);
  }

  batch(level: "agreed" | "final"): ReceiptBatch {
    const { count, tags, times, outcomes, ids } = this;
    return { level, count, tags, times, outcomes, ids };
  }
}

export class OwnBlocks implements ForgettingWatch {
  private readonly transactions: TransactionQueue;
  private readonly deliver: (owner: number, batch: ReceiptBatch) => void;
  private readonly rounds = new Map<number, OwnBlock[]>();
  private readonly collectors: Collector[] = [];
  /** Outcomes of transactions that are still here though another rank's block had them, by txnID. */
  private readonly first = new Map<string, number>();
  inFlight = 0;
  readonly lastRounds = new LastRounds();
  readonly roundTrips = new RoundTrips();
  /** The queue's txnIDs, eight words each. */
  private readonly idWords: Int32Array;

  constructor(
    transactions: TransactionQueue,
    deliver: (owner: number, batch: ReceiptBatch) => void,
  ) {
    this.transactions = transactions;
    const { ids } = transactions.fifo;
    this.idWords = new Int32Array(ids.buffer, ids.byteOffset, ids.length / 4);
    this.deliver = deliver;
  }

  /** Takes over the transactions of these blocks of the outgoing queue. */
  add(round: number, outgoing: BlockQueue, slots: readonly number[], now: number): void {
    if (slots.length > 0) this.roundTrips.proposed(round, now);
    const { words, times } = outgoing.fifo;
    const blocks = slots.map((slot): OwnBlock => {
      const chain = {
        head: times[2 * slot],
        tail: times[2 * slot + 1],
        count: words[4 * slot + 1],
      };
      this.inFlight += chain.count;
      return { chain, outcomes: undefined };
    });
    this.rounds.set(round, blocks);
  }

  /** Pending blocks that will never be proposed: their transactions wait again. */
  discard(outgoing: BlockQueue, blocks: number): void {
    const chainOfBlocks = outgoing.takePending(blocks);
    const { words, times } = outgoing.fifo;
    const chains: Chain[] = [];
    for (let slot = chainOfBlocks.head; slot !== NONE; slot = outgoing.fifo.next(slot)) {
      const head = times[2 * slot];
      chains.push({ head, tail: times[2 * slot + 1], count: words[4 * slot + 1] });
      if (chains.length === chainOfBlocks.count) break;
    }
    for (const chain of chains.reverse()) this.transactions.retryLater(chain);
    outgoing.free(chainOfBlocks);
  }

  has(round: number): boolean {
    return this.rounds.has(round);
  }

  /** Block `index` of own proposal of `round` was executed. */
  executed(round: number, index: number, outcomes: Uint8Array): void {
    const block = this.rounds.get(round)?.[index];
    assert(block !== undefined, "an own block that is executed was proposed");
    block.outcomes = outcomes;
  }

  expects(round: number): boolean {
    return this.lastRounds.has(round);
  }

  /**
   * The window of an executed transaction ends. Should it be here as well, a later block of this rank
   * will find it expired; its first receipt is its receipt all the same.
   */
  forgotten(id: Uint8Array, outcome: number): void {
    if (this.transactions.byId(id, 0) !== NONE) this.first.set(toHex(id), outcome);
  }

  agreed(round: number, now: number): void {
    this.roundTrips.agreed(round, now);
    for (const { chain } of this.rounds.get(round) ?? []) this.collect(chain, undefined);
    this.flush("agreed");
  }

  /** The round is final with these blocks in it: receipts go out, the transactions are done. */
  settle(round: number): void {
    this.roundTrips.over(round);
    for (const { chain, outcomes } of this.rounds.get(round) ?? []) {
      assert(outcomes !== undefined, "own blocks of a final round were executed");
      this.collect(chain, outcomes);
      this.inFlight -= chain.count;
      this.transactions.settle(chain);
    }
    this.rounds.delete(round);
    this.flush("final");
  }

  /** The round is final without these blocks: their transactions wait again. */
  giveBack(round: number): number {
    this.roundTrips.over(round);
    const blocks = this.rounds.get(round) ?? [];
    this.rounds.delete(round);
    let count = 0;
    // Last block first: each goes before the one that followed it.
    for (const { chain } of blocks.toReversed()) {
      count += chain.count;
      this.transactions.retryLater(chain);
    }
    this.inFlight -= count;
    return count;
  }

  private collect(chain: Chain, outcomes: Uint8Array | undefined): void {
    const { fifo } = this.transactions;
    const { words, times } = fifo;
    const idWords = this.idWords;
    let slot = chain.head;
    for (let i = 0; i < chain.count; i++) {
      assert(slot !== NONE, "a chain has as many elements as it says");
      const owner = words[4 * slot];
      const to = (this.collectors[owner] ??= new Collector());
      if (to.count === to.tags.length) to.grow();
      const at = to.count++;
      to.tags[at] = words[4 * slot + 1];
      to.times[at] = times[2 * slot];
      to.outcomes[at] = outcomes === undefined ? 0 : outcomes[i];
      for (let k = 0; k < 8; k++) to.idWords[8 * at + k] = idWords[8 * slot + k];
      if (outcomes !== undefined) this.lastRounds.settled(words[4 * slot + LAST_ROUND]);
      if (outcomes !== undefined && this.first.size > 0) this.recall(to, at);
      slot = fifo.next(slot);
    }
  }

  /** What was told, or would have been, of the first time that it was executed. */
  private recall({ ids, outcomes }: Collector, at: number): void {
    const id = toHex(ids, 32 * at, 32 * at + 32);
    outcomes[at] = this.first.get(id) ?? outcomes[at];
    this.first.delete(id);
  }

  private flush(level: "agreed" | "final"): void {
    for (const [owner, collector] of this.collectors.entries()) {
      if (collector === undefined || collector.count === 0) continue;
      this.deliver(owner, collector.batch(level));
      collector.count = 0;
    }
  }
}

/**
 * Step 7: runs what a final record includes, in the order that consensus fixed, from the incoming
 * queue or, where the record was read from storage, from its own bytes. Main thread.
 */
import { assert } from "../base/assert.ts";
import { copyRange } from "../base/copy.ts";
import type { ProposalName } from "../consensus/effects.ts";
import { createBlockLocation, locateBlock } from "../ledger/block.ts";
import type { LedgerRecord } from "../ledger/record.ts";
import { replayRounds, settledBy } from "../ledger/replay.ts";
import type { RankContext } from "./context.ts";
import type { HeldProposal } from "./proposals.ts";

const location = createBlockLocation();

export class Execution {
  private readonly rank: RankContext;
  /** Judges a proposal that is executed though this rank abstained on it. */
  private readonly ensureChecked: (held: HeldProposal) => void;
  // Of the round that is executed: its blocks, their hashes and outcomes. Grown, never shrunk.
  private blocks = new Uint32Array(4 * 64);
  private hashes = new Uint8Array(32 * 64);
  private outcomes = new Uint8Array(1024);

  constructor(rank: RankContext, ensureChecked: (held: HeldProposal) => void) {
    this.rank = rank;
    this.ensureChecked = ensureChecked;
  }

  execute(round: number, order: readonly ProposalName[]): void {
    const { chain, counters, incoming, proposals, session } = this.rank;
    let count = 0;
    let transactions = 0;
    let own: HeldProposal | undefined;
    let ownBlock = 0;
    let ownTransaction = 0;
    for (const { rank, hash } of order) {
      const held = proposals.get(round, rank, hash);
      assert(held !== undefined, `the proposal of rank ${rank} in round ${round} is held`);
      this.ensureChecked(held);
      if (rank === session.self) {
        own = held;
        ownBlock = count;
        ownTransaction = transactions;
      }
      this.reserveBlocks(count + held.slots.length);
      for (const slot of held.slots) transactions += this.place(slot, count++);
    }
    if (this.outcomes.length < transactions) this.outcomes = new Uint8Array(2 * transactions);
    chain.orderBlocks(this.hashes, count);
    const { blocks } = this;
    const { bytes } = incoming.fifo;
    chain.executeBlocks({ bytes, blocks, count, transactions, ids: bytes }, round, this.outcomes);
    counters.blocks += count;
    counters.transactions += transactions;
    if (own !== undefined) this.tellOwn(own, ownBlock, ownTransaction);
    chain.endRound(round);
  }

  private reserveBlocks(count: number): void {
    if (32 * count <= this.hashes.length) return;
    const grown = { blocks: new Uint32Array(8 * count), hashes: new Uint8Array(64 * count) };
    grown.blocks.set(this.blocks);
    grown.hashes.set(this.hashes);
    Object.assign(this, grown);
  }

  /** Notes where block `index` of the round lies; answers how many transactions it has. */
  private place(slot: number, index: number): number {
    const { incoming } = this.rank;
    const { bytes } = incoming.fifo;
    locateBlock(bytes, incoming.messageOffset(slot), incoming.messageLength(slot), location);
    this.blocks[4 * index] = location.bodyOffset;
    this.blocks[4 * index + 1] = location.bodyLength;
    this.blocks[4 * index + 2] = location.txnCounter;
    this.blocks[4 * index + 3] = incoming.idsOffset(slot);
    copyRange(incoming.fifo.ids, 32 * slot, 32, this.hashes, 32 * index);
    return location.txnCounter;
  }

  private tellOwn(held: HeldProposal, firstBlock: number, firstTransaction: number): void {
    let at = firstTransaction;
    for (let index = 0; index < held.slots.length; index++) {
      const end = at + this.blocks[4 * (firstBlock + index) + 2];
      this.rank.own.executed(held.round, index, this.outcomes.slice(at, end));
      at = end;
    }
  }

  /** The whole of a record that was read: its blocks need not be held. */
  replay(record: LedgerRecord): void {
    const { chain, own, session } = this.rank;
    replayRounds(chain, settledBy(record), ({ round, rank, index }, outcomes) => {
      this.rank.counters.blocks++;
      this.rank.counters.transactions += outcomes.length;
      if (rank === session.self && own.has(round)) own.executed(round, index, outcomes.slice());
    });
  }
}

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
import { BLOCK_TXNS_MAX } from "../limits.ts";
import type { RankContext } from "./context.ts";
import type { HeldProposal } from "./proposals.ts";

const location = createBlockLocation();

export class Execution {
  private readonly rank: RankContext;
  /** Judges a proposal that is executed though this rank abstained on it. */
  private readonly ensureChecked: (held: HeldProposal) => void;
  private readonly outcomes = new Uint8Array(BLOCK_TXNS_MAX);

  constructor(rank: RankContext, ensureChecked: (held: HeldProposal) => void) {
    this.rank = rank;
    this.ensureChecked = ensureChecked;
  }

  execute(round: number, order: readonly ProposalName[]): void {
    const { chain, proposals } = this.rank;
    const all: HeldProposal[] = [];
    let blocks = 0;
    for (const { rank, hash } of order) {
      const held = proposals.get(round, rank, hash);
      assert(held !== undefined, `the proposal of rank ${rank} in round ${round} is held`);
      this.ensureChecked(held);
      all.push(held);
      blocks += held.slots.length;
    }
    this.orderBlocks(all, blocks);
    for (const held of all) this.executeProposal(held);
    chain.endRound(round);
  }

  /** Fixes the place of every block of a round at once: their hashes form one chain. */
  private orderBlocks(all: readonly HeldProposal[], blocks: number): void {
    const { ids } = this.rank.incoming.fifo;
    const hashes = new Uint8Array(32 * blocks);
    let at = 0;
    for (const { slots } of all) {
      for (const slot of slots) {
        copyRange(ids, 32 * slot, 32, hashes, at);
        at += 32;
      }
    }
    this.rank.chain.orderBlocks(hashes, blocks);
  }

  private executeProposal(held: HeldProposal): void {
    const { chain, incoming, own, session } = this.rank;
    const { bytes } = incoming.fifo;
    for (let index = 0; index < held.slots.length; index++) {
      const slot = held.slots[index];
      locateBlock(bytes, incoming.messageOffset(slot), incoming.messageLength(slot), location);
      const { bodyOffset, bodyLength, txnCounter: count } = location;
      const idsOffset = incoming.idsOffset(slot);
      const block = { bytes, bodyOffset, bodyLength, count, ids: bytes, idsOffset };
      chain.executeBlock(block, held.round, this.outcomes);
      this.rank.counters.blocks++;
      this.rank.counters.transactions += count;
      if (held.rank === session.self)
        own.executed(held.round, index, this.outcomes.slice(0, count));
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

/**
 * The work of a block-worker: judges blocks where they lie in the incoming queue and leaves their
 * txnIDs behind each message. The same code runs in a worker thread and inline.
 */
import { readU32, readU64 } from "../base/bytes.ts";
import {
  BLOCK_OFFSET,
  type BlockExpectations,
  checkBlock,
  createBlockCheck,
} from "../ledger/block.ts";
import { VERDICT, type Verdict } from "../ledger/verdict.ts";
import type { BlockQueue } from "./block-queue.ts";

export interface CheckRequest {
  /** Header of the proposal that the blocks are part of, already checked against the epoch. */
  readonly proposal: Uint8Array;
  /** genesis.difficulty and genesis.blockTransactionsMax. */
  readonly difficulty: number;
  readonly transactionsMax: number;
  readonly anchor: Uint8Array;
  /** Slots of the incoming queue, in order of the proposal. */
  readonly slots: readonly number[];
}

const check = createBlockCheck();

/** The verdict of the first block that is not good, or OK. */
export function checkBlocks(request: CheckRequest, incoming: BlockQueue): Verdict {
  const { proposal, anchor } = request;
  const expectations: BlockExpectations = {
    chainId: proposal.subarray(BLOCK_OFFSET.chainId, BLOCK_OFFSET.epoch),
    epoch: proposal.subarray(BLOCK_OFFSET.epoch, BLOCK_OFFSET.anchor),
    round: readU64(proposal, BLOCK_OFFSET.round),
    rank: readU32(proposal, BLOCK_OFFSET.rank),
    incarnation: proposal.subarray(BLOCK_OFFSET.incarnation, BLOCK_OFFSET.creationTime),
    index: 0,
    difficulty: request.difficulty,
    transactionsMax: request.transactionsMax,
    // Whether the proposal's anchor is on the chain was asked before; its blocks must share it.
    checkAnchor: (bytes, offset) => {
      for (let i = 0; i < 32; i++) if (bytes[offset + i] !== anchor[i]) return VERDICT.ANCHOR_STALE;
      return VERDICT.OK;
    },
  };
  const { bytes } = incoming.fifo;
  for (const [index, slot] of request.slots.entries()) {
    expectations.index = index;
    const at = incoming.messageOffset(slot);
    const length = incoming.messageLength(slot);
    const verdict = checkBlock(
      bytes,
      at,
      length,
      expectations,
      bytes,
      incoming.idsOffset(slot),
      check,
    );
    if (verdict !== VERDICT.OK) return verdict;
  }
  return VERDICT.OK;
}

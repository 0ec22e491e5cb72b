/**
 * The work of a block-worker: judges blocks where they lie in the incoming queue and leaves their
 * txnIDs behind each message. The same code runs in a worker thread and inline.
 */
import { equalRange, readU32, readU64 } from "../base/bytes.ts";
import { kernels } from "../base/kernels.ts";
import {
  BLOCK_OFFSET,
  type BlockExpectations,
  checkBlockRoot,
  checkBlockStructure,
  createBlockLocation,
  hasLeadingZeros,
  locateBlock,
  scanBody,
} from "../ledger/block.ts";
import { VERDICT, type Verdict } from "../ledger/verdict.ts";
import { BLOCK_TXNS_MAX } from "../limits.ts";
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

/** Blocks judged together: their transactions are hashed in one call, their trees in another. */
const BATCH_BLOCKS = 256;
const spans = new Uint32Array(2 * BLOCK_TXNS_MAX);
const ids = new Uint8Array(32 * BLOCK_TXNS_MAX);
const counts = new Uint32Array(BATCH_BLOCKS);
const roots = new Uint8Array(32 * BATCH_BLOCKS);
const places = new Uint32Array(3 * BATCH_BLOCKS);
const headers = new Uint32Array(BATCH_BLOCKS);
const location = createBlockLocation();

/** The verdict of the first block that is not good, or OK. */
export function checkBlocks(request: CheckRequest, incoming: BlockQueue): Verdict {
  const expectations = expectationsOf(request);
  const { slots } = request;
  for (let from = 0; from < slots.length; ) {
    // A batch ends before the spans do, whatever the blocks claim.
    let blocks = 0;
    let transactions = 0;
    for (; from + blocks < slots.length && blocks < BATCH_BLOCKS; blocks++) {
      const slot = slots[from + blocks];
      const room = incoming.idCount(slot);
      if (blocks > 0 && transactions + room > BLOCK_TXNS_MAX) break;
      expectations.index = from + blocks;
      const verdict = checkStructure(slot, blocks, transactions, expectations, incoming);
      if (verdict !== VERDICT.OK) return verdict;
      transactions += location.txnCounter;
    }
    const verdict = checkHashes(blocks, transactions, expectations, incoming);
    if (verdict !== VERDICT.OK) return verdict;
    from += blocks;
  }
  return VERDICT.OK;
}

/** Everything but transaction hashes; notes where block number `block` of the batch lies. */
function checkStructure(
  slot: number,
  block: number,
  transactions: number,
  expectations: BlockExpectations,
  incoming: BlockQueue,
): Verdict {
  const { bytes, ids: blockHashes } = incoming.fifo;
  const at = incoming.messageOffset(slot);
  const length = incoming.messageLength(slot);
  const verdict = checkBlockStructure(
    bytes,
    at,
    length,
    expectations,
    spans,
    transactions,
    location,
  );
  if (verdict !== VERDICT.OK) return verdict;
  if (location.txnCounter > incoming.idCount(slot)) return VERDICT.WRONG_COUNT;
  // The key of the slot is the block's hash: the main thread hashed the header to queue it.
  if (!hasLeadingZeros(blockHashes, 32 * slot, expectations.difficulty)) {
    return VERDICT.PUZZLE_UNSOLVED;
  }
  counts[block] = location.txnCounter;
  headers[block] = location.headerOffset;
  places[3 * block] = 32 * transactions;
  places[3 * block + 1] = incoming.idsOffset(slot);
  places[3 * block + 2] = 32 * location.txnCounter;
  return VERDICT.OK;
}

/** txnIDs, Merkle roots, anchors; leaves the txnIDs behind the blocks. */
function checkHashes(
  blocks: number,
  transactions: number,
  expectations: BlockExpectations,
  incoming: BlockQueue,
): Verdict {
  const { bytes } = incoming.fifo;
  kernels.leafHashes(bytes, spans, transactions, ids, 0);
  kernels.merkleRoots(ids, 0, counts, blocks, roots, 0);
  for (let block = 0; block < blocks; block++) {
    const verdict = checkBlockRoot(bytes, headers[block], roots, 32 * block, expectations);
    if (verdict !== VERDICT.OK) return verdict;
  }
  kernels.scatter(ids, bytes, places, blocks);
  return VERDICT.OK;
}

/**
 * Whether the bodies are those that the headers speak of. A proposal's MAC covers its headers only:
 * bodies that differ were damaged on the way, whatever else is wrong with them.
 */
export function bodiesMatch(slots: readonly number[], incoming: BlockQueue): boolean {
  const { bytes } = incoming.fifo;
  for (const slot of slots) {
    const at = incoming.messageOffset(slot);
    if (locateBlock(bytes, at, incoming.messageLength(slot), location) !== VERDICT.OK) return false;
    const { headerOffset, bodyOffset, bodyLength, txnCounter } = location;
    if (scanBody(bytes, bodyOffset, bodyLength, txnCounter, spans) !== VERDICT.OK) return false;
    kernels.leafHashes(bytes, spans, txnCounter, ids, 0);
    kernels.merkleRoot(ids, 0, txnCounter, roots, 0);
    if (!equalRange(bytes, headerOffset + BLOCK_OFFSET.merkleRoot, roots, 0, 32)) return false;
  }
  return true;
}

function expectationsOf({ proposal, anchor, difficulty, transactionsMax }: CheckRequest) {
  const expectations: BlockExpectations = {
    chainId: proposal.subarray(BLOCK_OFFSET.chainId, BLOCK_OFFSET.epoch),
    epoch: proposal.subarray(BLOCK_OFFSET.epoch, BLOCK_OFFSET.anchor),
    round: readU64(proposal, BLOCK_OFFSET.round),
    rank: readU32(proposal, BLOCK_OFFSET.rank),
    incarnation: proposal.subarray(BLOCK_OFFSET.incarnation, BLOCK_OFFSET.creationTime),
    index: 0,
    difficulty,
    transactionsMax,
    // Whether the proposal's anchor is on the chain was asked before; its blocks must share it.
    checkAnchor: (bytes, offset) => {
      for (let i = 0; i < 32; i++) if (bytes[offset + i] !== anchor[i]) return VERDICT.ANCHOR_STALE;
      return VERDICT.OK;
    },
  };
  return expectations;
}

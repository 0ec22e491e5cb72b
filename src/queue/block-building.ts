/**
 * The work of a transaction-worker: takes what waits in the transaction queue, forms blocks, mines
 * them and puts them into the outgoing block queue. The same code runs in a worker thread and
 * inline on a rank that has no core to spare. txnIDs were computed at intake and are not hashed
 * again.
 *
 * The in-flight transactions of a block stay in the transaction queue as a split-off chain, so
 * that a lost block gives them back in O(1); its ends lie in the user doubles of the block's slot.
 */
import { assert } from "../base/assert.ts";
import {
  assembleBlock,
  BLOCK_OFFSET,
  type BlockSetting,
  blockHash,
  blockMessageBytes,
  blockSlotBytes,
  bodyBytes,
  createBlockLocation,
  idsOffsetOf,
  locateBlock,
  mineBlock,
} from "../ledger/block.ts";
import { BLOCK_BYTES_MAX, BLOCK_TXNS_MAX } from "../limits.ts";
import type { BlockQueue } from "./block-queue.ts";
import { OUTGOING_PENDING } from "./block-queue.ts";
import { type Chain, NONE } from "./keyed-fifo.ts";
import type { TransactionQueue } from "./transaction-queue.ts";

export interface BuildRequest {
  readonly setting: Omit<BlockSetting, "index">;
  readonly blockTransactions: number;
  readonly blocksMax: number;
  readonly bytesMax: number;
  /** Whether a last block may close before it is full: its oldest transaction waited long enough. */
  readonly partial: boolean;
}

const spans = new Uint32Array(2 * BLOCK_TXNS_MAX);
const ids = new Uint8Array(32 * BLOCK_TXNS_MAX);
const location = createBlockLocation();

/** Builds until nothing (full) waits or a bound is met. Answers how many blocks it queued. */
export function buildBlocks(
  request: BuildRequest,
  transactions: TransactionQueue,
  outgoing: BlockQueue,
): number {
  let blocks = 0;
  let bytes = 0;
  while (blocks < request.blocksMax && bytes < request.bytesMax) {
    const waiting = transactions.waiting();
    if (waiting === 0 || (waiting < request.blockTransactions && !request.partial)) break;
    const chain = transactions.take(request.blockTransactions);
    if (chain.count === 0) break;
    const built = buildBlock(request, blocks, chain, transactions, outgoing);
    if (built === 0) {
      transactions.putBack(chain);
      break;
    }
    bytes += built;
    blocks++;
  }
  return blocks;
}

/** Answers the bytes of the block's message; 0 when the outgoing queue has no room. */
function buildBlock(
  request: BuildRequest,
  index: number,
  chain: Chain,
  transactions: TransactionQueue,
  outgoing: BlockQueue,
): number {
  const count = gather(chain, transactions);
  const messageBytes = blockMessageBytes(bodyBytes(spans, count));
  if (messageBytes > BLOCK_BYTES_MAX)
    return trimAndBuild(request, index, chain, transactions, outgoing);
  const slot = outgoing.reserve(messageBytes, count);
  if (slot < 0) return 0;
  const { bytes } = outgoing.fifo;
  const at = outgoing.messageOffset(slot);
  const source = { bytes: transactions.fifo.bytes, spans, count, ids, idsOffset: 0 };
  assembleBlock(bytes, at, { ...request.setting, index }, source);
  bytes.set(ids.subarray(0, 32 * count), at + idsOffsetOf(messageBytes));
  locateBlock(bytes, at, messageBytes, location);
  solve(bytes, location.headerOffset, request.setting.puzzleDifficulty);
  const { words, times } = outgoing.fifo;
  words[4 * slot] = request.setting.rank;
  words[4 * slot + 1] = count;
  times[2 * slot] = chain.head;
  times[2 * slot + 1] = chain.tail;
  const hash = new Uint8Array(32);
  blockHash(bytes, location.headerOffset, hash, 0);
  const committed = outgoing.fifo.commit(slot, OUTGOING_PENDING, hash, 0);
  assert(committed >= 0, "two blocks with one hash cannot be mined: round and index are in it");
  return blockSlotBytes(messageBytes, count);
}

/** Large transactions: a block takes as many as its bytes allow, the rest goes back. */
function trimAndBuild(
  request: BuildRequest,
  index: number,
  chain: Chain,
  transactions: TransactionQueue,
  outgoing: BlockQueue,
): number {
  const half = Math.floor(chain.count / 2);
  assert(half > 0, "one transaction always fits a block");
  transactions.putBack(chain);
  const first = transactions.take(half);
  const built = buildBlock(request, index, first, transactions, outgoing);
  Object.assign(chain, built === 0 ? first : { head: NONE, tail: NONE, count: 0 });
  return built;
}

function gather(chain: Chain, transactions: TransactionQueue): number {
  const { fifo } = transactions;
  let count = 0;
  for (let slot = chain.head; slot !== NONE && count < chain.count; slot = fifo.next(slot)) {
    spans[2 * count] = fifo.payloadOffset(slot);
    spans[2 * count + 1] = fifo.payloadLength(slot);
    copyId(fifo.ids, 32 * slot, 32 * count);
    count++;
  }
  return count;
}

function copyId(from: Uint8Array, fromOffset: number, toOffset: number): void {
  for (let i = 0; i < 32; i++) ids[toOffset + i] = from[fromOffset + i];
}

const TRIES_A_CALL = 1 << 20;

function solve(bytes: Uint8Array, headerOffset: number, bits: number): void {
  // Every block has its own start, so that equal templates do not search the same nonces.
  let first = bytes[headerOffset + BLOCK_OFFSET.merkleRoot] * 0x1000000;
  while (mineBlock(bytes, headerOffset, bits, first, TRIES_A_CALL) < 0) first += TRIES_A_CALL;
}

/**
 * Blocks as objects with the names of the paper's Table 2, for people, tools and tests. The hot path
 * never builds them (block.ts).
 */
import { toHex } from "../base/bytes.ts";
import { HASH_BYTES, sha256 } from "../base/sha256.ts";
import {
  BLOCK_HEADER_BYTES,
  type BlockHeader,
  createBlockLocation,
  locateBlock,
  readBlockHeader,
  scanBody,
} from "./block.ts";
import { decodeTransaction, type Transaction } from "./transaction-object.ts";
import { type Decoded, decoded, refused, VERDICT } from "./verdict.ts";

/** Table 2, with what BAASH adds. */
export interface Block extends BlockHeader {
  /** SHA-256 of the header, hex. */
  blockID: string;
  /** Fixed when the block is ordered. */
  parentBlockHash?: string;
  height?: number;
  /** Kept by who received it; never part of the bytes. */
  receiveTime?: number;
  txnList: Transaction[];
}

/** The whole of a block message as an object; keys and values are views into `bytes`. */
export function decodeBlock(
  bytes: Uint8Array,
  offset = 0,
  length = bytes.length - offset,
): Decoded<Block> {
  const location = createBlockLocation();
  let verdict = locateBlock(bytes, offset, length, location);
  if (verdict !== VERDICT.OK) return refused(verdict, "block");
  const { headerOffset, bodyOffset, bodyLength, txnCounter } = location;
  const header = readBlockHeader(bytes, headerOffset);
  if (Number.isNaN(header.round) || Number.isNaN(header.creationTime)) {
    return refused(VERDICT.BAD_NUMBER, "block header");
  }
  // As many as could lie there: a lying counter must not choose how much is allocated.
  const room = Math.min(txnCounter, Math.floor(bodyLength / HASH_BYTES));
  const spans = new Uint32Array(2 * room);
  verdict = scanBody(bytes, bodyOffset, bodyLength, txnCounter, spans);
  if (verdict !== VERDICT.OK) return refused(verdict, "block body");
  const txnList: Transaction[] = [];
  for (let i = 0; i < txnCounter; i++) {
    const one = decodeTransaction(bytes, spans[2 * i], spans[2 * i + 1]);
    if (!one.ok) return refused(one.verdict, `transaction ${i} of the block`);
    txnList.push(one.value);
  }
  const blockID = toHex(sha256(bytes.subarray(headerOffset, headerOffset + BLOCK_HEADER_BYTES)));
  return decoded({ blockID, ...header, txnList });
}

/** How long messages and records are: by the production encoders where they are at hand. */
import type { Vote } from "../consensus/effects.ts";
import { BLOCK_HEADER_BYTES } from "../ledger/block.ts";
import { PROPOSAL_HEADER_BYTES } from "../ledger/proposal.ts";
import { RECORD_HEADER_BYTES } from "../ledger/record.ts";
import { FIELD_HEADER_BYTES, TXN_HEADER_BYTES } from "../ledger/transaction.ts";
import {
  ENVELOPE_BYTES,
  encodeDecided,
  encodePull,
  encodeVote,
  PROPOSAL_HEADER_AT,
  voteBytesMax,
} from "../rank/envelope.ts";

/** An update of one 100-byte value, as in the paper: "user" and 19 digits, "field0". */
export const TRANSACTION_BYTES = TXN_HEADER_BYTES + 23 + FIELD_HEADER_BYTES + 6 + 100;
/** msgpack around a block, and its length in the proposal. */
const BLOCK_FRAME_BYTES = 12;
/** Of each transaction in a block. */
const LENGTH_BYTES = 4;
const HASH_BYTES = 32;

export interface BlocksOf {
  readonly blocks: number;
  readonly transactions: number;
  readonly transactionBytes: number;
}

export function proposalBytes({ blocks, transactions, transactionBytes }: BlocksOf): number {
  const body =
    blocks * (BLOCK_HEADER_BYTES + BLOCK_FRAME_BYTES) +
    transactions * (transactionBytes + LENGTH_BYTES);
  return PROPOSAL_HEADER_AT + PROPOSAL_HEADER_BYTES + 5 + body;
}

/** What a lane carries of each rank. */
export const laneVoteBytes = voteBytesMax;

/** A vote with its hashes, point-to-point. */
export function openedVoteBytes(vote: Vote): number {
  const closed = ENVELOPE_BYTES + encodeVote(vote, false).length;
  return closed + vote.hashes!.reduce((sum, hash) => sum + (hash === "" ? 0 : HASH_BYTES + 2), 0);
}

const ZERO = "0".repeat(64);

export const DECIDED_BYTES =
  ENVELOPE_BYTES +
  encodeDecided({
    ...{ slot: 1e6, hash: ZERO, kind: "QUORUM", firstRound: 1e6, lastRound: 1e6 },
    orderDigest: ZERO,
  }).length;

export const PULL_BYTES =
  ENVELOPE_BYTES + encodePull({ round: 1e6, vote: true, force: false, bodies: [] }).length;

/** A record of so many proposals, `bytes` together, with the votes of one round grouped. */
export function recordBytes(proposals: number, bytes: number, ranks: number): number {
  const groups = ranks + Math.ceil(ranks / 8) + 48;
  return RECORD_HEADER_BYTES + bytes + 8 * proposals + groups;
}

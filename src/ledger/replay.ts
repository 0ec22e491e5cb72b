/**
 * Executes records from their own bytes: at start-up, and when a rank adopts a record whose blocks
 * it does not hold. The same order and the same checks as on the fast path, so both end alike.
 */

import { fromHex, toHex } from "../base/bytes.ts";
import { BaashError, EXIT } from "../base/errors.ts";
import { BLOCK_TXNS_MAX, PROPOSAL_BLOCKS_MAX } from "../limits.ts";
import { checkBlock, createBlockCheck } from "./block.ts";
import type { Chain } from "./chain.ts";
import { judgeRecord } from "./judge.ts";
import { checkProposal, readProposalHeader } from "./proposal.ts";
import {
  decodeRecord,
  type LedgerRecord,
  noopHeader,
  type RecordHeader,
  recordHash,
} from "./record.ts";
import type { SettledProposal, SettledRound } from "./settlement.ts";
import { type Decoded, decoded, refused, stopsLedger, VERDICT, verdictName } from "./verdict.ts";

/** Block `index` of `rank`'s proposal was executed with these outcomes (valid during the call). */
export type OnBlock = (
  place: { round: number; rank: number; index: number },
  outcomes: Uint8Array,
) => void;

const check = createBlockCheck();
const ids = new Uint8Array(32 * BLOCK_TXNS_MAX);
const outcomes = new Uint8Array(BLOCK_TXNS_MAX);
const hashes = new Uint8Array(32 * PROPOSAL_BLOCKS_MAX);

/** A record as the chain sees it at its next slot. */
export interface NextRecord {
  readonly header: RecordHeader;
  readonly hash: Uint8Array;
  /** Undefined: intact, but it settles nothing; the header is that of a NOOP then. */
  readonly record: LedgerRecord | undefined;
}

/**
 * Reads the record after the chain's head. Damage and unknown versions are refused: the ledger
 * stops there and never guesses. What is intact and does not count is a NOOP, but in slot 0: without
 * the SEAL that begins it this is not our ledger.
 */
export function readNext(chain: Chain, bytes: Uint8Array): Decoded<NextRecord> {
  const decodedRecord = decodeRecord(bytes, chain.ranks, {
    chainId: chain.chainId,
    slot: chain.slot + 1,
    prevHash: fromHex(chain.hash),
    storageDifficulty: chain.genesis.storageDifficulty,
  });
  if (decodedRecord.ok) {
    const { header, hash } = decodedRecord.value;
    const judgement = judgeRecord(chain, decodedRecord.value, bytes);
    if (judgement.counts) return decoded({ header, hash, record: decodedRecord.value });
    if (chain.slot < 0) return refused(VERDICT.NOT_VALID, judgement.reason);
  } else if (chain.slot < 0 || stopsLedger(decodedRecord.verdict)) {
    return decodedRecord;
  }
  const header = noopHeader(bytes, chain.settledRound);
  return decoded({ header, hash: recordHash(bytes), record: undefined });
}

/** Executes the record after the chain's head from its bytes and steps over it. */
export function step(chain: Chain, bytes: Uint8Array): void {
  const next = readNext(chain, bytes);
  if (!next.ok) {
    throw new BaashError(
      "RECORD_DAMAGED",
      `The record of slot ${chain.slot + 1} cannot be read (${verdictName(next.verdict)}): run 'baash verify' on the ledger directory.`,
      { exitCode: EXIT.failed },
    );
  }
  const { header, hash, record } = next.value;
  if (record !== undefined) replayRounds(chain, settledBy(record));
  chain.advance(header.slot, toHex(hash));
  if (record?.body.kind === "SEAL") chain.install(record.body.seal.members);
  if (record?.body.kind === "INTENT") {
    chain.announce(header.authorIncarnation, record.body.intent.answered);
  }
}

export function settledBy({ body }: LedgerRecord): readonly SettledRound[] {
  if (body.kind === "QUORUM" || body.kind === "STORAGE") return body.rounds;
  return body.kind === "SEAL" ? body.seal.rounds : [];
}

export function replayRounds(
  chain: Chain,
  rounds: readonly SettledRound[],
  onBlock?: OnBlock,
): void {
  for (const { round, proposals } of rounds) {
    const { ranks } = chain;
    const place = (rank: number) => (rank - (round % ranks) + ranks) % ranks;
    for (const proposal of [...proposals].sort((a, b) => place(a.rank) - place(b.rank)))
      replayProposal(chain, round, proposal, onBlock);
    chain.endRound(round);
  }
}

function replayProposal(
  chain: Chain,
  round: number,
  proposal: SettledProposal,
  onBlock: OnBlock | undefined,
): void {
  const header = readProposalHeader(proposal.header);
  const member = chain.epoch.members[proposal.rank];
  const expected = {
    chainId: chain.chainId,
    epoch: fromHex(chain.epoch.hash),
    round,
    rank: proposal.rank,
    incarnation: member.incarnation,
  };
  const whole = { header, headerBytes: proposal.header, blocks: [...proposal.blocks] };
  refuse(checkProposal(whole, expected, hashes), round, proposal.rank, "proposal");
  for (const [index, block] of proposal.blocks.entries()) {
    const expectations = {
      ...expected,
      index,
      difficulty: chain.genesis.difficulty,
      transactionsMax: chain.genesis.blockTransactionsMax,
      checkAnchor: () => VERDICT.OK,
    };
    const verdict = checkBlock(block, 0, block.length, expectations, ids, 0, check);
    refuse(verdict, round, proposal.rank, `block ${index}`);
    const { bodyOffset, bodyLength, txnCounter, blockHash } = check;
    const blocks = Uint32Array.of(bodyOffset, bodyLength, txnCounter, 0);
    const placed = { bytes: block, blocks, count: 1, transactions: txnCounter, ids };
    chain.orderBlocks(blockHash, 1);
    chain.executeBlocks(placed, round, outcomes);
    onBlock?.({ round, rank: proposal.rank, index }, outcomes.subarray(0, txnCounter));
  }
}

/** A member's quorum voted for it, so bad bytes here mean damage, never a choice. */
function refuse(verdict: number, round: number, rank: number, what: string): void {
  if (verdict === VERDICT.OK) return;
  throw new BaashError(
    "RECORD_DAMAGED",
    `The record of round ${round} includes a ${what} of rank ${rank} that is not valid ` +
      `(${verdictName(verdict)}). Run 'baash verify' on the ledger directory.`,
    { exitCode: EXIT.failed },
  );
}

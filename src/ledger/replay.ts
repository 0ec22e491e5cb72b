/**
 * Executes records from their own bytes: at start-up, and when a rank adopts a record whose blocks
 * it does not hold. The same order and the same checks as on the fast path, so both end alike.
 */

import { toHex } from "../base/bytes.ts";
import { BaashError, EXIT } from "../base/errors.ts";
import { BLOCK_TXNS_MAX, PROPOSAL_BLOCKS_MAX } from "../limits.ts";
import { checkBlock, createBlockCheck } from "./block.ts";
import type { Chain } from "./chain.ts";
import { judgeRecord } from "./judge.ts";
import { checkProposal, readProposalHeader } from "./proposal.ts";
import type { LedgerRecord } from "./record.ts";
import type { SettledProposal, SettledRound } from "./settlement.ts";
import { VERDICT, verdictName } from "./verdict.ts";

/** Block `index` of `rank`'s proposal was executed with these outcomes (valid during the call). */
export type OnBlock = (
  place: { round: number; rank: number; index: number },
  outcomes: Uint8Array,
) => void;

const check = createBlockCheck();
const ids = new Uint8Array(32 * BLOCK_TXNS_MAX);
const outcomes = new Uint8Array(BLOCK_TXNS_MAX);
const hashes = new Uint8Array(32 * PROPOSAL_BLOCKS_MAX);

/** Judges, executes and steps over one record: the next one of `chain`. */
export function replayRecord(chain: Chain, record: LedgerRecord, bytes: Uint8Array): void {
  const { header, body, hash } = record;
  const counts = judgeRecord(chain, record, bytes).counts;
  if (counts) replayRounds(chain, settledBy(record));
  chain.advance(header.slot, toHex(hash));
  if (!counts) return;
  if (body.kind === "SEAL") chain.install(body.seal.members);
  if (body.kind === "INTENT") chain.announce(header.authorIncarnation);
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
    epoch: header.epoch,
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
    const placed = { bytes: block, bodyOffset, bodyLength, count: txnCounter, ids, idsOffset: 0 };
    chain.executeBlock(placed, blockHash, 0, round, outcomes);
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

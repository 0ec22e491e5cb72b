/**
 * Whether the bodies in a record are those that its votes are about: header, roots, puzzles and
 * transactions of each. Votes name headers, and who writes the record chooses the bytes: where
 * anybody could, whoever executes it would have to stop.
 */
import { fromHex } from "../base/bytes.ts";
import { checkBlock, createBlockCheck } from "../ledger/block.ts";
import type { Chain } from "../ledger/chain.ts";
import { checkProposal, readProposalHeader } from "../ledger/proposal.ts";
import type { SettledProposal, SettledRound } from "../ledger/settlement.ts";
import { VERDICT, type Verdict, verdictName } from "../ledger/verdict.ts";
import { BLOCK_TXNS_MAX, PROPOSAL_BLOCKS_MAX } from "../limits.ts";

const hashes = new Uint8Array(32 * PROPOSAL_BLOCKS_MAX);
const ids = new Uint8Array(32 * BLOCK_TXNS_MAX);
const check = createBlockCheck();

/** What is wrong with the first bad one; undefined when all are good. */
export function badBody(chain: Chain, rounds: readonly SettledRound[]): string | undefined {
  for (const { round, proposals } of rounds) {
    for (const proposal of proposals) {
      const verdict = judge(chain, round, proposal);
      if (verdict !== VERDICT.OK)
        return `round ${round}: the body of rank ${proposal.rank} is bad: ${verdictName(verdict)}`;
    }
  }
  return undefined;
}

function judge(chain: Chain, round: number, { rank, header, blocks }: SettledProposal): Verdict {
  const { chainId, genesis, epoch } = chain;
  const { incarnation } = chain.epoch.members[rank];
  const expected = { chainId, epoch: fromHex(epoch.hash), round, rank, incarnation };
  const proposal = { header: readProposalHeader(header), headerBytes: header, blocks };
  const verdict = checkProposal(proposal, expected, hashes);
  if (verdict !== VERDICT.OK) return verdict;
  const { difficulty, blockTransactionsMax: transactionsMax } = genesis;
  for (const [index, block] of blocks.entries()) {
    const checkAnchor = () => VERDICT.OK;
    const expectations = { ...expected, index, difficulty, transactionsMax, checkAnchor };
    const found = checkBlock(block, 0, block.length, expectations, ids, 0, check);
    if (found !== VERDICT.OK) return found;
  }
  return VERDICT.OK;
}

/** From what the core decided to what the writer records: names become headers and slots. */
import { assert } from "../base/assert.ts";
import { concatBytes, fromHex } from "../base/bytes.ts";
import type { ProposalName, RoundSettlement, Vote } from "../consensus/effects.ts";
import { ANSWER } from "../consensus/effects.ts";
import { SIGNATURE_BYTES } from "../ledger/keys.ts";
import { addVoter, makeAnswer, type VoteGroup, votersBytes } from "../ledger/settlement.ts";
import type { DraftRound } from "../storage/ledger-writer.ts";
import type { ProposalTable } from "./proposals.ts";

/** `signatureOf`: of each vote, in a byzantine epoch; undefined for the ⊥ of one that froze before. */
export function draftRound(
  settlement: RoundSettlement,
  proposals: ProposalTable,
  ranks: number,
  signatureOf?: (vote: Vote) => Uint8Array | undefined,
): DraftRound {
  const included = [...settlement.included].sort((a, b) => a.rank - b.rank);
  return {
    round: settlement.round,
    proposals: included.map(({ rank, hash }) => {
      const held = proposals.get(settlement.round, rank, hash);
      assert(held !== undefined, "what is recorded is held here");
      return { rank, header: held.header, slots: held.slots };
    }),
    lost: settlement.lost.map(({ rank, hash }) => ({ rank, proposalHash: fromHex(hash) })),
    votes: groupVotes(settlement.votes, { included, lost: settlement.lost, ranks, signatureOf }),
  };
}

/** In the place of a signature that the voter's answer to a SEAL's pull stands for. */
const UNSIGNED = new Uint8Array(SIGNATURE_BYTES);

/** Equal votes are grouped, so that evidence stays small. */
function groupVotes(
  votes: readonly Vote[],
  of: {
    readonly included: readonly ProposalName[];
    readonly lost: readonly ProposalName[];
    readonly ranks: number;
    readonly signatureOf: ((vote: Vote) => Uint8Array | undefined) | undefined;
  },
): VoteGroup[] {
  const { included, lost, ranks, signatureOf } = of;
  const named = hashesByRank([...included, ...lost]);
  const groups = new Map<string, VoteGroup>();
  // Signatures lie by rank.
  for (const vote of [...votes].sort((a, b) => a.rank - b.rank)) {
    const key = `${vote.digest}:${vote.effectsSlot}:${vote.effectsDigest}`;
    let group = groups.get(key);
    if (group === undefined) {
      group = {
        answers: answersOf(vote, named),
        effectsSlot: vote.effectsSlot,
        effectsDigest: fromHex(vote.effectsDigest),
        voters: new Uint8Array(votersBytes(ranks)),
      };
      groups.set(key, group);
    }
    addVoter(group.voters, vote.rank);
    if (signatureOf === undefined) continue;
    const signature = signatureOf(vote) ?? UNSIGNED;
    group.signatures = concatBytes([group.signatures ?? new Uint8Array(0), signature]);
  }
  return [...groups.values()];
}

function hashesByRank(names: readonly ProposalName[]): Map<number, string[]> {
  const named = new Map<number, string[]>();
  for (const { rank, hash } of names) {
    const ofRank = named.get(rank);
    if (ofRank === undefined) named.set(rank, [hash]);
    else ofRank.push(hash);
  }
  return named;
}

/** Upper six bits: which hash of that rank, counted over the included and then the lost. */
function answersOf(vote: Vote, named: ReadonlyMap<number, readonly string[]>): Uint8Array {
  return vote.answers.map((answer, rank) => {
    if (answer === ANSWER.none) return 0;
    const index = named.get(rank)?.indexOf(vote.hashes?.[rank] ?? "") ?? -1;
    assert(index >= 0, "a record names every hash that its votes name");
    return makeAnswer(answer, index);
  });
}

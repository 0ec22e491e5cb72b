/**
 * Step 8: which settlement the answers of a round allow. A yes counts as an answer only with its
 * body in hand, and a record includes one proposal a rank. Where an answer names what cannot be
 * included it is left out altogether: the member then counts as one that did not answer, and any R
 * other answers meet every possible winning set, so nothing that was agreed can be missed. Pure.
 */
import {
  ANSWER,
  type EpochView,
  type ProposalName,
  type RoundSettlement,
  type Vote,
} from "./effects.ts";
import { type Candidate, countVote, noCounts, standingOf } from "./vote.ts";

/** Undefined: fewer than R answers can be used, so the round has to wait. */
export function settleByAnswers(
  round: number,
  opened: readonly Vote[],
  epoch: EpochView,
  usable: (name: ProposalName) => boolean,
): RoundSettlement | undefined {
  let votes = opened;
  // Each pass leaves out one answer at least.
  while (votes.length >= epoch.answersMin) {
    const counts = noCounts(epoch.ranks);
    for (const vote of votes) countVote(counts, vote);
    const named = counts.flat();
    const possible = named.filter(
      ({ yes }) => yes > 0 && standingOf(yes, votes.length, epoch) !== "lost",
    );
    const misfit = possible.find((name) => !usable(name)) ?? secondOfARank(possible);
    if (misfit === undefined) {
      const lost = named.filter((name) => !possible.includes(name));
      return { round, included: possible.map(nameOf), lost: lost.map(nameOf), votes };
    }
    const { rank, hash } = misfit;
    votes = votes.filter(
      (vote) => vote.answers[rank] !== ANSWER.yes || vote.hashes?.[rank] !== hash,
    );
  }
  return undefined;
}

/** Of two proposals of one rank the one with fewer yes: the other may still be the one agreed. */
function secondOfARank(possible: readonly Candidate[]): Candidate | undefined {
  for (const a of possible) {
    const b = possible.find((other) => other.rank === a.rank && other !== a);
    if (b === undefined) continue;
    if (a.yes !== b.yes) return a.yes < b.yes ? a : b;
    return a.hash < b.hash ? b : a;
  }
  return undefined;
}

export function nameOf({ rank, hash }: Candidate): ProposalName {
  return { rank, hash };
}

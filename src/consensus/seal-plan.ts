/**
 * What a SEAL settles: worked out from the answers of frozen members, as a record that is judged
 * from its bytes alone must show it. Pure; `sealing.ts` collects the answers.
 */
import {
  ANSWER,
  type EpochView,
  type ProposalName,
  type RoundSettlement,
  type SealAnswer,
  type Vote,
} from "./effects.ts";
import type { Round } from "./round.ts";
import { Tally } from "./tally.ts";
import { voteDigest } from "./vote.ts";

export interface SealPlan {
  /** Members whose votes, or ⊥, are in every round of it: ascending. */
  readonly answers: readonly number[];
  readonly settlement: readonly RoundSettlement[];
  /** Bodies that it includes and that are not here and found good. */
  readonly missing: ReadonlyArray<{ round: Round; names: readonly ProposalName[] }>;
  /** It includes one proposal a rank, as every record does. */
  readonly fits: boolean;
}

/** The rounds that these answers settle: up to the newest one in which any of them voted. */
export function lastVotedOf(answers: Iterable<SealAnswer>, settled: number): number {
  let last = settled;
  for (const { lastVoted } of answers) last = Math.max(last, lastVoted);
  return last;
}

/** The answer of a frozen member in a round that it never voted in: ⊥ for ever. */
export function silentVote(round: number, ranks: number, answer: SealAnswer): Vote {
  const answers = new Uint8Array(ranks);
  return {
    round,
    rank: answer.rank,
    answers,
    digest: voteDigest(round, answers, []),
    effectsSlot: answer.effectsSlot,
    effectsDigest: answer.effectsDigest,
    hashes: new Array(ranks).fill(""),
  };
}

/**
 * Settles `rounds` by the votes of `answerers`, which are opened in each of them: won, and the rest
 * by the rule of step 8. Votes of other members are carried as well, unless they name a body that
 * only their voters may have had: they can only make the record truer, and nobody waits for them.
 */
export function planSeal(
  rounds: readonly Round[],
  answerers: ReadonlySet<number>,
  epoch: EpochView,
): SealPlan {
  const settlement: RoundSettlement[] = [];
  const missing: { round: Round; names: ProposalName[] }[] = [];
  let fits = true;
  for (const round of rounds) {
    const votes = carriedVotes(round, answerers);
    const tally = new Tally(epoch);
    for (const vote of votes) tally.add(vote);
    const included = tally.possible();
    const isIn = new Set(included.map(({ hash }) => hash));
    const lost = tally.select(({ hash }) => !isIn.has(hash));
    fits &&= new Set(included.map(({ rank }) => rank)).size === included.length;
    const names = included.filter((name) => !round.holds(name));
    if (names.length > 0) missing.push({ round, names });
    settlement.push({ round: round.round, included, lost, votes });
  }
  return { answers: [...answerers].sort((a, b) => a - b), settlement, missing, fits };
}

function carriedVotes(round: Round, answerers: ReadonlySet<number>): Vote[] {
  // Equal votes name the same bodies: these are looked for once.
  const held = new Map<string, boolean>();
  const holdsAll = (vote: Vote) => {
    let all = held.get(vote.digest);
    if (all === undefined) {
      all = yesNames(vote).every((name) => round.holds(name));
      held.set(vote.digest, all);
    }
    return all;
  };
  return round.openedVotes().filter((vote) => answerers.has(vote.rank) || holdsAll(vote));
}

export function yesNames({ answers, hashes }: Vote): ProposalName[] {
  const names: ProposalName[] = [];
  for (let rank = 0; rank < answers.length; rank++)
    if (answers[rank] === ANSWER.yes) names.push({ rank, hash: hashes?.[rank] ?? "" });
  return names;
}

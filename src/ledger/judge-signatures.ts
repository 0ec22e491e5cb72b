/**
 * The part of the judgement that only a byzantine epoch asks for: every vote in a record is signed by
 * its voter, and a SEAL carries what its answerers signed. Who relays a vote is not trusted there.
 */
import { equalBytes, fromHex } from "../base/bytes.ts";
import type { Chain } from "./chain.ts";
import { SIGNATURE_BYTES, verifySignature } from "./keys.ts";
import type { RecordHeader } from "./record.ts";
import {
  ANSWER,
  isVoter,
  type Seal,
  type SettledRound,
  type SignedAnswer,
  type VoteGroup,
} from "./settlement.ts";
import {
  answerMessage,
  recordedVoteDigest,
  restartMessage,
  type StatementPlace,
  voteMessage,
} from "./statements.ts";

const NO_SIGNATURE = new Uint8Array(SIGNATURE_BYTES);

/** What answerers signed, by rank: it stands for the votes that they will never cast. */
export type Answers = ReadonlyMap<number, SignedAnswer>;
export const NO_ANSWERS: Answers = new Map();

function placeOf(chain: Chain): StatementPlace {
  return { chainId: chain.chainId, epoch: fromHex(chain.epoch.hash) };
}

/** Undefined when each vote is signed by its voter, or follows from what its voter answered. */
export function unsignedVote(
  chain: Chain,
  round: SettledRound,
  answers: Answers,
): string | undefined {
  for (const group of round.votes) {
    const { signatures } = group;
    if (signatures === undefined) return "its votes are not signed";
    const digest = recordedVoteDigest(round, group.answers);
    let at = 0;
    for (let rank = 0; rank < chain.ranks; rank++) {
      if (!isVoter(group.voters, rank)) continue;
      const signature = signatures.subarray(at, (at += SIGNATURE_BYTES));
      if (equalBytes(signature, NO_SIGNATURE)) {
        if (!followsFrom(answers.get(rank), round.round, group)) {
          return `the vote of rank ${rank} is not signed and does not follow from its answer`;
        }
        continue;
      }
      const { effectsSlot, effectsDigest } = group;
      const vote = { round: round.round, rank, digest, effectsSlot, effectsDigest };
      const message = voteMessage(placeOf(chain), vote);
      if (!verifySignature(chain.epoch.members[rank].publicKey, message, signature)) {
        return `the signature of rank ${rank} is not that of this vote`;
      }
    }
  }
  return undefined;
}

/** Whoever has frozen before a round is ⊥ about everybody in it, and nobody need sign that again. */
function followsFrom(answer: SignedAnswer | undefined, round: number, group: VoteGroup): boolean {
  return (
    answer !== undefined &&
    round > answer.lastVoted &&
    group.answers.every((each) => each === ANSWER.NONE) &&
    group.effectsSlot === answer.effectsSlot &&
    equalBytes(group.effectsDigest, answer.effectsDigest)
  );
}

/**
 * The answers of a member's SEAL by rank, or why they do not carry it: each is signed, and the SEAL
 * settles every round in which an answerer says that it voted.
 */
export function signedAnswers(chain: Chain, seal: Seal): Answers | string {
  const { answers, signedAnswers: list } = seal;
  if (list === undefined) return "its answers are not signed";
  if (list.length !== answers.length) return "it has not one signature an answer";
  const byRank = new Map<number, SignedAnswer>();
  for (const [i, rank] of answers.entries()) {
    const message = answerMessage(placeOf(chain), { rank, ...list[i] });
    if (!verifySignature(chain.epoch.members[rank].publicKey, message, list[i].signature)) {
      return `rank ${rank} did not sign its answer`;
    }
    if (list[i].lastVoted > chain.settledRound + seal.rounds.length) {
      return `rank ${rank} voted in round ${list[i].lastVoted}, which is left out`;
    }
    byRank.set(rank, list[i]);
  }
  return byRank;
}

/** A newcomer has no answers that could speak for it: the ledger key does. */
export function isSignedRestart(
  chain: Chain,
  header: Pick<RecordHeader, "prevHash">,
  seal: Seal,
): boolean {
  const { restartSignature, members, answers } = seal;
  if (restartSignature === undefined || answers.length > 0) return false;
  const message = restartMessage(placeOf(chain), header.prevHash, members);
  return verifySignature(chain.genesis.ledgerKey, message, restartSignature);
}

/** Signatures where nobody asks for them: a record has one form only. */
export function carriesSignatures(rounds: readonly SettledRound[], seal?: Seal): boolean {
  const { signedAnswers: list, restartSignature } = seal ?? {};
  if (list !== undefined || restartSignature !== undefined) return true;
  return rounds.some(({ votes }) => votes.some(({ signatures }) => signatures !== undefined));
}

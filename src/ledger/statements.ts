/**
 * What members sign in a byzantine epoch, so that what they said can be shown to anybody: proposals,
 * votes, answers to a SEAL's pull; and what the ledger key signs when a newcomer restarts a ledger.
 * Each message begins with a domain of its own, so no signature can be passed off as another kind.
 *
 *     proposal  "baash proposal\n" header(152)
 *     vote      "baash vote\n" chainId(16) epoch(32) u64 round u32 rank digest(32) u64 effectsSlot effectsDigest(32)
 *     answer    "baash answer\n" chainId(16) epoch(32) u32 rank u64 lastVoted u64 effectsSlot effectsDigest(32)
 *     restart   "baash restart\n" chainId(16) epoch(32) prevHash(32) SHA-256(all certificates)
 *
 * A vote's digest is consensus/vote.ts's: SHA-256(u64 round ‖ one answer a rank ‖ the hash of every
 * answer that is not ⊥, by rank), so a signature covers the hashes that the vote is about.
 */
import { concatBytes, writeU32, writeU64 } from "../base/bytes.ts";
import { sha256 } from "../base/sha256.ts";
import { proposalHash } from "./proposal.ts";
import { ANSWER, answerOf, hashIndexOf, type Member, type SettledRound } from "./settlement.ts";

const DOMAIN = {
  proposal: new TextEncoder().encode("baash proposal\n"),
  vote: new TextEncoder().encode("baash vote\n"),
  answer: new TextEncoder().encode("baash answer\n"),
  restart: new TextEncoder().encode("baash restart\n"),
};

/** Where a statement holds: signatures of another ledger or epoch say nothing here. */
export interface StatementPlace {
  readonly chainId: Uint8Array;
  readonly epoch: Uint8Array;
}

export interface VoteStatement {
  readonly round: number;
  readonly rank: number;
  readonly digest: Uint8Array;
  /** Newest final slot of the voter, and its digest of effects there. */
  readonly effectsSlot: number;
  readonly effectsDigest: Uint8Array;
}

/** "I have voted up to this round and will never vote again in this epoch." */
export interface AnswerStatement {
  readonly rank: number;
  readonly lastVoted: number;
  readonly effectsSlot: number;
  readonly effectsDigest: Uint8Array;
}

/** The header names ledger, epoch, round, rank and incarnation itself. */
export function proposalMessage(headerBytes: Uint8Array): Uint8Array {
  return concatBytes([DOMAIN.proposal, headerBytes]);
}

export function voteMessage(place: StatementPlace, vote: VoteStatement): Uint8Array {
  const { round, rank, digest, effectsSlot, effectsDigest } = vote;
  const domain = [DOMAIN.vote, place.chainId, place.epoch];
  return concatBytes([...domain, u64(round), u32(rank), digest, u64(effectsSlot), effectsDigest]);
}

export function answerMessage(place: StatementPlace, answer: AnswerStatement): Uint8Array {
  const { rank, lastVoted, effectsSlot, effectsDigest } = answer;
  const domain = [DOMAIN.answer, place.chainId, place.epoch];
  return concatBytes([...domain, u32(rank), u64(lastVoted), u64(effectsSlot), effectsDigest]);
}

/** `place.epoch` is the epoch that ends; `prevHash` the parent of the SEAL that installs `members`. */
export function restartMessage(
  place: StatementPlace,
  prevHash: Uint8Array,
  members: readonly Member[],
): Uint8Array {
  const certificates = sha256(...members.map(({ certificate }) => certificate));
  return concatBytes([DOMAIN.restart, place.chainId, place.epoch, prevHash, certificates]);
}

/** The digest of the vote whose answers a record of `round` carries in this form. */
export function recordedVoteDigest(round: SettledRound, answers: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = [u64(round.round), answers.map(answerOf)];
  for (const [rank, answer] of answers.entries()) {
    if (answerOf(answer) !== ANSWER.NONE) parts.push(namedHash(round, rank, hashIndexOf(answer)));
  }
  return sha256(...parts);
}

/** The hash that an answer about `rank` means: of its included proposal first, then of its lost ones. */
function namedHash(round: SettledRound, rank: number, index: number): Uint8Array {
  const included = round.proposals.find((proposal) => proposal.rank === rank);
  if (included !== undefined && index === 0) return proposalHash(included.header);
  const lost = round.lost.filter((proposal) => proposal.rank === rank);
  return lost[index - (included === undefined ? 0 : 1)].proposalHash;
}

function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  writeU32(bytes, 0, value);
  return bytes;
}

function u64(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  writeU64(bytes, 0, value);
  return bytes;
}

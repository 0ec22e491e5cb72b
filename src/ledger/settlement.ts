/**
 * What a record settles: for each round the proposals that count, those known to be lost, and the
 * votes that show it. Shapes are judged in settlement-decoding.ts; whether the votes suffice (w, R,
 * every yes answered) is a question of the epoch and belongs to consensus and to the chain.
 *
 * Lists: round = [round, proposals, lost, votes, effectsAbove?]; proposal = [rank, header, [block…]];
 * lost = [rank, proposalHash]; votes = [answers, effectsSlot, effectsDigest, voters, signatures?];
 * SEAL = [members, rounds, answers, signed?]; signed = [[lastVoted, effectsSlot, effectsDigest,
 * signature]…] of the answers, or the ledger key's signature. What has a ? in votes and SEAL is there
 * in byzantine epochs.
 */
import { assert } from "../base/assert.ts";
import { PartsWriter } from "./codec.ts";

/** Low two bits of an answer; the upper six say which hash of that rank is meant. */
export const ANSWER = { NONE: 0, NO: 1, YES: 2 } as const;
/** Hashes of one rank in one round that six bits can tell apart. */
export const HASHES_PER_RANK_MAX = 64;
export const HOST_BYTES_MAX = 255;

export interface SettledProposal {
  rank: number;
  /** 152 bytes. */
  header: Uint8Array;
  /** Block messages. */
  blocks: Uint8Array[];
}

export interface LostProposal {
  rank: number;
  proposalHash: Uint8Array;
}

/** Members that voted alike. */
export interface VoteGroup {
  /** One byte a rank of the epoch: ANSWER | index of the hash << 2. */
  answers: Uint8Array;
  /** The last final slot whose effects the voters report. */
  effectsSlot: number;
  effectsDigest: Uint8Array;
  /** Bitmap: bit r % 8 of byte r / 8 is voter r. */
  voters: Uint8Array;
  /**
   * Byzantine epochs: the voters' signatures (statements.ts), 64 bytes each, by rank. Zeros for a
   * vote that follows from its voter's answer to a SEAL's pull.
   */
  signatures?: Uint8Array;
}

export interface SettledRound {
  round: number;
  /** Ascending by rank, one a rank: two hashes of one rank cannot both win. */
  proposals: SettledProposal[];
  lost: LostProposal[];
  votes: VoteGroup[];
  /** Digest of effects above the last final slot, where the recorder has told any. */
  effectsAbove?: Uint8Array;
}

export interface Member {
  rank: number;
  incarnation: Uint8Array;
  /** Raw Ed25519. */
  publicKey: Uint8Array;
  host: string;
  /** Signature of the ledger key (keys.ts). */
  certificate: Uint8Array;
}

export interface Seal {
  /** Empty: a clean stop. */
  members: Member[];
  rounds: SettledRound[];
  /** Ranks of the sealed epoch that answered, ascending. */
  answers: number[];
  /** Byzantine epochs: what each of `answers` signed, in that order. */
  signedAnswers?: SignedAnswer[];
  /** Byzantine epochs: the ledger key's signature of a newcomer's SEAL (`restartMessage`). */
  restartSignature?: Uint8Array;
}

/** An answer to the pull of a SEAL, as its author signed it (`answerMessage`). */
export interface SignedAnswer {
  lastVoted: number;
  effectsSlot: number;
  effectsDigest: Uint8Array;
  signature: Uint8Array;
}

export interface Intent {
  member: Member;
  /** Ranks that answered the author, ascending. */
  answered: number[];
  deadlineMs: number;
}

export interface PayloadParts {
  parts: Uint8Array[];
  length: number;
}

export function makeAnswer(answer: number, hashIndex: number): number {
  return answer | (hashIndex << 2);
}

export function answerOf(value: number): number {
  return value & 3;
}

export function hashIndexOf(value: number): number {
  return value >>> 2;
}

export function votersBytes(members: number): number {
  return (members + 7) >>> 3;
}

export function isVoter(voters: Uint8Array, rank: number): boolean {
  return ((voters[rank >>> 3] >>> (rank & 7)) & 1) === 1;
}

export function addVoter(voters: Uint8Array, rank: number): void {
  voters[rank >>> 3] |= 1 << (rank & 7);
}

export function countVoters(voters: Uint8Array): number {
  let count = 0;
  for (let byte of voters) for (; byte !== 0; byte &= byte - 1) count++;
  return count;
}

/** Payload of QUORUM and STORAGE. Long blocks are referred to, not copied. */
export function encodeSettlement(rounds: readonly SettledRound[]): PayloadParts {
  return writeRounds(new PartsWriter(), rounds).finish();
}

export function encodeSeal(seal: Seal): PayloadParts {
  const { members, rounds, answers, signedAnswers, restartSignature } = seal;
  assert(signedAnswers === undefined || restartSignature === undefined, "a member or a newcomer");
  const isSigned = signedAnswers !== undefined || restartSignature !== undefined;
  const writer = new PartsWriter().array(isSigned ? 4 : 3).array(members.length);
  for (const member of members) writeMember(writer, member);
  writeRounds(writer, rounds).array(answers.length);
  for (const rank of answers) writer.number(rank);
  if (restartSignature !== undefined) writer.bytes(restartSignature);
  if (signedAnswers !== undefined) {
    writer.array(signedAnswers.length);
    for (const { lastVoted, effectsSlot, effectsDigest, signature } of signedAnswers) {
      writer.array(4).number(lastVoted).number(effectsSlot).bytes(effectsDigest).bytes(signature);
    }
  }
  return writer.finish();
}

export function encodeIntent(intent: Intent): PayloadParts {
  const writer = writeMember(new PartsWriter().array(3), intent.member);
  writer.array(intent.answered.length);
  for (const rank of intent.answered) writer.number(rank);
  return writer.number(intent.deadlineMs).finish();
}

export function encodeNoop(): PayloadParts {
  return new PartsWriter().array(0).finish();
}

function writeMember(writer: PartsWriter, member: Member): PartsWriter {
  writer.array(5).number(member.rank).bytes(member.incarnation).bytes(member.publicKey);
  return writer.text(member.host).bytes(member.certificate);
}

function writeRounds(writer: PartsWriter, rounds: readonly SettledRound[]): PartsWriter {
  writer.array(rounds.length);
  for (const { round, proposals, lost, votes, effectsAbove } of rounds) {
    writer.array(effectsAbove === undefined ? 4 : 5).number(round);
    writer.array(proposals.length);
    for (const { rank, header, blocks } of proposals) {
      writer.array(3).number(rank).bytes(header).array(blocks.length);
      for (const block of blocks) writer.bytes(block);
    }
    writer.array(lost.length);
    for (const { rank, proposalHash } of lost) writer.array(2).number(rank).bytes(proposalHash);
    writer.array(votes.length);
    for (const { answers, effectsSlot, effectsDigest, voters, signatures } of votes) {
      writer
        .array(signatures === undefined ? 4 : 5)
        .bytes(answers)
        .number(effectsSlot);
      writer.bytes(effectsDigest).bytes(voters);
      if (signatures !== undefined) writer.bytes(signatures);
    }
    if (effectsAbove !== undefined) writer.bytes(effectsAbove);
  }
  return writer;
}

/**
 * Payloads of records from bytes: their shapes, with every length and number bounded before anything
 * is built. What they mean is for judge.ts. Byte strings of what is decoded are views into the input.
 */
import { HASH_BYTES } from "../base/sha256.ts";
import { BLOCK_BYTES_MAX, MEMBERS_MAX, PROPOSAL_BLOCKS_MAX, RECORD_BYTES_MAX } from "../limits.ts";
import { INCARNATION_BYTES } from "./block.ts";
import { type ScanLimits, scanMessagePack, unpackScanned } from "./codec.ts";
import { PUBLIC_KEY_BYTES, SIGNATURE_BYTES } from "./keys.ts";
import { PROPOSAL_HEADER_BYTES } from "./proposal.ts";
import {
  ANSWER,
  answerOf,
  countVoters,
  HOST_BYTES_MAX,
  hashIndexOf,
  type Intent,
  type LostProposal,
  type Member,
  type Seal,
  type SettledProposal,
  type SettledRound,
  type SignedAnswer,
  type VoteGroup,
  votersBytes,
} from "./settlement.ts";
import { type Decoded, decoded, refused, VERDICT, type Verdict } from "./verdict.ts";

const SCAN_LIMITS: ScanLimits = {
  depthMax: 6,
  // A block of one 64-byte transaction takes 240 bytes: no record of ours holds more values.
  itemsMax: 1 << 20,
  bytesMax: RECORD_BYTES_MAX,
};

/** Thrown inside this file alone and turned into a verdict at its border: shapes are deep. */
class Refusal extends Error {
  readonly verdict: Verdict;
  readonly where: string;

  constructor(verdict: Verdict, where: string) {
    super(where);
    this.verdict = verdict;
    this.where = where;
  }
}

function decodeWith<T>(payload: Uint8Array, build: (value: unknown) => T): Decoded<T> {
  const verdict = scanMessagePack(payload, 0, payload.length, SCAN_LIMITS);
  // The record's checksums vouch for these bytes: a payload that ends early is how its author wrote
  // it, so it is malformed, not damaged.
  if (verdict !== VERDICT.OK) return refused(VERDICT.BAD_SHAPE, "payload");
  try {
    return decoded(build(unpackScanned(payload)));
  } catch (error) {
    if (error instanceof Refusal) return refused(error.verdict, error.where);
    throw error;
  }
}

/** Payload of QUORUM and STORAGE in an epoch of `members`. Byte strings are views into it. */
export function decodeSettlement(payload: Uint8Array, members: number): Decoded<SettledRound[]> {
  return decodeWith(payload, (value) => roundsOf(value, members));
}

/** `members` counts the epoch that is sealed: 0 at slot 0. */
export function decodeSeal(payload: Uint8Array, members: number): Decoded<Seal> {
  return decodeWith(payload, (value) => {
    const parts = arrayOf(value, "SEAL");
    if (parts.length !== 3 && parts.length !== 4) throw new Refusal(VERDICT.BAD_SHAPE, "SEAL");
    const [list, rounds, answers, signed] = parts;
    const seal: Seal = {
      members: membersOf(list),
      rounds: roundsOf(rounds, members),
      answers: ranksOf(answers, "answers of the SEAL", members),
    };
    if (parts.length === 3) return seal;
    const where = "signatures of the SEAL";
    if (!Array.isArray(signed)) seal.restartSignature = bytesOf(signed, where, SIGNATURE_BYTES);
    else seal.signedAnswers = signed.map((item) => signedAnswerOf(item, where));
    return seal;
  });
}

function signedAnswerOf(value: unknown, where: string): SignedAnswer {
  const [lastVoted, effectsSlot, effectsDigest, signature] = arrayOf(value, where, 4);
  return {
    lastVoted: numberOf(lastVoted, where, 2 ** 48),
    effectsSlot: numberOf(effectsSlot, where),
    effectsDigest: bytesOf(effectsDigest, where, HASH_BYTES),
    signature: bytesOf(signature, where, SIGNATURE_BYTES),
  };
}

/** `members` counts the epoch in force. */
export function decodeIntent(payload: Uint8Array, members: number): Decoded<Intent> {
  return decodeWith(payload, (value) => {
    const [member, answered, deadlineMs] = arrayOf(value, "INTENT", 3);
    return {
      member: memberOf(member, "member of the INTENT"),
      answered: ranksOf(answered, "answered ranks of the INTENT", members),
      deadlineMs: numberOf(deadlineMs, "deadline of the INTENT"),
    };
  });
}

export function decodeNoop(payload: Uint8Array): Decoded<null> {
  return decodeWith(payload, (value) => {
    arrayOf(value, "NOOP", 0);
    return null;
  });
}

function arrayOf(value: unknown, where: string, length?: number): unknown[] {
  if (!Array.isArray(value)) throw new Refusal(VERDICT.BAD_SHAPE, where);
  if (length !== undefined && value.length !== length) throw new Refusal(VERDICT.BAD_SHAPE, where);
  return value;
}

function bytesOf(value: unknown, where: string, length?: number): Uint8Array {
  if (!(value instanceof Uint8Array)) throw new Refusal(VERDICT.BAD_SHAPE, where);
  if (length !== undefined && value.length !== length) throw new Refusal(VERDICT.BAD_SHAPE, where);
  return value;
}

function numberOf(value: unknown, where: string, below = Number.MAX_SAFE_INTEGER): number {
  if (typeof value !== "number") throw new Refusal(VERDICT.BAD_SHAPE, where);
  if (!Number.isSafeInteger(value) || value < 0 || value >= below) {
    throw new Refusal(VERDICT.BAD_NUMBER, where);
  }
  return value;
}

function ranksOf(value: unknown, where: string, members: number): number[] {
  const ranks = arrayOf(value, where).map((rank) => numberOf(rank, where, members));
  if (ranks.some((rank, i) => i > 0 && rank <= ranks[i - 1])) {
    throw new Refusal(VERDICT.BAD_SHAPE, where);
  }
  return ranks;
}

function membersOf(value: unknown): Member[] {
  const list = arrayOf(value, "members");
  if (list.length > MEMBERS_MAX) throw new Refusal(VERDICT.TOO_LARGE, "members");
  return list.map((item, rank) => {
    const member = memberOf(item, `member ${rank}`);
    // Ranks are 0 to N-1 in this order: bitmaps and answers count on it.
    if (member.rank !== rank) throw new Refusal(VERDICT.WRONG_RANK, `member ${rank}`);
    return member;
  });
}

function memberOf(value: unknown, where: string): Member {
  const [rank, incarnation, publicKey, host, certificate] = arrayOf(value, where, 5);
  if (typeof host !== "string" || host.length > HOST_BYTES_MAX) {
    throw new Refusal(VERDICT.BAD_SHAPE, `host of ${where}`);
  }
  return {
    rank: numberOf(rank, where, MEMBERS_MAX),
    incarnation: bytesOf(incarnation, where, INCARNATION_BYTES),
    publicKey: bytesOf(publicKey, where, PUBLIC_KEY_BYTES),
    host,
    certificate: bytesOf(certificate, where, SIGNATURE_BYTES),
  };
}

function roundsOf(value: unknown, members: number): SettledRound[] {
  const rounds = arrayOf(value, "settlement").map((item) => roundOf(item, members));
  if (rounds.some(({ round }, i) => i > 0 && round !== rounds[i - 1].round + 1)) {
    throw new Refusal(VERDICT.WRONG_ROUND, "rounds of the settlement");
  }
  return rounds;
}

function roundOf(value: unknown, members: number): SettledRound {
  const parts = arrayOf(value, "round");
  if (parts.length !== 4 && parts.length !== 5) throw new Refusal(VERDICT.BAD_SHAPE, "round");
  const round = numberOf(parts[0], "round", 2 ** 48);
  const where = `round ${round}`;
  /** Hashes that an answer about a rank may name. */
  const hashes = new Uint32Array(members);
  const proposals = arrayOf(parts[1], `proposals of ${where}`).map((item) =>
    proposalOf(item, where, members),
  );
  for (const [i, { rank }] of proposals.entries()) {
    if (i > 0 && rank <= proposals[i - 1].rank) {
      throw new Refusal(VERDICT.WRONG_RANK, `order of proposals of ${where}`);
    }
    hashes[rank]++;
  }
  const lost = arrayOf(parts[2], `lost of ${where}`).map((item) => lostOf(item, where, members));
  for (const { rank } of lost) hashes[rank]++;
  const votes = arrayOf(parts[3], `votes of ${where}`).map((item) => votesOf(item, where, members));
  checkVotes(votes, hashes, where);
  const settled: SettledRound = { round, proposals, lost, votes };
  if (parts.length === 5)
    settled.effectsAbove = bytesOf(parts[4], `effects of ${where}`, HASH_BYTES);
  return settled;
}

function proposalOf(value: unknown, where: string, members: number): SettledProposal {
  const [rank, header, list] = arrayOf(value, `proposal of ${where}`, 3);
  const blocks = arrayOf(list, `blocks of ${where}`).map((block) => {
    const bytes = bytesOf(block, `block of ${where}`);
    if (bytes.length > BLOCK_BYTES_MAX) throw new Refusal(VERDICT.TOO_LARGE, `block of ${where}`);
    return bytes;
  });
  if (blocks.length > PROPOSAL_BLOCKS_MAX) {
    throw new Refusal(VERDICT.TOO_LARGE, `blocks of ${where}`);
  }
  return {
    rank: numberOf(rank, `proposal of ${where}`, members),
    header: bytesOf(header, `proposal of ${where}`, PROPOSAL_HEADER_BYTES),
    blocks,
  };
}

function lostOf(value: unknown, where: string, members: number): LostProposal {
  const [rank, proposalHash] = arrayOf(value, `lost of ${where}`, 2);
  return {
    rank: numberOf(rank, `lost of ${where}`, members),
    proposalHash: bytesOf(proposalHash, `lost of ${where}`, HASH_BYTES),
  };
}

function votesOf(value: unknown, where: string, members: number): VoteGroup {
  const parts = arrayOf(value, `votes of ${where}`);
  if (parts.length !== 4 && parts.length !== 5) {
    throw new Refusal(VERDICT.BAD_SHAPE, `votes of ${where}`);
  }
  const [answers, effectsSlot, effectsDigest, voters] = parts;
  const group: VoteGroup = {
    answers: bytesOf(answers, `answers of ${where}`, members),
    effectsSlot: numberOf(effectsSlot, `effects slot of ${where}`),
    effectsDigest: bytesOf(effectsDigest, `effects digest of ${where}`, HASH_BYTES),
    voters: bytesOf(voters, `voters of ${where}`, votersBytes(members)),
  };
  if (parts.length === 4) return group;
  const bytes = SIGNATURE_BYTES * countVoters(group.voters);
  group.signatures = bytesOf(parts[4], `signatures of ${where}`, bytes);
  return group;
}

/** Each member votes once, each group has a voter, each answer names a hash that is there. */
function checkVotes(votes: readonly VoteGroup[], hashes: Uint32Array, where: string): void {
  const seen = new Uint8Array(votersBytes(hashes.length));
  for (const { answers, voters } of votes) {
    if (countVoters(voters) === 0) throw new Refusal(VERDICT.BAD_VOTES, `voters of ${where}`);
    for (let i = 0; i < voters.length; i++) {
      const beyond = 8 * i + 8 > hashes.length ? voters[i] >>> (hashes.length - 8 * i) : 0;
      if (beyond !== 0 || (seen[i] & voters[i]) !== 0) {
        throw new Refusal(VERDICT.BAD_VOTES, `voters of ${where}`);
      }
      seen[i] |= voters[i];
    }
    for (let rank = 0; rank < answers.length; rank++) {
      const answer = answerOf(answers[rank]);
      const known = hashIndexOf(answers[rank]) < hashes[rank];
      const good = answer === ANSWER.NONE ? answers[rank] === 0 : answer <= ANSWER.YES && known;
      if (!good) throw new Refusal(VERDICT.BAD_VOTES, `answers of ${where}`);
    }
  }
}

/**
 * What a record settles: for each round the proposals that count, those known to be lost, and the
 * votes that show it. Shapes are judged here; whether the votes suffice (w, R, every yes answered)
 * is a question of the epoch and belongs to consensus and to the chain.
 *
 * Lists: round = [round, proposals, lost, votes, effectsAbove?]; proposal = [rank, header, [block…]];
 * lost = [rank, proposalHash]; votes = [answers, effectsSlot, effectsDigest, voters].
 */
import { HASH_BYTES } from "../base/sha256.ts";
import { BLOCK_BYTES_MAX, MEMBERS_MAX, PROPOSAL_BLOCKS_MAX, RECORD_BYTES_MAX } from "../limits.ts";
import { INCARNATION_BYTES } from "./block.ts";
import { PartsWriter, type ScanLimits, scanMessagePack, unpackScanned } from "./codec.ts";
import { PROPOSAL_HEADER_BYTES } from "./proposal.ts";
import { type Decoded, decoded, refused, VERDICT, type Verdict } from "./verdict.ts";

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

const SCAN_LIMITS: ScanLimits = {
  depthMax: 6,
  // A block of one 64-byte transaction takes 240 bytes: no record of ours holds more values.
  itemsMax: 1 << 20,
  bytesMax: RECORD_BYTES_MAX,
};

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
  const writer = new PartsWriter().array(3).array(seal.members.length);
  for (const member of seal.members) writeMember(writer, member);
  writeRounds(writer, seal.rounds).array(seal.answers.length);
  for (const rank of seal.answers) writer.number(rank);
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
    for (const { answers, effectsSlot, effectsDigest, voters } of votes) {
      writer.array(4).bytes(answers).number(effectsSlot).bytes(effectsDigest).bytes(voters);
    }
    if (effectsAbove !== undefined) writer.bytes(effectsAbove);
  }
  return writer;
}

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
  if (verdict !== VERDICT.OK) return refused(verdict, "payload");
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
    const [list, rounds, answers] = arrayOf(value, "SEAL", 3);
    return {
      members: membersOf(list),
      rounds: roundsOf(rounds, members),
      answers: ranksOf(answers, "answers of the SEAL", members),
    };
  });
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
    publicKey: bytesOf(publicKey, where, 32),
    host,
    certificate: bytesOf(certificate, where, 64),
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
  const [answers, effectsSlot, effectsDigest, voters] = arrayOf(value, `votes of ${where}`, 4);
  return {
    answers: bytesOf(answers, `answers of ${where}`, members),
    effectsSlot: numberOf(effectsSlot, `effects slot of ${where}`),
    effectsDigest: bytesOf(effectsDigest, `effects digest of ${where}`, HASH_BYTES),
    voters: bytesOf(voters, `voters of ${where}`, votersBytes(members)),
  };
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

/**
 * Unpacks a record's payload and checks its shape, so that the checks of its meaning read plain
 * typed values. Byte strings stay views of the record: nothing is copied. What has another shape was
 * written so (the checksums are good), and makes the record one that does not count.
 */
import { Unpackr } from "msgpackr";
import { BLOCK_BYTES_MAX, MEMBERS_MAX, PROPOSAL_BLOCKS_MAX, RECORD_BYTES_MAX } from "../limits.ts";
import { PROPOSAL, RECORD } from "./layout.ts";
import { refuse } from "./not-valid.ts";
import { isWellFormed } from "./payload-scan.ts";

export interface ProposalEntry {
  rank: number;
  header: Uint8Array;
  blocks: Uint8Array[];
}

export interface VoteGroup {
  answers: Uint8Array;
  effectsSlot: number;
  effectsDigest: Uint8Array;
  voters: number[];
  /** 64 bytes a voter, in their order. */
  signatures?: Uint8Array;
}

export interface RoundEntry {
  round: number;
  proposals: ProposalEntry[];
  lost: { rank: number; hash: Uint8Array }[];
  votes: VoteGroup[];
}

export interface MemberEntry {
  rank: number;
  incarnation: Uint8Array;
  publicKey: Uint8Array;
  host: string;
  certificate: Uint8Array;
}

export interface SealEntry {
  members: MemberEntry[];
  rounds: RoundEntry[];
  answers: number[];
  /** What each of `answers` signed, or the ledger key's signature of a newcomer's SEAL. */
  signed?: SignedAnswer[] | Uint8Array;
}

export interface SignedAnswer {
  lastVoted: number;
  effectsSlot: number;
  effectsDigest: Uint8Array;
  signature: Uint8Array;
}

export interface IntentEntry {
  member: MemberEntry;
  answered: number[];
}

const unpackr = new Unpackr({ useRecords: false, int64AsType: "number" });

export function unpackPayload(record: Uint8Array): unknown {
  if (record.length > RECORD_BYTES_MAX) bad(`${record.length} bytes are too many for a record`);
  return readValue(record.subarray(RECORD.headerBytes));
}

/** One msgpack value that is all of `bytes`. */
export function readValue(bytes: Uint8Array): unknown {
  if (!isWellFormed(bytes)) {
    bad("not one msgpack value of numbers, byte strings, texts and lists");
  }
  return unpackr.unpack(bytes);
}

/** The settled rounds of a QUORUM or STORAGE record, one after the other. */
export function readRounds(value: unknown, members: number): RoundEntry[] {
  const rounds = list(value, "the settlement").map((entry) => readRound(entry, members));
  for (const [i, { round }] of rounds.entries()) {
    if (round !== rounds[0].round + i)
      refuse("ROUNDS", "the rounds of the payload are not in order");
  }
  return rounds;
}

export function readSeal(value: unknown, members: number): SealEntry {
  const parts = list(value, "a SEAL");
  if (parts.length !== 3 && parts.length !== 4) bad("a SEAL without three or four parts");
  const [entries, rounds, answers] = parts;
  const listed = list(entries, "the members of a SEAL");
  if (listed.length > MEMBERS_MAX) refuse("MEMBERS", `${listed.length} members are too many`);
  const sealed = {
    members: listed.map(readMember),
    rounds: readRounds(rounds, members),
    answers: readRanks(answers, "the answers of a SEAL", members),
    ...(parts.length === 4 && { signed: readSigned(parts[3]) }),
  };
  for (const [i, { rank }] of sealed.members.entries()) {
    if (rank !== i) refuse("MEMBERS", `the member in place ${i} has rank ${rank}`);
  }
  return sealed;
}

function readSigned(value: unknown): SignedAnswer[] | Uint8Array {
  if (!Array.isArray(value)) return bytes(value, "the signature of a restart", 64);
  return value.map((entry) => {
    const [lastVoted, effectsSlot, effectsDigest, signature] = list(entry, "a signed answer", 4);
    return {
      lastVoted: count(lastVoted, "the last round of an answer", 2 ** 48),
      effectsSlot: count(effectsSlot, "a slot of effects"),
      effectsDigest: bytes(effectsDigest, "a digest of effects", 32),
      signature: bytes(signature, "the signature of an answer", 64),
    };
  });
}

export function readIntent(value: unknown, members: number): IntentEntry {
  const [member, answered, deadlineMs] = list(value, "an INTENT", 3);
  count(deadlineMs, "the deadline of an INTENT");
  return {
    member: readMember(member),
    answered: readRanks(answered, "the answered ranks of an INTENT", members),
  };
}

export function readNoop(value: unknown): void {
  list(value, "a NOOP", 0);
}

export function readMember(value: unknown): MemberEntry {
  const [rank, incarnation, publicKey, host, certificate] = list(value, "a member", 5);
  if (typeof host !== "string" || host.length > 255) bad("a member has no host name");
  return {
    rank: count(rank, "a member's rank", MEMBERS_MAX),
    incarnation: bytes(incarnation, "an incarnation", 8),
    publicKey: bytes(publicKey, "a public key", 32),
    host,
    certificate: bytes(certificate, "a certificate", 64),
  };
}

function readRanks(value: unknown, what: string, members: number): number[] {
  const ranks = list(value, what).map((rank) => count(rank, what, members));
  for (let i = 1; i < ranks.length; i++) {
    if (ranks[i] <= ranks[i - 1]) bad(`${what} do not ascend`);
  }
  return ranks;
}

function readRound(value: unknown, members: number): RoundEntry {
  const fields = list(value, "a round");
  if (fields.length !== 4 && fields.length !== 5) bad("a round without four or five parts");
  const round = count(fields[0], "the number of a round", 2 ** 48);
  const proposals = list(fields[1], "the proposals").map((each) => readProposal(each, members));
  for (let i = 1; i < proposals.length; i++) {
    const { rank } = proposals[i];
    if (rank > proposals[i - 1].rank) continue;
    refuse("PROPOSAL_ORDER", `round ${round} lists rank ${rank} out of order`);
  }
  const lost = list(fields[2], "the lost hashes").map((pair) => {
    const [rank, hash] = list(pair, "a lost hash", 2);
    return {
      rank: count(rank, "a lost hash's rank", members),
      hash: bytes(hash, "a lost hash", 32),
    };
  });
  const votes = list(fields[3], "the votes").map((each) => readVotes(each, members));
  if (fields.length === 5) bytes(fields[4], "the effects above", 32);
  return { round, proposals, lost, votes };
}

function readProposal(value: unknown, members: number): ProposalEntry {
  const [rank, header, blocks] = list(value, "a proposal", 3);
  const messages = list(blocks, "a proposal's blocks").map((block) => bytes(block, "a block"));
  if (messages.length > PROPOSAL_BLOCKS_MAX) bad(`${messages.length} blocks are too many`);
  if (messages.some((block) => block.length > BLOCK_BYTES_MAX)) bad("a block is too large");
  return {
    rank: count(rank, "a proposal's rank", members),
    header: bytes(header, "a proposal's header", PROPOSAL.bytes),
    blocks: messages,
  };
}

function readVotes(value: unknown, members: number): VoteGroup {
  const parts = list(value, "a group of votes");
  if (parts.length !== 4 && parts.length !== 5) bad("a group of votes without four or five parts");
  const [answers, effectsSlot, effectsDigest, bitmap] = parts;
  const bits = bytes(bitmap, "a bitmap of voters", Math.ceil(members / 8));
  const voters: number[] = [];
  for (let bit = 0; bit < 8 * bits.length; bit++) {
    if (((bits[bit >>> 3] >>> (bit & 7)) & 1) === 0) continue;
    if (bit >= members) bad(`a vote by rank ${bit}, which is no member`);
    voters.push(bit);
  }
  if (voters.length === 0) bad("a vote of nobody");
  return {
    answers: bytes(answers, "the answers of a vote", members),
    effectsSlot: count(effectsSlot, "a slot of effects"),
    effectsDigest: bytes(effectsDigest, "a digest of effects", 32),
    voters,
    ...(parts.length === 5 && {
      signatures: bytes(parts[4], "the signatures of votes", 64 * voters.length),
    }),
  };
}

function list(value: unknown, what: string, length?: number): unknown[] {
  if (!Array.isArray(value)) return bad(`${what}: not a list`);
  if (length !== undefined && value.length !== length) {
    bad(`${what}: a list of ${value.length} instead of ${length}`);
  }
  return value;
}

function bytes(value: unknown, what: string, length?: number): Uint8Array {
  if (!(value instanceof Uint8Array)) return bad(`${what}: not a byte string`);
  if (length !== undefined && value.length !== length) {
    bad(`${what}: ${value.length} bytes instead of ${length}`);
  }
  return value;
}

function count(value: unknown, what: string, below = Number.MAX_SAFE_INTEGER): number {
  if (Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) < below) {
    return value as number;
  }
  return bad(`${what} is ${String(value)}`);
}

function bad(what: string): never {
  return refuse("PAYLOAD_SHAPE", what);
}

/**
 * Evidence: two statements that one member signed and that contradict each other. An honest member
 * never signs both, and nobody else can, so a file of evidence convicts whoever is named in it,
 * wherever it comes from: it is checked with the genesis alone. It evicts, but never un-counts a vote
 * in a linked record.
 *
 * A file is msgpack: ["baash-evidence", 1, chainId, kind, member, epoch, first, second], with the
 * member as in a SEAL and
 *     1 proposals  first and second = [header, signature]: two proposals of one round
 *     2 votes      first and second = [round, digest, effectsSlot, effectsDigest, signature]: two
 *                  votes of one round about other hashes, or with other effects at the same slot
 *     3 frozen     first = [lastVoted, effectsSlot, effectsDigest, signature], an answer to the pull of
 *                  a SEAL; second = a vote of a later round
 */
import { equalBytes, toHex } from "../base/bytes.ts";
import { HASH_BYTES } from "../base/sha256.ts";
import { MEMBERS_MAX } from "../limits.ts";
import { INCARNATION_BYTES } from "./block.ts";
import { type Packable, pack, type ScanLimits, scanMessagePack, unpackScanned } from "./codec.ts";
import type { Genesis } from "./genesis.ts";
import { PUBLIC_KEY_BYTES, SIGNATURE_BYTES, verifyMember, verifySignature } from "./keys.ts";
import { PROPOSAL_HEADER_BYTES, readProposalHeader } from "./proposal.ts";
import { HOST_BYTES_MAX, type Member, type SignedAnswer } from "./settlement.ts";
import {
  answerMessage,
  proposalMessage,
  type StatementPlace,
  type VoteStatement,
  voteMessage,
} from "./statements.ts";
import { CHAIN_ID_BYTES } from "./transaction.ts";
import { type Decoded, decoded, refused, VERDICT } from "./verdict.ts";

/** Two headers, a certificate and a host name take less. */
export const EVIDENCE_BYTES_MAX = 4096;

const MAGIC = "baash-evidence";
const VERSION = 1;
const KINDS = ["proposals", "votes", "frozen"] as const;

export interface SignedProposal {
  /** 152 bytes. */
  readonly header: Uint8Array;
  readonly signature: Uint8Array;
}

export interface SignedVote extends Omit<VoteStatement, "rank"> {
  readonly signature: Uint8Array;
}

interface Accusation {
  readonly chainId: Uint8Array;
  /** Who signed both, as the epoch's SEAL lists it. */
  readonly member: Member;
  /** Hash of the SEAL that installed the epoch. */
  readonly epoch: Uint8Array;
}

export type Evidence = Accusation &
  (
    | {
        readonly kind: "proposals";
        readonly first: SignedProposal;
        readonly second: SignedProposal;
      }
    | { readonly kind: "votes"; readonly first: SignedVote; readonly second: SignedVote }
    | { readonly kind: "frozen"; readonly first: SignedAnswer; readonly second: SignedVote }
  );

/** The round in which the member contradicted itself. */
export function evidenceRound(evidence: Evidence): number {
  if (evidence.kind !== "proposals") return evidence.second.round;
  return readProposalHeader(evidence.second.header).round;
}

/** Name of its file: one proof a member, round and kind is enough. */
export function evidenceName(evidence: Evidence): string {
  const round = String(evidenceRound(evidence)).padStart(10, "0");
  return `${round}.${toHex(evidence.member.incarnation)}.${evidence.kind}`;
}

/** Why it convicts nobody; undefined when it convicts its member. */
export function evidenceFlaw(evidence: Evidence, genesis: Genesis): string | undefined {
  const { member, epoch, kind } = evidence;
  const { chainId, ledgerKey } = genesis;
  if (!equalBytes(evidence.chainId, chainId)) return "it is about another ledger";
  if (!verifyMember(ledgerKey, chainId, member)) {
    return "its member is not certified by the ledger key";
  }
  const place = { chainId, epoch };
  switch (kind) {
    case "proposals": {
      const { first, second } = evidence;
      const flaw = foreign(first, evidence) ?? foreign(second, evidence);
      if (flaw !== undefined) return flaw;
      const rounds = [first, second].map(({ header }) => readProposalHeader(header).round);
      if (rounds[0] !== rounds[1]) return "its proposals are of two rounds";
      return equalBytes(first.header, second.header) ? "its proposals are the same" : undefined;
    }
    case "votes": {
      const { first, second } = evidence;
      if (first.round !== second.round) return "its votes are of two rounds";
      if (!contradicts(first, second)) return "its votes do not contradict each other";
      return unsigned(first, member, place) ?? unsigned(second, member, place);
    }
    case "frozen": {
      const { first, second } = evidence;
      if (second.round <= first.lastVoted) return "its vote is of a round before the freeze";
      const message = answerMessage(place, { rank: member.rank, ...first });
      const isSigned = verifySignature(member.publicKey, message, first.signature);
      return isSigned ? unsigned(second, member, place) : "its answer is not signed by the member";
    }
  }
}

/** Effects are compared at one slot only: a vote sent again later may tell of a newer one. */
function contradicts(first: SignedVote, second: SignedVote): boolean {
  if (!equalBytes(first.digest, second.digest)) return true;
  const sameSlot = first.effectsSlot === second.effectsSlot;
  return sameSlot && !equalBytes(first.effectsDigest, second.effectsDigest);
}

function unsigned(vote: SignedVote, member: Member, place: StatementPlace): string | undefined {
  const message = voteMessage(place, { rank: member.rank, ...vote });
  const isSigned = verifySignature(member.publicKey, message, vote.signature);
  return isSigned ? undefined : "a vote of it is not signed by the member";
}

/** Why a proposal says nothing about the member. */
function foreign(
  { header, signature }: SignedProposal,
  { chainId, epoch, member }: Accusation,
): string | undefined {
  const says = readProposalHeader(header);
  const isIts =
    equalBytes(says.chainId, chainId) &&
    equalBytes(says.epoch, epoch) &&
    says.rank === member.rank &&
    equalBytes(says.incarnation, member.incarnation);
  if (!isIts) return "a proposal of it is not by the member, or not of the epoch";
  return verifySignature(member.publicKey, proposalMessage(header), signature)
    ? undefined
    : "a proposal of it is not signed by the member";
}

export function encodeEvidence(evidence: Evidence): Uint8Array {
  const { chainId, member, epoch, kind } = evidence;
  const { rank, incarnation, publicKey, host, certificate } = member;
  const kindNumber = KINDS.indexOf(kind) + 1;
  const who = [rank, incarnation, publicKey, host, certificate];
  const head = [MAGIC, VERSION, chainId, kindNumber, who, epoch];
  switch (kind) {
    case "proposals": {
      const [first, second] = [evidence.first, evidence.second].map(
        ({ header, signature }): Packable => [header, signature],
      );
      return pack([...head, first, second]);
    }
    case "votes":
      return pack([...head, packedVote(evidence.first), packedVote(evidence.second)]);
    case "frozen": {
      const { lastVoted, effectsSlot, effectsDigest, signature } = evidence.first;
      const answer = [lastVoted, effectsSlot, effectsDigest, signature];
      return pack([...head, answer, packedVote(evidence.second)]);
    }
  }
}

function packedVote(vote: SignedVote): Packable {
  return [vote.round, vote.digest, vote.effectsSlot, vote.effectsDigest, vote.signature];
}

const SCAN_LIMITS: ScanLimits = { depthMax: 2, itemsMax: 32, bytesMax: EVIDENCE_BYTES_MAX };

/** The shape of a file of evidence; what it proves is for `evidenceFlaw`. Byte strings are views. */
export function decodeEvidence(bytes: Uint8Array): Decoded<Evidence> {
  const verdict = scanMessagePack(bytes, 0, bytes.length, SCAN_LIMITS);
  if (verdict !== VERDICT.OK) return refused(verdict, "evidence");
  const value = unpackScanned(bytes);
  if (!Array.isArray(value) || value.length !== 8 || value[0] !== MAGIC) {
    return refused(VERDICT.BAD_SHAPE, "evidence");
  }
  const [, version, chainId, kindNumber, who, epoch, first, second] = value as unknown[];
  if (version !== VERSION) return refused(VERDICT.UNKNOWN_VERSION, "evidence");
  const kind = KINDS[(kindNumber as number) - 1];
  if (kind === undefined) return refused(VERDICT.UNKNOWN_KIND, "evidence");
  const member = memberOf(who);
  if (!isBytes(chainId, CHAIN_ID_BYTES) || !isBytes(epoch, HASH_BYTES) || member === undefined) {
    return refused(VERDICT.BAD_SHAPE, "evidence");
  }
  const accusation = { chainId, member, epoch };
  if (kind === "proposals") {
    const [one, two] = [proposalOf(first), proposalOf(second)];
    if (one && two) return decoded({ ...accusation, kind, first: one, second: two });
  } else if (kind === "votes") {
    const [one, two] = [voteOf(first), voteOf(second)];
    if (one && two) return decoded({ ...accusation, kind, first: one, second: two });
  } else {
    const [answer, vote] = [answerOf(first), voteOf(second)];
    if (answer && vote) return decoded({ ...accusation, kind, first: answer, second: vote });
  }
  return refused(VERDICT.BAD_SHAPE, "statements of the evidence");
}

function isBytes(value: unknown, length: number): value is Uint8Array {
  return value instanceof Uint8Array && value.length === length;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function memberOf(value: unknown): Member | undefined {
  if (!Array.isArray(value) || value.length !== 5) return undefined;
  const [rank, incarnation, publicKey, host, certificate] = value as unknown[];
  const good =
    isCount(rank) &&
    rank < MEMBERS_MAX &&
    isBytes(incarnation, INCARNATION_BYTES) &&
    isBytes(publicKey, PUBLIC_KEY_BYTES) &&
    typeof host === "string" &&
    host.length <= HOST_BYTES_MAX &&
    isBytes(certificate, SIGNATURE_BYTES);
  return good ? { rank, incarnation, publicKey, host, certificate } : undefined;
}

function proposalOf(value: unknown): SignedProposal | undefined {
  if (!Array.isArray(value) || value.length !== 2) return undefined;
  const [header, signature] = value as unknown[];
  const good = isBytes(header, PROPOSAL_HEADER_BYTES) && isBytes(signature, SIGNATURE_BYTES);
  return good ? { header, signature } : undefined;
}

function voteOf(value: unknown): SignedVote | undefined {
  if (!Array.isArray(value) || value.length !== 5) return undefined;
  const [round, digest, ...rest] = value as unknown[];
  const effects = effectsOf(rest);
  if (effects === undefined || !isCount(round) || !isBytes(digest, HASH_BYTES)) return undefined;
  return { round, digest, ...effects };
}

function answerOf(value: unknown): SignedAnswer | undefined {
  if (!Array.isArray(value) || value.length !== 4) return undefined;
  const [lastVoted, ...rest] = value as unknown[];
  const effects = effectsOf(rest);
  return effects !== undefined && isCount(lastVoted) ? { lastVoted, ...effects } : undefined;
}

function effectsOf([effectsSlot, effectsDigest, signature]: unknown[]) {
  const good =
    isCount(effectsSlot) &&
    isBytes(effectsDigest, HASH_BYTES) &&
    isBytes(signature, SIGNATURE_BYTES);
  return good ? { effectsSlot, effectsDigest, signature } : undefined;
}

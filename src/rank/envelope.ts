/**
 * Messages between ranks: [u8 type][16-byte MAC][msgpack body]. The MAC is HMAC-SHA256 under the
 * epoch's session key, cut to 128 bits, over the type and the body; of a proposal it covers the
 * header alone, whose root covers every block. Anything that fails is dropped and counted; no
 * length is believed before it is checked against the bytes that are there. In a byzantine epoch
 * votes and answers carry their author's signature as a last field, proposals as their last 64 bytes.
 */
import { equalBytes, equalRange, fromHex, toHex } from "../base/bytes.ts";
import { kernels } from "../base/kernels.ts";
import type { Decided, Pull, RecordKind, Vote } from "../consensus/effects.ts";
import { pack, scanMessagePack, unpackScanned } from "../ledger/codec.ts";
import { SIGNATURE_BYTES } from "../ledger/keys.ts";
import { PROPOSAL_HEADER_BYTES } from "../ledger/proposal.ts";
import { VERDICT } from "../ledger/verdict.ts";
import { MEMBERS_MAX, MESSAGE_BYTES_MAX, UNRECORDED_ROUNDS_MAX } from "../limits.ts";
import { decodeAnswers, encodeAnswers } from "./answer-runs.ts";

export const MESSAGE = {
  proposal: 1,
  vote: 2,
  pull: 3,
  decided: 4,
  /** A rank's word about itself: statistics, drained, stopping. */
  status: 5,
  /** Signs of life, and questions for one. */
  heartbeat: 6,
  probe: 7,
  /** A member is believed dead or silent, or no longer. */
  accuse: 8,
  /** Towards a SEAL: asks for answers and freezes, and an answer. */
  sealPull: 9,
  sealAnswer: 10,
  /** The lowest member has replacements started, by all together. */
  heal: 11,
  /** Fresh lanes are ready, and from which round on they are used. */
  lanes: 12,
  /** Accepted transactions, for those who propose them should their origin die. */
  propagate: 13,
  /** The card of a newcomer, passed on by who let it in. */
  card: 16,
  /** Asks for the cards of members whose process is not known. */
  cardPull: 20,
  /** A record whose file is damaged is asked for, and handed over. */
  recordPull: 17,
  record: 18,
  /** Two signed statements of one member that contradict each other. */
  evidence: 19,
  /** A round is open: passed on, where proposals are gathered and tell nobody. */
  ring: 21,
  /** DECIDED, passed on by who has only heard it. */
  hearsay: 22,
  /** Not authenticated by the epoch's key, as its sender is not in it: a card, and the answer. */
  hello: 14,
  welcome: 15,
} as const;

export const ENVELOPE_BYTES = 17;
const MAC_BYTES = 16;
const RECORD_KINDS: readonly RecordKind[] = ["QUORUM", "STORAGE", "SEAL", "INTENT", "NOOP"];

/** Signs and checks envelopes under one epoch's session key. One thread. */
export class Seal {
  private readonly key: Uint8Array;
  private readonly mac = new Uint8Array(32);
  private input = new Uint8Array(4096);

  constructor(sessionKey: Uint8Array) {
    this.key = sessionKey;
  }

  private compute(type: number, bytes: Uint8Array, offset: number, length: number): void {
    if (this.input.length < length + 1) this.input = new Uint8Array(2 * length + 1);
    this.input[0] = type;
    this.input.set(bytes.subarray(offset, offset + length), 1);
    kernels.hmacSha256(this.key, this.input, 0, length + 1, this.mac, 0);
  }

  /** Writes type and MAC of `envelope` over [offset, offset + length). */
  sign(envelope: Uint8Array, type: number, offset: number, length: number): void {
    this.compute(type, envelope, offset, length);
    envelope[0] = type;
    envelope.set(this.mac.subarray(0, MAC_BYTES), 1);
  }

  check(envelope: Uint8Array, offset: number, length: number): boolean {
    this.compute(envelope[0], envelope, offset, length);
    return equalRange(this.mac, 0, envelope, 1, MAC_BYTES);
  }

  /** Envelope of any message but a proposal. */
  wrap(type: number, body: Uint8Array): Uint8Array {
    const envelope = new Uint8Array(ENVELOPE_BYTES + body.length);
    envelope.set(body, ENVELOPE_BYTES);
    this.sign(envelope, type, ENVELOPE_BYTES, body.length);
    return envelope;
  }

  /** The body of an authentic message, or undefined. */
  unwrap(envelope: Uint8Array): Uint8Array | undefined {
    const length = envelope.length - ENVELOPE_BYTES;
    if (length <= 0 || !this.check(envelope, ENVELOPE_BYTES, length)) return undefined;
    return envelope.subarray(ENVELOPE_BYTES);
  }
}

// A proposal is [0x92, 0xc4, header length, header, blocks]: its header lies at a fixed place.
export const PROPOSAL_HEADER_AT = ENVELOPE_BYTES + 3;

/** True when the header where a proposal has its header is authentic; shapes are for the decoder. */
export function authenticProposal(seal: Seal, envelope: Uint8Array): boolean {
  if (envelope.length < PROPOSAL_HEADER_AT + PROPOSAL_HEADER_BYTES) return false;
  return seal.check(envelope, PROPOSAL_HEADER_AT, PROPOSAL_HEADER_BYTES);
}

/** True when the message is of the epoch that has this seal. */
export function isAuthentic(seal: Seal | undefined, envelope: Uint8Array): boolean {
  if (seal === undefined) return false;
  if (envelope[0] === MESSAGE.proposal) return authenticProposal(seal, envelope);
  return seal.unwrap(envelope) !== undefined;
}

// Bodies of the other messages, as msgpack arrays.

const BODY_LIMITS = { depthMax: 3, itemsMax: 16 * MEMBERS_MAX, bytesMax: 64 * MEMBERS_MAX + 4096 };
/** Votes of all open rounds travel together, each with a hash a member, as far as a message goes. */
export const ANSWER_BYTES_MAX = Math.min(
  (UNRECORDED_ROUNDS_MAX + 1) * (48 * MEMBERS_MAX + 256),
  MESSAGE_BYTES_MAX - ENVELOPE_BYTES,
);
/** These may be as long as the transport allows. */
const LONG: ReadonlySet<number> = new Set([
  ...[MESSAGE.proposal, MESSAGE.status, MESSAGE.propagate, MESSAGE.record],
]);

/** Longer messages of a type are refused before anything of them is looked at. */
export function messageBytesMax(type: number): number {
  if (LONG.has(type)) return Number.POSITIVE_INFINITY;
  const bytesMax = type === MESSAGE.sealAnswer ? ANSWER_BYTES_MAX : BODY_LIMITS.bytesMax;
  return ENVELOPE_BYTES + bytesMax;
}

/** Unpacks a body after its shape was scanned; undefined when it is malformed. */
export function unpackBody(body: Uint8Array): unknown[] | undefined {
  if (scanMessagePack(body, 0, body.length, BODY_LIMITS) !== VERDICT.OK) return undefined;
  const value = unpackScanned(body);
  return Array.isArray(value) ? value : undefined;
}

export const isCount = (value: unknown): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 0;
export const isBytes = (value: unknown, length?: number): value is Uint8Array =>
  value instanceof Uint8Array && (length === undefined || value.length === length);

/** A vote as it travels. */
export interface VoteMessage extends Vote {
  /** Its author's, in a byzantine epoch. */
  readonly signature?: Uint8Array | undefined;
}

/** `signature`: its author's, in a byzantine epoch. */
export function encodeVote(vote: Vote, opened: boolean, signature?: Uint8Array): Uint8Array {
  const hashes =
    opened && vote.hashes ? vote.hashes.filter((hash) => hash !== "").map(fromHex) : [];
  return pack([
    vote.round,
    vote.rank,
    encodeAnswers(vote.answers),
    fromHex(vote.digest),
    vote.effectsSlot,
    fromHex(vote.effectsDigest),
    hashes,
    ...(signature === undefined ? [] : [signature]),
  ]);
}

export function decodeVote(body: Uint8Array, ranks: number): VoteMessage | undefined {
  const fields = unpackBody(body);
  if (fields?.length !== 7 && fields?.length !== 8) return undefined;
  const [round, rank, runs, digest, effectsSlot, effectsDigest, hashes, signature] = fields;
  if (fields.length === 8 && !isBytes(signature, SIGNATURE_BYTES)) return undefined;
  if (!isCount(round) || !isCount(rank) || rank >= ranks || !isBytes(runs)) return undefined;
  const answers = answersOf(runs, ranks);
  if (answers === undefined) return undefined;
  if (!isBytes(digest, 32) || !isCount(effectsSlot) || !isBytes(effectsDigest, 32))
    return undefined;
  if (!Array.isArray(hashes) || !hashes.every((hash) => isBytes(hash, 32))) return undefined;
  return {
    round,
    rank,
    answers,
    digest: toHex(digest),
    effectsSlot,
    effectsDigest: toHex(effectsDigest),
    hashes: hashes.length > 0 ? byRank(answers, hashes as Uint8Array[]) : undefined,
    signature: (signature as Uint8Array | undefined)?.slice(),
  };
}

/** The hashes are of those answers that are not ⊥, in their order. */
function byRank(answers: Uint8Array, hashes: readonly Uint8Array[]): string[] {
  let named = 0;
  return Array.from(answers, (answer) =>
    answer !== 0 && named < hashes.length ? toHex(hashes[named++]) : "",
  );
}

/** What was decoded last: the votes of a round have the same answers, nearly all, and share them. */
let last: { runs: Uint8Array; ranks: number; answers: Uint8Array } | undefined;

function answersOf(runs: Uint8Array, ranks: number): Uint8Array | undefined {
  if (last?.ranks === ranks && equalBytes(last.runs, runs)) return last.answers;
  const answers = decodeAnswers(runs, ranks);
  if (answers !== undefined) last = { runs: runs.slice(), ranks, answers };
  return answers;
}

/** A vote whose answers take more goes point-to-point. */
const LANE_ANSWERS_BYTES_MAX = 256;

/** Bytes of a vote without hashes in an envelope: what a vote lane carries of each member. */
export function voteBytesMax(ranks: number): number {
  return ENVELOPE_BYTES + 96 + 16 + Math.min(ranks, LANE_ANSWERS_BYTES_MAX);
}

export function encodeRing(round: number): Uint8Array {
  return pack([round]);
}

export function decodeRing(body: Uint8Array): number | undefined {
  const fields = unpackBody(body);
  return fields?.length === 1 && isCount(fields[0]) ? fields[0] : undefined;
}

export function encodePull(pull: Pull): Uint8Array {
  const bodies = pull.bodies.map(({ rank, hash }) => [rank, fromHex(hash)]);
  return pack([pull.round, (pull.vote ? 1 : 0) | (pull.force ? 2 : 0), bodies]);
}

export function decodePull(body: Uint8Array, ranks: number): Pull | undefined {
  const fields = unpackBody(body);
  if (fields?.length !== 3) return undefined;
  const [round, wants, bodies] = fields;
  if (!isCount(round) || !isCount(wants) || wants > 3 || !Array.isArray(bodies)) return undefined;
  const names: { rank: number; hash: string }[] = [];
  const distinct = new Set<string>();
  for (const entry of bodies) {
    if (!Array.isArray(entry) || entry.length !== 2) return undefined;
    const [rank, hash] = entry;
    if (!isCount(rank) || rank >= ranks || !isBytes(hash, 32)) return undefined;
    names.push({ rank, hash: toHex(hash) });
    distinct.add(`${rank} ${names.at(-1)!.hash}`);
  }
  // Each is answered with megabytes.
  if (distinct.size < names.length) return undefined;
  return { round, vote: (wants & 1) !== 0, force: (wants & 2) !== 0, bodies: names };
}

export function encodeDecided(decided: Decided): Uint8Array {
  return pack([
    decided.slot,
    fromHex(decided.hash),
    RECORD_KINDS.indexOf(decided.kind),
    decided.firstRound,
    decided.lastRound,
    fromHex(decided.orderDigest),
  ]);
}

export function decodeDecided(body: Uint8Array): Decided | undefined {
  const fields = unpackBody(body);
  if (fields?.length !== 6) return undefined;
  const [slot, hash, kind, firstRound, lastRound, orderDigest] = fields;
  if (!isCount(slot) || !isBytes(hash, 32) || !isCount(kind) || kind >= RECORD_KINDS.length)
    return undefined;
  if (!isCount(firstRound) || !isCount(lastRound) || !isBytes(orderDigest, 32)) return undefined;
  return {
    slot,
    hash: toHex(hash),
    kind: RECORD_KINDS[kind],
    firstRound,
    lastRound,
    orderDigest: toHex(orderDigest),
  };
}

const STATUS_KINDS = ["progress", "drained", "stop", "result", "phase", "bye"] as const;
export type StatusKind = (typeof STATUS_KINDS)[number];

/** A rank's word about itself; `json` is the business of who asked for it. */
export interface Status {
  readonly kind: StatusKind;
  readonly json: string;
}

export function encodeStatus(status: Status): Uint8Array {
  return pack([status.kind, status.json]);
}

export function decodeStatus(body: Uint8Array): Status | undefined {
  const limits = { depthMax: 2, itemsMax: 4, bytesMax: MESSAGE_BYTES_MAX };
  if (scanMessagePack(body, 0, body.length, limits) !== VERDICT.OK) return undefined;
  const fields = unpackScanned(body);
  if (!Array.isArray(fields) || fields.length !== 2) return undefined;
  const [kind, json] = fields;
  if (!STATUS_KINDS.includes(kind as StatusKind) || typeof json !== "string") return undefined;
  return isObjectOrNothing(json) ? { kind: kind as StatusKind, json } : undefined;
}

/** The code with which the exit routine of a rank says that it ends. */
export function codeOfBye({ json }: Status): string {
  const { code } = JSON.parse(json || "{}") as { code?: unknown };
  return typeof code === "string" && /^[A-Z0-9_]{1,64}$/.test(code) ? code : "no reason given";
}

/** Whoever takes it parses it without more ado. */
function isObjectOrNothing(json: string): boolean {
  if (json === "") return true;
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === "object" && value !== null;
  } catch {
    return false;
  }
}

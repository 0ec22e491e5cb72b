/**
 * Messages between ranks: [u8 type][16-byte MAC][msgpack body]. The MAC is HMAC-SHA256 under the
 * epoch's session key, cut to 128 bits, over the type and the body; of a proposal it covers the
 * header alone, whose root covers every block. Anything that fails is dropped and counted; no
 * length is believed before it is checked against the bytes that are there.
 */
import { equalRange, fromHex, toHex } from "../base/bytes.ts";
import { kernels } from "../base/kernels.ts";
import type { Decided, Pull, RecordKind, Vote } from "../consensus/effects.ts";
import { pack, scanMessagePack, unpackScanned } from "../ledger/codec.ts";
import { PROPOSAL_HEADER_BYTES } from "../ledger/proposal.ts";
import { VERDICT } from "../ledger/verdict.ts";
import { MEMBERS_MAX, MESSAGE_BYTES_MAX } from "../limits.ts";

export const MESSAGE = {
  proposal: 1,
  vote: 2,
  pull: 3,
  decided: 4,
  /** A rank's word about itself: statistics, drained, stopping. */
  status: 5,
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

// Bodies of the other messages, as msgpack arrays.

const BODY_LIMITS = { depthMax: 3, itemsMax: 16 * MEMBERS_MAX, bytesMax: 64 * MEMBERS_MAX + 4096 };

/** Unpacks a body after its shape was scanned; undefined when it is malformed. */
function unpackBody(body: Uint8Array): unknown[] | undefined {
  if (scanMessagePack(body, 0, body.length, BODY_LIMITS) !== VERDICT.OK) return undefined;
  const value = unpackScanned(body);
  return Array.isArray(value) ? value : undefined;
}

const isCount = (value: unknown): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 0;
const isBytes = (value: unknown, length?: number): value is Uint8Array =>
  value instanceof Uint8Array && (length === undefined || value.length === length);

export function encodeVote(vote: Vote, opened: boolean): Uint8Array {
  const hashes =
    opened && vote.hashes ? vote.hashes.filter((hash) => hash !== "").map(fromHex) : [];
  return pack([
    vote.round,
    vote.rank,
    vote.answers,
    fromHex(vote.digest),
    vote.effectsSlot,
    fromHex(vote.effectsDigest),
    hashes,
  ]);
}

export function decodeVote(body: Uint8Array, ranks: number): Vote | undefined {
  const fields = unpackBody(body);
  if (fields?.length !== 7) return undefined;
  const [round, rank, answers, digest, effectsSlot, effectsDigest, hashes] = fields;
  if (!isCount(round) || !isCount(rank) || rank >= ranks || !isBytes(answers, ranks))
    return undefined;
  if (!isBytes(digest, 32) || !isCount(effectsSlot) || !isBytes(effectsDigest, 32))
    return undefined;
  if (!Array.isArray(hashes) || !hashes.every((hash) => isBytes(hash, 32))) return undefined;
  let named = 0;
  const byRank: string[] = [];
  for (const answer of answers) {
    if (answer > 2) return undefined;
    byRank.push(answer !== 0 && named < hashes.length ? toHex(hashes[named++] as Uint8Array) : "");
  }
  return {
    round,
    rank,
    answers: answers.slice(),
    digest: toHex(digest),
    effectsSlot,
    effectsDigest: toHex(effectsDigest),
    hashes: hashes.length > 0 ? byRank : undefined,
  };
}

/** Bytes that a vote without hashes takes at most in an envelope: what a vote lane carries. */
export function voteBytesMax(ranks: number): number {
  return ENVELOPE_BYTES + 96 + 16 + ranks;
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
  for (const entry of bodies) {
    if (!Array.isArray(entry) || entry.length !== 2) return undefined;
    const [rank, hash] = entry;
    if (!isCount(rank) || rank >= ranks || !isBytes(hash, 32)) return undefined;
    names.push({ rank, hash: toHex(hash) });
  }
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

/** A rank's word about itself; `body` is the business of who asked for it. */
export interface Status {
  readonly kind: "progress" | "drained" | "stop" | "result";
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
  if (kind !== "progress" && kind !== "drained" && kind !== "stop" && kind !== "result")
    return undefined;
  return typeof json === "string" ? { kind, json } : undefined;
}

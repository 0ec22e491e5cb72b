/**
 * Records: what one slot of the log holds. A header of 256 bytes, then a payload in msgpack
 * (settlement.ts). The header carries checksums of both, the parent's hash, the author's signature
 * and, for STORAGE, the nonce of the high-difficulty puzzle.
 *
 *   0  8 "BAASHREC"     16  4 CRC32C(payload)   80 32 epoch         136  8 creationTime
 *   8  2 version        20  4 CRC32C(header)   112  6 firstRound    144 32 SHA-256(payload)
 *  10  1 kind           24  8 slot             118  6 lastRound     176  8 heightBefore
 *  11  1 puzzleBits     32 16 chainId          124  4 author rank   184  8 nonce
 *  12  4 payloadBytes   48 32 prevHash         128  8 incarnation   192 64 signature
 *
 * Puzzle and signature cover bytes 0 to 192 with 20 to 24 zero; the header's CRC covers all 256 with
 * itself zero. lastRound = firstRound - 1 settles no round; rounds are counted from 1.
 */
import { assert } from "../base/assert.ts";
import {
  equalRange,
  readU16,
  readU32,
  readU48,
  readU64,
  writeU16,
  writeU32,
  writeU48,
  writeU64,
} from "../base/bytes.ts";
import { kernels } from "../base/kernels.ts";
import { HASH_BYTES, sha256 } from "../base/sha256.ts";
import { RECORD_BYTES_MAX } from "../limits.ts";
import { hasLeadingZeros } from "./block.ts";
import { verifySignature } from "./keys.ts";
import type { Intent, PayloadParts, Seal, SettledRound } from "./settlement.ts";
import { decodeIntent, decodeNoop, decodeSeal, decodeSettlement } from "./settlement-decoding.ts";
import { CHAIN_ID_BYTES } from "./transaction.ts";
import { type Decoded, decoded, refused, VERDICT, type Verdict } from "./verdict.ts";

export const RECORD_KIND = { QUORUM: 1, STORAGE: 2, SEAL: 3, INTENT: 4, NOOP: 5 } as const;
export type RecordKind = keyof typeof RECORD_KIND;

export const RECORD_HEADER_BYTES = 256;
export const RECORD_VERSION = 1;

/** What the signature and the puzzle cover. */
const SIGNED_BYTES = 192;
const NONCE_OFFSET = 184;
const MAGIC = new TextEncoder().encode("BAASHREC");
const SIGNATURE_CONTEXT = new TextEncoder().encode("baash record\n");
const KIND_NAMES = ["", ...Object.keys(RECORD_KIND)] as RecordKind[];

/** What the author decides. */
export interface RecordFields {
  kind: RecordKind;
  /** genesis.storageDifficulty for STORAGE, else 0. */
  puzzleBits: number;
  slot: number;
  chainId: Uint8Array;
  prevHash: Uint8Array;
  epoch: Uint8Array;
  firstRound: number;
  lastRound: number;
  authorRank: number;
  authorIncarnation: Uint8Array;
  creationTime: number;
  /** Blocks before this record. */
  heightBefore: number;
}

export interface RecordHeader extends RecordFields {
  version: number;
  payloadBytes: number;
  payloadHash: Uint8Array;
  nonce: number;
  signature: Uint8Array;
}

/** A record as it goes to disk: parts for writev, the first of them the header. */
export interface EncodedRecord {
  hash: Uint8Array;
  header: Uint8Array;
  parts: Uint8Array[];
  length: number;
}

export type RecordBody =
  | { kind: "QUORUM" | "STORAGE"; rounds: SettledRound[] }
  | { kind: "SEAL"; seal: Seal }
  | { kind: "INTENT"; intent: Intent }
  | { kind: "NOOP" };

export interface LedgerRecord {
  header: RecordHeader;
  hash: Uint8Array;
  body: RecordBody;
}

/** Signs the concatenation of its arguments with the author's member key: 64 bytes. */
export type SignRecord = (message: Uint8Array) => Uint8Array;

/**
 * The header before puzzle and signature. Mine it with `mineRecord` if it is a STORAGE record, then
 * `finishRecord`; or let `encodeRecord` do all three.
 */
export function draftRecord(fields: RecordFields, payload: PayloadParts): Uint8Array {
  assert(
    RECORD_HEADER_BYTES + payload.length <= RECORD_BYTES_MAX,
    "a record stays below RECORD_BYTES_MAX: settle fewer rounds",
  );
  assert(fields.firstRound >= 1, "rounds are counted from 1");
  const out = new Uint8Array(RECORD_HEADER_BYTES);
  out.set(MAGIC, 0);
  writeU16(out, 8, RECORD_VERSION);
  out[10] = RECORD_KIND[fields.kind];
  out[11] = fields.puzzleBits;
  writeU32(out, 12, payload.length);
  let checksum = 0;
  for (const part of payload.parts) checksum = kernels.crc32c(part, 0, part.length, checksum);
  writeU32(out, 16, checksum);
  writeU64(out, 24, fields.slot);
  out.set(fields.chainId, 32);
  out.set(fields.prevHash, 48);
  out.set(fields.epoch, 80);
  writeU48(out, 112, fields.firstRound);
  writeU48(out, 118, fields.lastRound);
  writeU32(out, 124, fields.authorRank);
  out.set(fields.authorIncarnation, 128);
  writeU64(out, 136, fields.creationTime);
  out.set(sha256(...payload.parts), 144);
  writeU64(out, 176, fields.heightBefore);
  return out;
}

/**
 * Tries nonces from `first` on; answers the tries used, or -1 after `tries` misses. The header must
 * be a draft: its CRC is still zero.
 */
export function mineRecord(header: Uint8Array, first: number, tries: number): number {
  return kernels.searchPuzzle(header, 0, SIGNED_BYTES, NONCE_OFFSET, header[11], first, tries);
}

/** Signs a draft and sets its CRC. */
export function finishRecord(
  header: Uint8Array,
  payload: PayloadParts,
  sign: SignRecord,
): EncodedRecord {
  header.set(sign(recordSignatureMessage(header)), SIGNED_BYTES);
  writeU32(header, 20, 0);
  writeU32(header, 20, kernels.crc32c(header, 0, RECORD_HEADER_BYTES, 0));
  return {
    hash: recordHash(header),
    header,
    parts: [header, ...payload.parts],
    length: RECORD_HEADER_BYTES + payload.length,
  };
}

/** Draft, puzzle and signature at once. A puzzle of 16 bits takes milliseconds: in a worker. */
export function encodeRecord(
  fields: RecordFields,
  payload: PayloadParts,
  sign: SignRecord,
): EncodedRecord {
  const header = draftRecord(fields, payload);
  const tries = 1 << 20;
  for (let first = 0; fields.kind === "STORAGE" && mineRecord(header, first, tries) < 0; ) {
    first += tries;
  }
  return finishRecord(header, payload, sign);
}

export function recordHash(bytes: Uint8Array, offset = 0): Uint8Array {
  return sha256(bytes.subarray(offset, offset + RECORD_HEADER_BYTES));
}

/** What the STORAGE puzzle hashes: the first 192 bytes with the CRC zero. */
export function recordPuzzleMessage(bytes: Uint8Array, offset = 0): Uint8Array {
  const message = bytes.slice(offset, offset + SIGNED_BYTES);
  writeU32(message, 20, 0);
  return message;
}

/** What the author signs. */
export function recordSignatureMessage(bytes: Uint8Array, offset = 0): Uint8Array {
  const message = new Uint8Array(SIGNATURE_CONTEXT.length + SIGNED_BYTES);
  message.set(SIGNATURE_CONTEXT);
  message.set(recordPuzzleMessage(bytes, offset), SIGNATURE_CONTEXT.length);
  return message;
}

/** The header alone: magic, version, its CRC and its numbers. */
export function decodeRecordHeader(
  bytes: Uint8Array,
  offset = 0,
  length = bytes.length - offset,
): Decoded<RecordHeader> {
  const intact = checkHeaderBytes(bytes, offset, length);
  if (intact !== VERDICT.OK) return refused(intact, "record header");
  const header = readFields(bytes.slice(offset, offset + RECORD_HEADER_BYTES));
  const sensible = checkHeaderValues(header);
  return sensible === VERDICT.OK ? decoded(header) : refused(sensible, "record header");
}

/** Whether the header is what its author wrote, in a version that we read. */
function checkHeaderBytes(bytes: Uint8Array, offset: number, length: number): Verdict {
  if (length < RECORD_HEADER_BYTES || offset + RECORD_HEADER_BYTES > bytes.length) {
    return VERDICT.TRUNCATED;
  }
  if (!equalRange(bytes, offset, MAGIC, 0, MAGIC.length)) return VERDICT.NOT_A_RECORD;
  const copy = bytes.slice(offset, offset + RECORD_HEADER_BYTES);
  writeU32(copy, 20, 0);
  const checksum = kernels.crc32c(copy, 0, RECORD_HEADER_BYTES, 0);
  if (checksum !== readU32(bytes, offset + 20)) return VERDICT.BAD_CHECKSUM;
  // After the checksum: a flipped bit must read as damage, not as a version from the future.
  return readU16(copy, 8) === RECORD_VERSION ? VERDICT.OK : VERDICT.UNKNOWN_VERSION;
}

/** Whether an intact header says something that a record can say. */
function checkHeaderValues(header: RecordHeader): Verdict {
  if (!Object.hasOwn(RECORD_KIND, header.kind)) return VERDICT.UNKNOWN_KIND;
  const { slot, creationTime, heightBefore, nonce, firstRound, lastRound } = header;
  if ([slot, creationTime, heightBefore, nonce].some(Number.isNaN)) return VERDICT.BAD_NUMBER;
  if (firstRound < 1 || lastRound < firstRound - 1) return VERDICT.WRONG_ROUND;
  const length = RECORD_HEADER_BYTES + header.payloadBytes;
  return length > RECORD_BYTES_MAX ? VERDICT.TOO_LARGE : VERDICT.OK;
}

/**
 * The header of an intact record that settles nothing, as the NOOP that it amounts to: what it says
 * of itself may be no kind, no number or no range at all.
 */
export function noopHeader(bytes: Uint8Array, settledRound: number): RecordHeader {
  const header = readFields(bytes.slice(0, RECORD_HEADER_BYTES));
  return { ...header, kind: "NOOP", firstRound: settledRound + 1, lastRound: settledRound };
}

function readFields(copy: Uint8Array): RecordHeader {
  return {
    // Undefined for a number that is no kind: checkHeaderValues refuses it before anybody looks.
    kind: KIND_NAMES[copy[10]],
    version: readU16(copy, 8),
    puzzleBits: copy[11],
    payloadBytes: readU32(copy, 12),
    slot: readU64(copy, 24),
    chainId: copy.subarray(32, 48),
    prevHash: copy.subarray(48, 80),
    epoch: copy.subarray(80, 112),
    firstRound: readU48(copy, 112),
    lastRound: readU48(copy, 118),
    authorRank: readU32(copy, 124),
    authorIncarnation: copy.subarray(128, 136),
    creationTime: readU64(copy, 136),
    payloadHash: copy.subarray(144, 176),
    heightBefore: readU64(copy, 176),
    nonce: readU64(copy, NONCE_OFFSET),
    signature: copy.subarray(SIGNED_BYTES),
  };
}

/** What is known of a record before it is read; absent parts are not compared. */
export interface RecordExpectations {
  chainId?: Uint8Array;
  slot?: number;
  prevHash?: Uint8Array;
  /** genesis.storageDifficulty: what a STORAGE puzzle must reach. */
  storageDifficulty?: number;
  /** Raw Ed25519 key of the author. */
  publicKey?: Uint8Array;
}

/**
 * Every checksum, hash and length of bytes[offset, offset + length), which hold one whole record, then
 * what it says against `expected`. Damage is told first (verdict.ts `isDamage`).
 */
export function checkRecordBytes(
  bytes: Uint8Array,
  offset = 0,
  length = bytes.length - offset,
  expected: RecordExpectations = {},
): Verdict {
  const intact = checkIntact(bytes, offset, length);
  if (intact !== VERDICT.OK) return intact;
  const header = readFields(bytes.slice(offset, offset + RECORD_HEADER_BYTES));
  return checkAgainst(bytes, offset, header, expected);
}

function checkIntact(bytes: Uint8Array, offset: number, length: number): Verdict {
  const verdict = checkHeaderBytes(bytes, offset, length);
  if (verdict !== VERDICT.OK) return verdict;
  const payloadBytes = readU32(bytes, offset + 12);
  const payloadAt = offset + RECORD_HEADER_BYTES;
  const whole = RECORD_HEADER_BYTES + payloadBytes;
  if (length < whole || offset + whole > bytes.length) return VERDICT.TRUNCATED;
  if (length > whole) return VERDICT.TRAILING_BYTES;
  const checksum = kernels.crc32c(bytes, payloadAt, payloadBytes, 0);
  if (checksum !== readU32(bytes, offset + 16)) return VERDICT.BAD_CHECKSUM;
  const payloadHash = sha256(bytes.subarray(payloadAt, payloadAt + payloadBytes));
  return equalRange(payloadHash, 0, bytes, offset + 144, HASH_BYTES)
    ? VERDICT.OK
    : VERDICT.BAD_CHECKSUM;
}

function checkAgainst(
  bytes: Uint8Array,
  offset: number,
  header: RecordHeader,
  expected: RecordExpectations,
): Verdict {
  const { chainId, prevHash, slot, storageDifficulty, publicKey } = expected;
  // The place first: what lies in the wrong one is not judged there.
  if (slot !== undefined && header.slot !== slot) return VERDICT.WRONG_SLOT;
  if (prevHash !== undefined && !equalRange(header.prevHash, 0, prevHash, 0, HASH_BYTES)) {
    return VERDICT.WRONG_PARENT;
  }
  const sensible = checkHeaderValues(header);
  if (sensible !== VERDICT.OK) return sensible;
  if (chainId !== undefined && !equalRange(header.chainId, 0, chainId, 0, CHAIN_ID_BYTES)) {
    return VERDICT.WRONG_CHAIN;
  }
  if (storageDifficulty !== undefined) {
    const verdict = checkPuzzle(bytes, offset, header, storageDifficulty);
    if (verdict !== VERDICT.OK) return verdict;
  }
  if (publicKey !== undefined && !verifyRecord(bytes, publicKey, offset)) {
    return VERDICT.BAD_SIGNATURE;
  }
  return VERDICT.OK;
}

function checkPuzzle(
  bytes: Uint8Array,
  offset: number,
  header: RecordHeader,
  storageDifficulty: number,
): Verdict {
  const bits = header.kind === "STORAGE" ? storageDifficulty : 0;
  if (header.puzzleBits !== bits) return VERDICT.WRONG_DIFFICULTY;
  if (bits === 0) return VERDICT.OK;
  const hash = sha256(recordPuzzleMessage(bytes, offset));
  return hasLeadingZeros(hash, 0, bits) ? VERDICT.OK : VERDICT.PUZZLE_UNSOLVED;
}

/** True if the signature is that of `publicKey` (raw Ed25519). */
export function verifyRecord(bytes: Uint8Array, publicKey: Uint8Array, offset = 0): boolean {
  const signature = bytes.subarray(offset + SIGNED_BYTES, offset + RECORD_HEADER_BYTES);
  return verifySignature(publicKey, recordSignatureMessage(bytes, offset), signature);
}

/**
 * A whole record as objects, every checksum checked. `members` counts the epoch in force (0 at slot
 * 0). Block messages and other byte strings of the body are views into `bytes`.
 */
export function decodeRecord(
  bytes: Uint8Array,
  members: number,
  expected: RecordExpectations = {},
): Decoded<LedgerRecord> {
  const intact = checkIntact(bytes, 0, bytes.length);
  if (intact !== VERDICT.OK) return refused(intact, "record");
  const header = readFields(bytes.slice(0, RECORD_HEADER_BYTES));
  const verdict = checkAgainst(bytes, 0, header, expected);
  if (verdict !== VERDICT.OK) return refused(verdict, "record");
  const body = decodeBody(header, bytes.subarray(RECORD_HEADER_BYTES), members);
  if (!body.ok) return body;
  return decoded({ header, hash: recordHash(bytes), body: body.value });
}

/** The payload of a record whose bytes are checked; its rounds must be those of the header. */
export function decodeBody(
  header: RecordHeader,
  payload: Uint8Array,
  members: number,
): Decoded<RecordBody> {
  const { kind } = header;
  switch (kind) {
    case "QUORUM":
    case "STORAGE": {
      const rounds = decodeSettlement(payload, members);
      if (!rounds.ok) return rounds;
      if (!settles(rounds.value, header)) return refused(VERDICT.WRONG_ROUND, "settlement");
      return decoded({ kind, rounds: rounds.value });
    }
    case "SEAL": {
      const seal = decodeSeal(payload, members);
      if (!seal.ok) return seal;
      if (!settles(seal.value.rounds, header)) return refused(VERDICT.WRONG_ROUND, "settlement");
      return decoded({ kind, seal: seal.value });
    }
    case "INTENT": {
      const intent = decodeIntent(payload, members);
      if (!intent.ok) return intent;
      if (!settles([], header)) return refused(VERDICT.WRONG_ROUND, "INTENT");
      return decoded({ kind, intent: intent.value });
    }
    case "NOOP": {
      const noop = decodeNoop(payload);
      if (!noop.ok) return noop;
      if (!settles([], header)) return refused(VERDICT.WRONG_ROUND, "NOOP");
      return decoded({ kind });
    }
  }
}

function settles(rounds: readonly SettledRound[], header: RecordHeader): boolean {
  if (rounds.length !== header.lastRound - header.firstRound + 1) return false;
  return rounds.length === 0 || rounds[0].round === header.firstRound;
}

/** The author's key where the payload itself carries it: INTENT, slot 0, a newcomer's SEAL. */
export function embeddedAuthorKey(record: LedgerRecord): Uint8Array | undefined {
  const { header, body } = record;
  const members =
    body.kind === "SEAL" ? body.seal.members : body.kind === "INTENT" ? [body.intent.member] : [];
  const author = members.find(
    ({ rank, incarnation }) =>
      rank === header.authorRank && equalRange(incarnation, 0, header.authorIncarnation, 0, 8),
  );
  return author?.publicKey;
}

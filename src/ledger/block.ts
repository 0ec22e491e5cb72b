/**
 * Blocks as bytes (Table 2 of the paper): one msgpack message [header bin(160), body bin]. Header and
 * body are found, built and judged in place, usually in shared memory and by a worker; the hashes
 * cover the bytes that travelled. Parent and height are not in a block: ordering fixes them
 * (`chainHash`).
 *
 *      0 16 chainId     80 8 round   92 4 index        112 4 txnCounter        120 32 merkleRoot
 *     16 32 epoch       88 4 rank    96 8 incarnation  116 1 puzzleDifficulty  152  8 nonce
 *     48 32 anchor                  104 8 creationTime 117 3 zero
 *
 * Body: txnCounter × [length u32][transaction].
 */
import { assert } from "../base/assert.ts";
import { equalRange, readU32, readU64, writeU32, writeU64 } from "../base/bytes.ts";
import { copyRange } from "../base/copy.ts";
import { kernels } from "../base/kernels.ts";
import { HASH_BYTES } from "../base/sha256.ts";
import { BLOCK_BYTES_MAX, BLOCK_TXNS_MAX } from "../limits.ts";
import { binHeadBytes, writeBinHead } from "./codec.ts";
import { CHAIN_ID_BYTES } from "./transaction.ts";
import { VERDICT, type Verdict } from "./verdict.ts";

export const BLOCK_HEADER_BYTES = 160;
export const INCARNATION_BYTES = 8;

/** Where each part of the header begins. */
export const BLOCK_OFFSET = {
  chainId: 0,
  epoch: 16,
  anchor: 48,
  round: 80,
  rank: 88,
  index: 92,
  incarnation: 96,
  creationTime: 104,
  txnCounter: 112,
  puzzleDifficulty: 116,
  zero: 117,
  merkleRoot: 120,
  nonce: 152,
} as const;

/** Before the header: array of two, bin8 of 160 bytes. */
const MESSAGE_HEAD_BYTES = 3;

export interface BlockHeader {
  chainId: Uint8Array;
  epoch: Uint8Array;
  /** Hash of the newest final record that the proposer knows. */
  anchor: Uint8Array;
  round: number;
  rank: number;
  /** Place in its proposal. */
  index: number;
  incarnation: Uint8Array;
  creationTime: number;
  txnCounter: number;
  puzzleDifficulty: number;
  merkleRoot: Uint8Array;
  nonce: number;
}

/** What the proposer decides; counter, root and nonce follow from the transactions. */
export type BlockSetting = Omit<BlockHeader, "txnCounter" | "merkleRoot" | "nonce">;

/** Where a block's parts lie; offsets count from the start of the array it lies in. Reused. */
export interface BlockLocation {
  headerOffset: number;
  bodyOffset: number;
  bodyLength: number;
  txnCounter: number;
}

export function createBlockLocation(): BlockLocation {
  return { headerOffset: 0, bodyOffset: 0, bodyLength: 0, txnCounter: 0 };
}

export function writeBlockHeader(out: Uint8Array, offset: number, header: BlockHeader): void {
  out.set(header.chainId, offset);
  out.set(header.epoch, offset + 16);
  out.set(header.anchor, offset + 48);
  writeU64(out, offset + 80, header.round);
  writeU32(out, offset + 88, header.rank);
  writeU32(out, offset + 92, header.index);
  out.set(header.incarnation, offset + 96);
  writeU64(out, offset + 104, header.creationTime);
  writeU32(out, offset + 112, header.txnCounter);
  writeU32(out, offset + 116, header.puzzleDifficulty);
  out.set(header.merkleRoot, offset + 120);
  writeU64(out, offset + 152, header.nonce);
}

/** Copies the header out. Numbers too wide for us are NaN. */
export function readBlockHeader(bytes: Uint8Array, offset: number): BlockHeader {
  return {
    chainId: bytes.slice(offset, offset + 16),
    epoch: bytes.slice(offset + 16, offset + 48),
    anchor: bytes.slice(offset + 48, offset + 80),
    round: readU64(bytes, offset + 80),
    rank: readU32(bytes, offset + 88),
    index: readU32(bytes, offset + 92),
    incarnation: bytes.slice(offset + 96, offset + 104),
    creationTime: readU64(bytes, offset + 104),
    txnCounter: readU32(bytes, offset + 112),
    puzzleDifficulty: bytes[offset + 116],
    merkleRoot: bytes.slice(offset + 120, offset + 152),
    nonce: readU64(bytes, offset + 152),
  };
}

/** Finds header and body in place; takes msgpackr's own form of the message and no other. */
export function locateBlock(
  bytes: Uint8Array,
  offset: number,
  length: number,
  out: BlockLocation,
): Verdict {
  if (length > BLOCK_BYTES_MAX) return VERDICT.TOO_LARGE;
  const headLength = MESSAGE_HEAD_BYTES + BLOCK_HEADER_BYTES;
  if (length < headLength + 2 || offset + length > bytes.length) return VERDICT.TRUNCATED;
  if (bytes[offset] !== 0x92 || bytes[offset + 1] !== 0xc4 || bytes[offset + 2] !== 0xa0) {
    return VERDICT.BAD_SHAPE;
  }
  const at = offset + headLength;
  const type = bytes[at];
  const width = type === 0xc4 ? 1 : type === 0xc5 ? 2 : type === 0xc6 ? 4 : 0;
  if (width === 0) return VERDICT.BAD_SHAPE;
  if (headLength + 1 + width > length) return VERDICT.TRUNCATED;
  let bodyLength = 0;
  for (let i = 0; i < width; i++) bodyLength = bodyLength * 256 + bytes[at + 1 + i];
  if (binHeadBytes(bodyLength) !== 1 + width) return VERDICT.BAD_SHAPE;
  const whole = headLength + 1 + width + bodyLength;
  if (whole !== length) return whole > length ? VERDICT.TRUNCATED : VERDICT.TRAILING_BYTES;
  out.headerOffset = offset + MESSAGE_HEAD_BYTES;
  out.bodyOffset = at + 1 + width;
  out.bodyLength = bodyLength;
  out.txnCounter = readU32(bytes, out.headerOffset + BLOCK_OFFSET.txnCounter);
  return VERDICT.OK;
}

/** Bytes of the body that holds these transactions (spans: offset, length of each). */
export function bodyBytes(spans: Uint32Array, count: number): number {
  let length = 4 * count;
  for (let i = 1; i < 2 * count; i += 2) length += spans[i];
  return length;
}

/** Bytes of the message around a body. */
export function blockMessageBytes(bodyLength: number): number {
  return MESSAGE_HEAD_BYTES + BLOCK_HEADER_BYTES + binHeadBytes(bodyLength) + bodyLength;
}

/** In a block queue slot the txnIDs follow the message at the next multiple of 8 (slots are aligned). */
export function idsOffsetOf(messageLength: number): number {
  return (messageLength + 7) & ~7;
}

export function blockSlotBytes(messageLength: number, txnCounter: number): number {
  return idsOffsetOf(messageLength) + HASH_BYTES * txnCounter;
}

export interface TransactionSource {
  bytes: Uint8Array;
  /** Offset and length of transaction i in `bytes` at 2i and 2i+1. */
  spans: Uint32Array;
  count: number;
  /** Their txnIDs, one after the other from `idsOffset`. */
  ids: Uint8Array;
  idsOffset: number;
}

const scatterTriples = new Uint32Array(3 * BLOCK_TXNS_MAX);

/**
 * Writes the message of a block of these transactions at `offset`, with nonce 0 (then mineBlock), and
 * answers its length. `out` must have blockMessageBytes(bodyBytes(…)) bytes there.
 */
export function assembleBlock(
  out: Uint8Array,
  offset: number,
  setting: BlockSetting,
  source: TransactionSource,
): number {
  const { spans, count } = source;
  assert(count > 0 && count <= BLOCK_TXNS_MAX, "a block has 1 to BLOCK_TXNS_MAX transactions");
  const bodyLength = bodyBytes(spans, count);
  const length = blockMessageBytes(bodyLength);
  assert(length <= BLOCK_BYTES_MAX, "a block stays below BLOCK_BYTES_MAX");
  assert(offset + length <= out.length, "assembleBlock needs room for the message");
  out[offset] = 0x92;
  const headerOffset = writeBinHead(out, offset + 1, BLOCK_HEADER_BYTES);
  writeSetting(out, headerOffset, setting, count);
  kernels.merkleRoot(
    source.ids,
    source.idsOffset,
    count,
    out,
    headerOffset + BLOCK_OFFSET.merkleRoot,
  );
  let at = writeBinHead(out, headerOffset + BLOCK_HEADER_BYTES, bodyLength);
  for (let i = 0; i < count; i++) {
    const bytesOfOne = spans[2 * i + 1];
    writeU32(out, at, bytesOfOne);
    scatterTriples[3 * i] = spans[2 * i];
    scatterTriples[3 * i + 1] = at + 4;
    scatterTriples[3 * i + 2] = bytesOfOne;
    at += 4 + bytesOfOne;
  }
  kernels.scatter(source.bytes, out, scatterTriples, count);
  return length;
}

function writeSetting(out: Uint8Array, offset: number, setting: BlockSetting, count: number): void {
  copyRange(setting.chainId, 0, CHAIN_ID_BYTES, out, offset);
  copyRange(setting.epoch, 0, HASH_BYTES, out, offset + 16);
  copyRange(setting.anchor, 0, HASH_BYTES, out, offset + 48);
  writeU64(out, offset + 80, setting.round);
  writeU32(out, offset + 88, setting.rank);
  writeU32(out, offset + 92, setting.index);
  copyRange(setting.incarnation, 0, INCARNATION_BYTES, out, offset + 96);
  writeU64(out, offset + 104, setting.creationTime);
  writeU32(out, offset + 112, count);
  writeU32(out, offset + 116, setting.puzzleDifficulty);
  writeU64(out, offset + 152, 0);
}

/**
 * Tries nonces from `first` on and leaves the winner in the header. Answers the tries used, or -1
 * after `tries` misses: call again with first + tries.
 */
export function mineBlock(
  bytes: Uint8Array,
  headerOffset: number,
  bits: number,
  first: number,
  tries: number,
): number {
  return kernels.searchPuzzle(
    bytes,
    headerOffset,
    BLOCK_HEADER_BYTES,
    BLOCK_OFFSET.nonce,
    bits,
    first,
    tries,
  );
}

/** blockID = SHA-256 of the header. */
export function blockHash(
  bytes: Uint8Array,
  headerOffset: number,
  out: Uint8Array,
  outOffset: number,
): void {
  kernels.sha256(bytes, headerOffset, BLOCK_HEADER_BYTES, out, outOffset);
}

/** True if the hash begins with `bits` zero bits. */
export function hasLeadingZeros(hash: Uint8Array, offset: number, bits: number): boolean {
  const whole = bits >>> 3;
  for (let i = 0; i < whole; i++) if (hash[offset + i] !== 0) return false;
  return (bits & 7) === 0 || hash[offset + whole] >>> (8 - (bits & 7)) === 0;
}

const chainScratch = new Uint8Array(2 * HASH_BYTES + 8);

/** Fixes a block's place: SHA-256(blockHash ‖ parentChainHash ‖ u64 height). */
export function chainHash(
  hash: Uint8Array,
  hashOffset: number,
  parent: Uint8Array,
  parentOffset: number,
  height: number,
  out: Uint8Array,
  outOffset: number,
): void {
  copyRange(hash, hashOffset, HASH_BYTES, chainScratch, 0);
  copyRange(parent, parentOffset, HASH_BYTES, chainScratch, HASH_BYTES);
  writeU64(chainScratch, 2 * HASH_BYTES, height);
  kernels.sha256(chainScratch, 0, chainScratch.length, out, outOffset);
}

/** Finds `count` transactions in a body: offset and length of each to spansOut, from `spansAt` on. */
export function scanBody(
  bytes: Uint8Array,
  bodyOffset: number,
  bodyLength: number,
  count: number,
  spansOut: Uint32Array,
  spansAt = 0,
): Verdict {
  if (bodyOffset + bodyLength > bytes.length) return VERDICT.TRUNCATED;
  return kernels.scanBody(bytes, bodyOffset, bodyLength, count, spansOut, spansAt) as Verdict;
}

/** What a block must say to be valid where it stands. */
export interface BlockExpectations {
  chainId: Uint8Array;
  epoch: Uint8Array;
  round: number;
  rank: number;
  incarnation: Uint8Array;
  /** Place in the proposal. */
  index: number;
  /** genesis.difficulty: never the one that the block claims. */
  difficulty: number;
  /** genesis.blockTransactionsMax. */
  transactionsMax: number;
  /** OK, ANCHOR_UNKNOWN or ANCHOR_STALE for the 32 bytes at `offset`. */
  checkAnchor(bytes: Uint8Array, offset: number): Verdict;
}

/** What checkBlock found; reused. */
export interface BlockCheck extends BlockLocation {
  readonly blockHash: Uint8Array;
}

export function createBlockCheck(): BlockCheck {
  return { ...createBlockLocation(), blockHash: new Uint8Array(HASH_BYTES) };
}

const checkSpans = new Uint32Array(2 * BLOCK_TXNS_MAX);
const checkVerdicts = new Uint8Array(BLOCK_TXNS_MAX);
const rootScratch = new Uint8Array(HASH_BYTES);

/**
 * Everything about a block that needs no hash: shape, header, counters, structure of each
 * transaction. Leaves their spans at `spansOut` from transaction `spansAt` on.
 */
export function checkBlockStructure(
  bytes: Uint8Array,
  offset: number,
  length: number,
  expectations: BlockExpectations,
  spansOut: Uint32Array,
  spansAt: number,
  location: BlockLocation,
): Verdict {
  let verdict = locateBlock(bytes, offset, length, location);
  if (verdict !== VERDICT.OK) return verdict;
  const { headerOffset, txnCounter, bodyOffset, bodyLength } = location;
  verdict = checkHeader(bytes, headerOffset, expectations);
  if (verdict !== VERDICT.OK) return verdict;
  if (txnCounter > expectations.transactionsMax) return VERDICT.TOO_LARGE;
  verdict = scanBody(bytes, bodyOffset, bodyLength, txnCounter, spansOut, spansAt);
  if (verdict !== VERDICT.OK) return verdict;
  const end = spansAt + txnCounter;
  const { chainId } = expectations;
  const good = kernels.checkTransactions(bytes, spansOut, spansAt, end, chainId, checkVerdicts);
  return good === end ? VERDICT.OK : (checkVerdicts[good] as Verdict);
}

/** Whether the header's Merkle root is `roots[rootAt ..]`, and its anchor a good one. */
export function checkBlockRoot(
  bytes: Uint8Array,
  headerOffset: number,
  roots: Uint8Array,
  rootAt: number,
  expectations: BlockExpectations,
): Verdict {
  const claimedAt = headerOffset + BLOCK_OFFSET.merkleRoot;
  if (!equalRange(bytes, claimedAt, roots, rootAt, HASH_BYTES)) return VERDICT.WRONG_ROOT;
  // Last, so that "wait for the anchor" is only said of a block that is good in all else.
  return expectations.checkAnchor(bytes, headerOffset + BLOCK_OFFSET.anchor);
}

/**
 * Judges a block by its bytes and `expectations`, cheap checks first, and leaves its txnIDs (32 bytes
 * each) at idsOut[idsOffset]. `check` tells where its parts lie, and its hash. For many at once:
 * queue/block-checking.
 */
export function checkBlock(
  bytes: Uint8Array,
  offset: number,
  length: number,
  expectations: BlockExpectations,
  idsOut: Uint8Array,
  idsOffset: number,
  check: BlockCheck,
): Verdict {
  const verdict = checkBlockStructure(bytes, offset, length, expectations, checkSpans, 0, check);
  if (verdict !== VERDICT.OK) return verdict;
  const { headerOffset, txnCounter } = check;
  if (idsOut.length - idsOffset < HASH_BYTES * txnCounter) return VERDICT.TOO_LARGE;
  blockHash(bytes, headerOffset, check.blockHash, 0);
  if (!hasLeadingZeros(check.blockHash, 0, expectations.difficulty)) {
    return VERDICT.PUZZLE_UNSOLVED;
  }
  kernels.leafHashes(bytes, checkSpans, txnCounter, idsOut, idsOffset);
  kernels.merkleRoot(idsOut, idsOffset, txnCounter, rootScratch, 0);
  return checkBlockRoot(bytes, headerOffset, rootScratch, 0, expectations);
}

function checkHeader(bytes: Uint8Array, at: number, expected: BlockExpectations): Verdict {
  if (!equalRange(bytes, at, expected.chainId, 0, CHAIN_ID_BYTES)) return VERDICT.WRONG_CHAIN;
  if (!equalRange(bytes, at + BLOCK_OFFSET.epoch, expected.epoch, 0, HASH_BYTES)) {
    return VERDICT.WRONG_EPOCH;
  }
  if (readU64(bytes, at + BLOCK_OFFSET.round) !== expected.round) return VERDICT.WRONG_ROUND;
  if (readU32(bytes, at + BLOCK_OFFSET.rank) !== expected.rank) return VERDICT.WRONG_RANK;
  if (readU32(bytes, at + BLOCK_OFFSET.index) !== expected.index) return VERDICT.WRONG_INDEX;
  const incarnationAt = at + BLOCK_OFFSET.incarnation;
  if (!equalRange(bytes, incarnationAt, expected.incarnation, 0, INCARNATION_BYTES)) {
    return VERDICT.WRONG_INCARNATION;
  }
  if (Number.isNaN(readU64(bytes, at + BLOCK_OFFSET.creationTime))) return VERDICT.BAD_NUMBER;
  // One word holds the difficulty and three zero bytes.
  if (readU32(bytes, at + BLOCK_OFFSET.puzzleDifficulty) !== expected.difficulty) {
    return VERDICT.WRONG_DIFFICULTY;
  }
  return VERDICT.OK;
}

/**
 * A proposal is what a rank puts up for the vote of a round: an ordered list of blocks, perhaps none
 * (EMPTY), under one root. The vote names the hash of its header. On the wire: [header bin(152),
 * [block bin, …]]; the envelope around it belongs to the rank.
 *
 *      0 16 chainId   80 8 round       96 8 incarnation    116  4 zero
 *     16 32 epoch     88 4 rank       104 8 creationTime   120 32 blocksRoot
 *     48 32 anchor    92 4 blockCount 112 4 txnCount
 */
import { assert } from "../base/assert.ts";
import { equalBytes, readU32, readU64, writeU32, writeU64 } from "../base/bytes.ts";
import { kernels } from "../base/kernels.ts";
import { HASH_BYTES } from "../base/sha256.ts";
import { PROPOSAL_BLOCKS_MAX, PROPOSAL_BYTES_MAX } from "../limits.ts";
import { BLOCK_HEADER_BYTES, createBlockLocation, locateBlock } from "./block.ts";
import { PartsWriter, type ScanLimits, scanMessagePack, unpackScanned } from "./codec.ts";
import { type Decoded, decoded, refused, VERDICT, type Verdict } from "./verdict.ts";

export const PROPOSAL_HEADER_BYTES = 152;

export interface ProposalHeader {
  chainId: Uint8Array;
  epoch: Uint8Array;
  anchor: Uint8Array;
  round: number;
  rank: number;
  blockCount: number;
  incarnation: Uint8Array;
  creationTime: number;
  txnCount: number;
  blocksRoot: Uint8Array;
}

export interface Proposal {
  readonly header: ProposalHeader;
  /** The 152 bytes that travelled; a view. */
  readonly headerBytes: Uint8Array;
  /** Block messages; views. */
  readonly blocks: Uint8Array[];
}

const location = createBlockLocation();

const SCAN_LIMITS: ScanLimits = {
  depthMax: 2,
  itemsMax: PROPOSAL_BLOCKS_MAX + 3,
  bytesMax: PROPOSAL_BYTES_MAX,
};

export function encodeProposalHeader(header: ProposalHeader): Uint8Array {
  const out = new Uint8Array(PROPOSAL_HEADER_BYTES);
  out.set(header.chainId, 0);
  out.set(header.epoch, 16);
  out.set(header.anchor, 48);
  writeU64(out, 80, header.round);
  writeU32(out, 88, header.rank);
  writeU32(out, 92, header.blockCount);
  out.set(header.incarnation, 96);
  writeU64(out, 104, header.creationTime);
  writeU32(out, 112, header.txnCount);
  out.set(header.blocksRoot, 120);
  return out;
}

/** Copies the header out. Numbers too wide for us are NaN. */
export function readProposalHeader(bytes: Uint8Array, offset = 0): ProposalHeader {
  return {
    chainId: bytes.slice(offset, offset + 16),
    epoch: bytes.slice(offset + 16, offset + 48),
    anchor: bytes.slice(offset + 48, offset + 80),
    round: readU64(bytes, offset + 80),
    rank: readU32(bytes, offset + 88),
    blockCount: readU32(bytes, offset + 92),
    incarnation: bytes.slice(offset + 96, offset + 104),
    creationTime: readU64(bytes, offset + 104),
    txnCount: readU32(bytes, offset + 112),
    blocksRoot: bytes.slice(offset + 120, offset + 152),
  };
}

export function proposalHash(headerBytes: Uint8Array, offset = 0): Uint8Array {
  const out = new Uint8Array(HASH_BYTES);
  kernels.sha256(headerBytes, offset, PROPOSAL_HEADER_BYTES, out, 0);
  return out;
}

/** RFC 9162 head over block hashes that lie one after the other; of none: SHA-256(""). */
export function blocksRoot(hashes: Uint8Array, count: number): Uint8Array {
  const spans = new Uint32Array(2 * count);
  for (let i = 0; i < count; i++) {
    spans[2 * i] = HASH_BYTES * i;
    spans[2 * i + 1] = HASH_BYTES;
  }
  const leaves = new Uint8Array(HASH_BYTES * count);
  kernels.leafHashes(hashes, spans, count, leaves, 0);
  const root = new Uint8Array(HASH_BYTES);
  kernels.merkleRoot(leaves, 0, count, root, 0);
  return root;
}

/** The message as parts; large blocks are referred to, not copied. */
export function encodeProposalParts(
  headerBytes: Uint8Array,
  blocks: readonly Uint8Array[],
): { parts: Uint8Array[]; length: number } {
  const writer = new PartsWriter().array(2).bytes(headerBytes).array(blocks.length);
  for (const block of blocks) writer.bytes(block);
  return writer.finish();
}

/** Shape and sizes only; what it says is for `checkProposal` and `checkBlock`. */
export function decodeProposal(
  bytes: Uint8Array,
  offset = 0,
  length = bytes.length - offset,
): Decoded<Proposal> {
  const verdict = scanMessagePack(bytes, offset, length, SCAN_LIMITS);
  if (verdict !== VERDICT.OK) return refused(verdict, "proposal");
  const value = unpackScanned(bytes.subarray(offset, offset + length));
  if (!Array.isArray(value) || value.length !== 2) return refused(VERDICT.BAD_SHAPE, "proposal");
  const [headerBytes, blocks] = value as [unknown, unknown];
  if (!(headerBytes instanceof Uint8Array) || headerBytes.length !== PROPOSAL_HEADER_BYTES) {
    return refused(VERDICT.BAD_SHAPE, "proposal header");
  }
  if (!Array.isArray(blocks) || !blocks.every((block) => block instanceof Uint8Array)) {
    return refused(VERDICT.BAD_SHAPE, "blocks of the proposal");
  }
  return decoded({ header: readProposalHeader(headerBytes), headerBytes, blocks });
}

export interface ProposalExpectations {
  chainId: Uint8Array;
  epoch: Uint8Array;
  round: number;
  rank: number;
  incarnation: Uint8Array;
}

/**
 * Judges header against expectations, counters and root against the blocks' headers. Bodies are not
 * looked at: `checkBlock` does that for each, in a worker. Leaves the block hashes at hashesOut.
 */
export function checkProposal(
  proposal: Proposal,
  expected: ProposalExpectations,
  hashesOut: Uint8Array,
): Verdict {
  const { header, headerBytes, blocks } = proposal;
  const { chainId, epoch, incarnation } = expected;
  if (!equalBytes(header.chainId, chainId)) return VERDICT.WRONG_CHAIN;
  if (!equalBytes(header.epoch, epoch)) return VERDICT.WRONG_EPOCH;
  if (header.round !== expected.round) return VERDICT.WRONG_ROUND;
  if (header.rank !== expected.rank) return VERDICT.WRONG_RANK;
  if (!equalBytes(header.incarnation, incarnation)) return VERDICT.WRONG_INCARNATION;
  if (Number.isNaN(header.creationTime)) return VERDICT.BAD_NUMBER;
  if (readU32(headerBytes, 116) !== 0) return VERDICT.BAD_SHAPE;
  if (header.blockCount !== blocks.length) return VERDICT.WRONG_COUNT;
  if (blocks.length * HASH_BYTES > hashesOut.length) return VERDICT.TOO_LARGE;
  const hashed = hashHeaders(blocks, hashesOut);
  if (hashed.verdict !== VERDICT.OK) return hashed.verdict;
  const { txnCount } = hashed;
  if (txnCount !== header.txnCount) return VERDICT.WRONG_COUNT;
  return equalBytes(header.blocksRoot, blocksRoot(hashesOut, blocks.length))
    ? VERDICT.OK
    : VERDICT.WRONG_ROOT;
}

/**
 * Hashes all headers in one call: calls cost more than the hashes of small blocks. Block messages
 * are views into the message that brought them, so their headers are spans of its memory.
 */
function hashHeaders(
  blocks: readonly Uint8Array[],
  hashesOut: Uint8Array,
): { verdict: Verdict; txnCount: number } {
  let txnCount = 0;
  const spans = new Uint32Array(2 * blocks.length);
  for (let i = 0; i < blocks.length; i++) {
    const block = blocks[i];
    assert(block.buffer === blocks[0].buffer, "the blocks of a proposal came in one message");
    const verdict = locateBlock(block, 0, block.length, location);
    if (verdict !== VERDICT.OK) return { verdict, txnCount };
    spans[2 * i] = block.byteOffset + location.headerOffset;
    spans[2 * i + 1] = BLOCK_HEADER_BYTES;
    txnCount += location.txnCounter;
  }
  if (blocks.length > 0)
    kernels.hashMany(new Uint8Array(blocks[0].buffer), spans, blocks.length, hashesOut, 0);
  return { verdict: VERDICT.OK, txnCount };
}

/** The rank at place i of a round's order: who goes first rotates with the round. */
export function rankAtPlace(round: number, place: number, ranks: number): number {
  return (round + place) % ranks;
}

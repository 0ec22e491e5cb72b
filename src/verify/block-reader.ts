/**
 * Checks one block from its bytes: framing, header fields, puzzle at the genesis difficulty, Merkle
 * root over the transactions, and the structure of each transaction. Leaves the ids and places of
 * its transactions in buffers that the next block uses again.
 */
import { equalRange, readU16, readU32, readU64, toHex } from "../base/bytes.ts";
import { kernels } from "../base/kernels.ts";
import { BLOCK_TXNS_MAX, FIELDS_MAX, TXN_BYTES_MAX } from "../limits.ts";
import { ADVICE_REPORT, fail, type Origin } from "./damage.ts";
import { BLOCK, OP, TXN } from "./layout.ts";
import { leadingZeroBits } from "./record-reader.ts";

/** What a block's header has to say, given where the block is. */
export interface BlockPlace {
  chainId: Uint8Array;
  /** The header of its proposal: both begin with chain id and epoch, and share a round and rank. */
  proposal: Uint8Array;
  index: number;
  difficulty: number;
  transactionsMax: number;
}

const AT = BLOCK.at;

export class BlockReader {
  /** SHA-256 of the header of the block read last. */
  readonly hash = new Uint8Array(32);
  /** txnIDs of the block read last, 32 bytes each. */
  readonly ids = new Uint8Array(32 * BLOCK_TXNS_MAX);
  /** Offset and length of each transaction in the block's bytes. */
  readonly spans = new Uint32Array(2 * BLOCK_TXNS_MAX);
  count = 0;
  headerAt = 0;
  private readonly root = new Uint8Array(32);

  read(bytes: Uint8Array, origin: Origin, place: BlockPlace): void {
    const bad = (code: string, offset: number, what: string, expected?: unknown, found?: unknown) =>
      fail(origin, {
        code,
        offset,
        what,
        advice: ADVICE_REPORT,
        ...(expected === undefined ? {} : { expected: String(expected), found: String(found) }),
      });
    const body = locateBody(bytes);
    if (body < 0) bad("BLOCK_FRAME", 0, "not a block: its framing is wrong");
    const header = (this.headerAt = 3);
    checkHeader();
    kernels.sha256(bytes, header, BLOCK.bytes, this.hash, 0);
    const bits = leadingZeroBits(this.hash);
    if (bits < place.difficulty) {
      bad("BLOCK_PUZZLE", header + AT.nonce, "unsolved puzzle", `${place.difficulty} bits`, bits);
    }
    this.readTransactions(bytes, body, readU32(bytes, header + AT.txnCounter), origin, place);
    kernels.leafHashes(bytes, this.spans, this.count, this.ids, 0);
    kernels.merkleRoot(this.ids, 0, this.count, this.root, 0);
    if (!equalRange(this.root, 0, bytes, header + AT.merkleRoot, 32)) {
      const found = toHex(bytes, header + AT.merkleRoot, header + AT.merkleRoot + 32);
      bad("BLOCK_MERKLE", header + AT.merkleRoot, "wrong Merkle root", toHex(this.root), found);
    }

    function checkHeader() {
      // Chain id and epoch lie alike in both headers, and so do round and rank.
      if (!equalRange(bytes, header, place.proposal, 0, 48)) {
        bad("BLOCK_EPOCH", header, "the block belongs to another chain or epoch");
      }
      if (!equalRange(bytes, header + AT.round, place.proposal, 80, 12)) {
        bad("BLOCK_ROUND", header + AT.round, "the block belongs to another round or rank");
      }
      if (!equalRange(bytes, header + AT.incarnation, place.proposal, 96, 8)) {
        bad("BLOCK_AUTHOR", header + AT.incarnation, "the block is by another incarnation");
      }
      const index = readU32(bytes, header + AT.index);
      if (index !== place.index) bad("BLOCK_INDEX", header + AT.index, "index", place.index, index);
      const claimed = bytes[header + AT.difficulty];
      if (claimed !== place.difficulty) {
        bad("BLOCK_DIFFICULTY", header + AT.difficulty, "difficulty", place.difficulty, claimed);
      }
      for (let i = 0; i < 3; i++) {
        if (bytes[header + AT.zero + i] !== 0) bad("BLOCK_ZERO", header + AT.zero, "not zero");
      }
      if (Number.isNaN(readU64(bytes, header + AT.creationTime))) {
        bad("BLOCK_TIME", header + AT.creationTime, "a creation time beyond 2^53");
      }
    }
  }

  private readTransactions(
    bytes: Uint8Array,
    body: number,
    count: number,
    origin: Origin,
    place: BlockPlace,
  ): void {
    const bad = (offset: number, what: string): never =>
      fail(origin, { code: "TRANSACTION", offset, what, advice: ADVICE_REPORT });
    const countAt = this.headerAt + AT.txnCounter;
    if (count === 0) bad(countAt, "a block without transactions");
    if (count > place.transactionsMax || count > BLOCK_TXNS_MAX) {
      bad(countAt, `a block of ${count} transactions, of at most ${place.transactionsMax}`);
    }
    let at = body;
    for (let i = 0; i < count; i++) {
      if (at + 4 > bytes.length) bad(at, `transaction ${i} is cut`);
      const length = readU32(bytes, at);
      if (length > bytes.length - at - 4) bad(at, `transaction ${i} is cut`);
      const wrong = checkTransaction(bytes, at + 4, length, place.chainId);
      if (wrong !== undefined) bad(at + 4, `transaction ${i} ${wrong}`);
      this.spans[2 * i] = at + 4;
      this.spans[2 * i + 1] = length;
      at += 4 + length;
    }
    if (at !== bytes.length) bad(at, "bytes after the last transaction");
    this.count = count;
  }
}

/** Offset of the body in [header bin, body bin], or -1 when the framing is anything else. */
function locateBody(bytes: Uint8Array): number {
  const at = 3 + BLOCK.bytes;
  if (bytes.length < at + 2 || bytes[0] !== 0x92 || bytes[1] !== 0xc4) return -1;
  if (bytes[2] !== BLOCK.bytes) return -1;
  // msgpack's bin 8, 16, 32: the length is big-endian.
  const width = { 196: 1, 197: 2, 198: 4 }[bytes[at]];
  if (width === undefined || bytes.length < at + 1 + width) return -1;
  let length = 0;
  for (let i = 0; i < width; i++) length = length * 256 + bytes[at + 1 + i];
  return at + 1 + width + length === bytes.length ? at + 1 + width : -1;
}

/** Undefined when the structure is right; otherwise what is wrong, to follow "transaction i". */
export function checkTransaction(
  bytes: Uint8Array,
  offset: number,
  length: number,
  chainId: Uint8Array,
): string | undefined {
  const at = TXN.at;
  if (length < TXN.headBytes || length > TXN_BYTES_MAX) return `has ${length} bytes`;
  const kind = bytes[offset + at.kind];
  const keyBytes = bytes[offset + at.keyBytes];
  const fieldCount = readU16(bytes, offset + at.fieldCount);
  if (!equalRange(bytes, offset + at.chainId, chainId, 0, 16)) return "is for another chain";
  if (Number.isNaN(readU64(bytes, offset + at.sender))) return "has a sender beyond 2^53";
  if (Number.isNaN(readU64(bytes, offset + at.sequence))) return "has a sequence beyond 2^53";
  if (kind === OP.transfer) {
    if (length !== TXN.transferBytes) return `is a transfer of ${length} bytes`;
    if (keyBytes !== 0 || fieldCount !== 0) return "is a transfer with a key or fields";
    if (Number.isNaN(readU64(bytes, offset + at.receiver))) return "has a receiver beyond 2^53";
    return readU64(bytes, offset + at.amount) > 0 ? undefined : "has no amount from 1 to 2^53";
  }
  const end = offset + length;
  let here = offset + TXN.headBytes + keyBytes;
  if (here > end) return "ends in its key";
  if (kind === OP.record) return fieldCount === 0 ? undefined : "is a record with fields";
  if (keyBytes === 0) return "has no key";
  if (kind === OP.delete) {
    return here === end && fieldCount === 0 ? undefined : "is a delete with more than a key";
  }
  if (kind !== OP.insert && kind !== OP.update) return `is of kind ${kind}`;
  if (fieldCount === 0 || fieldCount > FIELDS_MAX) return `has ${fieldCount} fields`;
  for (let i = 0; i < fieldCount; i++) {
    if (here + 5 > end) return `ends in field ${i}`;
    const nameBytes = bytes[here];
    if (nameBytes === 0) return `has no name for field ${i}`;
    here += 5 + nameBytes + readU32(bytes, here + 1);
    if (here > end) return `ends in field ${i}`;
  }
  return here === end ? undefined : "has bytes after its fields";
}

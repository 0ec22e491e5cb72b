/**
 * Whether a record is what its author wrote, and lies where it belongs: magic, version, both CRCs,
 * slot, parent, payload hash. What it says is judged elsewhere.
 */
import { readU16, readU32, readU48, readU64, toHex } from "../base/bytes.ts";
import { kernels } from "../base/kernels.ts";
import { fail, type Origin } from "./damage.ts";
import { sha256 } from "./genesis-reader.ts";
import { RECORD } from "./layout.ts";

export interface RecordView {
  origin: Origin;
  bytes: Uint8Array;
  /** SHA-256 of the header: the name of this record. */
  hash: Uint8Array;
  kind: number;
  puzzleBits: number;
  slot: number;
  /** False where one of them is beyond 2^53: only nonsense is. */
  numbersFit: boolean;
  chainId: string;
  epoch: string;
  firstRound: number;
  lastRound: number;
  rank: number;
  incarnation: string;
  heightBefore: number;
}

const AT = RECORD.at;
const scratch = new Uint8Array(RECORD.headerBytes);

export function readRecord(bytes: Uint8Array, origin: Origin, prevHash: Uint8Array): RecordView {
  const differs = (code: string, offset: number, what: string, expected: unknown, found: unknown) =>
    fail(origin, { code, offset, what, expected: String(expected), found: String(found) });

  if (bytes.length < RECORD.headerBytes) {
    differs("RECORD_SHORT", bytes.length, "the record ends in its header", 256, bytes.length);
  }
  const magic = Buffer.from(bytes.subarray(0, 8)).toString("latin1");
  if (magic !== RECORD.magic) {
    differs("RECORD_MAGIC", 0, "not a record", RECORD.magic, JSON.stringify(magic));
  }
  const version = readU16(bytes, AT.version);
  if (version !== RECORD.version) {
    differs("RECORD_VERSION", AT.version, "a record version this reader does not know", 1, version);
  }
  scratch.set(bytes.subarray(0, RECORD.headerBytes));
  scratch.fill(0, AT.headerCrc, AT.headerCrc + 4);
  const headerCrc = kernels.crc32c(scratch, 0, RECORD.headerBytes, 0);
  if (headerCrc !== readU32(bytes, AT.headerCrc)) {
    const stored = readU32(bytes, AT.headerCrc);
    differs(
      "HEADER_CRC",
      AT.headerCrc,
      "the header is damaged: its CRC32C differs",
      stored,
      headerCrc,
    );
  }
  const slot = readU64(bytes, AT.slot);
  if (slot !== origin.slot) differs("RECORD_SLOT", AT.slot, "wrong slot", origin.slot, slot);
  expectHex(AT.prevHash, 32, prevHash, "PREV_HASH", "does not follow the record before it");

  const payloadBytes = readU32(bytes, AT.payloadBytes);
  if (payloadBytes !== bytes.length - RECORD.headerBytes) {
    const found = bytes.length - RECORD.headerBytes;
    differs("PAYLOAD_LENGTH", bytes.length, "the payload is cut or too long", payloadBytes, found);
  }
  const crc = kernels.crc32c(bytes, RECORD.headerBytes, payloadBytes, 0);
  if (crc !== readU32(bytes, AT.payloadCrc)) {
    const stored = readU32(bytes, AT.payloadCrc);
    differs("PAYLOAD_CRC", 256, `the ${payloadBytes} bytes of payload are damaged`, stored, crc);
  }
  const payloadHash = sha256(bytes.subarray(RECORD.headerBytes));
  expectHex(AT.payloadHash, 32, payloadHash, "PAYLOAD_HASH", "the payload does not have its hash");

  const heightBefore = readU64(bytes, AT.heightBefore);
  const numbers = [heightBefore, readU64(bytes, AT.creationTime), readU64(bytes, AT.nonce)];
  return {
    origin,
    bytes,
    hash: sha256(bytes.subarray(0, RECORD.headerBytes)),
    kind: bytes[AT.kind],
    puzzleBits: bytes[AT.puzzleBits],
    slot,
    numbersFit: !numbers.some(Number.isNaN),
    chainId: toHex(bytes, AT.chainId, AT.chainId + 16),
    epoch: toHex(bytes, AT.epoch, AT.epoch + 32),
    firstRound: readU48(bytes, AT.firstRound),
    lastRound: readU48(bytes, AT.lastRound),
    rank: readU32(bytes, AT.rank),
    incarnation: toHex(bytes, AT.incarnation, AT.incarnation + 8),
    heightBefore,
  };

  function expectHex(at: number, length: number, own: Uint8Array, code: string, what: string) {
    for (let i = 0; i < length; i++) {
      if (bytes[at + i] === own[i]) continue;
      differs(code, at, what, toHex(own, 0, length), toHex(bytes, at, at + length));
    }
  }
}

/** What the author's signature covers: the domain and the header without its CRC and signature. */
export function signedPart(bytes: Uint8Array): Buffer {
  const signed = Buffer.alloc(RECORD.signDomain.length + RECORD.signedBytes);
  signed.write(RECORD.signDomain, "latin1");
  signed.set(bytes.subarray(0, RECORD.signedBytes), RECORD.signDomain.length);
  signed.fill(
    0,
    RECORD.signDomain.length + AT.headerCrc,
    RECORD.signDomain.length + AT.headerCrc + 4,
  );
  return signed;
}

export function leadingZeroBits(hash: Uint8Array, offset = 0): number {
  for (let i = 0; i < 32; i++) {
    if (hash[offset + i] !== 0) return 8 * i + Math.clz32(hash[offset + i]) - 24;
  }
  return 256;
}

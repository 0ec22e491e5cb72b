/**
 * Constants of the files that storage writes, shared with the independent verifier: numbers only,
 * no code. README.md describes every byte. All integers are little-endian.
 */

/** The version of the directory layout, as genesis states it. */
export const LEDGER_FORMAT = "baash-ledger";
export const LEDGER_VERSION = 1;

/** Segment file: header, records back to back, index, trailer. */
export const SEGMENT_MAGIC = "BAASHSEG";
export const SEGMENT_VERSION = 1;
export const SEGMENT_HEADER_BYTES = 32;
export const SEGMENT_HEADER = {
  magic: 0,
  version: 8,
  zero: 10,
  segment: 16,
  firstSlot: 24,
} as const;
export const SEGMENT_ENTRY_BYTES = 112;
export const SEGMENT_ENTRY = { offset: 0, length: 8, prevHash: 16, hash: 48, sha256: 80 } as const;
export const SEGMENT_TRAILER_BYTES = 64;
export const SEGMENT_TRAILER_MAGIC = "BAASHEND";
/** `sha256` covers header, index and the trailer before it; entries cover the records. */
export const SEGMENT_TRAILER = {
  magic: 0,
  indexOffset: 8,
  count: 16,
  fileBytes: 24,
  sha256: 32,
} as const;

/** State snapshot: header, payload. The head's `snapshot` line covers the whole file. */
export const SNAPSHOT_MAGIC = "BAASHSNP";
export const SNAPSHOT_VERSION = 1;
export const SNAPSHOT_HEADER_BYTES = 32;
export const SNAPSHOT_HEADER = {
  magic: 0,
  version: 8,
  zero: 10,
  slot: 16,
  payloadBytes: 24,
} as const;

/** Head: a C2SP signed note with a tlog-checkpoint body. */
export const HEAD_ORIGIN_PREFIX = "baash-ledger/";
export const HEAD_SIGNATURE_PREFIX = "\u2014 ";
/** Ed25519 in C2SP signed-note: key id = first 4 bytes of SHA-256(name ‖ "\n" ‖ 0x01 ‖ key). */
export const NOTE_KEY_ED25519 = 1;
export const HEADS_KEPT = 2;

/**
 * The formats of a ledger directory as the independent reader knows them: written down once more
 * from the specification, not imported from the writer. If the two ever differ, `verify` fails on
 * a good ledger, which is the point of having it.
 */

/** A record: a header of 256 bytes, then its payload. */
export const RECORD = {
  headerBytes: 256,
  magic: "BAASHREC",
  version: 1,
  signedBytes: 192,
  signDomain: "baash record\n",
  at: {
    version: 8,
    kind: 10,
    puzzleBits: 11,
    payloadBytes: 12,
    payloadCrc: 16,
    headerCrc: 20,
    slot: 24,
    chainId: 32,
    prevHash: 48,
    epoch: 80,
    firstRound: 112,
    lastRound: 118,
    rank: 124,
    incarnation: 128,
    creationTime: 136,
    payloadHash: 144,
    heightBefore: 176,
    nonce: 184,
    signature: 192,
  },
} as const;

export const KIND = { quorum: 1, storage: 2, seal: 3, intent: 4, noop: 5 } as const;
export const KIND_NAMES = ["?", "QUORUM", "STORAGE", "SEAL", "INTENT", "NOOP"] as const;

/** A proposal's header. */
export const PROPOSAL = {
  bytes: 152,
  at: {
    chainId: 0,
    epoch: 16,
    anchor: 48,
    round: 80,
    rank: 88,
    blockCount: 92,
    incarnation: 96,
    creationTime: 104,
    txnCount: 112,
    zero: 116,
    blocksRoot: 120,
  },
} as const;

/** A block's header; the body is txnCounter × [u32 length][transaction]. */
export const BLOCK = {
  bytes: 160,
  at: {
    chainId: 0,
    epoch: 16,
    anchor: 48,
    round: 80,
    rank: 88,
    index: 92,
    incarnation: 96,
    creationTime: 104,
    txnCounter: 112,
    difficulty: 116,
    zero: 117,
    merkleRoot: 120,
    nonce: 152,
  },
} as const;

/** A transaction: a head of 48 bytes, then what its kind asks for. */
export const TXN = {
  headBytes: 48,
  transferBytes: 64,
  at: {
    kind: 0,
    keyBytes: 1,
    fieldCount: 2,
    chainId: 4,
    sender: 20,
    sequence: 28,
    lastValidRound: 36,
    creationTime: 42,
    receiver: 48,
    amount: 56,
  },
} as const;

export const OP = { transfer: 1, insert: 2, update: 3, delete: 4, record: 5 } as const;

export const OUTCOME = {
  ok: 0,
  duplicate: 1,
  overdraft: 2,
  sequenceUsed: 3,
  sequenceOld: 4,
  expired: 5,
  noSuchKey: 6,
  windowFull: 7,
  beyondWindow: 8,
} as const;

export const OUTCOME_NAMES = [
  "OK",
  "DUPLICATE",
  "OVERDRAFT",
  "SEQUENCE_USED",
  "SEQUENCE_OLD",
  "EXPIRED",
  "NO_SUCH_KEY",
  "WINDOW_FULL",
  "BEYOND_WINDOW",
] as const;

/**
 * What a check says about bytes from a peer, a client or a file. A verdict is a small number so that
 * hot paths return it without an object; 0 is good. Bad bytes are never an exception (style.md).
 */

export const VERDICT = {
  OK: 0,
  /** Fewer bytes than their own lengths promise. */
  TRUNCATED: 1,
  /** More bytes, items or entries than a limit allows. */
  TOO_LARGE: 2,
  /** Bytes after the end. */
  TRAILING_BYTES: 3,
  /** Nested deeper than any of our messages. */
  TOO_DEEP: 4,
  /** A type or an array length that has no place there. */
  BAD_SHAPE: 5,
  /** A number above 2^53, or zero where it must not be. */
  BAD_NUMBER: 6,
  UNKNOWN_KIND: 7,
  BAD_KEY: 8,
  BAD_FIELDS: 9,
  WRONG_CHAIN: 10,
  WRONG_EPOCH: 11,
  WRONG_ROUND: 12,
  WRONG_RANK: 13,
  WRONG_INCARNATION: 14,
  WRONG_INDEX: 15,
  /** A counter that does not match what is there. */
  WRONG_COUNT: 16,
  /** Claims a difficulty that is not the chain's. */
  WRONG_DIFFICULTY: 17,
  PUZZLE_UNSOLVED: 18,
  WRONG_ROOT: 19,
  /** The anchor is not known here yet: wait, then abstain, never no. */
  ANCHOR_UNKNOWN: 20,
  /** The anchor is on the chain but too many rounds back. */
  ANCHOR_STALE: 21,
  /** Does not begin with the magic of a record. */
  NOT_A_RECORD: 22,
  /** A format version that this program does not read: stop, never guess. */
  UNKNOWN_VERSION: 23,
  /** A checksum or a hash of content disagrees: bit rot or a torn write. */
  BAD_CHECKSUM: 24,
  BAD_SIGNATURE: 25,
  BAD_CERTIFICATE: 26,
  WRONG_SLOT: 27,
  WRONG_PARENT: 28,
  /** Votes that contradict each other, name hashes that are not there, or have no voter. */
  BAD_VOTES: 29,
  /** An intact record that does not count, where only one that does may stand. */
  NOT_VALID: 30,
} as const;

export type Verdict = (typeof VERDICT)[keyof typeof VERDICT];

const NAMES: readonly string[] = Object.keys(VERDICT);

export function verdictName(verdict: number): string {
  return NAMES[verdict] ?? `UNKNOWN_VERDICT_${verdict}`;
}

/** True for a verdict that may change when more is known: the answer is ⊥, never no. */
export function isTransient(verdict: Verdict): boolean {
  return verdict === VERDICT.ANCHOR_UNKNOWN || verdict === VERDICT.ANCHOR_STALE;
}

/**
 * True for bytes that are not what their author wrote: repair them from a copy. Anything else that is
 * bad is intact; an intact record that is not valid takes its slot and settles nothing.
 */
export function isDamage(verdict: Verdict): boolean {
  switch (verdict) {
    case VERDICT.TRUNCATED:
    case VERDICT.TRAILING_BYTES:
    case VERDICT.NOT_A_RECORD:
    case VERDICT.BAD_CHECKSUM:
      return true;
    default:
      return false;
  }
}

/**
 * True for a record that stops the ledger: damage, a version that this program cannot judge, and what
 * lies where another record has its place. Any other verdict on a record makes it a NOOP.
 */
export function stopsLedger(verdict: Verdict): boolean {
  switch (verdict) {
    case VERDICT.UNKNOWN_VERSION:
    case VERDICT.WRONG_SLOT:
    case VERDICT.WRONG_PARENT:
      return true;
    default:
      return isDamage(verdict);
  }
}

/** The result of a decoder that builds an object. */
export type Decoded<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly verdict: Verdict; readonly where: string };

export function decoded<T>(value: T): Decoded<T> {
  return { ok: true, value };
}

export function refused(verdict: Verdict, where: string): Decoded<never> {
  return { ok: false, verdict, where };
}

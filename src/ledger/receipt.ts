/**
 * What a client hears of its transaction. Outcomes are bytes on the hot path and in the digest of
 * effects, so their numbers are part of the format.
 */

export const OUTCOME = {
  OK: 0,
  /** The same transaction again: the first receipt is its receipt. */
  DUPLICATE: 1,
  OVERDRAFT: 2,
  /** Another transaction of this sender has used the sequence number. */
  SEQUENCE_USED: 3,
  /** The sequence number lies below the sender's window. */
  SEQUENCE_OLD: 4,
  /** Ordered after its last valid round. */
  EXPIRED: 5,
  NO_SUCH_KEY: 6,
  /** No more transactions can be remembered in this window. */
  WINDOW_FULL: 7,
  /** Its last valid round is further ahead than anything is remembered. */
  BEYOND_WINDOW: 8,
  /** Reserved for ledgers that register senders. */
  UNKNOWN_SENDER: 9,
} as const;

export type Outcome = (typeof OUTCOME)[keyof typeof OUTCOME];
export type OutcomeName = keyof typeof OUTCOME;

const NAMES = Object.keys(OUTCOME) as OutcomeName[];

const SENTENCES: Readonly<Record<OutcomeName, string>> = {
  OK: "executed",
  DUPLICATE: "already executed: the first receipt stands",
  OVERDRAFT: "the sender's balance is below the amount",
  SEQUENCE_USED: "another transaction of this sender used the sequence number: take a new one",
  SEQUENCE_OLD: "the sequence number is below the sender's window: take a higher one",
  EXPIRED: "its last valid round had passed: send it again with a later one",
  NO_SUCH_KEY: "there is no record under this key",
  WINDOW_FULL: "the window of remembered transactions is full: try again later",
  BEYOND_WINDOW: "its last valid round is too far ahead: choose an earlier one",
  UNKNOWN_SENDER: "the sender is not known to this ledger",
};

export function outcomeName(outcome: number): OutcomeName | undefined {
  return NAMES[outcome];
}

/** One sentence for a person. */
export function describeOutcome(outcome: number): string {
  const name = NAMES[outcome];
  return name === undefined ? `unknown outcome ${outcome}` : SENTENCES[name];
}

/** Where the ledger was when it answered: hand it back to never read an older state. */
export interface Stamp {
  /** Hash of the SEAL in force, hex. */
  readonly epoch: string;
  readonly slot: number;
  readonly round: number;
}

export type Receipt =
  /** Inclusion is promised; the outcome is not told yet. */
  | { readonly level: "agreed"; readonly txnID: string; readonly stamp: Stamp }
  /** In the log for good, and what came of it. */
  | {
      readonly level: "final";
      readonly txnID: string;
      readonly outcome: OutcomeName;
      readonly stamp: Stamp;
    }
  /** Not in the log and never will be under this txnID. */
  | {
      readonly level: "rejected";
      readonly txnID: string;
      readonly code: string;
      readonly stamp: Stamp;
    };

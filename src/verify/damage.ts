/**
 * What the reader says when bytes are not what they have to be. A `Damage` names the file, the
 * byte offset in it, what was expected and what was found, and what a person can do about it.
 */

export interface DamageFacts {
  /** Stable code for programs, e.g. PAYLOAD_CRC. */
  code: string;
  /** Path below the ledger directory. */
  file: string;
  /** Byte offset in that file. */
  offset: number;
  /** Slot of the record, where one is concerned. */
  slot?: number;
  what: string;
  expected?: string;
  found?: string;
  advice?: string;
}

export const ADVICE_RESTORE =
  "restore this file from a copy or another site and verify again; change nothing else";
export const ADVICE_REPORT =
  "the bytes are as their author wrote them: keep the directory as it is and report it";

export class Damage extends Error {
  override name = "Damage";
  readonly facts: DamageFacts;

  constructor(facts: DamageFacts) {
    super(describeDamage(facts));
    this.facts = facts;
  }
}

export function describeDamage(facts: DamageFacts): string {
  const slot = facts.slot === undefined ? "" : ` (slot ${facts.slot})`;
  const expected = facts.expected === undefined ? "" : `; expected ${facts.expected}`;
  const found = facts.found === undefined ? "" : `, found ${facts.found}`;
  const advice = facts.advice ?? ADVICE_RESTORE;
  return `${facts.file}, byte ${facts.offset}${slot}: ${facts.what}${expected}${found}; ${advice}`;
}

/** Where in a file the bytes at hand came from: turns an offset in memory into one in the file. */
export interface Origin {
  file: string;
  /** Offset in the file of byte 0 at hand. */
  base: number;
  slot: number;
}

export interface Expectation {
  code: string;
  what: string;
  offset: number;
  expected?: string | number;
  found?: string | number;
  advice?: string;
}

/** Throws a Damage at `expectation.offset` of the bytes that `origin` describes. */
export function fail(origin: Origin, e: Expectation): never {
  throw new Damage({
    code: e.code,
    file: origin.file,
    offset: origin.base + e.offset,
    slot: origin.slot,
    what: e.what,
    ...(e.expected === undefined ? {} : { expected: String(e.expected) }),
    ...(e.found === undefined ? {} : { found: String(e.found) }),
    ...(e.advice === undefined ? {} : { advice: e.advice }),
  });
}

/**
 * What the reader says of a record whose bytes are intact and which does not count: it takes its slot
 * and settles nothing. The ranks step over it, and so does the reader; a person is told, because no
 * rank writes such a record while it works as it should. So it is with evidence that proves nothing.
 */
import type { Origin } from "./damage.ts";

/** Thrown by the checks of what a record says; caught where the record is judged. */
export class NotValid extends Error {
  override name = "NotValid";
  /** Stable code for programs, e.g. VOTES_FEW. */
  readonly code: string;

  constructor(code: string, what: string) {
    super(what);
    this.code = code;
  }
}

export function refuse(code: string, what: string): never {
  throw new NotValid(code, what);
}

export interface Warning {
  code: string;
  /** Path below the ledger directory. */
  file: string;
  /** Byte offset of the record in that file. */
  offset: number;
  /** Of the record, where one is concerned. */
  slot?: number;
  what: string;
}

export function warningOf(origin: Origin, { code, message }: NotValid): Warning {
  return { code, file: origin.file, offset: origin.base, slot: origin.slot, what: message };
}

export function describeWarning({ file, offset, slot, what }: Warning): string {
  if (slot === undefined) return `${file}: ${what}; it convicts nobody`;
  return `${file}, byte ${offset} (slot ${slot}): ${what}; the record takes the slot and settles nothing`;
}

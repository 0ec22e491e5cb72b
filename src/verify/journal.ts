/**
 * Proves acknowledgements: a load generator writes a journal of every transaction that a rank
 * acknowledged (33 bytes each: txnID, then 1 for agreed or 2 for final), and each of them has to
 * be in the log, executed exactly once.
 */
import { closeSync, openSync, readSync } from "node:fs";
import { toHex } from "../base/bytes.ts";
import { BaashError, EXIT } from "../base/errors.ts";
import { OUTCOME } from "./layout.ts";
import { TxnTable } from "./txn-table.ts";

export const JOURNAL_ENTRY_BYTES = 33;
export const JOURNAL_LEVEL = { agreed: 1, final: 2 } as const;
const PIECE_ENTRIES = 64 * 1024;
const EXAMPLES_MAX = 10;

/** What the log says of a journaled transaction, in the two low bits of its mark; 4 = known. */
const SEEN = { nowhere: 0, refused: 1, executed: 2, doubled: 3 } as const;
const KNOWN = 4;
const IS_FINAL = 8;
const REPORTED = 16;

export interface JournalReport {
  files: number;
  /** Different transactions that were acknowledged, and how many of them as final. */
  acknowledged: number;
  final: number;
  /** In the log and executed once: OK, OVERDRAFT or NO_SUCH_KEY, once. */
  executed: number;
  /** In the log with a receipt that rejected it before execution (EXPIRED, SEQUENCE_USED, …). */
  refused: number;
  missing: number;
  missingFinal: number;
  doubled: number;
  /** The first ten by hex. */
  missingIds: string[];
  doubledIds: string[];
  notes: string[];
}

export class JournalCheck {
  private readonly files: readonly string[];
  private readonly notes: string[] = [];
  private readonly table: TxnTable;
  private final = 0;

  /** Reads the journals. Throws JOURNAL_UNREADABLE (exit 74) or JOURNAL_SHAPE (exit 78). */
  constructor(files: readonly string[]) {
    this.files = files;
    let bytes = 0;
    for (const file of files) bytes += Bun.file(file).size;
    this.table = new TxnTable(bytes / JOURNAL_ENTRY_BYTES);
    this.scan((ids, at, file) => {
      const level = ids[at + 32];
      if (level !== JOURNAL_LEVEL.agreed && level !== JOURNAL_LEVEL.final) {
        const message = `${file} is not a journal: it holds a level ${level}; give the right file`;
        throw new BaashError("JOURNAL_SHAPE", message, { exitCode: EXIT.configuration });
      }
      const place = this.table.add(ids, at, KNOWN);
      const mark = this.table.mark(place);
      if (level !== JOURNAL_LEVEL.final || (mark & IS_FINAL) !== 0) return;
      this.table.setMark(place, mark | IS_FINAL);
      this.final++;
    });
  }

  /** Takes what the ledger reader's `onTransaction` gives. */
  see(ids: Uint8Array, at: number, outcome: number): void {
    if (outcome === OUTCOME.duplicate) return;
    const place = this.table.find(ids, at);
    if (place < 0) return;
    const mark = this.table.mark(place);
    const before = mark & 3;
    const after = !isExecuted(outcome)
      ? Math.max(before, SEEN.refused)
      : before >= SEEN.executed
        ? SEEN.doubled
        : SEEN.executed;
    this.table.setMark(place, (mark & ~3) | after);
  }

  /** Reads the journals once more, so that ids can be named in full. */
  report(): JournalReport {
    const counts = [0, 0, 0, 0];
    const missingIds: string[] = [];
    const doubledIds: string[] = [];
    let missingFinal = 0;
    this.scan((ids, at) => {
      const place = this.table.find(ids, at);
      const mark = this.table.mark(place);
      if ((mark & REPORTED) !== 0) return;
      this.table.setMark(place, mark | REPORTED);
      const seen = mark & 3;
      counts[seen]++;
      if (seen === SEEN.nowhere && (mark & IS_FINAL) !== 0) missingFinal++;
      const examples = seen === SEEN.nowhere ? missingIds : seen === SEEN.doubled ? doubledIds : [];
      if (examples.length < EXAMPLES_MAX) examples.push(toHex(ids, at, at + 32));
    });
    return {
      files: this.files.length,
      acknowledged: this.table.size,
      final: this.final,
      executed: counts[SEEN.executed],
      refused: counts[SEEN.refused],
      missing: counts[SEEN.nowhere],
      missingFinal,
      doubled: counts[SEEN.doubled],
      missingIds,
      doubledIds,
      notes: [...new Set(this.notes)],
    };
  }

  private scan(onEntry: (bytes: Uint8Array, at: number, file: string) => void): void {
    const piece = new Uint8Array(PIECE_ENTRIES * JOURNAL_ENTRY_BYTES);
    for (const file of this.files) {
      const fd = openJournal(file);
      try {
        for (let held = 0; ; ) {
          const got = readSync(fd, piece, held, piece.length - held, null);
          held += got;
          const whole = held - (held % JOURNAL_ENTRY_BYTES);
          for (let at = 0; at < whole; at += JOURNAL_ENTRY_BYTES) onEntry(piece, at, file);
          piece.copyWithin(0, whole, held);
          held -= whole;
          if (got > 0) continue;
          // A writer that was killed may leave part of an entry: it acknowledged nothing by it.
          if (held > 0) this.notes.push(`${file} ends in ${held} bytes of an unfinished entry`);
          break;
        }
      } finally {
        closeSync(fd);
      }
    }
  }
}

function openJournal(file: string): number {
  try {
    return openSync(file, "r");
  } catch (cause) {
    const reason = (cause as Error).message;
    const message = `journal ${file} cannot be read: ${reason}; check the path`;
    throw new BaashError("JOURNAL_UNREADABLE", message, { exitCode: EXIT.io, cause });
  }
}

/** Remembered outcomes: the transaction ran, even if its operation was rejected. */
function isExecuted(outcome: number): boolean {
  return outcome === OUTCOME.ok || outcome === OUTCOME.overdraft || outcome === OUTCOME.noSuchKey;
}

/**
 * What one client did and heard, entry by entry, in a file outside the job. An entry is in the file
 * before what it tells of leaves the client: a journal that ends early says too little, never too much.
 *
 *     0 type u8    1 detail u8    2 -     4 index u32    8 time f64, ms since 1970    = 16 bytes
 *     then, of SUBMITTED: intended time f64, length u32, the transaction's bytes
 *           of READ:      length u32, "epoch slot round path" as text
 *           of CONNECTED: length u32, the socket's path
 *
 * index counts the client's transactions. Numbers are little-endian.
 */
import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import { BaashError, configurationError, EXIT, errorCode } from "../base/errors.ts";

export const ENTRY = {
  SUBMITTED: 1,
  AGREED: 2,
  /** Detail: the outcome. */
  FINAL: 3,
  /** Never taken. Detail: the SubmitStatus. */
  REFUSED: 4,
  /** The client gave up waiting. Detail: what a rank knew of it last (STATE of intake-frames). */
  UNKNOWN: 5,
  READ: 6,
  CONNECTED: 7,
} as const;

const HEAD_BYTES = 16;
const START_BYTES = 64 * 1024;

export interface ReadStamp {
  readonly time: number;
  /** Hash of the SEAL in force, hex. */
  readonly epoch: string;
  readonly slot: number;
  readonly round: number;
}

export class JournalWriter {
  private readonly path: string;
  private readonly file: number;
  private buffer = Buffer.alloc(START_BYTES);
  private end = 0;
  private count = 0;

  constructor(path: string) {
    this.path = path;
    this.file = openSync(path, "w", 0o600);
  }

  /** Answers the transaction's index. Call `flush` before it is sent. */
  submitted(bytes: Uint8Array, intended: number, time: number): number {
    const index = this.count++;
    this.head(ENTRY.SUBMITTED, 0, index, time, 12 + bytes.length);
    this.end = this.buffer.writeDoubleLE(intended, this.end);
    this.end = this.buffer.writeUInt32LE(bytes.length, this.end);
    this.buffer.set(bytes, this.end);
    this.end += bytes.length;
    return index;
  }

  heard(type: number, detail: number, index: number, time: number): void {
    this.head(type, detail, index, time, 0);
  }

  read({ time, epoch, slot, round }: ReadStamp, path: string): void {
    this.text(ENTRY.READ, `${epoch} ${slot} ${round} ${path}`, time);
  }

  connected(path: string, time: number): void {
    this.text(ENTRY.CONNECTED, path, time);
  }

  private text(type: number, text: string, time: number): void {
    const bytes = Buffer.from(text);
    this.head(type, 0, 0, time, 4 + bytes.length);
    this.end = this.buffer.writeUInt32LE(bytes.length, this.end);
    this.buffer.set(bytes, this.end);
    this.end += bytes.length;
  }

  private head(type: number, detail: number, index: number, time: number, more: number): void {
    const room = HEAD_BYTES + more;
    if (this.end + room > this.buffer.length) {
      this.flush();
      if (room > this.buffer.length) this.buffer = Buffer.alloc(2 * room);
    }
    this.buffer.writeUInt8(type, this.end);
    this.buffer.writeUInt8(detail, this.end + 1);
    this.buffer.writeUInt16LE(0, this.end + 2);
    this.buffer.writeUInt32LE(index, this.end + 4);
    this.end = this.buffer.writeDoubleLE(time, this.end + 8);
  }

  /** Everything so far survives this process. Throws JOURNAL_FAILED (exit 74). */
  flush(): void {
    try {
      for (let at = 0; at < this.end; ) at += writeSync(this.file, this.buffer, at, this.end - at);
      this.end = 0;
    } catch (cause) {
      throw new BaashError(
        "JOURNAL_FAILED",
        `The journal ${this.path} cannot be written (${errorCode(cause)}): nothing could be proven without it; make room.`,
        { exitCode: EXIT.io, cause },
      );
    }
  }

  close(): void {
    this.flush();
    closeSync(this.file);
  }
}

/** A transaction by what its client did and heard; times NaN where it did not. */
export interface Submission {
  readonly bytes: Uint8Array;
  readonly intended: number;
  readonly submitted: number;
  agreed: number;
  final: number;
  /** With `final`. */
  outcome: number;
  refused: number;
  /** With `refused`: the SubmitStatus. */
  status: number;
  /** The client gave up: what a rank knew of it then; -1: it did not. */
  unknown: number;
  /** Told more than one last word: each of them, as outcomes. */
  contradictions: number[];
}

export interface Journal {
  readonly path: string;
  readonly submissions: Submission[];
  readonly reads: ReadStamp[];
  /** Each time that a connection stood, and with whom. */
  readonly connections: { readonly time: number; readonly path: string }[];
  /** Bytes at the end that are no whole entry: the client was killed. */
  readonly rest: number;
}

/** Throws JOURNAL_SHAPE (exit 78). */
export function readJournal(path: string): Journal {
  return parseJournal(path, readFileSync(path));
}

export function parseJournal(path: string, bytes: Buffer): Journal {
  const journal = { path, submissions: [], reads: [], connections: [], rest: 0 } as Journal & {
    rest: number;
  };
  let at = 0;
  while (at + HEAD_BYTES <= bytes.length) {
    const length = entryLength(bytes, at);
    if (at + length > bytes.length) break;
    takeEntry(journal, bytes, at);
    at += length;
  }
  journal.rest = bytes.length - at;
  return journal;
}

function entryLength(bytes: Buffer, at: number): number {
  const type = bytes[at];
  const lengthAt = at + HEAD_BYTES + (type === ENTRY.SUBMITTED ? 8 : 0);
  const hasText = type === ENTRY.SUBMITTED || type === ENTRY.READ || type === ENTRY.CONNECTED;
  if (!hasText) return HEAD_BYTES;
  // Cut inside its head: longer than what is there.
  if (lengthAt + 4 > bytes.length) return bytes.length + 1;
  return lengthAt + 4 + bytes.readUInt32LE(lengthAt) - at;
}

function takeEntry(journal: Journal, bytes: Buffer, at: number): void {
  const type = bytes[at];
  const detail = bytes[at + 1];
  const index = bytes.readUInt32LE(at + 4);
  const time = bytes.readDoubleLE(at + 8);
  const more = at + HEAD_BYTES;
  if (type === ENTRY.SUBMITTED) {
    const length = bytes.readUInt32LE(more + 8);
    const own = bytes.subarray(more + 12, more + 12 + length);
    journal.submissions.push(newSubmission(own, bytes.readDoubleLE(more), time));
    return;
  }
  if (type === ENTRY.READ || type === ENTRY.CONNECTED) {
    const text = bytes.toString("utf8", more + 4, more + 4 + bytes.readUInt32LE(more));
    if (type === ENTRY.CONNECTED) journal.connections.push({ time, path: text });
    else {
      const [epoch, slot, round] = text.split(" ");
      journal.reads.push({ time, epoch, slot: Number(slot), round: Number(round) });
    }
    return;
  }
  const submission = journal.submissions[index];
  if (submission === undefined || type < ENTRY.AGREED || type > ENTRY.UNKNOWN) {
    const what = `an entry of type ${type} for transaction ${index}`;
    throw configurationError(
      "JOURNAL_SHAPE",
      `${journal.path}, byte ${at}: ${what} makes no sense`,
    );
  }
  hear(submission, type, detail, time);
}

function newSubmission(bytes: Uint8Array, intended: number, submitted: number): Submission {
  const never = { agreed: Number.NaN, final: Number.NaN, refused: Number.NaN };
  const nothing = { outcome: -1, status: -1, unknown: -1, contradictions: [] };
  return { bytes, intended, submitted, ...never, ...nothing };
}

/** The first word of each kind counts for latencies; a second final word that differs is a finding. */
function hear(submission: Submission, type: number, detail: number, time: number): void {
  switch (type) {
    case ENTRY.AGREED:
      if (Number.isNaN(submission.agreed)) submission.agreed = time;
      break;
    case ENTRY.FINAL:
      if (submission.outcome >= 0 && submission.outcome !== detail) {
        submission.contradictions.push(detail);
      }
      if (submission.outcome >= 0) break;
      submission.final = time;
      submission.outcome = detail;
      break;
    case ENTRY.REFUSED:
      submission.refused = time;
      submission.status = detail;
      break;
    default:
      submission.unknown = detail;
  }
}

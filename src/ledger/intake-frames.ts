/**
 * What a client and the intake of a rank say to each other over a Unix socket. A frame is
 * [length u32][msgpack array]; the array begins with its type. Both sides share this file, so that
 * there is one description. Everything from the other side is judged before it is unpacked.
 *
 *   HELLO    [1, version, chainId, rank, ranks, lastRound, [frameBytes, batchTxns, inFlight]]
 *   SUBMIT   [2, request, level, transactions]    transactions: count × [length u32][bytes]
 *   RECEIPTS [3, request, indexes, receipts, details, lastRound]   u32, u8, u8 for each transaction
 *   STATUS   [4, request, sender, sequence, txnID]   → STATUS_ANSWER [5, request, state, outcome]
 *   READ     [6, request, key]       → READ_ANSWER [7, request, found, fields, stamp]
 *            fields: each [name length u8][name][value length u32][value]
 *   STATS    [8, request]            → STATS_ANSWER [9, request, JSON]
 *   BALANCE  [10, request, account]  → BALANCE_ANSWER [11, request, balance, stamp]
 *   GOODBYE  [12, code, sentence]    by the rank, before it closes
 *   SCAN     [13, request, start, count]   → SCAN_ANSWER [14, request, [key, …], stamp]
 *
 * stamp = [epoch, slot, round]. A transaction gets receipts until one that is its last: RETRY,
 * REFUSED, FINAL, or AGREED where the client asked for no more. AGREED comes before FINAL only
 * where the client asked for both.
 */
import { concatBytes, readU32, writeU32 } from "../base/bytes.ts";
import { INTAKE_BATCH_TXNS_MAX, INTAKE_FRAME_BYTES_MAX } from "../limits.ts";
import { type Packable, pack, type ScanLimits, scanMessagePack, unpackScanned } from "./codec.ts";
import { VERDICT, verdictName } from "./verdict.ts";

export const INTAKE_VERSION = 1;

export const FRAME = {
  HELLO: 1,
  SUBMIT: 2,
  RECEIPTS: 3,
  STATUS: 4,
  STATUS_ANSWER: 5,
  READ: 6,
  READ_ANSWER: 7,
  STATS: 8,
  STATS_ANSWER: 9,
  BALANCE: 10,
  BALANCE_ANSWER: 11,
  GOODBYE: 12,
  SCAN: 13,
  SCAN_ANSWER: 14,
} as const;

/** When a client wants to hear of a transaction. */
export const LEVEL = { agreed: 1, final: 2, both: 3 } as const;
export type LevelName = keyof typeof LEVEL;

export const RECEIPT = {
  /** Inclusion is promised. Detail: 0. */
  AGREED: 1,
  /** In the log. Detail: its outcome. */
  FINAL: 2,
  /** Not taken: send it again later. Detail: the SubmitStatus. */
  RETRY: 3,
  /** Not taken, and never will be as it is. Detail: the SubmitStatus. */
  REFUSED: 4,
} as const;

/** What a rank knows of a transaction. */
export const STATE = { UNKNOWN: 0, PENDING: 1, FINAL: 2 } as const;

const LENGTH_BYTES = 4;

const SCAN_LIMITS: ScanLimits = {
  depthMax: 4,
  // A record with as many fields as there may be, and what is around them.
  itemsMax: 4096,
  bytesMax: INTAKE_FRAME_BYTES_MAX,
};

export function encodeFrame(values: readonly Packable[]): Uint8Array {
  const body = pack(values);
  const frame = new Uint8Array(LENGTH_BYTES + body.length);
  writeU32(frame, 0, body.length);
  frame.set(body, LENGTH_BYTES);
  return frame;
}

/** The array of a frame, or why it is none. Byte strings are views of `body`. */
export function decodeFrame(body: Uint8Array): unknown[] | string {
  const verdict = scanMessagePack(body, 0, body.length, SCAN_LIMITS);
  if (verdict !== VERDICT.OK) return verdictName(verdict);
  const value = unpackScanned(body);
  return Array.isArray(value) && value.length > 0 ? value : "not an array that begins with a type";
}

/** Puts the bytes of a stream together into frames. */
export class FrameAssembler {
  private buffer: Uint8Array = new Uint8Array(0);
  private start = 0;
  private end = 0;

  /** Bytes that wait for the rest of their frame. */
  get held(): number {
    return this.end - this.start;
  }

  push(chunk: Uint8Array): void {
    if (this.end + chunk.length > this.buffer.length) {
      const held = this.held;
      const room = held + chunk.length;
      const larger =
        room > this.buffer.length ? new Uint8Array(Math.max(2 * held, room)) : undefined;
      const target = larger ?? this.buffer;
      target.set(this.buffer.subarray(this.start, this.end));
      this.buffer = target;
      this.start = 0;
      this.end = held;
    }
    this.buffer.set(chunk, this.end);
    this.end += chunk.length;
  }

  /**
   * The body of the next frame (good until the next push), undefined while it is incomplete, or the
   * length that the frame claims when that is not allowed: nothing is reserved for it.
   */
  next(): Uint8Array | number | undefined {
    if (this.held < LENGTH_BYTES) return this.rest();
    const length = readU32(this.buffer, this.start);
    if (length === 0 || length > INTAKE_FRAME_BYTES_MAX) return length;
    if (this.held < LENGTH_BYTES + length) return undefined;
    const at = this.start + LENGTH_BYTES;
    this.start = at + length;
    return this.buffer.subarray(at, this.start);
  }

  /** Lets a large buffer go once it is empty. */
  private rest(): undefined {
    if (this.held > 0) return;
    this.start = 0;
    this.end = 0;
    if (this.buffer.length > 64 * 1024) this.buffer = new Uint8Array(0);
  }
}

/** Less than this is copied together, so that many small frames leave in one write. */
const WRITE_BYTES = 64 * 1024;

/** Frames on their way out, in order. */
export class FrameSender {
  private unsent: Uint8Array[] = [];
  private unsentBytes = 0;

  /** Bytes that the socket has not taken. */
  get bytes(): number {
    return this.unsentBytes;
  }

  push(frame: Uint8Array): void {
    this.unsent.push(frame);
    this.unsentBytes += frame.length;
  }

  /** Writes what the socket takes; it answers how much that was. */
  drain(socket: { write(bytes: Uint8Array): number }): void {
    let next = 0;
    while (next < this.unsent.length) {
      const end = this.gather(next);
      const piece =
        end === next + 1 ? this.unsent[next] : concatBytes(this.unsent.slice(next, end));
      const taken = Math.max(0, socket.write(piece));
      this.unsentBytes -= taken;
      next = end;
      if (taken === piece.length) continue;
      this.unsent[--next] = piece.subarray(taken);
      break;
    }
    this.unsent = this.unsent.slice(next);
  }

  /** The end of those that leave together: one large, or several small ones. */
  private gather(start: number): number {
    let end = start + 1;
    let bytes = this.unsent[start].length;
    while (end < this.unsent.length && bytes + this.unsent[end].length <= WRITE_BYTES) {
      bytes += this.unsent[end++].length;
    }
    return end;
  }
}

/** Joins the fields of a record to the byte string of a READ_ANSWER. */
export function packFields(fields: readonly RecordField[]): Uint8Array {
  let length = 0;
  for (const { name, value } of fields) length += 1 + name.length + LENGTH_BYTES + value.length;
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const { name, value } of fields) {
    bytes[at] = name.length;
    bytes.set(name, at + 1);
    at += 1 + name.length;
    writeU32(bytes, at, value.length);
    bytes.set(value, at + LENGTH_BYTES);
    at += LENGTH_BYTES + value.length;
  }
  return bytes;
}

export interface RecordField {
  name: Uint8Array;
  value: Uint8Array;
}

/** Fields as views of `bytes`; undefined when they do not add up. */
export function findFields(bytes: Uint8Array): RecordField[] | undefined {
  const fields: RecordField[] = [];
  for (let at = 0; at < bytes.length; ) {
    const value = at + 1 + bytes[at] + LENGTH_BYTES;
    if (value > bytes.length) return undefined;
    const end = value + readU32(bytes, value - LENGTH_BYTES);
    if (end > bytes.length) return undefined;
    const name = bytes.subarray(at + 1, value - LENGTH_BYTES);
    fields.push({ name, value: bytes.subarray(value, end) });
    at = end;
  }
  return fields;
}

/** Joins transactions to the byte string of a SUBMIT. */
export function packTransactions(transactions: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const one of transactions) length += LENGTH_BYTES + one.length;
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const one of transactions) {
    writeU32(bytes, at, one.length);
    bytes.set(one, at + LENGTH_BYTES);
    at += LENGTH_BYTES + one.length;
  }
  return bytes;
}

/** Offsets and lengths of the transactions of a SUBMIT; undefined when they do not add up. */
export function findTransactions(bytes: Uint8Array): Uint32Array | undefined {
  let count = 0;
  for (let at = 0; at < bytes.length; count++) {
    if (at + LENGTH_BYTES > bytes.length || count === INTAKE_BATCH_TXNS_MAX) return undefined;
    const length = readU32(bytes, at);
    if (length > bytes.length - at - LENGTH_BYTES) return undefined;
    at += LENGTH_BYTES + length;
  }
  const spans = new Uint32Array(2 * count);
  for (let i = 0, at = 0; i < count; i++) {
    spans[2 * i] = at + LENGTH_BYTES;
    spans[2 * i + 1] = readU32(bytes, at);
    at += LENGTH_BYTES + spans[2 * i + 1];
  }
  return spans;
}

export function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

export function isBytes(value: unknown, length?: number): value is Uint8Array {
  return value instanceof Uint8Array && (length === undefined || value.length === length);
}

/**
 * Transactions as bytes (Table 1 of the paper, plus chain, sequence and last valid round). The bytes
 * that a client makes are the bytes that are hashed, sent, stored and executed: nothing re-encodes
 * them. Functions of the hot path take (bytes, offset) and answer numbers. Runs on every thread.
 *
 *     0  1  kind            4 16  chainId       36  6  lastValidRound
 *     1  1  keyBytes       20  8  senderID      42  6  creationTime, ms since 1970
 *     2  2  fieldCount     28  8  sequence      48     operation
 *
 * Operation: transfer: receiverID u64, txnAmount u64. insert, update: key, then fieldCount times
 * [nameBytes u8, valueBytes u32, name, value]. delete: key. record: key, then opaque bytes.
 * Where a field name occurs twice the last one wins.
 */
import {
  readU16,
  readU32,
  readU48,
  readU64,
  writeU16,
  writeU32,
  writeU48,
  writeU64,
} from "../base/bytes.ts";
import { copyRange } from "../base/copy.ts";

export const TRANSACTION_KIND = {
  transfer: 1,
  insert: 2,
  update: 3,
  delete: 4,
  record: 5,
} as const;
export type TransactionKind = keyof typeof TRANSACTION_KIND;

export const CHAIN_ID_BYTES = 16;
export const TXN_HEADER_BYTES = 48;
export const TRANSFER_BYTES = 64;
/** nameBytes and valueBytes before each field. */
export const FIELD_HEADER_BYTES = 5;

/** Where each part begins, counted from the start of the transaction. */
export const TXN_OFFSET = {
  kind: 0,
  keyBytes: 1,
  fieldCount: 2,
  chainId: 4,
  senderID: 20,
  sequence: 28,
  lastValidRound: 36,
  creationTime: 42,
  receiverID: 48,
  txnAmount: 56,
  key: 48,
} as const;

/** What every transaction carries. Encoders only read it: keep one and change it between calls. */
export interface TransactionHead {
  chainId: Uint8Array;
  senderID: number;
  sequence: number;
  lastValidRound: number;
  creationTime: number;
}

/** `count` fields as ranges: offset and length of name or value i at 2i and 2i+1 of its spans. */
export interface FieldRanges {
  count: number;
  names: Uint8Array;
  nameSpans: Uint32Array;
  values: Uint8Array;
  valueSpans: Uint32Array;
}

/** A range of bytes, for keys and payloads; the caller may reuse the object. */
export interface ByteRange {
  bytes: Uint8Array;
  start: number;
  length: number;
}

function writeHead(
  out: Uint8Array,
  offset: number,
  head: TransactionHead,
  kind: number,
  keyBytes: number,
  fieldCount: number,
): void {
  out[offset] = kind;
  out[offset + 1] = keyBytes;
  writeU16(out, offset + 2, fieldCount);
  for (let i = 0; i < CHAIN_ID_BYTES; i++) out[offset + 4 + i] = head.chainId[i];
  writeU64(out, offset + 20, head.senderID);
  writeU64(out, offset + 28, head.sequence);
  writeU48(out, offset + 36, head.lastValidRound);
  writeU48(out, offset + 42, head.creationTime);
}

/** Writes a transfer at `offset` and answers its length, 64. Every encoder here needs the room. */
export function encodeTransfer(
  out: Uint8Array,
  offset: number,
  head: TransactionHead,
  receiverID: number,
  txnAmount: number,
): number {
  writeHead(out, offset, head, TRANSACTION_KIND.transfer, 0, 0);
  writeU64(out, offset + 48, receiverID);
  writeU64(out, offset + 56, txnAmount);
  return TRANSFER_BYTES;
}

function encodeFields(
  out: Uint8Array,
  offset: number,
  head: TransactionHead,
  kind: number,
  key: ByteRange,
  fields: FieldRanges,
): number {
  writeHead(out, offset, head, kind, key.length, fields.count);
  copyRange(key.bytes, key.start, key.length, out, offset + TXN_HEADER_BYTES);
  let at = offset + TXN_HEADER_BYTES + key.length;
  for (let i = 0; i < 2 * fields.count; i += 2) {
    const nameBytes = fields.nameSpans[i + 1];
    const valueBytes = fields.valueSpans[i + 1];
    out[at] = nameBytes;
    writeU32(out, at + 1, valueBytes);
    copyRange(fields.names, fields.nameSpans[i], nameBytes, out, at + FIELD_HEADER_BYTES);
    at += FIELD_HEADER_BYTES + nameBytes;
    copyRange(fields.values, fields.valueSpans[i], valueBytes, out, at);
    at += valueBytes;
  }
  return at - offset;
}

/** Upsert of a whole record. Answers the length written. */
export function encodeInsert(
  out: Uint8Array,
  offset: number,
  head: TransactionHead,
  key: ByteRange,
  fields: FieldRanges,
): number {
  return encodeFields(out, offset, head, TRANSACTION_KIND.insert, key, fields);
}

/** Merges fields into a record that is there. Answers the length written. */
export function encodeUpdate(
  out: Uint8Array,
  offset: number,
  head: TransactionHead,
  key: ByteRange,
  fields: FieldRanges,
): number {
  return encodeFields(out, offset, head, TRANSACTION_KIND.update, key, fields);
}

export function encodeDelete(
  out: Uint8Array,
  offset: number,
  head: TransactionHead,
  key: ByteRange,
): number {
  writeHead(out, offset, head, TRANSACTION_KIND.delete, key.length, 0);
  copyRange(key.bytes, key.start, key.length, out, offset + TXN_HEADER_BYTES);
  return TXN_HEADER_BYTES + key.length;
}

/** Opaque bytes, for instance provenance: ordered and kept, without effect on the state. */
export function encodeRecordTransaction(
  out: Uint8Array,
  offset: number,
  head: TransactionHead,
  key: ByteRange,
  payload: ByteRange,
): number {
  writeHead(out, offset, head, TRANSACTION_KIND.record, key.length, 0);
  copyRange(key.bytes, key.start, key.length, out, offset + TXN_HEADER_BYTES);
  const at = TXN_HEADER_BYTES + key.length;
  copyRange(payload.bytes, payload.start, payload.length, out, offset + at);
  return at + payload.length;
}

/** Bytes that an insert or update takes: room to reserve before encoding it. */
export function fieldsTransactionBytes(keyBytes: number, fields: FieldRanges): number {
  let length = TXN_HEADER_BYTES + keyBytes + FIELD_HEADER_BYTES * fields.count;
  for (let i = 1; i < 2 * fields.count; i += 2) {
    length += fields.nameSpans[i] + fields.valueSpans[i];
  }
  return length;
}

export function kindOf(bytes: Uint8Array, offset: number): number {
  return bytes[offset];
}

export function keyBytesOf(bytes: Uint8Array, offset: number): number {
  return bytes[offset + 1];
}

export function fieldCountOf(bytes: Uint8Array, offset: number): number {
  return readU16(bytes, offset + 2);
}

export function senderOf(bytes: Uint8Array, offset: number): number {
  return readU64(bytes, offset + 20);
}

export function sequenceOf(bytes: Uint8Array, offset: number): number {
  return readU64(bytes, offset + 28);
}

export function lastValidRoundOf(bytes: Uint8Array, offset: number): number {
  return readU48(bytes, offset + 36);
}

export function creationTimeOf(bytes: Uint8Array, offset: number): number {
  return readU48(bytes, offset + 42);
}

/** Of a transfer. */
export function receiverOf(bytes: Uint8Array, offset: number): number {
  return readU64(bytes, offset + 48);
}

/** Of a transfer. */
export function amountOf(bytes: Uint8Array, offset: number): number {
  return readU64(bytes, offset + 56);
}

/** Where the first field (insert, update) or the payload (record) begins, in `bytes`. */
export function afterKey(bytes: Uint8Array, offset: number): number {
  return offset + TXN_HEADER_BYTES + bytes[offset + 1];
}

/** Field at `at`: its name lies at at + 5. */
export function fieldNameBytes(bytes: Uint8Array, at: number): number {
  return bytes[at];
}

/** Field at `at`: its value lies at at + 5 + fieldNameBytes. */
export function fieldValueBytes(bytes: Uint8Array, at: number): number {
  return readU32(bytes, at + 1);
}

/** Where the field after the one at `at` begins. */
export function nextField(bytes: Uint8Array, at: number): number {
  return at + FIELD_HEADER_BYTES + bytes[at] + readU32(bytes, at + 1);
}

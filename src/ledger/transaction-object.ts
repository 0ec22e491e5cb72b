/**
 * Transactions as objects with the names of the paper's Table 1, for people, tools and tests. The
 * hot path never builds them (transaction.ts).
 */

import { readU64, toHex } from "../base/bytes.ts";
import { BaashError, EXIT } from "../base/errors.ts";
import { sha256 } from "../base/sha256.ts";
import { FIELDS_MAX, TXN_BYTES_MAX } from "../limits.ts";
import {
  afterKey,
  type ByteRange,
  creationTimeOf,
  encodeDelete,
  encodeInsert,
  encodeRecordTransaction,
  encodeTransfer,
  encodeUpdate,
  FIELD_HEADER_BYTES,
  type FieldRanges,
  fieldCountOf,
  fieldNameBytes,
  fieldsTransactionBytes,
  fieldValueBytes,
  kindOf,
  lastValidRoundOf,
  nextField,
  senderOf,
  sequenceOf,
  TRANSACTION_KIND,
  TRANSFER_BYTES,
  type TransactionKind,
  TXN_HEADER_BYTES,
  TXN_OFFSET,
} from "./transaction.ts";
import { checkTransaction } from "./transaction-check.ts";
import { type Decoded, decoded, refused, VERDICT, verdictName } from "./verdict.ts";

export interface TransactionField {
  name: Uint8Array;
  value: Uint8Array;
}

/** What a client chooses. */
export interface TransactionInput {
  kind: TransactionKind;
  chainId: Uint8Array;
  senderID: number;
  sequence: number;
  lastValidRound: number;
  creationTime: number;
  /** Transfer only. */
  receiverID?: number;
  /** Transfer only. */
  txnAmount?: number;
  /** All but transfer. */
  key?: Uint8Array;
  /** Insert and update. */
  fields?: readonly TransactionField[];
  /** Record. */
  payload?: Uint8Array;
}

/** Table 1: the input, completed, and what follows from the bytes. */
export interface Transaction extends Required<TransactionInput> {
  /** RFC 9162 leaf hash of the bytes, hex. */
  txnID: string;
  /** Kept by who received it; never part of the bytes. */
  receiveTime?: number;
}

const LEAF_PREFIX = new Uint8Array([0]);
const EMPTY = new Uint8Array(0);
const KIND_NAMES = ["", ...Object.keys(TRANSACTION_KIND)] as TransactionKind[];

/** txnID = SHA-256(0x00 ‖ bytes). For many at once use kernels.leafHashes. */
export function txnIDOf(bytes: Uint8Array, offset = 0, length = bytes.length - offset): Uint8Array {
  return sha256(LEAF_PREFIX, bytes.subarray(offset, offset + length));
}

/** The txnID as people and JSON see it: hex. */
export function txnIDText(bytes: Uint8Array, offset = 0, length = bytes.length - offset): string {
  return toHex(txnIDOf(bytes, offset, length));
}

/** The whole of `bytes[offset, offset + length)` as an object; keys and values are views into it. */
export function decodeTransaction(
  bytes: Uint8Array,
  offset = 0,
  length = bytes.length - offset,
): Decoded<Transaction> {
  if (length < TXN_HEADER_BYTES || offset + length > bytes.length) {
    return refused(VERDICT.TRUNCATED, "transaction");
  }
  const chainId = bytes.slice(offset + TXN_OFFSET.chainId, offset + TXN_OFFSET.senderID);
  const verdict = checkTransaction(bytes, offset, length, chainId);
  if (verdict !== VERDICT.OK) return refused(verdict, "transaction");
  const kind = KIND_NAMES[kindOf(bytes, offset)];
  const isTransfer = kind === "transfer";
  const tail = afterKey(bytes, offset);
  const hasFields = kind === "insert" || kind === "update";
  return decoded({
    txnID: txnIDText(bytes, offset, length),
    kind,
    chainId,
    senderID: senderOf(bytes, offset),
    sequence: sequenceOf(bytes, offset),
    lastValidRound: lastValidRoundOf(bytes, offset),
    creationTime: creationTimeOf(bytes, offset),
    receiverID: isTransfer ? readU64(bytes, offset + TXN_OFFSET.receiverID) : 0,
    txnAmount: isTransfer ? readU64(bytes, offset + TXN_OFFSET.txnAmount) : 0,
    key: bytes.subarray(offset + TXN_OFFSET.key, tail),
    fields: hasFields ? decodeFields(bytes, tail, fieldCountOf(bytes, offset)) : [],
    payload: kind === "record" ? bytes.subarray(tail, offset + length) : EMPTY,
  });
}

function decodeFields(bytes: Uint8Array, from: number, count: number): TransactionField[] {
  const fields: TransactionField[] = [];
  let at = from;
  for (let i = 0; i < count; i++) {
    const value = at + FIELD_HEADER_BYTES + fieldNameBytes(bytes, at);
    fields.push({
      name: bytes.subarray(at + FIELD_HEADER_BYTES, value),
      value: bytes.subarray(value, value + fieldValueBytes(bytes, at)),
    });
    at = nextField(bytes, at);
  }
  return fields;
}

/** Encodes an object. Throws TRANSACTION_MALFORMED when no rank would take it. */
export function encodeTransaction(input: TransactionInput): Uint8Array {
  const key = rangeOf(input.key ?? EMPTY);
  const fields = fieldRanges(input.fields ?? []);
  const payload = rangeOf(input.payload ?? EMPTY);
  const room =
    fieldsTransactionBytes(key.length, fields) + Math.max(payload.length, TRANSFER_BYTES);
  if (room > 2 * TXN_BYTES_MAX || key.length > 255 || fields.count > FIELDS_MAX) {
    throw malformed(input, "TOO_LARGE");
  }
  if (input.fields?.some(({ name }) => name.length > 255)) throw malformed(input, "BAD_FIELDS");
  for (const name of ["senderID", "sequence", "lastValidRound", "creationTime"] as const) {
    if (!Number.isSafeInteger(input[name]) || input[name] < 0) throw malformed(input, name);
  }
  if (Math.max(input.lastValidRound, input.creationTime) > 0xffff_ffff_ffff) {
    throw malformed(input, "lastValidRound or creationTime");
  }
  const out = new Uint8Array(room);
  const length = encodeInto(out, input, key, fields, payload);
  const verdict = checkTransaction(out, 0, length, input.chainId);
  if (verdict !== VERDICT.OK) throw malformed(input, verdictName(verdict));
  return out.slice(0, length);
}

function encodeInto(
  out: Uint8Array,
  input: TransactionInput,
  key: ByteRange,
  fields: FieldRanges,
  payload: ByteRange,
): number {
  switch (input.kind) {
    case "transfer": {
      const { receiverID = Number.NaN, txnAmount = Number.NaN } = input;
      if (!Number.isSafeInteger(receiverID) || receiverID < 0) throw malformed(input, "receiverID");
      if (!Number.isSafeInteger(txnAmount) || txnAmount <= 0) throw malformed(input, "txnAmount");
      return encodeTransfer(out, 0, input, receiverID, txnAmount);
    }
    case "insert":
      return encodeInsert(out, 0, input, key, fields);
    case "update":
      return encodeUpdate(out, 0, input, key, fields);
    case "delete":
      return encodeDelete(out, 0, input, key);
    case "record":
      return encodeRecordTransaction(out, 0, input, key, payload);
  }
}

function malformed(input: TransactionInput, what: string): BaashError {
  return new BaashError(
    "TRANSACTION_MALFORMED",
    `This ${input.kind} of sender ${input.senderID} cannot be encoded (${what}): correct it; no rank would take it.`,
    { exitCode: EXIT.usage, data: { what } },
  );
}

function rangeOf(bytes: Uint8Array): ByteRange {
  return { bytes, start: 0, length: bytes.length };
}

/** Lays fields out as the encoders of the hot path take them. */
export function fieldRanges(fields: readonly TransactionField[]): FieldRanges {
  const nameSpans = new Uint32Array(2 * fields.length);
  const valueSpans = new Uint32Array(2 * fields.length);
  const names = pour(
    fields.map((field) => field.name),
    nameSpans,
  );
  const values = pour(
    fields.map((field) => field.value),
    valueSpans,
  );
  return { count: fields.length, names, nameSpans, values, valueSpans };
}

function pour(parts: readonly Uint8Array[], spans: Uint32Array): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  parts.forEach((part, i) => {
    whole.set(part, at);
    spans[2 * i] = at;
    spans[2 * i + 1] = part.length;
    at += part.length;
  });
  return whole;
}

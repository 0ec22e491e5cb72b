/**
 * The fields of a key-value record. In a transaction a field is [u8 nameBytes][u32 valueBytes]
 * [name][value]; in the state it is [u8 nameBytes][name][u32 valueBytes][value], sorted by name
 * bytewise. A name that comes twice in one transaction: the later one stands.
 */
import { equalRange, readU32, writeU32 } from "../base/bytes.ts";

/** Fields as they lie in a transaction. */
export interface Fields {
  bytes: Uint8Array;
  count: number;
}

type Field = { name: string; value: Uint8Array };

export function sortFields(fields: Fields): Uint8Array {
  return encode(parseTransaction(fields));
}

/**
 * The record in state form with `fields` merged into it: `old` itself, changed in place, where no
 * field changes its length (what updates mostly do), else a record of its own.
 */
export function mergeFields(old: Uint8Array, fields: Fields): Uint8Array {
  if (replaceInPlace(old, fields)) return old;
  const merged = parseState(old);
  for (const [name, value] of parseTransaction(fields)) merged.set(name, value);
  return encode(merged);
}

/** False where a field is new or changes its length; the fields before it are replaced then. */
function replaceInPlace(record: Uint8Array, fields: Fields): boolean {
  const { bytes } = fields;
  for (let i = 0, at = 0; i < fields.count; i++) {
    const nameBytes = bytes[at];
    const valueBytes = readU32(bytes, at + 1);
    const valueAt = at + 5 + nameBytes;
    const place = findValue(record, bytes, at + 5, nameBytes);
    if (place < 0 || readU32(record, place - 4) !== valueBytes) return false;
    for (let b = 0; b < valueBytes; b++) record[place + b] = bytes[valueAt + b];
    at = valueAt + valueBytes;
  }
  return true;
}

/** Where the value of the field of this name begins, or -1. */
function findValue(record: Uint8Array, names: Uint8Array, nameAt: number, nameBytes: number) {
  for (let at = 0; at < record.length; ) {
    const lengthAt = at + 1 + record[at];
    if (record[at] === nameBytes && equalRange(record, at + 1, names, nameAt, nameBytes)) {
      return lengthAt + 4;
    }
    at = lengthAt + 4 + readU32(record, lengthAt);
  }
  return -1;
}

function parseTransaction(fields: Fields): Map<string, Uint8Array> {
  const { bytes } = fields;
  const parsed = new Map<string, Uint8Array>();
  for (let i = 0, at = 0; i < fields.count; i++) {
    const nameBytes = bytes[at];
    const valueBytes = readU32(bytes, at + 1);
    const valueAt = at + 5 + nameBytes;
    parsed.set(text(bytes, at + 5, valueAt), bytes.subarray(valueAt, valueAt + valueBytes));
    at = valueAt + valueBytes;
  }
  return parsed;
}

function parseState(bytes: Uint8Array): Map<string, Uint8Array> {
  const parsed = new Map<string, Uint8Array>();
  for (let at = 0; at < bytes.length; ) {
    const nameEnd = at + 1 + bytes[at];
    const end = nameEnd + 4 + readU32(bytes, nameEnd);
    parsed.set(text(bytes, at + 1, nameEnd), bytes.subarray(nameEnd + 4, end));
    at = end;
  }
  return parsed;
}

function encode(fields: Map<string, Uint8Array>): Uint8Array {
  const sorted: Field[] = [];
  let length = 0;
  for (const [name, value] of fields) {
    sorted.push({ name, value });
    length += 5 + name.length + value.length;
  }
  // One character is one byte, so the order of strings is the order of bytes.
  sorted.sort((a, b) => (a.name < b.name ? -1 : 1));
  const encoded = new Uint8Array(length);
  let at = 0;
  for (const { name, value } of sorted) {
    encoded[at++] = name.length;
    for (let i = 0; i < name.length; i++) encoded[at++] = name.charCodeAt(i);
    writeU32(encoded, at, value.length);
    encoded.set(value, at + 4);
    at += 4 + value.length;
  }
  return encoded;
}

function text(bytes: Uint8Array, start: number, end: number): string {
  let name = "";
  for (let i = start; i < end; i++) name += String.fromCharCode(bytes[i]);
  return name;
}

/**
 * The one place that knows msgpackr. Our messages are arrays of unsigned integers, byte strings and
 * short texts: no maps, no extensions, no records, no 64-bit integers (numbers above 2^32 travel as
 * float64, exact below 2^53). Bytes from outside pass `scanMessagePack` first, which allocates
 * nothing; only then does msgpackr build objects. Unpacked byte strings are views into the input.
 */
import { Packr } from "msgpackr";
import { VERDICT, type Verdict } from "./verdict.ts";

const packr = new Packr({ useRecords: false, int64AsType: "number" });

export type Packable = number | string | Uint8Array | readonly Packable[];

/** Fresh bytes: the caller owns them. */
export function pack(value: Packable): Uint8Array {
  const bytes = packr.pack(value);
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** Only for bytes that passed `scanMessagePack`: anything else may throw or allocate at will. */
export function unpackScanned(bytes: Uint8Array): unknown {
  return packr.unpack(bytes);
}

export interface ScanLimits {
  readonly depthMax: number;
  /** Values of all kinds, arrays included. */
  readonly itemsMax: number;
  readonly bytesMax: number;
}

const SCAN_DEPTH_MAX = 32;
/** Items still missing in the open array of each depth. Scratch: the scan never re-enters itself. */
const missing = new Float64Array(SCAN_DEPTH_MAX + 1);

/**
 * Judges the structure of bytes[offset, offset + length) without allocating: exactly one value, all
 * lengths inside, only types of ours, no more depth and items than allowed.
 */
export function scanMessagePack(
  bytes: Uint8Array,
  offset: number,
  length: number,
  limits: ScanLimits,
): Verdict {
  if (length > limits.bytesMax) return VERDICT.TOO_LARGE;
  const end = offset + length;
  if (end > bytes.length) return VERDICT.TRUNCATED;
  const depthMax = Math.min(limits.depthMax, SCAN_DEPTH_MAX);
  let at = offset;
  let depth = 0;
  let items = 0;
  missing[0] = 1;
  while (true) {
    while (missing[depth] === 0) {
      if (depth === 0) return at === end ? VERDICT.OK : VERDICT.TRAILING_BYTES;
      depth--;
    }
    missing[depth]--;
    if (++items > limits.itemsMax) return VERDICT.TOO_LARGE;
    if (at >= end) return VERDICT.TRUNCATED;
    const type = bytes[at++];
    if (type < 0x80) continue;
    const width = sizeWidth(type);
    if (width < 0) return VERDICT.BAD_SHAPE;
    if (at + width > end) return VERDICT.TRUNCATED;
    const size = width === 0 ? inlineSize(type) : bigEndian(bytes, at, width);
    at += width;
    if (isArray(type)) {
      // Each item takes a byte at least: a count beyond the rest is a lie, found before any loop.
      if (size > end - at) return VERDICT.TRUNCATED;
      if (++depth > depthMax) return VERDICT.TOO_DEEP;
      missing[depth] = size;
    } else {
      at += isNumber(type) ? 0 : size;
      if (at > end) return VERDICT.TRUNCATED;
    }
  }
}

/** Bytes after the type byte that hold a size, or a number; -1 for types that we do not use. */
function sizeWidth(type: number): number {
  if (type >= 0x90 && type <= 0xbf) return 0; // fixarray, fixstr
  switch (type) {
    case 0xc4: // bin8
    case 0xcc: // uint8
    case 0xd9: // str8
      return 1;
    case 0xc5: // bin16
    case 0xcd: // uint16
    case 0xda: // str16
    case 0xdc: // array16
      return 2;
    case 0xc6: // bin32
    case 0xce: // uint32
    case 0xdd: // array32
      return 4;
    case 0xcb: // float64
      return 8;
    default:
      return -1;
  }
}

function isArray(type: number): boolean {
  return (type >= 0x90 && type <= 0x9f) || type === 0xdc || type === 0xdd;
}

function isNumber(type: number): boolean {
  return type >= 0xcb && type <= 0xce;
}

function inlineSize(type: number): number {
  return type < 0xa0 ? type & 0x0f : type & 0x1f;
}

function bigEndian(bytes: Uint8Array, at: number, width: number): number {
  if (width === 8) return 0; // a float64 has no size
  let value = 0;
  for (let i = 0; i < width; i++) value = value * 256 + bytes[at + i];
  return value;
}

/** Bytes of msgpackr's head before a byte string of `length`. */
export function binHeadBytes(length: number): number {
  return length < 0x100 ? 2 : length < 0x1_0000 ? 3 : 5;
}

/** Writes that head at `at`; answers where the byte string begins. */
export function writeBinHead(out: Uint8Array, at: number, length: number): number {
  if (length < 0x100) {
    out[at] = 0xc4;
    out[at + 1] = length;
    return at + 2;
  }
  if (length < 0x1_0000) {
    out[at] = 0xc5;
    out[at + 1] = length >>> 8;
    out[at + 2] = length;
    return at + 3;
  }
  out[at] = 0xc6;
  out[at + 1] = length >>> 24;
  out[at + 2] = length >>> 16;
  out[at + 3] = length >>> 8;
  out[at + 4] = length;
  return at + 5;
}

/** Byte strings up to here are copied among the heads; longer ones become parts of their own. */
const COPIED_BYTES_MAX = 512;

/**
 * Writes the very bytes of `pack` as a list of parts, so that blocks go from where they lie to
 * writev or to the send buffer without a copy of the whole.
 */
export class PartsWriter {
  #parts: Uint8Array[] = [];
  #heads = new Uint8Array(1024);
  #from = 0;
  #at = 0;
  #length = 0;

  /** Opens an array: `count` values follow. */
  array(count: number): this {
    this.#reserve(5);
    const out = this.#heads;
    if (count < 16) out[this.#at++] = 0x90 | count;
    else if (count < 0x1_0000) this.#tagged(0xdc, count, 2);
    else this.#tagged(0xdd, count, 4);
    return this;
  }

  number(value: number): this {
    this.#reserve(9);
    if (value >>> 0 !== value) {
      this.#heads[this.#at] = 0xcb;
      new DataView(this.#heads.buffer).setFloat64(this.#at + 1, value);
      this.#at += 9;
    } else if (value < 0x80) this.#heads[this.#at++] = value;
    else if (value < 0x100) this.#tagged(0xcc, value, 1);
    else if (value < 0x1_0000) this.#tagged(0xcd, value, 2);
    else this.#tagged(0xce, value, 4);
    return this;
  }

  text(value: string): this {
    const bytes = pack(value);
    this.#reserve(bytes.length);
    this.#heads.set(bytes, this.#at);
    this.#at += bytes.length;
    return this;
  }

  /** A byte string; a long one is referred to, not copied, and must stay as it is. */
  bytes(value: Uint8Array): this {
    this.#reserve(5 + COPIED_BYTES_MAX);
    this.#at = writeBinHead(this.#heads, this.#at, value.length);
    if (value.length <= COPIED_BYTES_MAX) {
      this.#heads.set(value, this.#at);
      this.#at += value.length;
    } else {
      this.#cut();
      this.#parts.push(value);
      this.#length += value.length;
    }
    return this;
  }

  finish(): { parts: Uint8Array[]; length: number } {
    this.#cut();
    return { parts: this.#parts, length: this.#length };
  }

  #tagged(tag: number, value: number, width: number): void {
    this.#heads[this.#at++] = tag;
    for (let shift = 8 * (width - 1); shift >= 0; shift -= 8) {
      this.#heads[this.#at++] = value >>> shift;
    }
  }

  #reserve(bytes: number): void {
    if (this.#at + bytes <= this.#heads.length) return;
    this.#cut();
    this.#heads = new Uint8Array(Math.max(2 * this.#heads.length, bytes));
    this.#from = 0;
    this.#at = 0;
  }

  #cut(): void {
    if (this.#at === this.#from) return;
    this.#parts.push(this.#heads.subarray(this.#from, this.#at));
    this.#length += this.#at - this.#from;
    this.#from = this.#at;
  }
}

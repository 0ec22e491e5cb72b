/**
 * Small byte helpers. All integers are little-endian. Integers wider than 32 bits are JavaScript
 * numbers and must stay below 2^53; a reader that meets more answers NaN, which no check accepts.
 */

export function toHex(bytes: Uint8Array, start = 0, end = bytes.length): string {
  return (start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end)).toHex();
}

/** Throws SyntaxError when `text` is not an even number of hex digits. */
export function fromHex(text: string): Uint8Array {
  return Uint8Array.fromHex(text);
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Compares `length` bytes of `a` from `aOffset` with those of `b` from `bOffset`. */
export function equalRange(
  a: Uint8Array,
  aOffset: number,
  b: Uint8Array,
  bOffset: number,
  length: number,
): boolean {
  for (let i = 0; i < length; i++) if (a[aOffset + i] !== b[bOffset + i]) return false;
  return true;
}

export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const whole = new Uint8Array(length);
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}

export function readU16(bytes: Uint8Array, offset: number): number {
  return bytes[offset] | (bytes[offset + 1] << 8);
}

export function writeU16(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value;
  bytes[offset + 1] = value >>> 8;
}

export function readU32(bytes: Uint8Array, offset: number): number {
  return (
    (bytes[offset] |
      (bytes[offset + 1] << 8) |
      (bytes[offset + 2] << 16) |
      (bytes[offset + 3] << 24)) >>>
    0
  );
}

export function writeU32(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value;
  bytes[offset + 1] = value >>> 8;
  bytes[offset + 2] = value >>> 16;
  bytes[offset + 3] = value >>> 24;
}

/** Six bytes: enough for milliseconds since 1970 and for round numbers. */
export function readU48(bytes: Uint8Array, offset: number): number {
  return readU32(bytes, offset) + readU16(bytes, offset + 4) * 0x1_0000_0000;
}

export function writeU48(bytes: Uint8Array, offset: number, value: number): void {
  writeU32(bytes, offset, value >>> 0);
  writeU16(bytes, offset + 4, Math.floor(value / 0x1_0000_0000));
}

/** Eight bytes that hold a number below 2^53; NaN when they hold more. */
export function readU64(bytes: Uint8Array, offset: number): number {
  const high = readU32(bytes, offset + 4);
  return high > 0x1f_ffff ? Number.NaN : readU32(bytes, offset) + high * 0x1_0000_0000;
}

export function writeU64(bytes: Uint8Array, offset: number, value: number): void {
  writeU32(bytes, offset, value >>> 0);
  writeU32(bytes, offset + 4, Math.floor(value / 0x1_0000_0000));
}

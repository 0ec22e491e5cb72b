/**
 * SHA-256 of single messages, by Bun's own hash: it needs no addon, so clients and tools verify with
 * it too. Many small hashes in a row belong to the kernels (`kernels.ts`), which take them in one call.
 */

export const HASH_BYTES = 32;

/** SHA-256 of the parts, one after the other. */
export function sha256(...parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(HASH_BYTES);
  if (parts.length === 1) {
    Bun.SHA256.hash(parts[0], out);
    return out;
  }
  const hash = new Bun.SHA256();
  for (const part of parts) hash.update(part);
  hash.digest(out);
  return out;
}

/** Writes SHA-256(bytes[offset, offset + length)) to `out` at `outOffset`. */
export function sha256Into(
  bytes: Uint8Array,
  offset: number,
  length: number,
  out: Uint8Array,
  outOffset: number,
): void {
  Bun.SHA256.hash(
    bytes.subarray(offset, offset + length),
    out.subarray(outOffset, outOffset + HASH_BYTES),
  );
}

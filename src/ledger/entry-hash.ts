/**
 * The hash that spreads the entries of the state over buckets and table slots: FNV-1a-32 over the
 * entry key, then murmur3's fmix32, so that its upper bits (the bucket) depend on every byte.
 * Part of the format: the state root is built on it. It is no defence by itself: who may write can
 * search for keys that collide and make the look-ups of those keys, and only those, linear.
 */

/** First byte of an entry key. */
export const ENTRY = { record: 1, account: 2, floor: 3 } as const;

const FNV_BASIS = 0x811c9dc5;
const FNV_PRIME = 0x01000193;

function mix(hash: number): number {
  let h = hash ^ (hash >>> 16);
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return h ^ (h >>> 16);
}

/** Hash of entry key `prefix` ‖ bytes[offset .. +length), as a signed 32-bit number. */
export function hashKey(prefix: number, bytes: Uint8Array, offset: number, length: number): number {
  let h = Math.imul(FNV_BASIS ^ prefix, FNV_PRIME);
  for (let i = offset, end = offset + length; i < end; i++) {
    h = Math.imul(h ^ bytes[i], FNV_PRIME);
  }
  return mix(h);
}

/** Hash of entry key `prefix` ‖ u64 `value`, as a signed 32-bit number. */
export function hashNumber(prefix: number, value: number): number {
  const low = value >>> 0;
  const high = (value - low) / 0x1_0000_0000;
  let h = Math.imul(FNV_BASIS ^ prefix, FNV_PRIME);
  h = Math.imul(h ^ (low & 0xff), FNV_PRIME);
  h = Math.imul(h ^ ((low >>> 8) & 0xff), FNV_PRIME);
  h = Math.imul(h ^ ((low >>> 16) & 0xff), FNV_PRIME);
  h = Math.imul(h ^ (low >>> 24), FNV_PRIME);
  h = Math.imul(h ^ (high & 0xff), FNV_PRIME);
  h = Math.imul(h ^ ((high >>> 8) & 0xff), FNV_PRIME);
  h = Math.imul(h ^ ((high >>> 16) & 0xff), FNV_PRIME);
  h = Math.imul(h ^ (high >>> 24), FNV_PRIME);
  return mix(h);
}

/**
 * FNV-1a-64 over the eight little-endian bytes of a record number, as YCSB's key names and its
 * scrambled zipfian use it: the absolute value of the signed result. In 32-bit halves, since a
 * BigInt costs more than the rest of a transaction.
 */

/** The multiplier is 2^40 + 0x1b3: the product is a shift by 40 bits and this small factor. */
const PRIME_LOW = 0x1b3;
const BASIS_HIGH = 0xcbf29ce4;
const BASIS_LOW = 0x84222325;

/** Holds the result of the last hash, so that hashing allocates nothing. */
export class Fnv64 {
  /** Upper 31 bits (the sign is gone). */
  high = 0;
  /** Lower 32 bits, unsigned. */
  low = 0;

  /** Hashes a whole number in [0, 2^63): doubles above 2^53 keep their exact value. */
  hash(value: number): void {
    const valueHigh = Math.floor(value / 0x1_0000_0000);
    let word = (value - valueHigh * 0x1_0000_0000) | 0;
    let high = BASIS_HIGH | 0;
    let low = BASIS_LOW | 0;
    for (let octet = 0; octet < 8; octet++) {
      if (octet === 4) word = valueHigh | 0;
      low ^= word & 0xff;
      word >>>= 8;
      const first = (low & 0xffff) * PRIME_LOW;
      const second = (low >>> 16) * PRIME_LOW + (first >>> 16);
      high = (Math.imul(high, PRIME_LOW) + (second >>> 16) + (low << 8)) | 0;
      low = ((second & 0xffff) << 16) | (first & 0xffff);
    }
    if (high < 0) {
      low = -low | 0;
      high = low === 0 ? -high | 0 : ~high;
    }
    this.high = high >>> 0;
    this.low = low >>> 0;
  }

  /** The last hash modulo `divisor`, a whole number in [1, 2^37). */
  modulo(divisor: number): number {
    const rest = remainder(this.high, divisor);
    const middle = remainder(rest * 0x1_0000 + (this.low >>> 16), divisor);
    return remainder(middle * 0x1_0000 + (this.low & 0xffff), divisor);
  }
}

/** dividend mod divisor for whole numbers below 2^53; a third of the cost of % on doubles. */
function remainder(dividend: number, divisor: number): number {
  const rest = dividend - Math.floor(dividend / divisor) * divisor;
  // The quotient may round across a whole number, by one at most.
  if (rest < 0) return rest + divisor;
  return rest >= divisor ? rest - divisor : rest;
}

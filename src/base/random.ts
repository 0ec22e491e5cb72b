/**
 * A seeded pseudo-random generator, sfc32: 128 bits of state, passes PractRand, four additions a
 * draw. Not for secrets. The same seed and stream give the same sequence on every machine, which
 * is what lets a benchmark or a simulation be run again from one printed number.
 */
export class Random {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  /** `stream` makes independent sequences of one seed: one a rank, one a purpose. */
  constructor(seed: number, stream = 0) {
    this.#a = seed | 0;
    this.#b = Math.floor(seed / 0x1_0000_0000) | 0;
    this.#c = stream | 0;
    // The author of sfc32 asks for 12 rounds of mixing after seeding; 20 cost nothing.
    for (let i = 0; i < 20; i++) this.nextInt32();
  }

  /** All 32 bits, as a signed integer: the cheapest draw. */
  nextInt32(): number {
    const sum = (((this.#a + this.#b) | 0) + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum;
    this.#c |= 0;
    return sum;
  }

  nextUint32(): number {
    return this.nextInt32() >>> 0;
  }

  /** In [0, 1) with 53 random bits. */
  nextFloat(): number {
    return ((this.nextInt32() >>> 6) * 0x800_0000 + (this.nextInt32() >>> 5)) / 0x20_0000_0000_0000;
  }

  /** An integer in [0, limit), limit at most 2^53. Bias is below limit / 2^53. */
  nextBelow(limit: number): number {
    // Below 2^21 one draw of 32 bits is enough: the product stays exact and the bias below 2^-11 of
    // one part, which no histogram shows.
    if (limit <= 0x20_0000) return Math.floor((this.nextUint32() * limit) / 0x1_0000_0000);
    return Math.floor(this.nextFloat() * limit);
  }

  /** Fills with random bytes. */
  fill(bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length; i++) bytes[i] = this.nextInt32() >>> 24;
  }
}

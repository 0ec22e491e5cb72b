/**
 * Whatever bytes come, a decoder says yes or no: it neither hangs, nor throws anything but a coded
 * error, and what carries a checksum is taken only as it was written. Messages are fuzzed once more
 * through a whole rank in rank/reception-fuzz.test.ts.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { concatBytes } from "../../../src/base/bytes.ts";
import { BaashError } from "../../../src/base/errors.ts";
import { Random } from "../../../src/base/random.ts";
import { DECODERS, type Decoder } from "./decoder-list.ts";

/** Bent bytes a sample. */
const ROUNDS = 2000;
/** Bytes that begin something in msgpack, and lengths that promise too much. */
const TELLING = [
  0x00, 0x7f, 0x80, 0x90, 0x9f, 0xa0, 0xc0, 0xc4, 0xc6, 0xcb, 0xcf, 0xd9, 0xdd, 0xff,
];

/** Another sample's bytes, a cut, some more, single bytes, a piece twice, or nothing but chance. */
function bent(sample: Uint8Array, samples: readonly Uint8Array[], random: Random): Uint8Array {
  const below = (limit: number) => random.nextBelow(Math.max(1, limit));
  const piece = () => {
    const from = samples[below(samples.length)];
    const at = below(from.length);
    return from.slice(at, at + below(64));
  };
  const copy = sample.slice();
  const at = below(copy.length);
  switch (below(7)) {
    case 0:
      return copy.subarray(0, at);
    case 1:
      return concatBytes([copy, piece()]);
    case 2:
      return concatBytes([copy.subarray(0, at), piece(), copy.subarray(at)]);
    case 3:
      return concatBytes([copy.subarray(0, at), copy.subarray(at + below(16))]);
    case 4: {
      const noise = new Uint8Array(below(300));
      random.fill(noise);
      return noise;
    }
    default:
      for (let changes = 1 + below(4); changes > 0; changes--) {
        // The head of a message says the most.
        const where = below(2) === 0 ? below(Math.min(24, copy.length)) : below(copy.length);
        copy[where] = below(2) === 0 ? TELLING[below(TELLING.length)] : below(256);
      }
      return copy;
  }
}

const told: string[] = [];

async function answerOf({ read, refuses }: Decoder, bytes: Uint8Array): Promise<boolean> {
  try {
    return await read(bytes);
  } catch (error) {
    if (error instanceof BaashError || refuses?.(error)) return false;
    throw error;
  }
}

describe("takes what is good and survives the rest", () => {
  for (const decoder of DECODERS)
    test(decoder.name, async () => {
      const samples = await decoder.samples();
      const random = new Random(7, decoder.name.length);
      let taken = 0;
      for (const sample of samples) {
        expect(await answerOf(decoder, sample.slice())).toBe(true);
        for (let i = 0; i < (decoder.rounds ?? ROUNDS); i++) {
          const bytes = bent(sample, samples, random);
          const isTaken = await answerOf(decoder, bytes.slice());
          if (isTaken) taken++;
          const isWritten = samples.some((one) => Buffer.compare(one, bytes) === 0);
          if (isTaken && decoder.isSealed && !isWritten)
            throw new Error(`takes ${Buffer.from(bytes).toString("hex")}, which nobody wrote`);
        }
      }
      const tried = samples.length * (decoder.rounds ?? ROUNDS);
      told.push(`${tried} inputs, ${taken} taken: ${decoder.name}`);
    }, 60_000);
});

afterAll(() => {
  for (const line of told) console.log(line);
});

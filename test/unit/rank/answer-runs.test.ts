/** Answers of a vote as runs: every list has one encoding, and nothing else is accepted. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { decodeAnswers, encodeAnswers } from "../../../src/rank/answer-runs.ts";
import { voteBytesMax } from "../../../src/rank/envelope.ts";

/** Answers as they come about: long runs and short ones. */
const answers = fc
  .array(fc.tuple(fc.integer({ min: 0, max: 2 }), fc.integer({ min: 1, max: 300 })), {
    minLength: 1,
    maxLength: 60,
  })
  .map((runs) => Uint8Array.from(runs.flatMap(([answer, count]) => Array(count).fill(answer))));

describe("answers as runs", () => {
  test("come back as they were, and never take more than a byte a rank", () => {
    fc.assert(
      fc.property(answers, (all) => {
        const runs = encodeAnswers(all);
        expect(runs.length).toBeLessThanOrEqual(all.length);
        expect(decodeAnswers(runs, all.length)).toEqual(all);
      }),
    );
  });

  test("whatever is accepted is the one encoding of what it says", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 12 }),
        fc.integer({ min: 1, max: 40 }),
        (runs, ranks) => {
          const all = decodeAnswers(runs, ranks);
          if (all !== undefined) expect(encodeAnswers(all)).toEqual(runs);
        },
      ),
      { numRuns: 5000 },
    );
  });

  test("another number of ranks, a fourth answer, an empty or cut run are refused", () => {
    const yes = (count: number) => encodeAnswers(new Uint8Array(count).fill(2));
    expect(decodeAnswers(yes(16), 15)).toBeUndefined();
    expect(decodeAnswers(yes(16), 17)).toBeUndefined();
    expect(decodeAnswers(Uint8Array.of(7), 1)).toBeUndefined();
    expect(decodeAnswers(Uint8Array.of(2), 1)).toBeUndefined();
    expect(decodeAnswers(Uint8Array.of(0x86, 0x00), 1)).toBeUndefined();
    expect(decodeAnswers(yes(400).subarray(0, 1), 400)).toBeUndefined();
    expect(decodeAnswers(Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0x7f), 400)).toBeUndefined();
  });

  test("what a lane carries of a member does not grow with the members", () => {
    const all = new Uint8Array(40_000).fill(2);
    expect(encodeAnswers(all).length).toBe(3);
    for (const dead of [17, 20_000, 39_999]) all[dead] = 0;
    expect(encodeAnswers(all).length).toBeLessThan(20);
    expect(voteBytesMax(40_000)).toBe(voteBytesMax(300));
    expect(voteBytesMax(16)).toBeLessThan(voteBytesMax(17));
  });
});

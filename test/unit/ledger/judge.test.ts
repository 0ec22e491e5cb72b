/** Sizes of quorums. What the judge makes of records is in test/unit/verify/judgement.test.ts. */
import { describe, expect, test } from "bun:test";
import { answersMin, liarsMax, winVotes } from "../../../src/ledger/judge.ts";
import { MEMBERS_MAX } from "../../../src/limits.ts";
import * as reader from "../../../src/verify/epoch-reader.ts";

/** All small sizes, and some of the large ones: they differ by remainders alone. */
const SIZES = Array.from({ length: MEMBERS_MAX }, (_, i) => i + 1).filter(
  (n) => n <= 1024 || n % 97 === 0 || n > MEMBERS_MAX - 16,
);

describe("quorums", () => {
  test("a majority wins, and meets every set of R", () => {
    for (const n of SIZES) {
      const [w, r] = [winVotes(n), answersMin(n)];
      expect(2 * w > n && w + r > n && w + r === n + 1).toBe(true);
      expect([winVotes(n, "majority"), answersMin(n, "majority")]).toEqual([w, r]);
    }
    expect([1, 2, 3, 4, 5].map((n) => winVotes(n))).toEqual([1, 2, 2, 3, 3]);
    expect([1, 2, 3, 4, 5].map((n) => answersMin(n))).toEqual([1, 1, 2, 2, 3]);
  });

  test("a byzantine quorum outlasts f liars, for every N", () => {
    for (const n of SIZES) {
      const f = liarsMax(n, "byzantine");
      const [w, r] = [winVotes(n, "byzantine"), answersMin(n, "byzantine")];
      expect(n >= 3 * f + 1 && n < 3 * (f + 1) + 1).toBe(true);
      // The honest are enough; two quorums share an honest member; so do w and R.
      expect(n - f >= w && n - f >= r).toBe(true);
      expect(2 * w - n >= f + 1 && w + r - n >= f + 1).toBe(true);
      // Of two hashes of one rank at most one can still win by the votes of R.
      expect(2 * (w - (n - r)) > r).toBe(true);
      // What only liars said yes to is always shown to be lost.
      expect(f + (n - r) < w).toBe(true);
    }
    expect([1, 3, 4, 5, 6, 7, 10].map((n) => winVotes(n, "byzantine"))).toEqual([
      1, 3, 3, 4, 5, 5, 7,
    ]);
  });

  test("the independent reader has the same sizes", () => {
    for (const n of [0, ...SIZES]) {
      for (const quorum of ["majority", "byzantine"] as const) {
        expect(reader.winVotes(n, quorum)).toBe(winVotes(n, quorum));
        expect(reader.answersMin(n, quorum)).toBe(answersMin(n, quorum));
      }
    }
  });
});

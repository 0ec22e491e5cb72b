import { describe, expect, test } from "bun:test";
import { describeOutcome, OUTCOME, outcomeName } from "../../../src/ledger/receipt.ts";
import { isDamage, isTransient, VERDICT, verdictName } from "../../../src/ledger/verdict.ts";

describe("codes", () => {
  test("outcomes are numbers of the format: they do not move", () => {
    expect(Object.values(OUTCOME)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(outcomeName(2)).toBe("OVERDRAFT");
    expect(outcomeName(10)).toBeUndefined();
    for (const outcome of Object.values(OUTCOME)) {
      expect(describeOutcome(outcome).length).toBeGreaterThan(7);
    }
    expect(describeOutcome(99)).toContain("99");
  });

  test("every verdict has its own number and name", () => {
    Object.entries(VERDICT).forEach(([name, code], i) => {
      expect(code).toBe(i as never);
      expect(verdictName(code)).toBe(name);
    });
    expect(verdictName(200)).toBe("UNKNOWN_VERDICT_200");
    expect(isTransient(VERDICT.ANCHOR_UNKNOWN)).toBe(true);
    expect(isTransient(VERDICT.WRONG_CHAIN)).toBe(false);
    expect(isDamage(VERDICT.BAD_CHECKSUM)).toBe(true);
    expect(isDamage(VERDICT.UNKNOWN_VERSION)).toBe(false);
  });
});

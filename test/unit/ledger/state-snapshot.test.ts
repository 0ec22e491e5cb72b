/** A snapshot that is not what was written is refused, whatever was done to it. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { errorCode } from "../../../src/base/errors.ts";
import { State } from "../../../src/ledger/state.ts";

function snapshot(): Uint8Array {
  const state = new State({ supply: 12_345 });
  state.endRound(1);
  return new Uint8Array(Buffer.concat(state.snapshot()));
}

function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    return errorCode(error);
  }
  return "none";
}

test("any changed byte is noticed", () => {
  const good = snapshot();
  fc.assert(
    fc.property(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 }), (at, by) => {
      const bad = good.slice();
      bad[at] ^= by;
      expect(codeOf(() => State.restore(bad))).toBe("SNAPSHOT_DAMAGED");
    }),
    { numRuns: 300 },
  );
});

test("any cut and anything appended is noticed", () => {
  const good = snapshot();
  for (let length = 0; length < good.length; length++) {
    expect(codeOf(() => State.restore(good.subarray(0, length)))).toBe("SNAPSHOT_DAMAGED");
  }
  const longer = new Uint8Array(good.length + 1);
  longer.set(good);
  expect(codeOf(() => State.restore(longer))).toBe("SNAPSHOT_DAMAGED");
});

test("a part that is left out is noticed", () => {
  const state = new State({ supply: 12_345 });
  const parts = state.snapshot();
  for (let skip = 0; skip < parts.length; skip++) {
    const rest = Buffer.concat(parts.filter((_, i) => i !== skip));
    expect(codeOf(() => State.restore(new Uint8Array(rest)))).toBe("SNAPSHOT_DAMAGED");
  }
});

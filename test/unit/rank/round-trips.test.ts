import { expect, test } from "bun:test";
import { RoundTrips } from "../../../src/rank/round-trips.ts";

test("rounds are short up to two fifths of the block delay, in the mean of the newest", () => {
  const trips = new RoundTrips();
  expect(trips.areShort(5)).toBe(true);
  const take = (ms: number, count: number) => {
    for (let i = 0; i < count; i++) {
      trips.proposed(i, 100);
      trips.agreed(i, 100 + ms);
    }
  };
  take(20, 1);
  expect(trips.areShort(5)).toBe(false);
  take(0.4, 40);
  expect(trips.meanMs).toBeCloseTo(0.4, 1);
  expect(trips.areShort(5)).toBe(true);
  expect(trips.areShort(0)).toBe(false);
});

test("a round that was settled otherwise says nothing", () => {
  const trips = new RoundTrips();
  trips.proposed(1, 0);
  trips.over(1);
  trips.agreed(1, 1000);
  expect(trips.meanMs).toBe(0);
});

/** Deadlines double when what they are for comes too late, and go back. */
import { expect, test } from "bun:test";
import { Patience } from "../../../src/consensus/patience.ts";

const EPOCH = { self: 0, ranks: 7, winVotes: 5, answersMin: 5 };

test("doubles once a round, up to a bound, and goes back bit by bit", () => {
  const patience = new Patience(EPOCH, false);
  for (const rank of [3, 4, 0]) patience.wasLate(1, rank);
  expect(patience.times).toBe(2);
  patience.wasLate(1, 5);
  for (let round = 2; round < 20; round++) patience.wasLate(round, 3);
  expect(patience.times).toBe(32);
  patience.wasComplete();
  expect(patience.times).toBeCloseTo(28.8);
  for (let i = 0; i < 100; i++) patience.wasComplete();
  expect(patience.times).toBe(1);
});

test("f members who may lie do not slow the others down; one more, or this rank itself, does", () => {
  const patience = new Patience(EPOCH, true);
  for (const rank of [3, 4, 3]) patience.wasLate(1, rank);
  patience.settled(1);
  for (const rank of [3, 4]) patience.wasLate(2, rank);
  expect(patience.times).toBe(1);
  patience.wasLate(2, 5);
  expect(patience.times).toBe(2);
  patience.wasLate(3, EPOCH.self);
  expect(patience.times).toBe(4);
});

/** The arithmetic of the report, on runs that are made up to the millisecond. */
import { describe, expect, test } from "bun:test";
import type { Submission } from "../../../src/chaos/journal.ts";
import {
  countIn,
  figuresOf,
  latenciesOf,
  longestStall,
  percentilesOf,
  perSecond,
  rateIn,
  recoveryOf,
  timesOf,
  untilFresh,
} from "../../../src/chaos/measure.ts";

const NEVER = Number.NaN;
const START = 1_800_000_000_000;

/** Submitted at `at` ms of the run, agreed and final so many ms later. */
function submission(at: number, agreed: number, final = agreed + 10): Submission {
  return {
    bytes: new Uint8Array(0),
    intended: START + at,
    submitted: START + at,
    agreed: START + at + agreed,
    final: START + at + final,
    ...{ outcome: 0, refused: NEVER, status: -1, unknown: -1, contradictions: [] },
  };
}

/** One each `everyMs` in [from, to), agreed after 20 ms but not while nothing is. */
function steady(
  from: number,
  to: number,
  everyMs: number,
  outage?: [number, number],
): Submission[] {
  const all: Submission[] = [];
  for (let at = from; at < to; at += everyMs) {
    const due = at + 20;
    const isHeld = outage !== undefined && due >= outage[0] && due < outage[1];
    all.push(submission(at, isHeld ? outage[1] - at : 20));
  }
  return all;
}

describe("percentiles", () => {
  test("nearest rank, of any order", () => {
    const values = Float64Array.from({ length: 1000 }, (_, i) => 1000 - i);
    const expected = { count: 1000, p50: 500, p90: 900, p99: 990, p999: 999, max: 1000 };
    expect(percentilesOf(values)).toEqual(expected);
    expect(percentilesOf(Float64Array.of(7))).toMatchObject({ p50: 7, p999: 7, max: 7 });
    expect(percentilesOf(new Float64Array(0))).toBeUndefined();
  });

  test("latency is from the intended start, and what is final was agreed", () => {
    const late = { ...submission(100, 50), submitted: START + 400 };
    const untold = { ...submission(200, 0, 90), agreed: NEVER };
    const open = { ...submission(300, 0), agreed: NEVER, final: NEVER };
    expect([...latenciesOf([late, untold, open], "agreed")]).toEqual([50, 90]);
    expect([...latenciesOf([late, untold, open], "final")]).toEqual([60, 90]);
    expect([...latenciesOf([late, untold], "agreed", START + 150)]).toEqual([90]);
    expect([...timesOf([untold, late], "agreed")]).toEqual([START + 150, START + 290]);
  });
});

describe("rates and stalls", () => {
  const times = Float64Array.of(0, 100, 200, 1000, 1100, 2500);

  test("counts include the start and not the end", () => {
    expect(countIn(times, 100, 1000)).toBe(2);
    expect(countIn(times, 0, 10_000)).toBe(6);
    expect(rateIn(times, 0, 2000)).toBe(2.5);
    expect(rateIn(times, 5, 5)).toBeUndefined();
    expect(perSecond(times, 0, 2600)).toEqual([3, 2]);
  });

  test("the longest stall, with the whole of one that began before, and one without an end", () => {
    expect(longestStall(times, 150, 1050)).toEqual({ from: 200, to: 1000 });
    expect(longestStall(times, 500, 1050)).toEqual({ from: 200, to: 1000 });
    expect(longestStall(times, 0, 2000)).toEqual({ from: 1100, to: 2500 });
    expect(longestStall(times, 2600, 9000)).toEqual({ from: 2500, to: 9000 });
    expect(longestStall(new Float64Array(0), 10, 40)).toEqual({ from: 10, to: 40 });
  });

  test("recovery is a second at half the rate", () => {
    const all = timesOf(steady(0, 10_000, 10, [3000, 5000]), "agreed");
    const from = { to: START + 10_000, rate: 100 };
    expect(recoveryOf(all, { time: START + 1000, ...from })).toBe(START + 1000);
    // What was held up comes at once, and from then on all goes its way.
    expect(recoveryOf(all, { time: START + 3000, ...from })).toBe(START + 5000);
    const limp = timesOf([...steady(0, 1000, 10), ...steady(1000, 4000, 100)], "agreed");
    expect(recoveryOf(limp, { time: START + 1100, ...from })).toBeUndefined();
    expect(recoveryOf(all, { time: START + 9500, ...from })).toBeUndefined();
    expect(recoveryOf(all, { time: START, to: START + 10_000, rate: 1000 })).toBeUndefined();
  });

  test("what was submitted before a fault does not count as fresh", () => {
    const before = submission(100, 900);
    const after = submission(300, 1200);
    expect(untilFresh([before, after], START + 200)).toBe(1300);
    expect(untilFresh([before], START + 200)).toBeUndefined();
  });
});

describe("a run", () => {
  const incident = { text: "SIGKILL for 1 rank", at: START + 10_000, end: START + 10_000 };

  test("without faults it has one rate", () => {
    const figures = figuresOf({
      ...{ clients: [steady(0, 10_000, 5)], start: START, end: START + 10_000 },
      ...{ offered: 200, incidents: [] },
    });
    expect(figures.before.agreed).toBeCloseTo(200, 0);
    expect(figures.before).toMatchObject({ fromS: 1, toS: 10 });
    expect(figures.afterOfBefore).toBeUndefined();
    expect(figures.agreedPerSecond).toHaveLength(10);
    expect(figures.agreedPerSecond.slice(1).every((rate) => rate === 200)).toBe(true);
    expect(figures.agreedLatency).toMatchObject({ count: 2000, p50: 20, max: 20 });
    expect(figures.incidents).toEqual([]);
  });

  test("an outage after a fault is its gap; the rate afterwards is that of before", () => {
    const one = steady(0, 30_000, 10, [10_000, 11_500]);
    const two = steady(5, 30_000, 10, [10_000, 11_000]);
    const figures = figuresOf({
      ...{ clients: [one, two], start: START, end: START + 30_000 },
      ...{ offered: 200, incidents: [incident] },
    });
    const [gap] = figures.incidents;
    expect(gap.agreedStallMs).toBeGreaterThanOrEqual(1000);
    expect(gap.agreedStallMs).toBeLessThan(1010);
    expect(gap.worstClientMs).toBeGreaterThanOrEqual(1500);
    expect(gap.worstClientMs).toBeLessThan(1520);
    expect(gap.atS).toBe(10);
    expect(gap.freshMs).toBeGreaterThanOrEqual(1000);
    expect(figures.before.agreed).toBeCloseTo(200, 0);
    expect(figures.after.agreed).toBeCloseTo(200, 0);
    expect(figures.afterOfBefore).toBeCloseTo(1, 2);
    expect(figures.after.toS).toBe(30);
  });

  test("half the rate afterwards is half, and no recovery is none", () => {
    const half = [...steady(0, 10_000, 5), ...steady(10_000, 30_000, 9)];
    const run = { start: START, end: START + 30_000, offered: 200, incidents: [incident] };
    expect(figuresOf({ clients: [half], ...run }).afterOfBefore).toBeCloseTo(5 / 9, 1);
    const dead = figuresOf({ clients: [steady(0, 10_000, 5)], ...run });
    expect(dead.incidents[0]).toMatchObject({ freshMs: undefined, recoveryMs: undefined });
    expect(dead.incidents[0].agreedStallMs).toBeGreaterThan(19_900);
    expect(dead.afterOfBefore).toBeUndefined();
  });

  test("what was prepared before the load is not measured", () => {
    const figures = figuresOf({
      ...{ clients: [[submission(-5000, 3000), ...steady(0, 5000, 10)]], offered: 100 },
      ...{ start: START, end: START + 5000, incidents: [] },
    });
    expect(figures.agreedLatency).toMatchObject({ count: 500, max: 20 });
  });
});

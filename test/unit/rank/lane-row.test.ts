/** Collectives, one a round: whatever order members act in, the k-th call on a lane is one round to all. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { LaneRow } from "../../../src/rank/lane-row.ts";

const FIRST = 4;
const COUNT = 2;
const BYTES_MAX = 8;

/** A member's lanes: what it called, by lane. */
class Lanes {
  readonly calls: Uint8Array[][] = Array.from({ length: FIRST + COUNT }, () => []);
  readonly poisoned = new Set<number>();
  readonly row: LaneRow;

  constructor(settled = 0) {
    this.row = new LaneRow({
      transport: {
        allgather: (lane, bytes, bytesMax, deadlineMs) => {
          expect({ bytesMax, deadlineMs }).toEqual({ bytesMax: BYTES_MAX, deadlineMs: 5 });
          this.calls[lane].push(bytes);
        },
        lanePoisoned: (lane) => this.poisoned.has(lane),
      },
      ...{ first: FIRST, count: COUNT, bytesMax: BYTES_MAX, deadlineMs: 5, settled },
    });
  }
}

const of = (round: number) => Uint8Array.of(round);
const NOTHING = new Uint8Array(0);

test("a round goes on its lane, in round order, whatever comes first", () => {
  const { row, calls } = new Lanes();
  row.use(0);
  expect(row.contribute(2, of(2))).toBe(true);
  expect(calls.flat()).toEqual([]);
  expect(row.contribute(1, of(1))).toBe(true);
  expect(row.contribute(3, of(3))).toBe(true);
  expect(calls[FIRST]).toEqual([of(2)]);
  expect(calls[FIRST + 1]).toEqual([of(1), of(3)]);
  expect(row.open.toSorted()).toEqual([1, 2, 3]);
  row.ended(FIRST + 1);
  expect(row.open.toSorted()).toEqual([2, 3]);
});

test("nobody contributes twice; what is too long goes another way, and leaves its place empty", () => {
  const { row, calls } = new Lanes(10);
  row.use(11);
  row.skipTo(12);
  expect(row.contribute(12, of(12))).toBe(false);
  expect(row.contribute(13, new Uint8Array(BYTES_MAX + 1))).toBe(false);
  expect(calls[FIRST]).toEqual([NOTHING]);
  expect(calls[FIRST + 1]).toEqual([NOTHING, NOTHING]);
});

test("before the lanes are used nothing goes; who hears of it late makes up for it", () => {
  const { row, calls } = new Lanes();
  expect(row.contribute(1, of(1))).toBe(false);
  expect(row.contribute(2, of(2))).toBe(false);
  expect(row.contribute(3, of(3))).toBe(false);
  expect(calls.flat()).toEqual([]);
  row.use(2);
  expect(calls[FIRST]).toEqual([NOTHING]);
  expect(calls[FIRST + 1]).toEqual([NOTHING]);
  expect(row.contribute(4, of(4))).toBe(true);
  row.use(1); // too late: they are used already
  expect(calls[FIRST]).toEqual([NOTHING, of(4)]);
});

test("a lane that is lost takes no more, and tells once what it had", () => {
  const { row, calls, poisoned } = new Lanes();
  row.use(0);
  for (const round of [1, 2, 3]) row.contribute(round, of(round));
  poisoned.add(FIRST + 1);
  expect(row.takeLost()).toEqual([1, 3]);
  expect(row.takeLost()).toEqual([]);
  expect(row.open).toEqual([2]);
  expect(row.contribute(4, of(4))).toBe(true);
  expect(row.contribute(5, of(5))).toBe(false);
  expect(calls[FIRST + 1]).toHaveLength(2);
});

test("members that propose, skip and learn of the lanes in any order call them alike", () => {
  const step = fc.oneof(
    fc.record({ propose: fc.integer({ min: 1, max: 20 }) }),
    fc.record({ pass: fc.constant(true) }),
    fc.record({ use: fc.constant(true) }),
  );
  const member = fc.array(step, { maxLength: 80 });
  fc.assert(
    fc.property(member, member, fc.integer({ min: 0, max: 12 }), (one, other, from) => {
      const [a, b] = [one, other].map((steps) => {
        const lanes = new Lanes();
        let voted = 0;
        for (const each of steps) {
          if ("use" in each) lanes.row.use(from);
          else if ("pass" in each) lanes.row.skipTo(++voted);
          else lanes.row.contribute(each.propose, of(each.propose));
        }
        lanes.row.use(from);
        lanes.row.skipTo(20);
        return lanes.calls;
      });
      for (let lane = FIRST; lane < FIRST + COUNT; lane++) {
        expect(a[lane].length).toBe(b[lane].length);
        for (const [k, bytes] of a[lane].entries()) {
          const said = [...bytes, ...b[lane][k]];
          expect(new Set(said).size).toBeLessThanOrEqual(1);
        }
      }
    }),
    { numRuns: 300 },
  );
});

/** How runs follow each other, what becomes of them, and how long it is said to take. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { BaashError, EXIT } from "../../../../src/base/errors.ts";
import { durationText, expectedSeconds, Pace } from "../../../../src/cli/bench/pace.ts";
import { PRESET } from "../../../../src/cli/bench/setting.ts";
import { areApart, spreadOf, spreadsOf } from "../../../../src/cli/bench/statistics.ts";
import { runSuite } from "../../../support/bench-results.ts";

describe("statistics", () => {
  test("the median has as many runs below as above it", () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ noNaN: true, min: -1e9, max: 1e9 }), { minLength: 1 }),
        (runs) => {
          const { min, median, max } = spreadOf(runs);
          expect(min).toBe(Math.min(...runs));
          expect(max).toBe(Math.max(...runs));
          const below = runs.filter((run) => run < median).length;
          const above = runs.filter((run) => run > median).length;
          expect(Math.abs(below - above)).toBeLessThanOrEqual(
            runs.filter((run) => run === median).length,
          );
        },
      ),
    );
    expect(spreadOf([3, 1, 2, 10])).toEqual({ min: 1, median: 2.5, max: 10, runs: [3, 1, 2, 10] });
  });

  test("a figure that only some runs have is a spread of those", () => {
    const spreads = spreadsOf<"a" | "b">([{ a: 1 }, { a: 3, b: 7 }, { a: 2 }]);
    expect(spreads.a).toMatchObject({ median: 2, runs: [1, 3, 2] });
    expect(spreads.b).toMatchObject({ min: 7, runs: [7] });
  });

  test("two spreads are apart when no run of one reaches the other", () => {
    const one = spreadOf([1, 2, 3]);
    expect(areApart(one, spreadOf([4, 5]))).toBe(true);
    expect(areApart(spreadOf([4, 5]), one)).toBe(true);
    expect(areApart(one, spreadOf([3, 9]))).toBe(false);
  });
});

describe("runs", () => {
  test("are taken in turn, point by point, and counted aloud", async () => {
    const order: unknown[] = [];
    const { result, said } = await runSuite("sync", ({ sync }, run) => {
      order.push(sync);
      return { figures: { throughput: run } };
    });
    expect(order).toEqual(["on", "off", "on", "off", "on", "off"]);
    expect(result.points.map(({ metrics }) => metrics.throughput.runs)).toEqual([
      ...[
        [0, 1, 2],
        [0, 1, 2],
      ],
    ]);
    expect(result.points[0].metrics.throughput.unit).toBe("tx/s");
    expect(said[2]).toMatch(/^sync: sync on; run 3 of 6, about \d+ s left$/);
  });

  test("end where a load is not served, and that point is the last one", async () => {
    const { result } = await runSuite("load", ({ offered }) => ({
      figures: { throughput: Math.min(offered, 20_000) },
    }));
    expect(result.points.map(({ parameters }) => parameters.offered)).toEqual([
      ...[250, 1000, 4000, 16_000, 32_000],
    ]);
    expect(result.points.at(-1)!.metrics.throughput.runs).toHaveLength(3);
  });

  test("that fail leave the others standing, and the point is not verified", async () => {
    const { result, said } = await runSuite("sync", ({ sync }, run) => {
      if (sync === "off" && run === 1)
        throw new BaashError("JOB_FAILED", "it died", { exitCode: EXIT.failed });
      return { figures: { throughput: 1 }, problems: sync === "on" && run === 0 ? ["bad"] : [] };
    });
    expect(result.points).toMatchObject([
      { verified: false, problems: ["bad"], metrics: { throughput: { runs: [1, 1, 1] } } },
      { verified: false, problems: ["it died"], metrics: { throughput: { runs: [1, 1] } } },
    ]);
    expect(said).toContain("it died");
  });

  test("that could never be run end all of it", async () => {
    const wrong = new BaashError("NO", "no mpirun", { exitCode: EXIT.configuration });
    const failing = runSuite("sync", () => {
      throw wrong;
    });
    expect(failing).rejects.toBe(wrong);
  });

  test("that a signal ended are in no figure, and nothing follows them", async () => {
    const stop = new AbortController();
    const { result } = await runSuite(
      "sync",
      (_, run) => {
        if (run === 1) stop.abort();
        return { figures: { throughput: run } };
      },
      { signal: stop.signal },
    );
    expect(result.points.map(({ metrics }) => metrics.throughput.runs)).toEqual([[0], [0]]);
  });

  test("with more keys say what a million of them take, run by run", async () => {
    const { result } = await runSuite("memory", ({ records }, run) => ({
      figures: { memoryMiB: 100 + run + records / 10_000 },
    }));
    const memory = result.points.map(({ metrics }) => metrics.memoryMiBPerMillionKeys?.median);
    expect(memory[0]).toBeUndefined();
    expect(memory[1]).toBeCloseTo(100);
    expect(memory[2]).toBeCloseTo(100);
  });
});

describe("the time that is left", () => {
  test("is what was expected, corrected by what runs took", async () => {
    let now = 0;
    const pace = new Pace([10, 10, 20, 40], () => now);
    expect(pace.text()).toBe("run 1 of 4, about 80 s left");
    await pace.time(10, async () => {
      now += 20_000;
    });
    expect(pace.text()).toBe("run 2 of 4, about 2 min left");
    pace.skip(40);
    expect(pace.text()).toBe("run 3 of 4, about 60 s left");
  });

  test("counts a run and its ceiling", () => {
    const difference =
      expectedSeconds({ ...PRESET, seconds: 20 }, "load") - expectedSeconds(PRESET, "load");
    expect(difference).toBeCloseTo(20);
    expect(expectedSeconds({ ...PRESET, offered: 5 }, "load")).toBeLessThan(
      expectedSeconds(PRESET, "load"),
    );
  });

  test("has a unit that suits it", () => {
    expect([5, 89, 600, 7200].map(durationText)).toEqual(["5 s", "89 s", "10 min", "2.0 h"]);
  });
});

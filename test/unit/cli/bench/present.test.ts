/** What a person sees of a suite: tables of a terminal's width, a chart, where the time goes. */
import { describe, expect, test } from "bun:test";
import { breakdownOf } from "../../../../src/cli/bench/breakdown.ts";
import { chartOf } from "../../../../src/cli/bench/charts.ts";
import { METRICS, type MetricName } from "../../../../src/cli/bench/metrics.ts";
import { breakdownText, figureText, suiteText } from "../../../../src/cli/bench/present.ts";
import { SUITES } from "../../../../src/cli/bench/suites.ts";
import { renderChart } from "../../../../src/cli/chart.ts";
import type { RankReport } from "../../../../src/job/job.ts";
import { MergedUsage } from "../../../../src/workload/usage.ts";
import { benchOf, runSuite, suiteNamed } from "../../../support/bench-results.ts";

/** Every figure that there is, large. */
const figures = (run: number) =>
  Object.fromEntries(Object.keys(METRICS).map((name) => [name, 543_210 + run])) as Record<
    MetricName,
    number
  >;

describe.each(SUITES.map(({ name }) => name))("%s", (name) => {
  test("fits a terminal, and names each point and figure", async () => {
    const { result } = await runSuite(name, (_, run) => ({ figures: figures(run) }));
    const text = suiteText(result, 3);
    expect(text.split("\n").filter((line) => line.length > 100)).toEqual([]);
    for (const metric of suiteNamed(name).tables.flat())
      expect(text).toContain(METRICS[metric].title);
    expect(text).toContain("every ledger verified");
  });

  test("is drawn, each figure of it, each point", async () => {
    const { result } = await runSuite(name, (_, run) => ({ figures: figures(run) }));
    const svg = renderChart(chartOf(result, benchOf().facts));
    expect(svg).not.toMatch(/NaN|Infinity|undefined/);
    const drawn = suiteNamed(name).panels.flatMap(({ metrics }) => metrics).length;
    expect(svg.match(/<circle /g)).toHaveLength(drawn * result.points.length);
    if (name === "values") expect(svg).toContain(">value, bytes</text>");
  });
});

describe("a table", () => {
  test("has medians, and least and largest of the first figure", async () => {
    const { result } = await runSuite("sync", ({ sync }, run) => ({
      figures: { throughput: [30_000, 10_000, 20_000][run], ...(sync === "on" && { ratio: 0.25 }) },
    }));
    const lines = suiteText(result, 3).split("\n");
    expect(lines[0]).toBe("sync: with every record synced, and with none");
    expect(lines.find((line) => line.startsWith("sync  "))).toMatch(
      /tx\/s +least +largest +ratio$/,
    );
    expect(lines.find((line) => line.startsWith("on "))).toMatch(/20 000 +10 000 +30 000 +0\.25$/);
    expect(lines.find((line) => line.startsWith("off "))).toMatch(/20 000 +10 000 +30 000 +-$/);
    expect(lines.at(-2)).toBe(
      "Medians of 3 runs, each followed by its ceiling; every ledger verified.",
    );
  });

  test("of one point has its figures below each other; of one run no spread", async () => {
    const { result } = await runSuite("headline", () => ({
      figures: { throughput: 7, finalP99Ms: 2.5 },
    }));
    expect(suiteText(result, 3)).toMatch(
      / +least +median +largest\ntx\/s +7 +7 +7\nfinal p99 +2\.50 ms/,
    );
    expect(suiteText(result, 1)).toMatch(/^tx\/s +7$/m);
    expect(suiteText(result, 1)).toContain("4 ranks");
  });

  test("says what is not verified, and why", async () => {
    const { result } = await runSuite("sync", ({ sync }) => ({
      figures: { throughput: 1 },
      problems: sync === "off" ? ["a record is missing"] : [],
    }));
    expect(suiteText(result, 3)).toMatch(/NOT VERIFIED, 1 of 2 points:\n {2}a record is missing/);
  });

  test("of no syncing at all says so loudly", async () => {
    const { result } = await runSuite("headline", () => ({ figures: { throughput: 7 } }));
    const points = result.points.map((point) => ({
      ...point,
      parameters: { ...point.parameters, sync: "off" },
    }));
    expect(suiteText({ ...result, points }, 1)).toContain("NOTHING SYNCED");
  });

  test("shows figures with three digits or all of them", () => {
    const texts = [undefined, 0.012345, 1.5, 99.99, 1234.5, 1e6].map((value) => figureText(value));
    expect(texts).toEqual(["-", "0.0123", "1.5", "100", "1 235", "1 000 000"]);
    expect([0.5, 12.34, 12_340].map((ms) => figureText(ms, "ms"))).toEqual([
      ...["500 µs", "12.3 ms", "12.3 s"],
    ]);
  });
});

describe("where the time goes", () => {
  const usage = Object.assign(new MergedUsage(), {
    ...{ ranks: 2, transactions: 100 },
    cpuUs: { main: 1000, mpi: 200 },
    stagesUs: { votes: 300, execution: 500 },
  });
  const report = (pushes: number) =>
    ({
      counters: { transactions: 50, queues: { incoming: { pushes, refusals: 0 } } },
    }) as unknown as RankReport;

  test("is each stage, what is left of the main thread, each other thread, each queue", () => {
    const parts = breakdownOf(usage, [report(10), report(30)]);
    expect(parts).toEqual({
      ...{ "main.votes": 1.5, "main.execution": 2.5, "main.other": 1, "thread.mpi": 1 },
      ...{ "queue.incoming.pushes": 0.4, "queue.incoming.refusals": 0 },
    });
    expect(breakdownOf(new MergedUsage(), [])).toEqual({});
  });

  test("adds up to all of it, the largest part first", async () => {
    const breakdown = breakdownOf(usage, [report(10), report(30)]);
    const { result } = await runSuite("sync", () => ({ figures: { throughput: 1 }, breakdown }));
    const text = breakdownText(result);
    const rows = text.split("\n").filter((line) => line.includes("%"));
    expect(rows[0]).toMatch(/^main thread, execution +2\.5 +42 % +2\.5 +42 %$/);
    expect(rows.at(-1)).toMatch(/^in all +6 +100 % +6 +100 %$/);
    expect(text).toMatch(/^incoming pushes +0\.4 +0\.4$/m);
    expect(text).not.toContain("refusals");
  });
});

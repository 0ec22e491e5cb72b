import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { HistogramLogReader } from "hdr-histogram-js";
import { LatencyRecorder, newHistogram } from "../../../src/workload/latency-recorder.ts";
import { LEVEL, Measurements, MergedResult } from "../../../src/workload/measurements.ts";
import { OPERATION, RESULT } from "../../../src/workload/operation.ts";
import {
  ProgressBar,
  ProgressTally,
  statusLine,
  wantsColour,
} from "../../../src/workload/progress.ts";
import {
  duration,
  grouped,
  hlogReport,
  jsonReport,
  ordinal,
  reportLines,
  tableReport,
  ycsbReport,
} from "../../../src/workload/report.ts";

const OPTIONS = { ack: "final", interval: "intended", percentiles: [50, 99, 99.9] } as const;

/** One rank's measurements of four updates, one of them rejected, and a read. */
function measured(rank = 0): Measurements {
  const measurements = new Measurements({ interval: "intended", latencyForEachError: false });
  for (const ms of [1, 2, 3]) {
    measurements.latency(OPERATION.UPDATE, LEVEL.AGREED, ms / 2, ms / 2);
    measurements.latency(OPERATION.UPDATE, LEVEL.FINAL, ms, ms);
    measurements.result(OPERATION.UPDATE, RESULT.OK);
  }
  measurements.failure(OPERATION.UPDATE, RESULT.NO_SUCH_KEY, 4, 4);
  measurements.latency(OPERATION.READ, LEVEL.LOCAL, 0.007, 0.007);
  measurements.result(OPERATION.READ, RESULT.OK);
  const counters = { operations: 5, transactions: 3, reads: 1, retries: rank, refusals: 2 };
  Object.assign(measurements.counters, counters);
  return measurements;
}

function frame(rank: number, durationMs: number) {
  return { rank, phase: "run", startedAt: 1_750_000_000_000, durationMs };
}

function twoRanks(): MergedResult {
  // Through JSON, as results travel from rank to rank.
  const results = [measured(0).total(frame(0, 100)), measured(1).total(frame(1, 80))];
  return MergedResult.of(JSON.parse(JSON.stringify(results)));
}

describe("LatencyRecorder", () => {
  test("fills the same buckets as the library", () => {
    const latency = fc.oneof(
      fc.integer({ min: 1, max: 5000 }),
      fc.integer({ min: 1, max: 3_600_000_000 }),
    );
    fc.assert(
      fc.property(fc.array(latency, { minLength: 1, maxLength: 200 }), (latencies) => {
        const recorder = new LatencyRecorder();
        const reference = newHistogram();
        for (const value of latencies) {
          recorder.record(value);
          reference.recordValue(value);
        }
        const drained = newHistogram();
        recorder.drainInto(drained);
        expect(drained.totalCount).toBe(reference.totalCount);
        expect(drained.maxValue).toBe(reference.maxValue);
        expect(drained.minNonZeroValue).toBe(reference.minNonZeroValue);
        for (const percentile of [0, 10, 50, 90, 99, 100]) {
          expect(drained.getValueAtPercentile(percentile)).toBe(
            reference.getValueAtPercentile(percentile),
          );
        }
        expect(recorder.count).toBe(0);
      }),
    );
  });

  test("what lies outside is put at the edge", () => {
    const recorder = new LatencyRecorder();
    for (const value of [-5, 0, 0.3, 1e12]) recorder.record(value);
    const histogram = newHistogram();
    recorder.drainInto(histogram);
    expect(histogram.totalCount).toBe(4);
    expect(histogram.minNonZeroValue).toBe(1);
    expect(histogram.maxValue).toBe(3_600_000_000);
  });
});

describe("reports", () => {
  test("YCSB's lines", () => {
    expect(ycsbReport(reportLines(twoRanks(), OPTIONS))).toBe(
      `[OVERALL], RunTime(ms), 100
[OVERALL], Throughput(ops/sec), 100
[OVERALL], Ranks, 2
[OVERALL], Transactions, 6
[OVERALL], Throughput(tx/sec), 60
[OVERALL], Reads, 2
[OVERALL], Throughput(reads/sec), 20
[OVERALL], Retries, 1
[OVERALL], QueueFull, 4
[READ], Operations, 2
[READ], AverageLatency(us), 7
[READ], MinLatency(us), 7
[READ], MaxLatency(us), 7
[READ], 50thPercentileLatency(us), 7
[READ], 99thPercentileLatency(us), 7
[READ], 99.9PercentileLatency(us), 7
[READ], Return=OK, 2
[UPDATE], Operations, 6
[UPDATE], AverageLatency(us), 2000.333
[UPDATE], MinLatency(us), 1000
[UPDATE], MaxLatency(us), 3001
[UPDATE], 50thPercentileLatency(us), 2000
[UPDATE], 99thPercentileLatency(us), 3001
[UPDATE], 99.9PercentileLatency(us), 3001
[UPDATE], Return=OK, 6
[UPDATE], Return=NO_SUCH_KEY, 2
[AGREED-UPDATE], Operations, 6
[AGREED-UPDATE], AverageLatency(us), 1000
[AGREED-UPDATE], MinLatency(us), 500
[AGREED-UPDATE], MaxLatency(us), 1500
[AGREED-UPDATE], 50thPercentileLatency(us), 1000
[AGREED-UPDATE], 99thPercentileLatency(us), 1500
[AGREED-UPDATE], 99.9PercentileLatency(us), 1500
[FINAL-UPDATE], Operations, 6
[FINAL-UPDATE], AverageLatency(us), 2000.333
[FINAL-UPDATE], MinLatency(us), 1000
[FINAL-UPDATE], MaxLatency(us), 3001
[FINAL-UPDATE], 50thPercentileLatency(us), 2000
[FINAL-UPDATE], 99thPercentileLatency(us), 3001
[FINAL-UPDATE], 99.9PercentileLatency(us), 3001
[UPDATE-FAILED], Operations, 2
[UPDATE-FAILED], AverageLatency(us), 4001
[UPDATE-FAILED], MinLatency(us), 4000
[UPDATE-FAILED], MaxLatency(us), 4001
[UPDATE-FAILED], 50thPercentileLatency(us), 4001
[UPDATE-FAILED], 99thPercentileLatency(us), 4001
[UPDATE-FAILED], 99.9PercentileLatency(us), 4001
`,
    );
  });

  test("the level asked for is the operation's own", () => {
    const lines = reportLines(twoRanks(), { ...OPTIONS, ack: "agreed" });
    const own = lines.find(
      (line) => line.metric === "UPDATE" && line.measurement.startsWith("Max"),
    );
    expect(own?.value).toBe(1500);
  });

  test("JSON holds the same lines", () => {
    const lines = reportLines(twoRanks(), OPTIONS);
    expect(JSON.parse(jsonReport(lines))).toEqual(lines);
  });

  test("the table is aligned and has units", () => {
    expect(tableReport(twoRanks(), { ...OPTIONS, percentiles: [50, 99] })).toBe(
      `10 operations on 2 ranks in 0.10 s: 60 tx/s, 20 reads/s (at final)

operation      count  failed     mean      p50      p99      max
READ               2       0     7 µs     7 µs     7 µs     7 µs
AGREED-UPDATE      6       2  1.00 ms  1.00 ms  1.50 ms  1.50 ms
FINAL-UPDATE       6       2  2.00 ms  2.00 ms  3.00 ms  3.00 ms
UPDATE-FAILED      2          4.00 ms  4.00 ms  4.00 ms  4.00 ms
`,
    );
  });

  test("the log of histograms is read back by the library", () => {
    const reader = new HistogramLogReader(hlogReport(twoRanks()));
    const tags: string[] = [];
    for (let next = reader.nextIntervalHistogram(); next; next = reader.nextIntervalHistogram()) {
      tags.push(next.tag);
    }
    expect(tags.sort()).toEqual([
      "READ|local|intended",
      "UPDATE|agreed|intended",
      "UPDATE|failed|intended",
      "UPDATE|final|intended",
    ]);
  });

  test("numbers", () => {
    expect([1, 2, 3, 11, 50, 99.9].map(ordinal)).toEqual([
      "1st",
      "2nd",
      "3rd",
      "11th",
      "50th",
      "99.9",
    ]);
    expect([0, 999, 1000, 1234567].map(grouped)).toEqual(["0", "999", "1,000", "1,234,567"]);
    expect([7, 1500, 2_100_000].map(duration)).toEqual(["7 µs", "1.50 ms", "2.10 s"]);
  });
});

describe("progress", () => {
  test("intervals hold what came since the last, totals everything", () => {
    const measurements = measured();
    const first = measurements.takeInterval(frame(0, 50));
    expect(first.results).toEqual({ READ: { OK: 1 }, UPDATE: { OK: 3, NO_SUCH_KEY: 1 } });
    measurements.latency(OPERATION.UPDATE, LEVEL.FINAL, 9, 9);
    measurements.result(OPERATION.UPDATE, RESULT.OK);
    measurements.counters.operations++;
    const second = MergedResult.of([measurements.takeInterval(frame(0, 60))]);
    expect(second.counters.operations).toBe(1);
    expect(second.results).toEqual({ UPDATE: { OK: 1 } });
    expect(second.histogram("UPDATE", "final", "intended")?.totalCount).toBe(1);
    const total = MergedResult.of([measurements.total(frame(0, 60))]);
    expect(total.histogram("UPDATE", "final", "intended")?.totalCount).toBe(4);
    expect(total.counters.operations).toBe(6);
  });

  test("YCSB's status line", () => {
    const line = statusLine({
      label: "",
      date: new Date(2026, 10, 22, 16, 0, 0, 7),
      elapsedMs: 10_000,
      done: 1000,
      total: 2000,
      interval: twoRanks(),
      intervalMs: 100,
      ack: "final",
    });
    expect(line).toBe(
      "2026-11-22 16:00:00:007 10 sec: 1000 operations; 100 current ops/sec; est completion in " +
        "10 seconds [READ: Count=2, Max=7, Min=7, Avg=7, 90=7, 99=7, 99.9=7, 99.99=7] " +
        "[UPDATE: Count=6, Max=3001, Min=1000, Avg=2000.33, 90=3001, 99=3001, 99.9=3001, " +
        "99.99=3001] [UPDATE-FAILED: Count=2, Max=4001, Min=4000, Avg=4001, 90=4001, 99=4001, " +
        "99.9=4001, 99.99=4001]",
    );
  });

  function bar(columns: number, colour = false) {
    const written: string[] = [];
    let time = 0;
    const drawn = new ProgressBar({
      write: (text) => written.push(text),
      columns: () => columns,
      colour,
      now: () => time,
    });
    const tally = new ProgressTally();
    tally.add(measured().takeInterval(frame(0, 50)));
    const pass = (ms: number) => {
      time += ms;
    };
    return { drawn, written, tally, pass };
  }

  test("the bar tells share, rate, time left and both levels", () => {
    const { drawn, tally } = bar(120);
    expect(drawn.line("run", tally, 10, 1000)).toBe(
      "run  ██████████░░░░░░░░░░   50%  3 tx/s  1 s left  agreed p99 1.50 ms  final p99 3.00 ms",
    );
    expect(drawn.line("run", tally, Number.POSITIVE_INFINITY, 1000)).toStartWith(
      "run  5 operations  3 tx/s  agreed",
    );
  });

  test("no line is wider than the terminal", () => {
    for (let columns = 2; columns < 120; columns++) {
      for (const colour of [false, true]) {
        const { drawn, tally } = bar(columns, colour);
        const line = drawn.line("run", tally, 10, 1000);
        expect(Bun.stringWidth(line)).toBeLessThan(columns);
      }
    }
    expect(bar(120, true).drawn.line("run", bar(120).tally, 10, 1)).toContain("\x1b[32m");
  });

  test("it redraws five times a second at most, and leaves nothing behind", () => {
    const { drawn, written, tally, pass } = bar(80);
    for (let i = 0; i < 100; i++) {
      drawn.update("run", tally, 10, 1000);
      pass(10);
    }
    expect(written.length).toBe(5);
    drawn.clear();
    expect(written.at(-1)).toBe("\r\x1b[K");
    drawn.clear();
    expect(written.length).toBe(6);
  });

  test("NO_COLOR and dumb terminals are respected", () => {
    expect(wantsColour({ TERM: "xterm" })).toBe(true);
    expect(wantsColour({ TERM: "xterm", NO_COLOR: "1" })).toBe(false);
    expect(wantsColour({ TERM: "dumb" })).toBe(false);
  });
});

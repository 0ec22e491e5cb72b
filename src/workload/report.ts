/**
 * The report of a phase: YCSB's lines, JSON, or a table for people; and the .hlog file.
 *
 * Metrics: [OVERALL]; [USAGE], what the ranks spent; [READ], [UPDATE] … as YCSB has them, where writes are taken at the level
 * asked for (baash.ack); [AGREED-UPDATE] and [FINAL-UPDATE], the same operations at both levels;
 * [UPDATE-FAILED] and, with reportlatencyforeacherror, [UPDATE-NO_SUCH_KEY]. Latencies count from
 * the intended start; with measurement.interval=op from the creation, and with both [UPDATE] counts
 * from the creation and [Intended-UPDATE] from the intended start, as in YCSB.
 */
import { type Histogram, HistogramLogWriter } from "hdr-histogram-js";
import type { IntervalKind, MergedResult } from "./measurements.ts";
import { OPERATION_NAMES, RESULT_NAMES } from "./operation.ts";

export interface Line {
  readonly metric: string;
  readonly measurement: string;
  readonly value: number;
}

export interface ReportOptions {
  readonly ack: "agreed" | "final";
  readonly interval: IntervalKind;
  readonly percentiles: readonly number[];
}

interface Metric {
  readonly name: string;
  readonly histogram: Histogram;
}

/** All lines in the order of the report. */
export function reportLines(merged: MergedResult, options: ReportOptions): Line[] {
  const lines = [...overallLines(merged), ...usageLines(merged)];
  for (const operation of OPERATION_NAMES) {
    const results = merged.results[operation];
    const metrics = metricsOf(merged, operation, options);
    const own = metrics.find((metric) => metric.name === operation);
    if (own !== undefined) lines.push(...latencyLines(own, options.percentiles));
    for (const name of RESULT_NAMES) {
      const count = results?.[name];
      if (count) lines.push({ metric: operation, measurement: `Return=${name}`, value: count });
    }
    for (const metric of metrics) {
      if (metric !== own) lines.push(...latencyLines(metric, options.percentiles));
    }
  }
  return lines;
}

function overallLines(merged: MergedResult): Line[] {
  const { counters, durationMs } = merged;
  const line = (measurement: string, value: number) => ({ metric: "OVERALL", measurement, value });
  const perSecond = (count: number) => (durationMs > 0 ? (count * 1000) / durationMs : 0);
  return [
    line("RunTime(ms)", durationMs),
    line("Throughput(ops/sec)", perSecond(counters.operations)),
    line("Ranks", merged.ranks),
    line("Transactions", counters.transactions),
    line("Throughput(tx/sec)", perSecond(counters.transactions)),
    line("Reads", counters.reads),
    line("Throughput(reads/sec)", perSecond(counters.reads)),
    line("Retries", counters.retries),
    line("QueueFull", counters.refusals),
  ];
}

/** Where ranks made the load: what a round and a transaction cost, on average over the ranks. */
function usageLines({ usage }: MergedResult): Line[] {
  const { ranks, rounds, transactions } = usage;
  if (rounds === 0) return [];
  const line = (measurement: string, value: number) => ({ metric: "USAGE", measurement, value });
  const ofRound = (sum: number) => sum / ranks / rounds;
  const perTransaction = (sum: number) => (transactions > 0 ? sum / transactions : 0);
  return [
    line("Rounds", rounds),
    line("Records", usage.records),
    line("Blocks", usage.blocks),
    line("CPU(us/round/rank)", ofRound(usage.cpuTotalUs)),
    ...Object.entries(usage.cpuUs).map(([thread, us]) =>
      line(`CPU-${thread}(us/round/rank)`, ofRound(us)),
    ),
    ...Object.entries(usage.stagesUs).map(([stage, us]) =>
      line(`CPU-main-${stage}(us/round/rank)`, ofRound(us)),
    ),
    line("CPU(us/tx)", perTransaction(usage.cpuTotalUs)),
    line("CPU(us/tx/rank)", perTransaction(usage.cpuTotalUs) / ranks),
    line("Messages(/round/rank)", ofRound(usage.messages)),
    line("Collectives(/round/rank)", ofRound(usage.collectives)),
    line("Bytes(/round/rank)", ofRound(usage.bytes)),
    line("Bytes(/tx)", perTransaction(usage.bytes)),
    line("Memory(MiB/rank)", usage.memory / ranks / 2 ** 20),
  ];
}

/** The metrics of an operation that have samples: its own one first. */
function metricsOf(merged: MergedResult, operation: string, options: ReportOptions): Metric[] {
  const clock = options.interval === "intended" ? "intended" : "op";
  const ownLevel =
    merged.histogram(operation, "local", clock) === undefined ? options.ack : "local";
  const metrics: Metric[] = [];
  const add = (name: string, level: string, from: "intended" | "op") => {
    const histogram = merged.histogram(operation, level, from);
    if (histogram !== undefined) metrics.push({ name, histogram });
  };
  add(operation, ownLevel, clock);
  if (options.interval === "both") add(`Intended-${operation}`, ownLevel, "intended");
  add(`AGREED-${operation}`, "agreed", clock);
  add(`FINAL-${operation}`, "final", clock);
  add(`${operation}-FAILED`, "failed", clock);
  for (const result of RESULT_NAMES) add(`${operation}-${result}`, result, clock);
  return metrics;
}

function latencyLines(metric: Metric, percentiles: readonly number[]): Line[] {
  const { name, histogram } = metric;
  const line = (measurement: string, value: number) => ({ metric: name, measurement, value });
  return [
    line("Operations", histogram.totalCount),
    line("AverageLatency(us)", histogram.mean),
    line("MinLatency(us)", histogram.minNonZeroValue),
    line("MaxLatency(us)", histogram.maxValue),
    ...percentiles.map((percentile) =>
      line(
        `${ordinal(percentile)}PercentileLatency(us)`,
        histogram.getValueAtPercentile(percentile),
      ),
    ),
  ];
}

export function ycsbReport(lines: readonly Line[]): string {
  const text = lines.map(
    ({ metric, measurement, value }) => `[${metric}], ${measurement}, ${rounded(value)}`,
  );
  return `${text.join("\n")}\n`;
}

/** An array of {metric, measurement, value}, as YCSB's JSONArrayMeasurementsExporter writes. */
export function jsonReport(lines: readonly Line[]): string {
  return `${JSON.stringify(lines, null, 1)}\n`;
}

/** Columns for people: one row a metric, latencies with their unit. */
export function tableReport(merged: MergedResult, options: ReportOptions): string {
  const percentiles = options.percentiles.map((percentile) => `p${percentile}`);
  const rows = [["operation", "count", "failed", "mean", ...percentiles, "max"]];
  for (const operation of OPERATION_NAMES) {
    const own = metricsOf(merged, operation, options).filter(
      // The operation's own row would only repeat that of its level.
      ({ name }, _, all) => name !== operation || !all.some((other) => isLevelOf(other, operation)),
    );
    for (const { name, histogram } of own) {
      rows.push([
        name,
        grouped(histogram.totalCount),
        name.endsWith("-FAILED") ? "" : grouped(merged.failures(operation)),
        duration(histogram.mean),
        ...options.percentiles.map((p) => duration(histogram.getValueAtPercentile(p))),
        duration(histogram.maxValue),
      ]);
    }
  }
  const { counters, durationMs } = merged;
  const rate = (count: number) => grouped(durationMs > 0 ? (count * 1000) / durationMs : 0);
  const head =
    `${grouped(counters.operations)} operations on ${merged.ranks} ranks in ` +
    `${(durationMs / 1000).toFixed(2)} s: ${rate(counters.transactions)} tx/s, ` +
    `${rate(counters.reads)} reads/s (at ${options.ack})`;
  return `${head}\n\n${aligned(rows)}\n`;
}

function isLevelOf(metric: Metric, operation: string): boolean {
  return metric.name === `AGREED-${operation}` || metric.name === `FINAL-${operation}`;
}

/** First column to the left, numbers to the right. */
function aligned(rows: readonly string[][]): string {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => row[i].length)));
  return rows
    .map((row) =>
      row
        .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

/** An HdrHistogram log, one interval, one tag a series: HdrHistogram's own tools read it. */
export function hlogReport(merged: MergedResult): string {
  let text = "";
  const writer = new HistogramLogWriter((part) => {
    text += part;
  });
  writer.outputLogFormatVersion();
  writer.outputComment("Latencies in microseconds; tags are operation|level|clock");
  writer.outputLegend();
  for (const [series, histogram] of merged.histograms) {
    histogram.tag = series;
    const start = merged.startedAt / 1000;
    writer.outputIntervalHistogram(histogram, start, start + merged.durationMs / 1000);
  }
  return text;
}

/** YCSB's names of percentiles: 50th, 99.9. */
export function ordinal(percentile: number): string {
  if (!Number.isInteger(percentile)) return String(percentile);
  const last = percentile % 100 >= 11 && percentile % 100 <= 13 ? 0 : percentile % 10;
  return `${percentile}${["th", "st", "nd", "rd"][last] ?? "th"}`;
}

/** Three digits behind the point at most. */
function rounded(value: number): string {
  return String(Math.round(value * 1000) / 1000);
}

/** 1234567 → 1,234,567. */
export function grouped(value: number): string {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** Microseconds in the unit that suits them. */
export function duration(microseconds: number): string {
  if (microseconds < 1000) return `${Math.round(microseconds)} µs`;
  if (microseconds < 1e6) return `${(microseconds / 1000).toPrecision(3)} ms`;
  return `${(microseconds / 1e6).toPrecision(3)} s`;
}

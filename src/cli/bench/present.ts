/** The figures of a suite for people: its tables, and where the time of a transaction goes. */
import { duration } from "../../workload/report.ts";
import { groups, table } from "../output.ts";
import { METRICS, type MetricName } from "./metrics.ts";
import type { BenchResult, PointResult, SuiteResult } from "./result.ts";
import { RANGES, type Setting } from "./setting.ts";
import { SUITES } from "./suites.ts";

const DIGITS = 3;

/** Times with the unit that suits them; of other figures three digits, or all before the point. */
export function figureText(value: number | undefined, unit = ""): string {
  if (value === undefined) return "-";
  if (unit === "ms") return duration(value * 1000);
  if (Math.abs(value) >= 100) return groups(Math.round(value));
  return String(Number(value.toPrecision(DIGITS)));
}

/** A terminal's, as far as one can know. */
const COLUMNS = 100;

export function suiteText(result: SuiteResult, runs: number): string {
  const suite = SUITES.find(({ name }) => name === result.name)!;
  const figures =
    result.points.length === 1
      ? [pointTable(result.points[0], suite.tables.flat(), runs)]
      : suite.tables.map((metrics, i) => pointsTable(result, metrics, i === 0 && runs > 1));
  return [
    `${result.name}: ${result.about}`,
    ...[`${wrapped(settingClauses(result))}\n`, ...figures, notes(result, runs)],
  ].join("\n");
}

/** A list of clauses in lines that are not too long. */
function wrapped([first, ...rest]: readonly string[]): string {
  const lines = [first];
  for (const clause of rest) {
    const longer = `${lines.at(-1)}, ${clause}`;
    if (longer.length < COLUMNS) lines[lines.length - 1] = longer;
    else lines.push(clause);
  }
  return lines.join(",\n");
}

/** What all points have in common; what is varied stands in the table. */
function settingClauses({ axis, points }: SuiteResult): string[] {
  const valuesOf = (part: keyof Setting) => [...new Set(points.map((p) => p.parameters[part]))];
  const each = (part: keyof Setting, words: (value: string) => string) => {
    if (part === axis && points.length > 1) return [];
    const values = valuesOf(part).map((value) => placeText(value));
    return [words(values.length === 1 ? values[0] : `${values[0]} to ${values.at(-1)}`)];
  };
  const [seconds] = valuesOf("seconds");
  const [offered] = valuesOf("offered");
  return [
    ...each("ranks", (n) => `${n} ranks`),
    ...each("blockTransactions", (n) => `blocks of ${n}`),
    ...each("workload", (name) => name),
    ...each("valueBytes", (n) => `values of ${n} bytes`),
    ...each("difficulty", (n) => `${n} puzzle bits`),
    ...each("quorum", (kind) => `${kind} quorum`),
    ...each("sync", (is) => (is === "on" ? "log synced" : "NOTHING SYNCED")),
    ...(offered === 0 ? [] : each("offered", (n) => `${n} tx/s offered`)),
    ...each("records", (n) => `${n} records`),
    ...(seconds === 0 ? [] : each("seconds", (n) => `${n} s a run`)),
    ...(seconds === 0 ? [] : each("warmup", (n) => `after ${n} s of the same load`)),
  ];
}

function pointTable({ metrics }: PointResult, names: readonly MetricName[], runs: number): string {
  const rows = names.flatMap((name) => {
    const spread = metrics[name];
    if (spread === undefined) return [];
    const { min, median, max, unit } = spread;
    const values = runs === 1 ? [median] : [min, median, max];
    return [[METRICS[name].title, ...values.map((value) => figureText(value, unit))]];
  });
  return table(runs === 1 ? rows : [["", "least", "median", "largest"], ...rows]);
}

function pointsTable(
  { axis, points }: SuiteResult,
  names: readonly MetricName[],
  withRange: boolean,
): string {
  const known = names.filter((name) => points.some(({ metrics }) => metrics[name] !== undefined));
  const head = known.flatMap((name, i) => [
    METRICS[name].title,
    ...(withRange && i === 0 ? ["least", "largest"] : []),
  ]);
  const rows = points.map((point) =>
    known.flatMap((name, i) => {
      const spread = point.metrics[name];
      const { min, median, max } = spread ?? {};
      const values = withRange && i === 0 ? [median, min, max] : [median];
      return values.map((value) => figureText(value, spread?.unit));
    }),
  );
  const places = points.map(({ parameters }) => placeText(parameters[axis]));
  return table([[RANGES[axis].title, ...head], ...rows.map((row, i) => [places[i], ...row])]);
}

/** A place of an axis: a number or a kind. */
export function placeText(place: string | number | undefined): string {
  return typeof place === "number" ? groups(place) : (place ?? "-");
}

function notes({ noCeiling, points }: SuiteResult, runs: number): string {
  const bad = points.filter(({ verified }) => !verified);
  const problems = bad.flatMap((point) => point.problems.map((problem) => `  ${problem}\n`));
  const figures = runs === 1 ? "One run of each" : `Medians of ${runs} runs`;
  const ceiling =
    noCeiling === undefined ? "each followed by its ceiling" : `no ceiling: ${noCeiling}`;
  const verdict =
    bad.length === 0
      ? "every ledger verified"
      : `NOT VERIFIED, ${bad.length} of ${points.length} points:\n${problems.join("")}`.trimEnd();
  return `${figures}, ${ceiling}; ${verdict}.\n`;
}

/** Processor time by part, and the queues' counts; a column a point. */
export function breakdownText({ axis, name, points }: SuiteResult): string {
  const title = RANGES[axis].title;
  const parts = [...new Set(points.flatMap(({ breakdown = {} }) => Object.keys(breakdown)))];
  const at = (point: PointResult, part: string) => point.breakdown?.[part]?.median ?? 0;
  const times = parts.filter((part) => !part.startsWith("queue."));
  const queues = parts.filter((part) => part.startsWith("queue."));
  const largest = (part: string) => Math.max(...points.map((point) => at(point, part)));
  const total = (point: PointResult) => times.reduce((sum, part) => sum + at(point, part), 0);
  const share = (point: PointResult, part: string) =>
    `${Math.round((100 * at(point, part)) / (total(point) || 1))} %`;
  const head = points.flatMap(({ parameters }) => [`${title} ${placeText(parameters[axis])}`, ""]);
  const timeRows = times
    .sort((a, b) => largest(b) - largest(a))
    .map((part) => [
      partText(part),
      ...points.flatMap((point) => [figureText(at(point, part)), share(point, part)]),
    ]);
  const sum = ["in all", ...points.flatMap((point) => [figureText(total(point)), "100 %"])];
  const queueRows = queues
    .filter((part) => largest(part) > 0)
    .map((part) => [partText(part), ...points.map((point) => figureText(at(point, part)))]);
  return [
    `${name}: where the time of one transaction goes, µs of one rank's processor time`,
    "",
    table([["", ...head], ...timeRows, sum]),
    "What the queues of one rank are asked to do for it, times",
    "",
    table([["", ...points.map(({ parameters }) => placeText(parameters[axis]))], ...queueRows]),
  ].join("\n");
}

/** "main.votes" → "main thread, votes". */
function partText(part: string): string {
  const [kind, ...rest] = part.split(".");
  if (kind === "main") return `main thread, ${rest.join(" ")}`;
  return kind === "thread" ? `${rest.join(" ")} thread` : `${rest.join(" ")}`;
}

/** What was measured where. */
export function factsText({ facts }: BenchResult): string {
  const { host, cores, processor, fileSystem, commit, date, quick } = facts;
  const warning = quick ? "\nA quick run: it shows that all works, not how fast it is." : "";
  return `${cores} cores of ${host} (${processor}), ${fileSystem}; commit ${commit}, ${date}${warning}\n`;
}

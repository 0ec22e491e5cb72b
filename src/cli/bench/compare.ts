/** `bench compare`: the figures of two benchmarks beside each other, and conditions on their change. */
import { usageError } from "../../base/errors.ts";
import { table } from "../output.ts";
import { isMetricName, METRICS, type MetricName } from "./metrics.ts";
import { figureText, placeText } from "./present.ts";
import type { BenchResult, MetricResult, PointResult, SuiteResult } from "./result.ts";
import { RANGES } from "./setting.ts";
import { areApart } from "./statistics.ts";

export interface Change {
  readonly suite: string;
  /** "ranks 4" */
  readonly point: string;
  readonly metric: MetricName;
  readonly before: MetricResult;
  readonly after: MetricResult;
  /** Of the median: 10 is a tenth more. Undefined where it was 0. */
  readonly percent: number | undefined;
}

export interface Condition {
  readonly text: string;
  readonly metric: MetricName;
  readonly operator: "<" | "<=" | ">" | ">=";
  readonly percent: number;
}

/** "throughput<-10%": throughput fell by more than a tenth. Throws BAD_CONDITION (exit 2). */
export function parseCondition(text: string): Condition {
  const match = /^\s*(\w+)\s*(<=|>=|<|>)\s*([+-]?\d+(?:\.\d+)?)\s*%\s*$/.exec(text);
  if (match === null) {
    throw usageError("BAD_CONDITION", `--fail-if is like "throughput<-10%", not "${text}".`);
  }
  const [, metric, operator, percent] = match;
  if (!isMetricName(metric)) {
    const known = Object.keys(METRICS).join(", ");
    throw usageError("BAD_CONDITION", `--fail-if knows no "${metric}", but ${known}.`);
  }
  return {
    text: text.trim(),
    metric,
    operator: operator as Condition["operator"],
    percent: Number(percent),
  };
}

export function isMet({ operator, percent }: Condition, change: Change): boolean {
  if (change.percent === undefined) return false;
  switch (operator) {
    case "<":
      return change.percent < percent;
    case "<=":
      return change.percent <= percent;
    case ">":
      return change.percent > percent;
    case ">=":
      return change.percent >= percent;
  }
}

/**
 * The changes that meet a condition, each with its text. A condition on a figure that the benchmarks do
 * not share could never be met: that is a mistake, and throws BAD_CONDITION (exit 2).
 */
export function metConditions(
  conditions: readonly Condition[],
  changes: readonly Change[],
): { condition: Condition; change: Change }[] {
  return conditions.flatMap((condition) => {
    const own = changes.filter(({ metric }) => metric === condition.metric);
    if (own.length === 0) {
      const message = `--fail-if "${condition.text}": the two benchmarks share no point with this figure.`;
      throw usageError("BAD_CONDITION", message);
    }
    return own
      .filter((change) => isMet(condition, change))
      .map((change) => ({ condition, change }));
  });
}

/** Of all points that both have. */
export function changesOf(before: BenchResult, after: BenchResult): Change[] {
  return pairsOf(before, after).flatMap(({ suite, old, fresh }) =>
    Object.keys(old.metrics)
      .filter(isMetricName)
      .filter((metric) => fresh.metrics[metric] !== undefined)
      .map((metric) => changeOf({ suite, metric, old, fresh })),
  );
}

function changeOf({ suite, metric, old, fresh }: PointPair & { metric: MetricName }): Change {
  const [before, after] = [old.metrics[metric], fresh.metrics[metric]];
  const percent = before.median === 0 ? undefined : 100 * (after.median / before.median - 1);
  return { suite: suite.name, point: pointName(suite, fresh), metric, before, after, percent };
}

interface PointPair {
  readonly suite: SuiteResult;
  readonly old: PointResult;
  readonly fresh: PointResult;
}

function pairsOf(before: BenchResult, after: BenchResult): PointPair[] {
  return after.suites.flatMap((suite) => {
    const points = before.suites.find(({ name }) => name === suite.name)?.points ?? [];
    return suite.points.flatMap((fresh) => {
      const old = points.find((point) => settingKey(point) === settingKey(fresh));
      return old === undefined ? [] : [{ suite, old, fresh }];
    });
  });
}

/** Points of one setting are compared, however long and often they were run. */
function settingKey({ parameters }: PointResult): string {
  const own = Object.entries(parameters).filter(([name]) => !/^(seconds|warmup)$/.test(name));
  return JSON.stringify(own.sort(([a], [b]) => (a < b ? -1 : 1)));
}

function pointName({ axis }: SuiteResult, { parameters }: PointResult): string {
  return `${RANGES[axis].title} ${placeText(parameters[axis])}`;
}

/** Points that one of them has alone, by name. */
function unpaired(one: BenchResult, other: BenchResult): string[] {
  return one.suites.flatMap((suite) => {
    const theirs = other.suites.find(({ name }) => name === suite.name)?.points ?? [];
    const keys = new Set(theirs.map(settingKey));
    return suite.points
      .filter((point) => !keys.has(settingKey(point)))
      .map((point) => `${suite.name}, ${pointName(suite, point)}`);
  });
}

export function percentText(percent: number | undefined): string {
  if (percent === undefined) return "-";
  return `${percent > 0 ? "+" : ""}${percent.toFixed(1)} %`;
}

/** "better", "worse", or nothing where runs of both overlap or the figure is neither. */
function verdictOf({ metric, before, after }: Change): string {
  const { better } = METRICS[metric];
  if (better === "neither" || !areApart(before, after)) return "";
  return after.median > before.median === (better === "more") ? "better" : "worse";
}

export function compareText(before: BenchResult, after: BenchResult): string {
  const rows = changesOf(before, after).map((change) => [
    ...[change.suite, change.point, change.metric],
    figureText(change.before.median, change.before.unit),
    figureText(change.after.median, change.after.unit),
    ...[percentText(change.percent), verdictOf(change)],
  ]);
  const head = ["suite", "point", "figure", "old", "new", "change", ""];
  const alone = [
    ...unpaired(before, after).map((name) => `only in the old one: ${name}\n`),
    ...unpaired(after, before).map((name) => `only in the new one: ${name}\n`),
  ];
  const verdict = "Medians; better or worse where no run of one reaches any of the other.\n";
  return [
    ...[`old: ${originText(before)}\n`, `new: ${originText(after)}\n\n`],
    ...[table([head, ...rows]), "\n", ...alone, verdict],
  ].join("");
}

function originText({ facts }: BenchResult): string {
  const { commit, cores, date, host, quick, runs } = facts;
  const runsText = `${runs} ${runs === 1 ? "run" : "runs"}${quick ? ", quick" : ""}`;
  return `commit ${commit}, ${date}, ${cores} cores of ${host}, ${runsText}`;
}

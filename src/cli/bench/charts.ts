/** A suite's chart: medians as points, the least and the largest as lines through them. */
import type { Chart, Panel, Series } from "../chart.ts";
import { METRICS, type MetricName } from "./metrics.ts";
import type { BenchFacts, SuiteResult } from "./result.ts";
import { RANGES } from "./setting.ts";
import { type PanelPlan, SUITES } from "./suites.ts";

export function chartOf(result: SuiteResult, facts: BenchFacts): Chart {
  const { name, about, axis, points } = result;
  const suite = SUITES.find((each) => each.name === name)!;
  const places = points.map(({ parameters }) => parameters[axis]);
  const isKind = places.some((place) => typeof place === "string");
  const { commit, cores, date, host, runs } = facts;
  return {
    title: `BAASH, ${about}`,
    subtitle: `medians of ${runs} on ${cores} cores of ${host}, commit ${commit}, ${date}`,
    axis: {
      title: axisTitle(axis),
      values: isKind ? places.map((_, i) => i + 1) : (places as number[]),
      ...(isKind && { names: places as string[] }),
    },
    panels: suite.panels.map((panel) => panelOf(panel, result)),
  };
}

/** "value, bytes" */
function axisTitle(axis: SuiteResult["axis"]): string {
  const range = RANGES[axis];
  return "unit" in range ? `${range.title}, ${range.unit}` : range.title;
}

function panelOf({ metrics, guide, ...panel }: PanelPlan, result: SuiteResult): Panel {
  const series = metrics
    .map((name) => seriesOf(name, result))
    .filter(({ values }) => values.some((value) => value !== undefined));
  const line = guide === undefined ? [] : guideOf(guide, metrics[0], result);
  return { ...panel, series: [...series, ...line] };
}

function seriesOf(name: MetricName, { points }: SuiteResult): Series {
  const spreads = points.map(({ metrics }) => metrics[name]);
  return {
    name: METRICS[name].title,
    values: spreads.map((spread) => spread?.median),
    ranges: spreads.map((spread) => spread && ([spread.min, spread.max] as const)),
  };
}

/** Through the first point. */
function guideOf(name: string, metric: MetricName, { axis, points }: SuiteResult): Series[] {
  const [first] = points.filter(({ metrics }) => (metrics[metric]?.median ?? 0) > 0);
  if (first === undefined) return [];
  const place = (point: typeof first) => Number(point.parameters[axis]);
  const perPlace = first.metrics[metric].median / place(first);
  return [{ name, values: points.map((point) => perPlace * place(point)), isGuide: true }];
}

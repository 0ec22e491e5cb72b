/**
 * Runs the points of suites, one run of each and then all again, so that a machine that is slow for a
 * while is so for all of them; where there is a ceiling it follows its ledger at once.
 */
import { BaashError, EXIT } from "../../base/errors.ts";
import type { JobFacts } from "../../job/reporter.ts";
import type { Measured } from "./measured.ts";
import { type Figures, METRICS, type MetricName } from "./metrics.ts";
import { expectedSeconds, Pace } from "./pace.ts";
import type { MetricResult, PointResult, SuiteResult } from "./result.ts";
import { RANGES, type Setting } from "./setting.ts";
import { spreadsOf } from "./statistics.ts";
import type { Suite } from "./suites.ts";

/** Less than this part of what is offered is served: the point is beyond saturation. */
const SERVED = 0.9;

export interface SuitePlan {
  readonly suite: Suite;
  readonly settings: readonly Setting[];
}

export interface RunOptions {
  readonly runs: number;
  /** One run of a point. */
  readonly measure: (suite: Suite, setting: Setting) => Promise<Measured>;
  readonly say: (text: string) => void;
  /** Ends the run under way; nothing follows it. */
  readonly signal: AbortSignal;
  /** After each suite. */
  readonly onSuite: (result: SuiteResult) => Promise<void>;
}

interface Point {
  readonly setting: Setting;
  readonly measured: Measured[];
  readonly problems: string[];
}

export class Runner {
  private readonly plans: readonly SuitePlan[];
  private readonly options: RunOptions;
  private readonly pace: Pace;
  /** Of the first job. */
  facts: JobFacts | undefined;

  constructor(plans: readonly SuitePlan[], options: RunOptions) {
    this.plans = plans;
    this.options = options;
    const expected = plans.flatMap(({ suite, settings }) =>
      settings.flatMap((setting) =>
        Array.from({ length: options.runs }, () => expectedSeconds(setting, suite.kind)),
      ),
    );
    this.pace = new Pace(expected, () => performance.now());
  }

  get interrupted(): boolean {
    return this.options.signal.aborted;
  }

  async run(): Promise<void> {
    for (const { suite, settings } of this.plans) {
      if (this.interrupted) return;
      let points = settings.map((setting): Point => ({ setting, measured: [], problems: [] }));
      for (let run = 0; run < this.options.runs && !this.interrupted; run++)
        points = await this.pass(suite, points);
      const ran = points.filter(({ measured, problems }) => measured.length + problems.length > 0);
      await this.options.onSuite(suiteResult(suite, ran));
    }
  }

  /** One run of each point; answers those that are to be run again. */
  private async pass(suite: Suite, points: readonly Point[]): Promise<Point[]> {
    for (const [i, point] of points.entries()) {
      await this.measure(suite, point);
      if (this.interrupted) break;
      const isFirst = point.measured.length === 1;
      if (!suite.endsSaturated || !isFirst || !isSaturated(point)) continue;
      for (const { setting } of points.slice(i + 1))
        for (let run = 0; run < this.options.runs; run++)
          this.pace.skip(expectedSeconds(setting, suite.kind));
      return points.slice(0, i + 1);
    }
    return [...points];
  }

  private async measure(suite: Suite, point: Point): Promise<void> {
    const { name, axis, kind } = suite;
    const { setting, measured, problems } = point;
    const { say, measure } = this.options;
    const note = (problem: string) => {
      problems.push(problem);
      say(problem);
    };
    say(`${name}: ${RANGES[axis].title} ${setting[axis]}; ${this.pace.text()}`);
    try {
      const one = await this.pace.time(expectedSeconds(setting, kind), () =>
        measure(suite, setting),
      );
      this.facts ??= one.facts;
      if (this.interrupted) return;
      measured.push(one);
      for (const problem of one.problems) note(problem);
    } catch (error) {
      if (this.interrupted) return;
      if (!(error instanceof BaashError) || isFatal(error)) throw error;
      note(error.message);
    }
  }
}

/** Whatever is run next fails in the same way. */
function isFatal({ exitCode }: BaashError): boolean {
  return exitCode === EXIT.usage || exitCode === EXIT.configuration;
}

function isSaturated({ setting, measured }: Point): boolean {
  const { throughput = 0 } = measured.at(-1)?.figures ?? {};
  return setting.offered > 0 && throughput < SERVED * setting.offered;
}

function suiteResult({ name, about, axis, noCeiling }: Suite, points: readonly Point[]) {
  const runs = points.map(({ measured }) => measured.map(({ figures }) => figures));
  const first = points[0]?.setting;
  const results = points.map(({ setting, measured, problems }, i): PointResult => {
    const figures =
      axis === "records" ? withMemoryOfKeys(runs[i], setting, runs[0], first) : runs[i];
    const breakdown = spreadsOf(measured.map((each) => each.breakdown));
    return {
      parameters: { ...setting },
      verified: problems.length === 0 && measured.length > 0,
      problems,
      metrics: withUnits(spreadsOf(figures), (metric) => METRICS[metric as MetricName].unit),
      ...(Object.keys(breakdown).length > 0 && {
        breakdown: withUnits(breakdown, (part) =>
          part.startsWith("queue.") ? "times/tx/rank" : "µs/tx/rank",
        ),
      }),
    };
  });
  return { name, about, axis, ...(noCeiling !== undefined && { noCeiling }), points: results };
}

/** What a rank has more than the same run with the fewest keys, for a million of them. */
export function withMemoryOfKeys(
  runs: readonly Figures[],
  { records }: Setting,
  fewest: readonly Figures[],
  { records: least }: Setting,
): Figures[] {
  return runs.map((figures, run) => {
    const [more, less] = [figures.memoryMiB, fewest[run]?.memoryMiB];
    if (more === undefined || less === undefined || records <= least) return figures;
    return { ...figures, memoryMiBPerMillionKeys: ((more - less) / (records - least)) * 1e6 };
  });
}

function withUnits(
  spreads: Readonly<Record<string, Omit<MetricResult, "unit"> | undefined>>,
  unitOf: (name: string) => string,
): Record<string, PointResult["metrics"][string]> {
  return Object.fromEntries(
    Object.entries(spreads).flatMap(([name, spread]) =>
      spread === undefined
        ? []
        : [[name, { unit: unitOf(name), ...spread, runs: [...spread.runs] }]],
    ),
  );
}

/** Benchmarks made by hand, for tests of what is done with them. */
import type { Figures } from "../../src/cli/bench/metrics.ts";
import { type BenchResult, FORMAT, type SuiteResult, VERSION } from "../../src/cli/bench/result.ts";
import { Runner, type RunOptions } from "../../src/cli/bench/runner.ts";
import type { Setting } from "../../src/cli/bench/setting.ts";
import { SUITES, settingsOf } from "../../src/cli/bench/suites.ts";
import type { JobFacts } from "../../src/job/reporter.ts";

export const GIVEN = { parts: {}, quick: false, cores: 2 };
const FACTS = { fileSystem: "ext" } as JobFacts;

export function suiteNamed(name: string) {
  const suite = SUITES.find((each) => each.name === name);
  if (suite === undefined) throw new Error(`no suite ${name}`);
  return suite;
}

type Run = { figures: Figures; problems?: string[]; breakdown?: Record<string, number> };

/** What the runner makes of these runs; `run` counts those of the same setting. */
export async function runSuite(
  name: string,
  measure: (setting: Setting, run: number) => Run,
  options: Partial<RunOptions> = {},
): Promise<{ result: SuiteResult; said: string[] }> {
  const suite = suiteNamed(name);
  const results: SuiteResult[] = [];
  const said: string[] = [];
  const counts = new Map<Setting, number>();
  const runner = new Runner([{ suite, settings: settingsOf(suite, GIVEN) }], {
    runs: 3,
    signal: new AbortController().signal,
    say: (text) => said.push(text),
    measure: async (_suite, setting) => {
      const run = counts.get(setting) ?? 0;
      counts.set(setting, run + 1);
      return { facts: FACTS, problems: [], breakdown: {}, ...measure(setting, run) };
    },
    onSuite: async (result) => void results.push(result),
    ...options,
  });
  await runner.run();
  return { result: results[0], said };
}

export function benchOf(...suites: SuiteResult[]): BenchResult {
  return {
    ...{ format: FORMAT, version: VERSION, verified: true, interrupted: false, suites },
    facts: {
      ...{ host: "h", cores: 2, processor: "p", fileSystem: "ext", commit: "c", date: "d" },
      ...{ command: "scripts/bench", runs: 3, quick: false },
    },
  };
}

/** A benchmark from its options to its output. */
import { execFileSync } from "node:child_process";
import { availableParallelism, cpus, hostname } from "node:os";
import { join } from "node:path";
import { EXIT } from "../../base/errors.ts";
import { renderChart } from "../chart.ts";
import { print, printJson } from "../output.ts";
import { chartOf } from "./charts.ts";
import { measureLife } from "./life-run.ts";
import { measureLoad } from "./load-run.ts";
import type { BenchOptions } from "./options.ts";
import { breakdownText, factsText, suiteText } from "./present.ts";
import { type BenchResult, FORMAT, type SuiteResult, VERSION, writeText } from "./result.ts";
import { Runner } from "./runner.ts";

const ROOT = join(import.meta.dir, "../../..");

/** Answers the exit code: 1 when a ledger is not verified, or a signal ended it early. */
export async function bench(options: BenchOptions): Promise<0 | 1> {
  const { json, out, svg, runs, breakdown, plans } = options;
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => stop.abort());
  const suites: SuiteResult[] = [];
  const began = new Date().toISOString();
  const result = (): BenchResult => ({
    ...{ format: FORMAT, version: VERSION },
    facts: factsOf(options, began, runner.facts?.fileSystem ?? "unknown"),
    verified: suites.every(({ points }) => points.every(({ verified }) => verified)),
    interrupted: runner.interrupted,
    suites,
  });
  const runner = new Runner(plans, {
    ...{ runs, say, signal: stop.signal },
    measure: ({ kind }, setting) =>
      kind === "life" ? measureLife(setting, stop.signal) : measureLoad(setting, { breakdown }),
    onSuite: async (suite) => {
      if (suite.points.length === 0) return;
      suites.push(suite);
      // What an hour has brought must not be lost with what comes after it.
      if (out !== undefined) await writeText(out, `${JSON.stringify(result(), null, 2)}\n`);
      if (svg !== undefined) {
        const path = svg.isFile ? svg.path : join(svg.path, `${suite.name}.svg`);
        await writeText(path, renderChart(chartOf(suite, result().facts)));
      }
      if (json) return;
      if (suites.length === 1) await print(factsText(result()));
      await print(`\n${suiteText(suite, runs)}`);
      if (breakdown) await print(`\n${breakdownText(suite)}`);
    },
  });
  await runner.run();
  if (json) await printJson(result());
  if (runner.interrupted) say("ended early by a signal; the run under way is in no figure");
  return result().verified && !runner.interrupted ? EXIT.ok : EXIT.failed;
}

function factsOf({ runs, quick }: BenchOptions, date: string, fileSystem: string) {
  return {
    host: hostname(),
    cores: availableParallelism(),
    processor: cpus()[0]?.model ?? "unknown",
    fileSystem,
    commit: commitOf(),
    date,
    command: ["scripts/bench", ...process.argv.slice(2)].join(" "),
    runs,
    quick,
  };
}

/** Of this code; "unknown" where it is not a checkout. */
function commitOf(): string {
  const git = (...args: string[]) =>
    execFileSync("git", ["-C", ROOT, ...args], { encoding: "utf8", stdio: "pipe" }).trim();
  try {
    const changed = git("status", "--porcelain", "--untracked-files=no") !== "";
    return git("rev-parse", "--short=12", "HEAD") + (changed ? " with changes" : "");
  } catch {
    return "unknown";
  }
}

function say(text: string): void {
  process.stderr.write(`bench: ${text}\n`);
}

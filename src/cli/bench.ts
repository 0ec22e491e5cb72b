#!/usr/bin/env bun
/**
 * Entry of scripts/bench: how fast the ledger is, beside what the same machine could do at best, and
 * against what its speed depends on; and how two such benchmarks differ.
 */
import { Command } from "commander";
import { EXIT } from "../base/errors.ts";
import { type Flags, readOptions, suiteLines } from "./bench/options.ts";
import { print, printJson } from "./output.ts";
import { runProgram } from "./run.ts";

const EXIT_CODES = `
Exit codes:
  0   good
  1   a ledger is not verified, a signal ended the benchmark early, or a --fail-if is met
  2   wrong command line, an unreadable condition, or a file that is no benchmark
  70  a bug of ours
  74  a file could not be read or written
  78  something that it needs is not there: mpirun, the ceiling, a disk
`;

const HELP = `
Suites (headline if none is named):
${suiteLines()}
  all         all of them, for a night

Each point is run --runs times, in turn with the others; each run of a ledger is warmed up,
measured, verified, and followed by its ceiling: native/ceiling.cc, which gathers, hashes, mines,
applies and syncs the same bytes without consensus, clients or recovery. src/cli/bench/README.md
has the rest.

Examples:
  scripts/bench
  scripts/bench --quick
  scripts/bench ranks blocks --out before.json --svg charts
  scripts/bench ranks --at 16 --block-size 4 --breakdown
  scripts/bench compare before.json after.json --fail-if "throughput<-10%"
${EXIT_CODES}`;

const COMPARE_HELP = `
Points of the same setting are compared by their medians. A condition is a figure of the JSON, one of
< <= > >=, and by how many percent it has changed; the command fails if any point meets any of them.

Examples:
  scripts/bench compare before.json after.json
  scripts/bench compare before.json after.json --fail-if "ratio<-5%" --json
${EXIT_CODES}`;

const collect = (value: string, all: string[] = []) => [...all, value];

const program = new Command("bench")
  .description("measure the ledger beside its ceiling")
  .helpOption("-h, --help", "explain")
  .argument("[suite...]", "what to measure")
  .option("--runs <n>", "runs of each point (5)")
  .option("--at <list>", "points of the one suite that is named, instead of its own")
  .option("-n, --ranks <n>", "MPI ranks (4); no such flag applies to what a suite varies")
  .option("--block-size <n>", "transactions in a block (1000)")
  .option("--value-bytes <n>", "bytes of a value (100)")
  .option("--difficulty <bits>", "puzzle of a block (8)")
  .option("--quorum <kind>", "majority or byzantine (majority)")
  .option("--ack <level>", "agreed or final: what completes an operation (agreed)")
  .option("--records <n>", "records in the table (100000; of many suites 10000)")
  .option("--seconds <s>", "length of a run (10)")
  .option("--warmup <s>", "of the same load before (3; more where ranks crowd the cores)")
  .option("--quick", "one short run of two points each, to see that all is there")
  .option("--breakdown", "where the time of one transaction goes")
  .option("--json", "print as JSON")
  .option("--out <file>", "write the JSON to a file, too")
  .option("--svg <file or dir>", "draw a chart of the suite, or one of each in a directory")
  .addHelpText("after", HELP)
  .action(async (names: string[]) => {
    const options = readOptions(names, program.opts<Flags>());
    // Loaded late: it needs the native addon, and `--help` should not.
    const { bench } = await import("./bench/bench.ts");
    process.exitCode = await bench(options);
  });

program
  .command("compare")
  .description("compare two benchmarks")
  .argument("<old>", "JSON of one")
  .argument("<new>", "JSON of the other")
  .helpOption("-h, --help", "explain")
  .allowExcessArguments(false)
  .option("--fail-if <condition>", 'fail when it is met, as in "throughput<-10%"', collect)
  .option("--json", "print as JSON")
  .addHelpText("after", COMPARE_HELP)
  .action(compare);

async function compare(old: string, fresh: string, _flags: unknown, command: Command) {
  // The program has a --json as well, and commander gives it what stands before the word.
  const { failIf, json } = command.optsWithGlobals<{ failIf?: string[]; json?: boolean }>();
  const { changesOf, compareText, metConditions, parseCondition, percentText } = await import(
    "./bench/compare.ts"
  );
  const { readResult } = await import("./bench/result.ts");
  const conditions = (failIf ?? []).map(parseCondition);
  const [before, after] = [await readResult(old), await readResult(fresh)];
  const changes = changesOf(before, after);
  const met = metConditions(conditions, changes);
  if (json) await printJson({ changes, met: met.map(({ condition }) => condition.text) });
  else await print(compareText(before, after));
  for (const { condition, change } of met) {
    const { suite, point, percent } = change;
    process.stderr.write(`bench: ${condition.text}: ${suite}, ${point}, ${percentText(percent)}\n`);
  }
  if (met.length > 0) process.exitCode = EXIT.failed;
}

process.exit(await runProgram(program, process.argv.slice(2)));

#!/usr/bin/env bun
/**
 * Entry of scripts/bench: how fast the ledger is beside what the same machine could do at best. Runs
 * the ledger and native/ceiling in turn, with the same bytes, ranks, batches and difficulty, so that
 * both meet the same weather, and prints the ratio.
 */
import { Command } from "commander";
import { EXIT, usageError } from "../base/errors.ts";
import { groups, print, printJson } from "./output.ts";
import { EXIT_HELP, runProgram } from "./run.ts";

const HELP = `
The ledger: blocks of 1000, updates of one 100-byte value, as fast as it goes, log synced. The
ceiling: the same transactions all-gathered, hashed, mined, applied and synced by one C++ program,
without consensus, clients or recovery. Each ledger is verified at its end.

Examples:
  scripts/bench
  scripts/bench --quick
  scripts/bench -n 8 --pairs 5 --json | jq .median.ratio
${EXIT_HELP}`;

const program = new Command("bench")
  .description("measure the ledger beside its ceiling")
  .helpOption("-h, --help", "explain")
  .allowExcessArguments(false)
  .option("-n, --ranks <n>", "MPI ranks", "4")
  .option("--pairs <n>", "runs of each", "3")
  .option("--seconds <s>", "length of a run", "10")
  .option("--records <n>", "records in the table", "100000")
  .option("--difficulty <bits>", "puzzle of a block", "8")
  .option("--ack <level>", "agreed or final", "agreed")
  .option("--quick", "one short pair: 3 seconds, 10,000 records")
  .option("--json", "print as JSON")
  .addHelpText("after", HELP)
  .action(async () => {
    const flags = program.opts();
    const count = (name: string, max: number) => {
      const value = Number(flags[name]);
      if (Number.isInteger(value) && value >= 1 && value <= max) return value;
      throw usageError(
        "BAD_FLAG",
        `--${name} is a whole number from 1 to ${max}, not "${flags[name]}".`,
      );
    };
    // Loaded late: it needs the native addon, and `--help` should not.
    const { bench } = await import("./bench/bench.ts");
    const result = await bench({
      ranks: count("ranks", 1024),
      pairs: flags.quick ? 1 : count("pairs", 1000),
      seconds: flags.quick ? 3 : count("seconds", 3600),
      records: flags.quick ? 10_000 : count("records", 10_000_000),
      difficulty: flags.difficulty,
      ack: flags.ack,
    });
    if (flags.json) await printJson(result);
    else await print(describe(result));
    if (!result.verified) process.exitCode = EXIT.failed;
  });

type Result = Awaited<ReturnType<typeof import("./bench/bench.ts").bench>>;

function describe({ facts, payload, runs, median, verified }: Result): string {
  const ms = (us: number) => `${(us / 1000).toFixed(1)} ms`;
  const rows = [...runs.map((run, i) => ({ name: String(i + 1), ...run }))];
  const table = [
    ["pair", "ledger tx/s", "ceiling tx/s", "ratio", "agreed p50", "p99", "final p50", "p99"],
    ...[...rows, { name: "median", ...median }].map((run) => [
      run.name,
      groups(Math.round(run.ledger)),
      groups(Math.round(run.ceiling)),
      run.ratio.toFixed(3),
      ms(run.agreed.p50),
      ms(run.agreed.p99),
      ms(run.final.p50),
      ms(run.final.p99),
    ]),
  ];
  const widths = table[0].map((_, i) => Math.max(...table.map((row) => row[i].length)));
  const lines = table.map((row) => row.map((cell, i) => cell.padStart(widths[i])).join("  "));
  return [
    `${facts.ranks} ranks on ${facts.cores} cores of ${facts.host}, ${facts.fileSystem}, ` +
      `blocks of ${facts.blockTransactions}, ${facts.difficulty} puzzle bits, log synced`,
    `${payload}; ${facts.authentication}`,
    "",
    ...lines,
    "",
    verified ? "verified: each of these ledgers\n" : "NOT VERIFIED: see above\n",
  ].join("\n");
}

process.exit(await runProgram(program, process.argv.slice(2)));

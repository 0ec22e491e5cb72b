/** `scripts/chaos overhead`: its flags, and what it prints. */

import { availableParallelism, hostname, loadavg } from "node:os";
import { Command, Option } from "commander";
import { usageError } from "../base/errors.ts";
import { print, printJson } from "../cli/output.ts";
import { EXIT_HELP } from "../cli/run.ts";
import type { FailureOverhead, FailureWay, StorageOverhead } from "./overhead.ts";

interface Flags {
  ranks: string;
  pairs: string;
  seconds: string;
  ratePerRank: string;
  of: string;
  killed: string;
  failureSeconds: string;
  failureRate: string;
  by: FailureWay;
  count: string;
  only?: "storage" | "failures";
  json?: boolean;
}

const HELP = `
Storage: each pair runs the paper's transfers, blocks of four, once with --storage-on no-majority and
once with --storage-on always, in alternating order; the figure is the median of the pairs' ratios.
Failures: one run for each number of ranks that end; the figure is the time from a transaction's
intended start until it is agreed, while they end, of the time before in the same run.
Compare ratios of one command only, from a machine that does nothing else.
${EXIT_HELP}`;

export function overheadCommand(): Command {
  return new Command("overhead")
    .description("what the storage validator and failures cost, as ratios within one command")
    .option("--ranks <list>", "rank counts of the storage part", "4,8,16")
    .option("--pairs <n>", "pairs of runs for each of them", "3")
    .option("--seconds <s>", "of load in each of these runs", "15")
    .option("--rate-per-rank <n>", "operations a second of a rank; 0: as fast as they can", "0")
    .option("--of <n>", "ranks of the failures part", "32")
    .option("--killed <list>", "how many of them end", "0,1,2,4,6,8,10")
    .option("--failure-seconds <s>", "of load in each of these runs", "40")
    .option("--failure-rate <n>", "transactions offered a second there", "64")
    .addOption(
      new Option("--by <way>", "SIGKILL from within a validation, or from here under load")
        .choices(["hook", "kill"])
        .default("kill"),
    )
    .option("--count <n>", "validations before a rank ends, with --by hook", "1000")
    .addOption(new Option("--only <part>", "one part alone").choices(["storage", "failures"]))
    .option("--json", "print all figures as JSON")
    .addHelpText("after", HELP)
    .action(overhead);
}

async function overhead(flags: Flags): Promise<void> {
  const { failureOverhead, storageOverhead } = await import("./overhead.ts");
  const { measureJob } = await import("./measured-job.ts");
  const { runPlan } = await import("./run.ts");
  const say = (text: string) => void process.stderr.write(`${text}\n`);
  const part = (name: Flags["only"]) => flags.only === undefined || flags.only === name;
  const facts = { host: hostname(), cores: availableParallelism(), load: loadavg()[0] };
  const storage = part("storage")
    ? await storageOverhead({
        ranks: numbers("--ranks", flags.ranks, 1),
        pairs: one("--pairs", flags.pairs, 1),
        seconds: one("--seconds", flags.seconds, 1),
        ratePerRank: one("--rate-per-rank", flags.ratePerRank, 0),
        measure: measureJob,
        say,
      })
    : [];
  const command = "scripts/chaos overhead";
  const failures = part("failures")
    ? await failureOverhead({
        ranks: one("--of", flags.of, 2),
        killed: numbers("--killed", flags.killed, 0),
        seconds: one("--failure-seconds", flags.failureSeconds, 5),
        rate: one("--failure-rate", flags.failureRate, 1),
        by: flags.by,
        count: one("--count", flags.count, 1),
        runPlan: (plan) => runPlan(plan, { command, quiet: true, keep: false }),
        say,
      })
    : [];
  if (flags.json) await printJson({ facts, storage, failures });
  else await print(describe(facts, storage, failures));
}

function describe(
  facts: { host: string; cores: number; load: number },
  storage: readonly StorageOverhead[],
  failures: readonly FailureOverhead[],
): string {
  const lines = [
    `${facts.host}, ${facts.cores} cores, load ${facts.load.toFixed(1)} before the start`,
  ];
  if (storage.length > 0) {
    lines.push("", "storage validator for every round, of decisions in memory:");
    lines.push("ranks  time a transaction  agreed p50  final p50    tx/s of each run, in order");
  }
  for (const { ranks, timeRatio, agreedRatio, finalRatio, runs } of storage) {
    const ratios = [timeRatio, agreedRatio, finalRatio].map((ratio) => ratio.toFixed(3));
    const rates = runs.map(({ storageOn, measured }) => {
      const name = storageOn === "always" ? "storage" : "memory";
      return `${name} ${measured.transactionsPerSecond.toFixed(0)}`;
    });
    const [time, agreed, final] = ratios;
    lines.push(
      `${String(ranks).padStart(5)}  ${time.padStart(18)}  ${agreed.padStart(10)}  ` +
        `${final.padStart(9)}    ${rates.join(", ")}`,
    );
  }
  if (failures.length > 0) {
    lines.push("", "time until agreed while ranks end, of the time before, in the same run:");
    lines.push(
      "ended      p50 ratio  p99 ratio   p50 before → during      longest silence  promises",
    );
  }
  for (const { killed, ranks, p50Ratio, p99Ratio, beforeMs, duringMs, ...rest } of failures) {
    const ratio = (value: number | undefined) => (value?.toFixed(2) ?? "–").padStart(9);
    const ms = (value: { p50: number } | undefined) => value?.p50.toFixed(1) ?? "–";
    lines.push(
      `${`${killed} of ${ranks}`.padEnd(9)}  ${ratio(p50Ratio)}  ${ratio(p99Ratio)}   ` +
        `${`${ms(beforeMs)} → ${ms(duringMs)} ms`.padEnd(24)} ${rest.stallMs.toFixed(0).padStart(9)} ms  ` +
        `${rest.good ? "kept" : "BROKEN"}${reached(rest.gone, killed)}`,
    );
  }
  return `${lines.join("\n")}\n`;
}

function reached(gone: number | undefined, killed: number): string {
  return gone === undefined || gone === killed ? "" : `, ${gone} reached their end: raise the time`;
}

function numbers(flag: string, text: string, least: number): number[] {
  return text.split(",").map((part) => one(flag, part, least));
}

function one(flag: string, text: string, least: number): number {
  const value = Number(text);
  if (text.trim() !== "" && Number.isFinite(value) && value >= least) return value;
  throw usageError("BAD_FLAG", `${flag} takes numbers from ${least} on, not "${text}"`);
}

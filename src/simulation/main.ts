#!/usr/bin/env bun
/**
 * Runs seeds of the simulation. One seed: `bun src/simulation/main.ts --seed N`; many: `--seeds 1000`.
 * The first failure prints its seed, what was broken and the one command that replays it.
 */
import { Command, InvalidArgumentError, Option } from "commander";
import { EXIT } from "../base/errors.ts";
import { QUORUMS, type Quorum } from "../ledger/genesis.ts";
import { type RunReport, simulate } from "./cluster.ts";
import { planOf, SCENARIOS, type Scenario } from "./plan.ts";
import { Ways } from "./ways.ts";

interface Flags {
  readonly seed?: number;
  readonly seeds?: number;
  readonly from: number;
  readonly ranks?: number;
  readonly scenario?: Scenario;
  readonly quorum?: Quorum;
  readonly trace: boolean;
  readonly keepGoing: boolean;
}

function whole(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0)
    throw new InvalidArgumentError("a whole number, please");
  return value;
}

const program = new Command("simulation")
  .description("a seeded cluster of production ranks on simulated network, disk and clock")
  .addOption(new Option("--seed <n>", "run this one seed").argParser(whole))
  .addOption(new Option("--seeds <n>", "run so many seeds").argParser(whole))
  .addOption(new Option("--from <n>", "first of many seeds").argParser(whole).default(1))
  .addOption(new Option("--ranks <n>", "ranks of the job (default: by the seed)").argParser(whole))
  .addOption(
    new Option("--scenario <name>", "family of faults (default: by the seed)").choices(SCENARIOS),
  )
  .addOption(new Option("--quorum <kind>", "what wins in the ledger").choices(QUORUMS))
  .addOption(new Option("--trace", "print every event").default(false))
  .addOption(new Option("--keep-going", "go on after a failure").default(false));

function replayCommand(report: RunReport, flags: Flags): string {
  const { seed, scenario } = report.plan;
  const ranks = flags.ranks === undefined ? "" : ` --ranks ${flags.ranks}`;
  const named = flags.scenario === undefined ? "" : ` --scenario ${scenario}`;
  const wins = flags.quorum === undefined ? "" : ` --quorum ${flags.quorum}`;
  return `bun src/simulation/main.ts --seed ${seed}${ranks}${named}${wins} --trace`;
}

function sayFailure(report: RunReport, flags: Flags): void {
  const { plan, violation, newest } = report;
  const tail = flags.trace ? [] : newest.slice(-25).map((line) => `  ${line}`);
  process.stderr.write(
    [
      "",
      `seed ${plan.seed}, scenario ${plan.scenario}, ${plan.ranks} ranks: ${violation?.message}`,
      ...(tail.length > 0 ? ["the newest events:", ...tail] : []),
      `replay: ${replayCommand(report, flags)}`,
      "",
    ].join("\n"),
  );
}

function describe(report: RunReport): string {
  const kinds = Object.entries(report.kinds).map(([kind, count]) => `${count} ${kind}`);
  const { accepted, finals, jobs } = report.counts;
  return (
    `seed ${report.plan.seed} ${report.plan.scenario}: ${report.plan.ranks} ranks, ${jobs} jobs, ` +
    `${(report.virtualMs / 1000).toFixed(1)} virtual s, ${report.events} events, ${accepted} accepted, ` +
    `${finals} receipts, ${report.slots} slots (${kinds.join(", ")}), trace ${report.digest.slice(0, 16)}`
  );
}

/** How often each rare way was taken; the last line has those that never were. */
function sayWays(ways: Ways): void {
  const all = Object.entries(ways.all);
  const taken = all.filter(([, times]) => times > 0).map(([way, times]) => `${times} ${way}`);
  const never = all.filter(([, times]) => times === 0).map(([way]) => way);
  process.stdout.write(`ways: ${taken.join(", ")}\nnever: ${never.join(", ") || "none"}\n`);
}

async function main(flags: Flags): Promise<number> {
  const one = flags.seed !== undefined;
  const first = flags.seed ?? flags.from;
  const count = one ? 1 : (flags.seeds ?? 100);
  const started = performance.now();
  const failed: number[] = [];
  const sums = { settledMs: 0, evictedMs: 0, virtualMs: 0, events: 0, slots: 0, accepted: 0 };
  const kinds = new Map<string, number>();
  const ways = new Ways();
  let done = 0;
  for (let seed = first; seed < first + count; seed++) {
    const plan = planOf(seed, {
      ...(flags.scenario !== undefined && { scenario: flags.scenario }),
      ...(flags.ranks !== undefined && { ranks: flags.ranks }),
    });
    const print = flags.trace
      ? (line: string) => void process.stdout.write(`${line}\n`)
      : undefined;
    const report = await simulate(plan, { print, quorum: flags.quorum });
    done++;
    sums.settledMs = Math.max(sums.settledMs, report.settledAfterMs);
    sums.evictedMs = Math.max(sums.evictedMs, report.evictedAfterMs);
    sums.virtualMs += report.virtualMs;
    ways.add(report.ways);
    sums.events += report.events;
    sums.slots += report.slots;
    sums.accepted += report.counts.accepted;
    for (const [kind, n] of Object.entries(report.kinds))
      kinds.set(kind, (kinds.get(kind) ?? 0) + n);
    if (one) process.stdout.write(`${describe(report)}\n`);
    else if (process.stderr.isTTY || done % 25 === 0)
      process.stderr.write(
        `${process.stderr.isTTY ? "\r" : ""}${done} of ${count} seeds, ${failed.length} failed${process.stderr.isTTY ? "" : "\n"}`,
      );
    if (report.violation === undefined) continue;
    failed.push(seed);
    sayFailure(report, flags);
    if (!flags.keepGoing) break;
  }
  const seconds = (performance.now() - started) / 1000;
  const list = [...kinds].map(([kind, n]) => `${n} ${kind}`).join(", ");
  process.stdout.write(
    `${done} seeds, ${failed.length} failed${failed.length > 0 ? ` (${failed.join()})` : ""}; ` +
      `${(sums.virtualMs / 1000).toFixed(0)} virtual s in ${seconds.toFixed(1)} s, ${sums.events} events, ` +
      `${sums.accepted} transactions, ${sums.slots} slots: ${list}; ` +
      `all answered at most ${(sums.settledMs / 1000).toFixed(1)} virtual s after the load, ` +
      `the dead evicted at most ${(sums.evictedMs / 1000).toFixed(1)} virtual s after their end\n`,
  );
  sayWays(ways);
  return failed.length === 0 ? EXIT.ok : EXIT.failed;
}

program.parse();
process.exit(await main(program.opts<Flags>()));

/** What `baash simulate` says: of one run, of a failure, and of many runs together. */
import { EXIT, type ExitCode } from "../base/errors.ts";
import type { Quorum } from "../ledger/genesis.ts";
import type { LostSeed } from "../simulation/campaign.ts";
import type { Hunt } from "../simulation/mutation-check.ts";
import type { SeedResult } from "../simulation/seed-run.ts";
import { faultsOf, type Tally } from "../simulation/tally.ts";
import type { Family } from "../simulation/trace.ts";
import { WAYS } from "../simulation/ways.ts";
import { describe, groups } from "./output.ts";

const EXIT_OF: Readonly<Record<Family, ExitCode>> = {
  safety: EXIT.failed,
  liveness: EXIT.stalled,
  crash: EXIT.software,
};

export function exitCodeFor(family: Family): ExitCode {
  return EXIT_OF[family];
}

/** What a run is a function of, beside its seed. */
export function commit(): string {
  const git = (...args: string[]) =>
    Bun.spawnSync(["git", "-C", import.meta.dir, ...args], { stderr: "ignore" });
  const head = git("rev-parse", "HEAD");
  if (!head.success) return "unknown";
  const changed = git("status", "--porcelain", "--untracked-files=no").stdout.length > 0;
  return `${head.stdout.toString().trim()}${changed ? " with changes" : ""}`;
}

interface Asked {
  readonly ranks?: number | undefined;
  readonly faults?: string | undefined;
  readonly quorum?: Quorum | undefined;
}

function replayCommand(seed: number, { ranks, faults, quorum }: Asked): string {
  const flags = Object.entries({ faults, ranks, quorum })
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => ` --${name} ${value}`);
  return `bun src/cli.ts simulate --seed ${seed}${flags.join("")}`;
}

export function describeFailure(result: SeedResult | LostSeed, asked: Asked): string {
  const { seed, broken } = result;
  const run = "scenario" in result ? `, faults ${result.scenario}, ${result.ranks} ranks` : "";
  const timeline = "timeline" in result ? result.timeline : [];
  const replay = replayCommand(seed, asked);
  return [
    `\nseed ${seed}${run}, commit ${commit()}`,
    `broken (${broken?.family}): ${broken?.message}`,
    ...(timeline.length > 0 ? ["the last rounds:", ...timeline.map((line) => `  ${line}`)] : []),
    `replay: ${replay}    (every event: ${replay} --trace)\n`,
  ].join("\n");
}

export function describeRun(result: SeedResult): string {
  const { seed, scenario, ranks, jobs, digest } = result;
  return describe([
    ["seed", `${seed}, faults ${scenario}, ${ranks} ranks, ${jobs} jobs`],
    ["virtual time", seconds(result.virtualMs)],
    ["rounds", result.rounds],
    ["transactions", result.transactions],
    ["receipts", result.receipts],
    ["records", listOf(Object.entries(result.kinds))],
    ["faults", `${groups(faultsOf(result))}: ${listOf(Object.entries(result.faults))}`],
    ["events", result.events],
    ["trace", digest.slice(0, 16)],
    ["broken", result.broken?.rule],
  ]);
}

interface Summary {
  readonly tally: Tally;
  readonly failures: readonly (SeedResult | LostSeed)[];
  readonly seconds: number;
  readonly jobs: number;
}

export function describeTally({ tally, failures, seconds: took, jobs }: Summary): string {
  const { sums, least, most } = tally;
  const failed = failures.map(({ seed }) => seed).join(" ");
  if (tally.seeds === 0) return describe([["failed", failed || "none"]]);
  const facts = describe([
    ["seeds", `${groups(tally.seeds)} in ${took.toFixed(1)} s on ${jobs} processes`],
    ["failed", failures.length === 0 ? "none" : `${failures.length}: ${failed}`],
    ["seeds per minute", Math.round((60 * tally.seeds) / took)],
    ["virtual time", seconds(sums.virtualMs)],
    ["rounds", `${groups(sums.rounds)}, ${least.rounds} or more a seed`],
    ["transactions", `${groups(sums.transactions)}, ${least.transactions} or more a seed`],
    ["faults", `${listOf(tally.faults)}; ${least.faults} or more a seed`],
    ["records", `${groups(sums.slots)}: ${listOf(tally.kinds)}`],
    ["receipts", sums.receipts],
    ["events", sums.events],
    ["all answered", `at most ${seconds(most.settledAfterMs)} after the load`],
    ["the dead evicted", `at most ${seconds(most.evictedAfterMs)} after their end`],
  ]);
  return `${facts}\nrare ways\n${describeWays(tally)}`;
}

function describeWays({ ways, never }: Tally): string {
  const rows = Object.entries(ways).map(
    ([way, times]) => `${groups(times).padStart(9)}  ${way}: ${WAYS[way as keyof typeof WAYS]}\n`,
  );
  return `${rows.join("")}never taken: ${never.join(", ") || "none"}`;
}

export function jsonOf({ tally, failures, seconds: took, jobs }: Summary): object {
  const { seeds, sums, least, most, kinds, faults, ways, never } = tally;
  return {
    ...{ seeds, jobs, seconds: took, seedsPerMinute: (60 * seeds) / took, sums, least, most },
    ...{ kinds: Object.fromEntries(kinds), faults: Object.fromEntries(faults), ways, never },
    failures: failures.map(({ seed, broken }) => ({ seed, ...broken })),
  };
}

/** Bug by bug: the rule that found it, and after how many seeds. */
export function describeHunts(hunts: readonly Hunt[]): string {
  return hunts
    .map(({ mutation, rule, seeds, isCaught }) => {
      const found = isCaught ? rule : `NOT FOUND (${rule ?? "nothing broken"})`;
      return `${found?.padEnd(6)} after ${String(seeds).padStart(2)} seeds  ${mutation.bug}\n`;
    })
    .join("");
}

function listOf(counts: Iterable<readonly [string, number]>): string {
  return [...counts].map(([name, count]) => `${groups(count)} ${name}`).join(", ") || "none";
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

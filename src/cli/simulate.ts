/** `baash simulate`: seeds of the simulation, on all cores; a failure is told with what replays it. */
import { availableParallelism } from "node:os";
import { Command, InvalidArgumentError, Option } from "commander";
import { EXIT, type ExitCode } from "../base/errors.ts";
import { QUORUMS, type Quorum } from "../ledger/genesis.ts";
import { type CampaignOptions, type LostSeed, runCampaign } from "../simulation/campaign.ts";
import { type Hunt, hunt } from "../simulation/mutation-check.ts";
import { MUTATIONS } from "../simulation/mutations.ts";
import { SCENARIOS, type Scenario } from "../simulation/plan.ts";
import { runSeed, type SeedResult } from "../simulation/seed-run.ts";
import { Tally } from "../simulation/tally.ts";
import { print, printJson } from "./output.ts";
import { ProgressLine } from "./progress.ts";
import {
  commit,
  describeFailure,
  describeHunts,
  describeRun,
  describeTally,
  exitCodeFor,
  jsonOf,
} from "./simulate-report.ts";

const HELP = `
A seed is a whole run: a job of production ranks on a simulated network, disk and clock, its load, its
faults, and every promise checked meanwhile and at the end. The same seed of the same commit is the
same run. src/simulation/README.md says what is asked.

Examples:
  baash simulate --seed 17                          one run
  baash simulate --seed 17 --trace                  every event of it
  baash simulate --seeds 1000                       seeds 1 to 1000, on all cores
  baash simulate --mutations                        are all deliberate bugs found?
  baash simulate --minutes 10 --faults storm        what fits into ten minutes
  baash simulate --seeds 100 --quorum byzantine --json | jq .seedsPerMinute

Exit codes:
  0   no promise was broken
  1   safety: a wrong answer; or a deliberate bug that nobody found, or a thousand seeds and more that never took one of the rare ways
  2   wrong command line
  3   liveness: nothing wrong was said, and something that had to come did not
  70  crash: an exception nobody expected, in a rank or in the simulator
`;

interface Flags {
  readonly seed?: number;
  readonly seeds?: number;
  readonly from: number;
  readonly minutes?: number;
  readonly ranks?: number;
  readonly faults?: Scenario;
  readonly quorum?: Quorum;
  readonly jobs: number;
  readonly mutations?: boolean;
  readonly keepGoing?: boolean;
  readonly trace?: boolean;
  readonly json?: boolean;
}

const SEEDS = 100;
/** So many seeds take every rare way; fewer may not. */
const SEEDS_FOR_ALL_WAYS = 1000;
const MINUTE_MS = 60_000;

export function simulateCommand(): Command {
  return new Command("simulate")
    .description("run seeds of the simulation and check every promise")
    .addOption(new Option("--seed <n>", "run this one seed").argParser(whole))
    .addOption(
      new Option("--seeds <n>", `run so many seeds (default: ${SEEDS})`).argParser(positive),
    )
    .addOption(new Option("--from <n>", "first of many seeds").argParser(whole).default(1))
    .addOption(new Option("--minutes <m>", "begin no seed after so long").argParser(minutes))
    .addOption(
      new Option("--ranks <n>", "ranks of a job (default: by the seed)").argParser(positive),
    )
    .addOption(
      new Option("--faults <family>", "family of faults (default: by the seed)").choices(SCENARIOS),
    )
    .addOption(new Option("--quorum <kind>", "what wins in the ledger").choices(QUORUMS))
    .addOption(
      new Option("--jobs <n>", "processes at once")
        .argParser(positive)
        .default(availableParallelism(), "cores"),
    )
    .option("--mutations", "let deliberate bugs loose: each must be found")
    .option("--keep-going", "go on after a failure")
    .option("--trace", "print every event (of --seed)")
    .option("--json", "print as JSON")
    .addHelpText("after", HELP)
    .action(async (flags: Flags, command: Command) => {
      if (flags.trace && flags.seed === undefined)
        command.error("error: --trace is for one seed: use it with --seed");
      if (flags.mutations) process.exitCode = await runMutations(flags);
      else if (flags.seed === undefined) process.exitCode = await runMany(flags);
      else process.exitCode = await runOne(flags.seed, flags);
    });
}

function whole(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0)
    throw new InvalidArgumentError("a whole number, please");
  return value;
}

function positive(text: string): number {
  const value = whole(text);
  if (value === 0) throw new InvalidArgumentError("one at least, please");
  return value;
}

function minutes(text: string): number {
  const value = Number(text);
  if (!(value > 0 && value < Number.POSITIVE_INFINITY))
    throw new InvalidArgumentError("a number of minutes, please");
  return value;
}

async function runOne(seed: number, flags: Flags): Promise<ExitCode> {
  const { faults, ranks, quorum } = flags;
  const printer = flags.trace
    ? (line: string) => void process.stdout.write(`${line}\n`)
    : undefined;
  const result = await runSeed({ seed, faults, ranks, quorum }, printer);
  if (flags.json) await printJson({ commit: commit(), ...result });
  else await print(describeRun(result));
  if (result.broken !== undefined) process.stderr.write(describeFailure(result, flags));
  return result.broken === undefined ? EXIT.ok : exitCodeFor(result.broken.family);
}

async function runMutations({ json = false }: Flags): Promise<ExitCode> {
  const progress = new ProgressLine("bugs", false);
  const hunts: Hunt[] = [];
  for (const mutation of MUTATIONS) {
    hunts.push(await hunt(mutation));
    progress.update(hunts.length / MUTATIONS.length, hunts.length, "bugs");
  }
  progress.end();
  if (json) await printJson(hunts.map(({ mutation: { bug }, ...rest }) => ({ bug, ...rest })));
  else await print(describeHunts(hunts));
  return hunts.every(({ isCaught }) => isCaught) ? EXIT.ok : EXIT.failed;
}

async function runMany(flags: Flags): Promise<ExitCode> {
  const { from, seeds, jobs, faults, ranks, quorum } = flags;
  const count = seeds ?? (flags.minutes === undefined ? SEEDS : Number.MAX_SAFE_INTEGER - from);
  const started = performance.now();
  const untilMs = started + (flags.minutes ?? Number.POSITIVE_INFINITY) * MINUTE_MS;
  const progress = new ProgressLine("seeds", false);
  const tally = new Tally();
  const failures: (SeedResult | LostSeed)[] = [];
  let done = 0;
  const options: CampaignOptions = {
    ...{ from, count, untilMs, jobs, faults, ranks, quorum },
    keepGoing: flags.keepGoing === true,
    onResult: (result) => {
      done++;
      if ("scenario" in result) tally.add(result);
      if (result.broken !== undefined) {
        failures.push(result);
        progress.end();
        process.stderr.write(describeFailure(result, flags));
      }
      const ofTime = (performance.now() - started) / (untilMs - started);
      progress.update(Math.max(done / count, ofTime), done, "seeds");
    },
  };
  await runCampaign(options);
  progress.end();
  const seconds = (performance.now() - started) / 1000;
  const summary = { tally, failures, seconds, jobs };
  if (flags.json) await printJson({ commit: commit(), ...jsonOf(summary) });
  else await print(describeTally(summary));
  // The first seed counts, whichever process was first.
  const [first] = failures.sort((a, b) => a.seed - b.seed);
  if (first?.broken !== undefined) return exitCodeFor(first.broken.family);
  const mustTakeAll = done >= SEEDS_FOR_ALL_WAYS && faults === undefined && ranks === undefined;
  return mustTakeAll && quorum !== "byzantine" && tally.never.length > 0 ? EXIT.failed : EXIT.ok;
}

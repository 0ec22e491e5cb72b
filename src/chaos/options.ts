/** The command line of scripts/chaos: flags to a plan, or to many. */
import { Command, InvalidArgumentError, Option } from "commander";
import { usageError } from "../base/errors.ts";
import { EXIT_HELP } from "../cli/run.ts";
import { type Plan, readPlan, STORAGE_FAULT_NAMES, type StorageFaultName } from "./plan.ts";
import { type SeedLimits, seededPlan, simplePlan } from "./schedule.ts";

interface Flags {
  ranks?: number;
  seconds?: number;
  rate?: number;
  load?: "transfers" | "updates";
  clients?: number;
  size?: number;
  at?: number;
  for?: number;
  kill?: number;
  stop?: number;
  storage?: StorageFaultName;
  storageRate?: number;
  storageDelay?: number;
  killJob?: boolean;
  restart?: boolean;
  secondJob?: "alive" | "frozen" | "dead";
  seed?: number;
  seeds?: string;
  plan?: string;
  supervised: boolean;
  fault?: string;
  printPlan?: boolean;
  keep?: boolean;
  quiet?: boolean;
  json?: boolean;
}

/** A plan and the command that runs it again. */
export interface Task {
  readonly plan: Plan;
  readonly command: string;
}

export interface Request {
  readonly tasks: readonly Task[];
  /** A line for each run instead of a report. */
  readonly isBatch: boolean;
  readonly printPlan: boolean;
  readonly keep: boolean;
  readonly quiet: boolean;
  readonly json: boolean;
}

const HELP = `
Faults of flags begin at --at, those that last end after --for. Flags after "--" are for the ranks:

  scripts/chaos --ranks 20 --kill 4 --at 10 --seconds 60
  scripts/chaos --ranks 4 --kill 3 -- --heal spawn
  scripts/chaos --ranks 4 --stop 1 --for 30 --seconds 60
  scripts/chaos --ranks 4 --kill-job
  scripts/chaos --ranks 4 --storage gone --for 20
  scripts/chaos --seed 17              a mix of faults, always the same one
  scripts/chaos --seeds 1..200         many, one after the other, a line each
  scripts/chaos --plan plan.json       exactly this (a run that failed leaves its plan)
  scripts/chaos overhead --help        what faults cost, as ratios
  scripts/chaos table --help           faults.md, row by row

Places, schedule and load come again; what the machine makes of them does not.
${EXIT_HELP}`;

const number = (text: string) => {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value) || value < 0) {
    throw new InvalidArgumentError("a number of 0 or more, please");
  }
  return value;
};
const whole = (text: string) => {
  const value = number(text);
  if (!Number.isInteger(value)) throw new InvalidArgumentError("a whole number, please");
  return value;
};

export function chaosCommand(): Command {
  const option = (flags: string, about: string, parse?: (text: string) => number) => {
    const made = new Option(flags, about);
    return parse === undefined ? made : made.argParser(parse);
  };
  return new Command("chaos")
    .description("torment a real job of MPI ranks under load, then check every promise")
    .helpOption("-h, --help", "explain")
    .argument("[flags...]", "flags of the ranks, after --")
    .addOption(option("-n, --ranks <n>", "ranks of the job (4)", whole))
    .addOption(option("--seconds <s>", "how long load is offered (30)", number))
    .addOption(option("--rate <n>", "transactions offered a second, all together (400)", number))
    .addOption(option("--load <kind>", "transfers or updates").choices(["transfers", "updates"]))
    .addOption(option("--clients <n>", "connections (one a rank)", whole))
    .addOption(option("--size <n>", "accounts or records (1000)", whole))
    .addOption(option("--at <s>", "when the faults begin (10)", number))
    .addOption(option("--for <s>", "how long they last, where they do (10)", number))
    .addOption(option("--kill <n>", "SIGKILL so many ranks", whole))
    .addOption(option("--stop <n>", "SIGSTOP so many ranks, SIGCONT after --for", whole))
    .addOption(option("--storage <fault>", "how storage fails").choices(STORAGE_FAULT_NAMES))
    .addOption(option("--storage-rate <share>", "share of calls that fail (1)", number))
    .addOption(option("--storage-delay <ms>", "before each call (1000 for slow)", whole))
    .addOption(option("--kill-job", "SIGKILL every rank and the launcher"))
    .addOption(option("--restart", "a clean stop, and the next job"))
    .addOption(
      option("--second-job <first>", "another job, the first alive, frozen or dead").choices([
        ...["alive", "frozen", "dead"],
      ]),
    )
    .addOption(option("--fault <text>", "BAASH_FAULT of the ranks: how they fail by themselves"))
    .addOption(option("--no-supervised", "mpirun alone, not under `baash run`"))
    .addOption(option("--seed <n>", "draw faults, ranks and length from this seed", whole))
    .addOption(option("--seeds <a..b>", "one run for each of these seeds"))
    .addOption(option("--plan <file>", "run this plan, JSON"))
    .addOption(option("--print-plan", "print the plan and do nothing"))
    .addOption(option("--keep", "keep ledger and journals also when all is good"))
    .addOption(option("--quiet", "no lines while it runs"))
    .addOption(option("--json", "print the report as JSON"))
    .addHelpText("after", HELP);
}

/** What the flags ask for. Throws usage errors (exit 2). */
export function requestOf(flags: Flags, rankFlags: readonly string[]): Request {
  const tasks = tasksOf(flags, rankFlags);
  const { printPlan = false, keep = false, quiet = false, json = false } = flags;
  const isBatch = flags.seeds !== undefined;
  return { tasks, isBatch, printPlan, keep, json, quiet: quiet || isBatch };
}

function tasksOf(flags: Flags, rankFlags: readonly string[]): Task[] {
  const [first] = rankFlags;
  if (first !== undefined && !first.startsWith("-")) {
    throw usageError("BAD_FLAG", `there is no command "${first}": overhead and table are all`);
  }
  const sources = (["seed", "seeds", "plan"] as const).filter((name) => flags[name] !== undefined);
  const faults = (
    ["kill", "stop", "storage", "killJob", "restart", "secondJob", "fault", "at", "for"] as const
  ).filter((name) => flags[name] !== undefined);
  const hasRankFlags = rankFlags.length > 0;
  if (sources.length > 1) throw usageError("BAD_FLAG", `take one of --${sources.join(", --")}`);
  if (sources.length === 1 && (faults.length > 0 || hasRankFlags)) {
    const given = faults.length > 0 ? `--${dashed(faults[0])}` : "flags of the ranks";
    const why = sources[0] === "plan" ? "the plan has its own" : "the seed draws them";
    throw usageError("BAD_FLAG", `${given} beside --${sources[0]}: ${why}`);
  }
  if (flags.plan !== undefined) {
    return [{ plan: readPlan(flags.plan), command: `scripts/chaos --plan ${flags.plan}` }];
  }
  if (flags.seed !== undefined) return [seededTask(flags.seed, flags)];
  if (flags.seeds !== undefined) {
    return seedsOf(flags.seeds).map((seed) => seededTask(seed, flags));
  }
  return [simpleTask(flags, rankFlags)];
}

function seededTask(seed: number, flags: Flags): Task {
  const { ranks, seconds, rate, supervised } = flags;
  const limits: SeedLimits = {
    ...(ranks !== undefined && { ranks }),
    ...(seconds !== undefined && { seconds }),
    ...(rate !== undefined && { rate }),
    ...(!supervised && { supervised }),
  };
  const words = Object.entries(limits).map(([name, value]) =>
    name === "supervised" ? "--no-supervised" : `--${name} ${value}`,
  );
  const command = ["scripts/chaos", `--seed ${seed}`, ...words].join(" ");
  return { plan: seededPlan(seed, limits), command };
}

/** "3..7" → 3, 4, 5, 6, 7. */
export function seedsOf(text: string): number[] {
  const match = /^(\d+)\.\.(\d+)$/.exec(text);
  const [first, last] = match === null ? [1, 0] : [Number(match[1]), Number(match[2])];
  if (first > last) throw usageError("BAD_FLAG", `--seeds is two seeds, as 1..200, not "${text}"`);
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}

function simpleTask(flags: Flags, rankFlags: readonly string[]): Task {
  const { ranks = 4, seconds = 30, at = 10, for: lasts = 10 } = flags;
  const { kill, stop, storage, storageRate, storageDelay, killJob, restart, secondJob } = flags;
  const plan = simplePlan({
    ranks,
    seconds,
    seed: 1,
    at,
    for: lasts,
    ...(kill !== undefined && { kill }),
    ...(stop !== undefined && { stop }),
    ...(storage !== undefined && { storage }),
    ...(storageRate !== undefined && { storageRate }),
    ...(storageDelay !== undefined && { storageDelayMs: storageDelay }),
    ...(killJob && { killJob }),
    ...(restart && { restart }),
    ...(secondJob !== undefined && { secondJob }),
    load: {
      ...(flags.load !== undefined && { kind: flags.load }),
      ...(flags.rate !== undefined && { rate: flags.rate }),
      ...(flags.clients !== undefined && { clients: flags.clients }),
      ...(flags.size !== undefined && { size: flags.size }),
    },
    job: {
      supervised: flags.supervised,
      flags: [...rankFlags],
      ...(flags.fault !== undefined && { fault: flags.fault }),
    },
  });
  return { plan, command: ["scripts/chaos", ...shellWords(flags, rankFlags)].join(" ") };
}

const REPORT_FLAGS = ["printPlan", "keep", "quiet", "json"];

function shellWords(flags: Flags, rankFlags: readonly string[]): string[] {
  const words: string[] = [];
  for (const [name, value] of Object.entries(flags)) {
    if (REPORT_FLAGS.includes(name) || value === undefined) continue;
    if (name === "supervised") words.push(...(value ? [] : ["--no-supervised"]));
    else words.push(`--${dashed(name)}`, ...(value === true ? [] : [quoted(String(value))]));
  }
  return rankFlags.length === 0 ? words : [...words, "--", ...rankFlags.map(quoted)];
}

function dashed(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

function quoted(word: string): string {
  return /^[\w@:=.,/-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

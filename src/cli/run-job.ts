/** `baash run`: keeps a job of ranks running, and stops it cleanly. */
import { Command, Option } from "commander";
import { EXIT, type ExitCode, usageError } from "../base/errors.ts";
import type { SupervisorEvent } from "../supervisor/events.ts";

const HELP = `
Flags of the ranks stand after "--"; see \`bun src/rank.ts --help\`. Where they are not given, \`run\`
adds --status, --log and --sockets, all in the run directory:

  status.json       what the ranks say of the job
  s/rank-N.sock     the sockets for clients
  log/rank-N.log    each rank's log
  job.err, job.out  what the launcher and the ranks wrote

On several hosts give a --run-dir that all of them see, and --sockets a directory of each host.

Under srun the death of one rank ends all of them (Slurm's PMIx sees to that), and a restart brings
them back; under mpirun, also within an allocation of Slurm's, the others go on.

Restarted, with growing pauses of 1 s to 60 s: a job that ended by a signal, a bug (70), an error of
files (74), or because storage and majority were lost (69). It goes on from the newest checkpoint.
Not restarted: a clean stop, a job that ended with 1, 2, 75, or 78 before any has served, and one that
died --crash-limit times within --crash-window-seconds without a settled round.

Signals: TERM, INT, HUP and USR1 stop cleanly: no new transactions, all accepted ones final, the
ledger closed. After --drain-seconds, or at a second signal, the ranks are ended; then killed.

Examples:
  baash run -n 4 -- --ledger /scratch/me/ledger
  baash run -n 4 --run-dir /tmp/ledger --json -- --ledger /scratch/me/ledger --heal spawn
  baash run -n 128 --launcher-args "--map-by node" -- --ledger $SCRATCH/ledger --heal spawn
  baash run -n 4 --wait -- --ledger /scratch/me/ledger     after the job that has it now

Exit codes:
  0   stopped cleanly, or the work is done: the ledger is closed
  1   the work was done and its result is bad
  2   wrong command line, of \`run\` or of the ranks
  69  gave up after a crash loop, or did not stop in time
  70  gave up: the last of a crash loop was a bug of ours
  74  gave up: the last of a crash loop was an error of files
  75  the ledger is in use by another job, or the run directory by another supervisor
  78  not a ledger, its configuration does not fit, or there is no launcher
A stop between two jobs answers as the job before it ended.
`;

export function runJobCommand(): Command {
  return new Command("run")
    .description("run ranks under mpirun or srun, restart them when all die, stop them cleanly")
    .argument("[flags...]", "flags of the ranks, after --")
    .requiredOption("-n, --ranks <n>", "ranks to start")
    .addOption(
      new Option("--launcher <name>", "auto is mpirun, and nothing for one rank")
        .choices(["auto", "mpirun", "srun"])
        .default("auto"),
    )
    .option("--launcher-args <text>", "more arguments of the launcher, in one text")
    .option("--run-dir <dir>", "its files; a fresh one in XDG_RUNTIME_DIR or TMPDIR if absent")
    .option("--drain-seconds <s>", "for a clean stop", "60")
    .option("--crash-limit <n>", "deaths without a settled round before giving up", "8")
    .option("--crash-window-seconds <s>", "within this time", "1800")
    .option("--wait", "wait for a ledger in use until it is free")
    .option("--json", "print each event as one line of JSON on stdout")
    .addHelpText("after", HELP)
    .action(runJob);
}

interface Flags {
  ranks: string;
  launcher: "auto" | "mpirun" | "srun";
  launcherArgs?: string;
  runDir?: string;
  drainSeconds: string;
  crashLimit: string;
  crashWindowSeconds: string;
  wait?: boolean;
  json?: boolean;
}

async function runJob(rankArgs: string[], flags: Flags): Promise<void> {
  const ranks = wholeNumber("--ranks", flags.ranks, 1, 1024);
  const drainSeconds = wholeNumber("--drain-seconds", flags.drainSeconds, 0, 86_400);
  const windowSeconds = wholeNumber("--crash-window-seconds", flags.crashWindowSeconds, 1, 1e7);
  const crashLimit = wholeNumber("--crash-limit", flags.crashLimit, 1, 1e6);
  const launcherArgs = splitWords(flags.launcherArgs ?? "");
  const launch = { ranks, launcher: flags.launcher, launcherArgs };
  // Loaded late: `--help` needs none of it.
  const { launchCommand } = await import("../supervisor/launch.ts");
  const { DEFAULT_POLICY } = await import("../supervisor/policy.ts");
  const { leaveRunDirectory, openRunDirectory } = await import("../supervisor/run-directory.ts");
  const { Supervisor } = await import("../supervisor/supervisor.ts");
  launchCommand(launch);
  const directory = openRunDirectory(flags.runDir, ranks);
  let exitCode: ExitCode | undefined;
  try {
    const policy = {
      ...DEFAULT_POLICY,
      drainMs: 1000 * drainSeconds,
      crashLimit,
      crashWindowMs: 1000 * windowSeconds,
      wait: flags.wait === true,
    };
    const say = await speaker(flags.json === true);
    const supervisor = new Supervisor({ launch, rankArgs, directory, policy }, say);
    exitCode = await supervisor.run();
    process.exitCode = exitCode;
    await say.flushed();
  } finally {
    leaveRunDirectory(directory, exitCode === EXIT.ok);
    if (directory.isFresh && exitCode !== EXIT.ok)
      process.stderr.write(`baash: its files are kept in ${directory.path}\n`);
  }
}

/** One line an event: for a person on stderr, for a program on stdout. */
async function speaker(json: boolean) {
  const { sentenceOf } = await import("../supervisor/events.ts");
  // Nobody may be there to read any more: no reason to end the job.
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});
  let written: Promise<void> = Promise.resolve();
  const write = (line: string) => {
    written = new Promise((resolve) => process.stdout.write(`${line}\n`, () => resolve()));
  };
  return {
    onEvent(event: SupervisorEvent) {
      const at = new Date().toISOString();
      const text = sentenceOf(event);
      process.stderr.write(`${at} baash: ${text}\n`);
      if (json) write(JSON.stringify({ at, ...event, text }));
    },
    onOutput(line: string) {
      if (!json) write(line);
    },
    flushed: () => written,
  };
}

function wholeNumber(flag: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (text.trim() !== "" && Number.isInteger(value) && value >= min && value <= max) return value;
  throw usageError(
    "BAD_FLAG",
    `${flag} is a whole number from ${min} to ${max}, not "${text}"; see baash run --help`,
  );
}

/** As a shell splits words: by blanks, but not within quotes of either kind. */
export function splitWords(text: string): string[] {
  const words: string[] = [];
  const pattern = /(?:"[^"]*"|'[^']*'|[^\s"'])+/g;
  for (const [word] of text.matchAll(pattern))
    words.push(word.replace(/"([^"]*)"|'([^']*)'/g, (_, double, single) => double ?? single));
  const rest = text.replace(pattern, "").trim();
  if (rest === "") return words;
  throw usageError("BAD_FLAG", `--launcher-args has a quote that does not end: ${rest}`);
}

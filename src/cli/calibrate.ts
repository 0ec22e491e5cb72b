#!/usr/bin/env bun
/**
 * Entry of scripts/calibrate: measures what `baash emulate` needs to know of this machine, with jobs
 * of two sizes, and writes it as a cost model; with --check, runs larger jobs and says how far off the
 * emulation is.
 */
import { writeFile } from "node:fs/promises";
import { availableParallelism, cpus, loadavg } from "node:os";
import { Command } from "commander";
import { BaashError, EXIT, errorCode, usageError } from "../base/errors.ts";
import type { CostModel } from "../emulation/cost-model.ts";
import type { Figures, Measurement } from "../emulation/fit.ts";
import { MEMBERS_MAX } from "../limits.ts";
import type { JobOptions } from "./calibrate/jobs.ts";
import { table } from "./emulate/present.ts";
import { REFERENCE_MODEL, readModel } from "./emulate.ts";
import { print, printJson } from "./output.ts";
import { EXIT_HELP, runProgram } from "./run.ts";

/** The promise of --check: no figure is further off. */
const ERROR_MAX = 0.3;
/** Rounds of an emulation while fitting, and while checking. */
const FIT_ROUNDS = 120;
const CHECK_ROUNDS = 1000;

const HELP = `
Without --check: hashes, synced files and MPI messages are timed alone, then jobs of 2 and 4 ranks are
run at several loads and block sizes, and what rounds, peers, blocks and transactions cost is found from
the processor time that these took.
With --check: jobs of each size are run, emulated with the model, and compared; exit code 1 when a
throughput or a median latency is more than 30 % off. Both want a machine that does nothing else.

Examples:
  scripts/calibrate --out model.json
  scripts/calibrate --check --model model.json --ranks 8,16,32
${EXIT_HELP}`;

interface Flags {
  ranks: string;
  loads: string;
  seconds: string;
  out?: string;
  check?: boolean;
  model: string;
  directory: string;
  watts: string;
  wattsSource: string;
  json?: boolean;
}

const program = new Command("calibrate")
  .description("measure this machine for baash emulate, or compare the emulation with real jobs")
  .helpOption("-h, --help", "explain")
  .allowExcessArguments(false)
  .option("--out <file>", "write the cost model here (default: print it)")
  .option("--check", "compare the emulation with real jobs")
  .option("--ranks <list>", "of --check: sizes of the jobs", "8,16,32")
  .option("--loads <list>", "of --check: transactions a second of each rank", "50,200")
  .option("--seconds <s>", "length of a job", "10")
  .option("--model <file>", "to check", REFERENCE_MODEL)
  .option("--directory <dir>", "where files are written to time the disk", "/var/tmp")
  .option("--watts <w>", "of a busy core", "4.4")
  .option(
    "--watts-source <text>",
    "where that is from",
    "280 W of an AMD EPYC 7763 over its 64 cores",
  )
  .option("--json", "print as JSON")
  .addHelpText("after", HELP)
  .action(async () => {
    const flags = program.opts<Flags>();
    const loads = list("--loads", flags.loads, 1e6);
    const [seconds] = list("--seconds", flags.seconds, 3600);
    const ranks = list("--ranks", flags.ranks, MEMBERS_MAX);
    if (flags.check) await check(flags, { ranks, loads, seconds });
    else await calibrate(flags, seconds);
  });

function list(flag: string, text: string, max: number): number[] {
  const values = text.split(",").map(Number);
  if (values.every((value) => value > 0 && value <= max)) return values;
  throw usageError("BAD_FLAG", `${flag} is a list of numbers up to ${max}, not "${text}".`);
}

const say = (text: string) => process.stderr.write(`calibrate: ${text}\n`);

async function runJobs(jobs: readonly JobOptions[]): Promise<Measurement[]> {
  const { measureJob } = await import("./calibrate/jobs.ts");
  const measured: Measurement[] = [];
  for (const job of jobs) {
    const { ranks, load, blockTransactions, seconds, cores } = job;
    const machine = `load of the machine ${loadavg()[0].toFixed(1)}`;
    say(
      `${ranks} ranks on ${cores} ${cores === 1 ? "core" : "cores"}, ${load} tx/s each in blocks of ${blockTransactions}, ${seconds} s; ${machine}`,
    );
    measured.push(await measureJob(job));
  }
  return measured;
}

async function calibrate(flags: Flags, seconds: number): Promise<void> {
  const { CALIBRATION_JOBS } = await import("./calibrate/jobs.ts");
  const { measureHash, measureMessages, measureStorage } = await import("./calibrate/machine.ts");
  const { emulatedFigures, startModel } = await import("./calibrate/emulated.ts");
  const { fitCosts } = await import("../emulation/fit.ts");
  say("hashes, synced files, MPI messages");
  const cores = availableParallelism();
  const start = startModel({
    name: `${cores} cores of ${cpus()[0].model}`,
    ...{ cores, date: new Date().toISOString().slice(0, 10) },
    ranks: [...new Set(CALIBRATION_JOBS.map(({ ranks }) => ranks))],
    hashUs: measureHash(),
    storage: measureStorage(flags.directory),
    messages: await measureMessages(),
    ...{ wattsPerCore: list("--watts", flags.watts, 1000)[0], wattsSource: flags.wattsSource },
  });
  const measured = await runJobs(CALIBRATION_JOBS.map((job) => ({ ...job, seconds })));
  say("fitting");
  const emulated = (model: CostModel, one: Measurement) => emulatedFigures(model, one, FIT_ROUNDS);
  const { model, error } = await fitCosts(start, measured, emulated);
  const points: Compared[] = [];
  for (const each of measured)
    points.push({ measured: each, emulated: await emulated(model, each) });
  process.stderr.write(describe(points));
  say(
    `processor time of the busy ones: ${(100 * error).toFixed(0)} % off (root of the mean square)`,
  );
  const text = `${JSON.stringify(model, null, 2)}\n`;
  if (flags.out === undefined) return print(text);
  try {
    await writeFile(flags.out, text);
  } catch (cause) {
    const message = `${flags.out} cannot be written (${errorCode(cause)}): name another file with --out.`;
    throw new BaashError("MODEL_UNWRITABLE", message, { exitCode: EXIT.io, cause });
  }
}

async function check(
  flags: Flags,
  asked: { ranks: readonly number[]; loads: readonly number[]; seconds: number },
): Promise<void> {
  const { BLOCK_TRANSACTIONS: blockTransactions } = await import("./calibrate/jobs.ts");
  const { parseCostModel } = await import("../emulation/cost-model.ts");
  const { emulatedFigures } = await import("./calibrate/emulated.ts");
  const model = parseCostModel(await readModel(flags.model), flags.model);
  const points: Compared[] = [];
  const { seconds } = asked;
  const cores = availableParallelism();
  const jobs = asked.ranks.flatMap((ranks) =>
    asked.loads.map((load) => ({ ranks, load, blockTransactions, seconds, cores })),
  );
  for (const measured of await runJobs(jobs))
    points.push({ measured, emulated: await emulatedFigures(model, measured, CHECK_ROUNDS) });
  if (flags.json) await printJson(points);
  else await print(describe(points));
  const worst = Math.max(
    ...points.flatMap((point) => CHECKED.map((name) => Math.abs(off(point, name)))),
  );
  say(`the largest error is ${(100 * worst).toFixed(0)} %`);
  if (!(worst <= ERROR_MAX)) process.exitCode = EXIT.failed;
}

interface Compared {
  readonly measured: Measurement;
  readonly emulated: Figures;
}

const CHECKED = ["throughput", "agreedMs", "finalMs"] as const;
const COLUMNS = [
  ["throughput", "tx/s"],
  ["roundsPerS", "rounds/s"],
  ["agreedMs", "agreed p50 ms"],
  ["finalMs", "final p50 ms"],
] as const;

/** Of the measured figure: 0.1 is a tenth too much. */
function off({ measured, emulated }: Compared, name: keyof Figures): number {
  return emulated[name] / measured[name] - 1;
}

function describe(points: readonly Compared[]): string {
  const short = (value: number) => String(Number(value.toPrecision(4)));
  const head = COLUMNS.flatMap(([, title]) => [title, "emulated", "error"]);
  const rows = points.map((point) => [
    ...[String(point.measured.ranks), String(point.measured.cores), String(point.measured.load)],
    String(point.measured.blockTransactions),
    `${(100 * point.measured.busy).toFixed(0)} %`,
    ...COLUMNS.flatMap(([name]) => [
      short(point.measured[name]),
      short(point.emulated[name]),
      `${(100 * off(point, name)).toFixed(0)} %`,
    ]),
  ]);
  return table([["ranks", "cores", "load", "block", "busy", ...head], ...rows]);
}

process.exit(await runProgram(program, process.argv.slice(2)));

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
import { readModel } from "./emulate.ts";
import { print, printJson, table } from "./output.ts";
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
With --check: jobs of each of --ranks are run among these, and emulated with the costs that were found at 2
and 4 ranks; exit code 1 when a throughput or, where the load is served, a median latency is more than 30 % off. It takes some fifteen
minutes, and as many times that as there are --repeats. Both want a machine that does nothing else.

Examples:
  scripts/calibrate --out model.json
  scripts/calibrate --check --json > measured.json
  scripts/calibrate --check --again measured.json
${EXIT_HELP}`;

interface Flags {
  ranks: string;
  loads: string;
  seconds: string;
  out?: string;
  check?: boolean;
  repeats: string;
  again?: string;
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
  .option("--loads <list>", "of --check: transactions a second of each rank", "50,200,3200")
  .option("--seconds <s>", "length of a job", "10")
  .option("--repeats <n>", "run each job so often, and take the medians", "1")
  .option("--again <file>", "fit, and compare, what an earlier --json has measured")
  .option("--directory <dir>", "where files are written to time the disk", "/var/tmp")
  .option("--watts <w>", "of a busy core", "4.4")
  .option(
    "--watts-source <text>",
    "where that is from",
    "280 W of an AMD EPYC 7763 over its 64 cores",
  )
  .option("--json", "print as JSON")
  .addHelpText("after", HELP)
  .action(() => calibrate(program.opts<Flags>()));

function list(flag: string, text: string, max: number): number[] {
  const values = text.split(",").map(Number);
  if (values.every((value) => value > 0 && value <= max)) return values;
  throw usageError("BAD_FLAG", `${flag} is a list of numbers up to ${max}, not "${text}".`);
}

const say = (text: string) => process.stderr.write(`calibrate: ${text}\n`);

/** All jobs, one after the other, and all again: each one's medians. */
async function runJobs(jobs: readonly JobOptions[], repeats: number): Promise<Measurement[]> {
  const { medianOf } = await import("../emulation/fit.ts");
  const measured: Measurement[][] = jobs.map(() => []);
  for (let repeat = 0; repeat < repeats; repeat++)
    for (const [i, measurement] of (await runOnce(jobs)).entries()) measured[i].push(measurement);
  return measured.map(medianOf);
}

async function runOnce(jobs: readonly JobOptions[]): Promise<Measurement[]> {
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

/** What was measured: of a --json, and enough to fit and compare again. */
interface MeasuredJobs {
  /** Single operations, and what is assumed. */
  readonly start: CostModel;
  /** Of 2 and 4 ranks. */
  readonly small: readonly Measurement[];
  readonly large: readonly Measurement[];
}

async function measure(flags: Flags, large: readonly JobOptions[]): Promise<MeasuredJobs> {
  const { CALIBRATION_JOBS } = await import("./calibrate/jobs.ts");
  const { measureHash, measureMessages, measureStorage } = await import("./calibrate/machine.ts");
  const { startModel } = await import("./calibrate/emulated.ts");
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
  const [seconds] = list("--seconds", flags.seconds, 3600);
  const small = CALIBRATION_JOBS.map((job) => ({ ...job, seconds }));
  const [repeats] = list("--repeats", flags.repeats, 100);
  const measured = await runJobs(alternating(small, large), Math.round(repeats));
  const isSmall = ({ ranks }: Measurement) => start.machine.ranks.includes(ranks);
  return {
    start,
    small: measured.filter(isSmall),
    large: measured.filter((one) => !isSmall(one)),
  };
}

/** Both lists at once, the shorter one spread over the longer: a machine is not as fast at all times. */
function alternating<T>(longer: readonly T[], shorter: readonly T[]): T[] {
  const step = longer.length / Math.max(1, shorter.length);
  const places = [
    ...longer.map((job, i) => ({ job, at: i })),
    ...shorter.map((job, i) => ({ job, at: (i + 0.5) * step })),
  ];
  return places.sort((a, b) => a.at - b.at).map(({ job }) => job);
}

async function fit({ start, small }: MeasuredJobs): Promise<CostModel> {
  const { emulatedFigures } = await import("./calibrate/emulated.ts");
  const { fitCosts } = await import("../emulation/fit.ts");
  say("fitting");
  const emulated = (model: CostModel, one: Measurement) => emulatedFigures(model, one, FIT_ROUNDS);
  const { model, error } = await fitCosts(start, small, emulated);
  const points = await compare(model, small, FIT_ROUNDS);
  process.stderr.write(describe(points));
  say(
    `processor time of the busy ones: ${(100 * error).toFixed(0)} % off (root of the mean square)`,
  );
  return model;
}

async function compare(
  model: CostModel,
  jobs: readonly Measurement[],
  rounds: number,
): Promise<Compared[]> {
  const { emulatedFigures } = await import("./calibrate/emulated.ts");
  const points: Compared[] = [];
  for (const measured of jobs)
    points.push({ measured, emulated: await emulatedFigures(model, measured, rounds) });
  return points;
}

async function calibrate(flags: Flags): Promise<void> {
  const { BLOCK_TRANSACTIONS: blockTransactions } = await import("./calibrate/jobs.ts");
  const loads = list("--loads", flags.loads, 1e6);
  const ranks = list("--ranks", flags.ranks, MEMBERS_MAX);
  const [seconds] = list("--seconds", flags.seconds, 3600);
  const cores = availableParallelism();
  const large = flags.check
    ? ranks.flatMap((ranks) =>
        loads.map((load) => ({ ranks, load, blockTransactions, seconds, cores })),
      )
    : [];
  const session = flags.again === undefined ? await measure(flags, large) : await read(flags.again);
  const model = await fit(session);
  const points = flags.check ? await compare(model, session.large, CHECK_ROUNDS) : [];
  if (flags.out !== undefined) await write(flags.out, model);
  if (flags.json) await printJson({ ...session, model, points });
  else if (flags.check) await print(describe(points));
  else if (flags.out === undefined) await print(textOf(model));
  if (!flags.check) return;
  const worst = Math.max(...points.flatMap(errorsOf));
  say(`the largest error is ${(100 * worst).toFixed(0)} %`);
  if (!(worst <= ERROR_MAX)) process.exitCode = EXIT.failed;
}

async function read(path: string): Promise<MeasuredJobs> {
  const text = await readModel(path);
  try {
    const measured = JSON.parse(text) as MeasuredJobs;
    if (measured.start && measured.small?.length > 0 && measured.large !== undefined)
      return measured;
  } catch {
    // Said below.
  }
  throw usageError(
    "BAD_FLAG",
    `${path} holds no measurements: give --again what \`scripts/calibrate --check --json\` has printed.`,
  );
}

const textOf = (model: CostModel) => `${JSON.stringify(model, null, 2)}\n`;

async function write(path: string, model: CostModel): Promise<void> {
  try {
    await writeFile(path, textOf(model));
  } catch (cause) {
    const message = `${path} cannot be written (${errorCode(cause)}): name another file with --out.`;
    throw new BaashError("MODEL_UNWRITABLE", message, { exitCode: EXIT.io, cause });
  }
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

/** Less than this part of what was asked for is served: what waits, and so latency, grows for ever. */
const SERVED = 0.9;
const isOverloaded = ({ measured: { ranks, load, throughput } }: Compared) =>
  throughput < SERVED * ranks * load;

/** What a point is judged by. */
function errorsOf(point: Compared): number[] {
  const names = isOverloaded(point) ? (["throughput"] as const) : CHECKED;
  return names.map((name) => Math.abs(off(point, name)));
}

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

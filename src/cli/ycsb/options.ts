/**
 * The command line of ycsb-load: YCSB's words and ours, checked together with the properties before
 * anything is started. Flags beat -p, which beats the files.
 */
import { existsSync, readFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { Command, Option } from "commander";
import { usageError } from "../../base/errors.ts";
import { type AskedPhase, phasesOf } from "../../job/load-phases.ts";
import {
  mergeProperties,
  type Properties,
  type Property,
  type PropertyFile,
  readPropertyFile,
} from "../../workload/properties.ts";
import { PROPERTY_SCHEMA, type PropertyName } from "../../workload/property-schema.ts";
import { buildWorkloadConfig, type WorkloadConfig } from "../../workload/workload-config.ts";
import { EXIT_HELP } from "../run.ts";

const WORKLOADS = join(import.meta.dir, "../../../scripts/workloads");
/** What runs when no property file is named: enough operations to measure something. */
const DEFAULT_FILE = "workloada";
const DEFAULT_OPERATIONS = "operationcount=100000";

export type Output = "ycsb" | "json" | "table";

export interface LoadPlan {
  readonly phase: AskedPhase;
  readonly properties: Properties;
  readonly workload: WorkloadConfig;
  /** Absolute; undefined: a fresh one in a temporary directory. */
  readonly ledger: string | undefined;
  readonly ledgerKey: string | undefined;
  readonly fresh: boolean;
  readonly keep: boolean;
  readonly force: boolean;
  readonly load: "ranks" | "clients";
  readonly breakdown: boolean;
  readonly output: Output;
  /** Status lines also on a terminal. */
  readonly status: boolean;
  readonly label: string;
}

interface Flags {
  P?: string[];
  p?: string[];
  threads?: string;
  target?: string;
  s?: boolean;
  label?: string;
  ranks?: string;
  blockSize?: string;
  difficulty?: string;
  ack?: string;
  ledger?: string;
  ledgerKey?: string;
  fresh?: boolean;
  keep?: boolean;
  force?: boolean;
  load: "ranks" | "clients";
  breakdown?: boolean;
  output?: Output;
}

const collect = (value: string, all: string[] = []) => [...all, value];

export function loadCommand(): Command {
  return new Command("ycsb-load")
    .description(
      "start a ledger of MPI ranks, drive it with a YCSB workload, measure it, verify it",
    )
    .helpOption("-h, --help", "explain")
    .argument("[phase]", "load or run; without it both, one after the other")
    .allowExcessArguments(false)
    .addOption(new Option("-P <file>", "property file; later ones win").argParser(collect))
    .addOption(new Option("-p <name=value>", "property; beats the files").argParser(collect))
    .option("--threads <n>", "or -threads: outstanding transactions of all ranks (threadcount)")
    .option("--target <ops/s>", "or -target: operations a second of all ranks (target)")
    .option("-s", "status lines on stderr, also on a terminal")
    .option("-l, --label <text>", "in front of the status lines")
    .option("-n, --ranks <n>", "MPI ranks (baash.ranks)")
    .option("--block-size <n>", "transactions in a block (baash.blocksize)")
    .option("--difficulty <bits>", "puzzle of a new ledger (baash.difficulty)")
    .option("--ack <level>", "agreed or final: what completes an operation (baash.ack)")
    .option("--ledger <dir>", "keep the ledger here; one that is there goes on")
    .option("--ledger-key <file>", "its key (default: ~/.config/baash/keys)")
    .option("--fresh", "refuse to go on with a ledger that exists")
    .option("--force", "accept a file system that forgets, such as tmpfs")
    .option("--keep", "keep the temporary files: ledger, key, journals, result")
    .addOption(
      new Option("--load <from>", "who makes the load: the ranks, or a client process each")
        .choices(["ranks", "clients"])
        .default("ranks"),
    )
    .option("--breakdown", "say where the time of the ranks' main threads goes")
    .addOption(new Option("--output <form>", "report on stdout").choices(["ycsb", "json", "table"]))
    .addHelpText("after", HELP);
}

const HELP = `
Without -P it is workload a with 100,000 operations. Without --ledger the ledger is a fresh one on a
real disk (TMPDIR, or /var/tmp where that is memory) and is removed once it is verified.

Examples:
  scripts/ycsb-load
  scripts/ycsb-load -P workloadb -p recordcount=10000 -p operationcount=500000 -n 8
  scripts/ycsb-load -P paper -n 16 -p maxexecutiontime=60
  scripts/ycsb-load -P transfers --output table
  scripts/ycsb-load load -P workloada --ledger /scratch/me/ledger
  scripts/ycsb-load run -P workloada --ledger /scratch/me/ledger -target 5000 -s --ack agreed
  scripts/ycsb-load --load clients --output json | jq .verified

Workloads: a path, or a name of scripts/workloads: workloada to workloadf, paper, transfers.
Signals: INT and TERM end the load early; what was accepted becomes final, and is reported and
verified as ever. A second one ends the job at once.

Properties (YCSB's, and ours after "baash."), with their presets:
${Object.entries(PROPERTY_SCHEMA)
  .map(([name, { preset, about }]) => `  ${`${name}=${preset}`.padEnd(38)} ${about}`)
  .join("\n")}
${EXIT_HELP}`;

/** YCSB's long options have one dash. */
export function normalizeArguments(args: readonly string[]): string[] {
  return args.map((arg) => (/^-(threads|target)$/.test(arg) ? `-${arg}` : arg));
}

/** Throws usage (2) and configuration (78) errors, with nothing started. */
export async function planLoad(phase: string | undefined, flags: Flags): Promise<LoadPlan> {
  if (phase !== undefined && phase !== "load" && phase !== "run") {
    throw usageError("BAD_PHASE", `The first word is load, run or nothing, not "${phase}".`);
  }
  const properties = await readProperties(flags);
  const workload = buildWorkloadConfig(properties, (path) => readFileSync(path, "utf8"));
  const plan: LoadPlan = {
    phase: phase ?? "all",
    properties,
    workload,
    ledger: flags.ledger === undefined ? undefined : resolve(flags.ledger),
    ledgerKey: flags.ledgerKey === undefined ? undefined : resolve(flags.ledgerKey),
    fresh: flags.fresh ?? false,
    keep: flags.keep ?? false,
    force: flags.force ?? false,
    load: flags.load,
    breakdown: flags.breakdown ?? false,
    output: flags.output ?? workload.report,
    status: flags.s ?? false,
    label: flags.label ?? "",
  };
  if (plan.ledger === undefined && !phasesOf(plan.phase, workload).includes("load")) {
    throw usageError(
      "RUN_WITHOUT_LEDGER",
      "run needs records that were loaded before: name their ledger with --ledger DIR, or leave the word out to load first.",
    );
  }
  return plan;
}

async function readProperties(flags: Flags): Promise<Properties> {
  const named = flags.P ?? [];
  const paths = named.length > 0 ? named : [join(WORKLOADS, DEFAULT_FILE)];
  const files: PropertyFile[] = await Promise.all(
    paths.map((path) => readPropertyFile(findWorkload(path))),
  );
  const assigned = flags.p ?? [];
  const assignments = named.length > 0 ? assigned : [DEFAULT_OPERATIONS, ...assigned];
  const properties = new Map(mergeProperties(files, assignments));
  for (const property of flagProperties(flags)) properties.set(property.name, property);
  return properties;
}

/** A bare name that is no file here is one of ours. */
function findWorkload(path: string): string {
  const ours = join(WORKLOADS, path);
  return basename(path) === path && !existsSync(path) && existsSync(ours) ? ours : path;
}

function flagProperties(flags: Flags): Property[] {
  const given: [PropertyName, string, string | undefined][] = [
    ["threadcount", "-threads", flags.threads],
    ["target", "-target", flags.target],
    ["baash.ranks", "-n", flags.ranks],
    ["baash.blocksize", "--block-size", flags.blockSize],
    ["baash.difficulty", "--difficulty", flags.difficulty],
    ["baash.ack", "--ack", flags.ack],
  ];
  return given.flatMap(([name, flag, value]) =>
    value === undefined ? [] : [{ name, value, where: `${flag} ${value}`, fromCommandLine: true }],
  );
}

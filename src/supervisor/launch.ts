/**
 * How ranks are started: the launcher's command line and its environment. Settings of Open MPI go by
 * environment, so that what the user has set there, or gives on the launcher's command line, wins.
 */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { configurationError, errorCode } from "../base/errors.ts";
import { SUPERVISED } from "./last-words.ts";

export const RANK_PROGRAM = join(import.meta.dir, "../rank.ts");

/** Open MPI's daemon complains about its own clean-up, and tells of the signals that we send. */
export const LAUNCHER_NOISE =
  /^(\[[^\]]*\] PMIX ERROR: .* in file \S+ at line \d+|mpirun: Forwarding signal \d+ to job)$/;

export const LAUNCHERS = ["auto", "mpirun", "srun"] as const;

export interface LaunchOptions {
  readonly ranks: number;
  /** auto: none for one rank, mpirun otherwise. */
  readonly launcher?: (typeof LAUNCHERS)[number];
  /** More arguments of the launcher; they stand last, so that they win. */
  readonly launcherArgs?: readonly string[];
  /**
   * For a job that goes on when a rank dies or ends with a code, and says its last words. Open MPI's
   * mpirun then answers 0, whatever happened.
   */
  readonly survives?: boolean;
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * What to put before the command of a rank. Throws MPIRUN_MISSING, SRUN_MISSING (exit 78).
 */
export function launchCommand(options: LaunchOptions): string[] {
  const { ranks, launcher = "auto", launcherArgs = [] } = options;
  // One rank needs no launcher.
  if (launcher === "auto" && ranks === 1 && launcherArgs.length === 0) return [];
  if (launcher === "srun") return [...srunCommand(options), ...launcherArgs];
  const mpirun = Bun.which("mpirun");
  if (mpirun === null) {
    throw configurationError(
      "MPIRUN_MISSING",
      `There is no mpirun on PATH, which ${ranks} ranks need: run scripts/setup, load your cluster's MPI module, or take one rank with -n 1.`,
    );
  }
  const command = [mpirun, "-n", String(ranks)];
  // Only Open MPI has to be told to hand variables to other hosts.
  if (options.survives && isOpenMpi(mpirun)) {
    const own = Object.keys(process.env).filter((name) => name.startsWith("BAASH_"));
    for (const name of new Set([SUPERVISED, ...own])) command.push("-x", name);
  }
  return [...command, ...launcherArgs];
}

function isOpenMpi(mpirun: string): boolean {
  const { stdout } = spawnSync(mpirun, ["--version"], { encoding: "utf8" });
  return stdout?.includes("Open MPI") ?? false;
}

function srunCommand({ ranks, survives }: LaunchOptions): string[] {
  const srun = Bun.which("srun");
  if (srun === null) {
    throw configurationError(
      "SRUN_MISSING",
      "There is no srun on PATH: this host is not part of a Slurm cluster, take --launcher mpirun.",
    );
  }
  // A rank has threads of its own: it must not be bound to one core.
  const command = [srun, "--mpi=pmix", `--ntasks=${ranks}`, "--cpu-bind=none"];
  if (isCrowded(ranks, process.env)) command.push("--overcommit");
  // An exit code or the loss of a host ends no other rank. A signal does: Slurm's PMIx (22.05) then
  // ends the whole step, whatever one asks for.
  if (survives) command.push("--kill-on-bad-exit=0", "--no-kill", "--wait=0");
  return command;
}

/**
 * Where ranks outnumber cores, the compilers and collectors of so many engines take what the ranks
 * need: one thread of each, and only the hottest code through the last tier (4 ranks on 2 cores:
 * about a fifth less processor time in the first seconds).
 */
const CROWDED: Environment = {
  BUN_JSC_numberOfDFGCompilerThreads: "1",
  BUN_JSC_numberOfFTLCompilerThreads: "1",
  BUN_JSC_numberOfGCMarkers: "1",
  BUN_JSC_thresholdForFTLOptimizeAfterWarmUp: "1000000",
  OMPI_MCA_rmaps_base_oversubscribe: "1",
  OMPI_MCA_mpi_yield_when_idle: "1",
};

/** Measured with Open MPI 4.1: with both, survivors of a SIGKILL and of any exit code go on. */
const SURVIVAL: Environment = {
  OMPI_MCA_orte_enable_recovery: "1",
  OMPI_MCA_orte_abort_on_non_zero_status: "0",
  [SUPERVISED]: "1",
};

/** Without survival the ranks say themselves why they end; of a job that survives all is kept. */
const QUIET: Environment = { OMPI_MCA_orte_execute_quiet: "1" };

/** Open MPI refuses root unless it is told twice. */
const ROOT: Environment = {
  OMPI_ALLOW_RUN_AS_ROOT: "1",
  OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: "1",
};

/** Of the launcher, and so of the ranks on this machine. What the user has set stays. */
export function launchEnvironment(
  { ranks, survives = false }: LaunchOptions,
  environment: Environment = process.env,
): Record<string, string | undefined> {
  return {
    // A rank has threads of its own: it must not be bound to one core.
    OMPI_MCA_hwloc_base_binding_policy: "none",
    ...(isCrowded(ranks, environment) && CROWDED),
    ...(survives ? SURVIVAL : QUIET),
    ...(process.geteuid?.() === 0 && ROOT),
    ...environment,
  };
}

function isCrowded(ranks: number, environment: Environment): boolean {
  return Math.ceil(ranks / hostCount(environment)) > availableParallelism();
}

/** Hosts that the batch system has given to this job, by the variables of Slurm, PBS and LSF. */
export function hostCount(environment: Environment): number {
  const told = Number(environment.SLURM_JOB_NUM_NODES ?? environment.SLURM_NNODES);
  if (Number.isInteger(told) && told > 0) return told;
  const file = environment.PBS_NODEFILE ?? environment.LSB_DJOB_HOSTFILE;
  if (file === undefined) return 1;
  try {
    const names = readFileSync(file, "utf8").split(/\s+/).filter(Boolean);
    return Math.max(1, new Set(names).size);
  } catch (error) {
    throw configurationError(
      "HOSTS_UNREADABLE",
      `The batch system's list of hosts, ${file}, cannot be read (${errorCode(error)}): start within the batch job that it belongs to.`,
    );
  }
}

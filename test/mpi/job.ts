/** Starts a program of ./programs as an MPI job and collects the lines of JSON that it prints. */
import { fileURLToPath } from "node:url";

export interface Job {
  readonly ranks: number;
  readonly program: string;
  readonly env?: Record<string, string>;
  /** The job goes on when a rank dies or ends without finalizing. */
  readonly survives?: boolean;
  /** A hung job must not hang the tests; a good one takes a tenth of this on a quiet machine. */
  readonly timeoutMs?: number;
}

export interface JobResult {
  readonly exitCode: number;
  readonly stderr: string;
  /** One object a rank that printed one, in the order of ranks. */
  readonly results: Record<string, unknown>[];
}

const JOB_TIMEOUT_MS = 30_000;

export const openMpi = Bun.spawnSync(["mpirun", "--version"])
  .stdout.toString()
  .includes("Open MPI");

/** Ranks outnumber cores here: MPI must yield, and must not bind a whole rank to one core. */
function launcherArguments(job: Job): string[] {
  if (!openMpi)
    return ["-n", String(job.ranks), ...(job.survives ? ["-disable-auto-cleanup"] : [])];
  return [
    "--oversubscribe",
    ...["--bind-to", "none"],
    ...["--mca", "mpi_yield_when_idle", "1"],
    ...(job.survives ? ["--enable-recovery", "--mca", "orte_abort_on_non_zero_status", "0"] : []),
    ...["-n", String(job.ranks)],
  ];
}

export async function runJob(job: Job): Promise<JobResult> {
  const path = fileURLToPath(new URL(`./programs/${job.program}.ts`, import.meta.url));
  // Without ranks the program starts alone, without mpirun.
  const launcher = job.ranks === 0 ? [] : ["mpirun", ...launcherArguments(job)];
  const child = Bun.spawn([...launcher, process.execPath, path], {
    env: {
      ...process.env,
      OMPI_ALLOW_RUN_AS_ROOT: "1",
      OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: "1",
      ...job.env,
    },
    stdout: "pipe",
    stderr: "pipe",
    timeout: job.timeoutMs ?? JOB_TIMEOUT_MS,
  });
  const [stdout, stderr, exitCode] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  const results = stdout
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .sort((a, b) => Number(a.rank) - Number(b.rank));
  return { exitCode, stderr, results };
}

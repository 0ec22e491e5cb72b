/**
 * Starts the ranks of a job under mpirun and listens to them: JSON lines of rank 0 on stdout, people's
 * sentences on stderr. The job has a process group of its own, so that Ctrl-C reaches us and not
 * mpirun, which would end the ranks at once.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { configurationError } from "../../base/errors.ts";

const RANK_PROGRAM = join(import.meta.dir, "../../rank.ts");
/** Between asking mpirun to end and ending its processes. */
const GRACE_MS = 5000;
/** Open MPI's daemon complains about its own clean-up, and tells of the signal that we send. */
const NOISE =
  /^(\[[^\]]*\] PMIX ERROR: .* in file \S+ at line \d+|mpirun: Forwarding signal \d+ to job)$/;

export interface Launch {
  readonly ranks: number;
  /** Arguments of src/rank.ts. */
  readonly args: readonly string[];
}

/** How to start `ranks` processes. Throws MPIRUN_MISSING (exit 78). */
export function launchCommand(ranks: number): string[] {
  // One rank needs no launcher.
  if (ranks === 1) return [];
  const mpirun = Bun.which("mpirun");
  if (mpirun === null) {
    throw configurationError(
      "MPIRUN_MISSING",
      `There is no mpirun on PATH, which ${ranks} ranks need: run scripts/setup, load your cluster's MPI module, or take one rank with -n 1.`,
    );
  }
  const count = ["-n", String(ranks)];
  const version = spawnSync(mpirun, ["--version"], { encoding: "utf8" }).stdout ?? "";
  if (!version.includes("Open MPI")) return [mpirun, ...count];
  // A rank has threads of its own: it must not be bound to one core.
  // Quiet: the ranks say themselves why they end.
  const flags = ["--quiet", "--bind-to", "none"];
  if (ranks > availableParallelism()) {
    flags.push("--oversubscribe", "--mca", "mpi_yield_when_idle", "1");
  }
  return [mpirun, ...flags, ...count];
}

/**
 * Where ranks outnumber cores, the compilers and collectors of so many engines take what the ranks
 * need: one thread of each, and only the hottest code through the last tier (4 ranks on 2 cores:
 * about a fifth less processor time in the first seconds). What the user has set stays.
 */
const CROWDED: Readonly<Record<string, string>> = {
  BUN_JSC_numberOfDFGCompilerThreads: "1",
  BUN_JSC_numberOfFTLCompilerThreads: "1",
  BUN_JSC_numberOfGCMarkers: "1",
  BUN_JSC_thresholdForFTLOptimizeAfterWarmUp: "1000000",
};

/** Of mpirun, and so of ranks on this machine; Open MPI refuses root unless it is told twice. */
export function launchEnvironment(ranks: number): NodeJS.ProcessEnv {
  return {
    ...(ranks > availableParallelism() && CROWDED),
    ...(process.geteuid?.() === 0 && {
      OMPI_ALLOW_RUN_AS_ROOT: "1",
      OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: "1",
    }),
    ...process.env,
  };
}

export class Job {
  readonly exited: Promise<number>;
  private readonly child: ChildProcess;
  private timer: ReturnType<typeof setTimeout> | undefined;

  /** `onLine` gets what rank 0 says, `onText` what is meant for people. */
  constructor(
    launch: Launch,
    hooks: { onLine(line: Record<string, unknown>): void; onText(text: string): void },
  ) {
    const [program, ...args] = [
      ...launchCommand(launch.ranks),
      process.execPath,
      RANK_PROGRAM,
      ...launch.args,
    ];
    this.child = spawn(program, args, {
      detached: true,
      env: launchEnvironment(launch.ranks),
      stdio: ["ignore", "pipe", "pipe"],
    });
    const out = readLines(this.child.stdout!, (line) => {
      if (line.startsWith("{")) hooks.onLine(JSON.parse(line));
      else hooks.onText(line);
    });
    const err = readLines(this.child.stderr!, (line) => {
      if (!NOISE.test(line)) hooks.onText(line);
    });
    const ended = new Promise<number>((resolve) => {
      this.child.once("exit", (code, signal) => resolve(signal === null ? (code ?? 1) : 1));
      this.child.once("error", () => resolve(1));
    });
    this.exited = Promise.all([ended, out, err]).then(([code]) => {
      clearTimeout(this.timer);
      return code;
    });
  }

  /** All accepted transactions become final, the ledger is closed. mpirun hands the signal on. */
  drain(): void {
    this.child.kill("SIGUSR1");
  }

  /** Ends it whatever it does. */
  kill(): void {
    this.signalAll("SIGTERM");
    this.timer ??= setTimeout(() => this.signalAll("SIGKILL"), GRACE_MS);
  }

  private signalAll(signal: NodeJS.Signals): void {
    if (this.child.pid === undefined || this.child.exitCode !== null) return;
    try {
      process.kill(-this.child.pid, signal);
    } catch {
      // Gone since we looked.
    }
  }
}

/** Resolves at the end of the stream. */
export function readLines(
  stream: NodeJS.ReadableStream,
  onLine: (line: string) => void,
): Promise<void> {
  return new Promise((resolve) => {
    createInterface({ input: stream }).on("line", onLine).on("close", resolve);
  });
}

/**
 * Starts the ranks of a job under mpirun and listens to them: JSON lines of rank 0 on stdout, people's
 * sentences on stderr. The job has a process group of its own, so that Ctrl-C reaches us and not
 * mpirun, which would end the ranks at once.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import {
  LAUNCHER_NOISE,
  launchCommand,
  launchEnvironment,
  RANK_PROGRAM,
} from "../../supervisor/launch.ts";

/** Between asking mpirun to end and ending its processes. */
const GRACE_MS = 5000;
export interface Launch {
  readonly ranks: number;
  /** Arguments of src/rank.ts. */
  readonly args: readonly string[];
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
      ...launchCommand(launch),
      process.execPath,
      RANK_PROGRAM,
      ...launch.args,
    ];
    this.child = spawn(program, args, {
      detached: true,
      env: launchEnvironment(launch),
      stdio: ["ignore", "pipe", "pipe"],
    });
    const out = readLines(this.child.stdout!, (line) => {
      if (line.startsWith("{")) hooks.onLine(JSON.parse(line));
      else hooks.onText(line);
    });
    const err = readLines(this.child.stderr!, (line) => {
      if (!LAUNCHER_NOISE.test(line)) hooks.onText(line);
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

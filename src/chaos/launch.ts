/**
 * Starts the job that a chaos run torments, and finds its processes. `jobCommand` alone knows how a
 * job is started: under `baash run`, or by the launcher without anybody who would start it again.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { EXIT } from "../base/errors.ts";
import { readLines } from "../cli/ycsb/launch.ts";
import { launchCommand, launchEnvironment } from "../supervisor/launch.ts";
import { type JobView, readJobView } from "./job-view.ts";
import {
  findMarked,
  killMarked,
  MARK_VARIABLE,
  MarkCache,
  type MarkedProcess,
  signal,
} from "./processes.ts";

const RANK_PROGRAM = join(import.meta.dir, "../rank.ts");
const COMMAND_PROGRAM = join(import.meta.dir, "../cli.ts");
/** Open MPI's daemon complains about its own clean-up, and tells of the signals that we send. */
/** Who speaks, and when, is known here. */
const PREAMBLE = /^(\d{4}-\d\d-\d\dT[\d:.]+Z )?baash: /;
const NOISE = /PMIX ERROR|Forwarding signal|^-{20,}$|^\s*$/;

export interface JobPlaces {
  readonly ledger: string;
  readonly ledgerKey: string;
  /** Its own files; the sockets lie in s/, a short name since paths of sockets are short. */
  readonly run: string;
}

type Run = Pick<JobPlaces, "run">;
export const socketsOf = ({ run }: Run) => join(run, "s");
export const statusOf = ({ run }: Run) => join(run, "status.json");
export const resultsOf = ({ run }: Run) => join(run, "result.json");

export interface JobSpec {
  readonly ranks: number;
  readonly supervised: boolean;
  readonly places: JobPlaces;
  /** More flags of the ranks. */
  readonly flags: readonly string[];
  /** Of the ranks, beside what is there anyway. */
  readonly environment: Readonly<Record<string, string>>;
  /** Sentences of the job for people. */
  onText(text: string): void;
}

/** A rank that lives, with its number in the transport where that is known. */
export interface LiveRank extends MarkedProcess {
  readonly process: number;
}

function rankFlags({ places, flags }: JobSpec): string[] {
  return [
    ...["--ledger", places.ledger, "--ledger-key", places.ledgerKey],
    ...["--sockets", socketsOf(places), "--status", statusOf(places)],
    ...["--results", resultsOf(places), "--log", join(places.run, "log")],
    ...flags,
  ];
}

function jobCommand(spec: JobSpec): string[] {
  const { ranks, places, supervised } = spec;
  const flags = rankFlags(spec);
  if (supervised) {
    const run = ["run", "-n", String(ranks), "--run-dir", places.run, "--"];
    return [process.execPath, COMMAND_PROGRAM, ...run, ...flags];
  }
  return [...launchCommand({ ranks, survives: true }), process.execPath, RANK_PROGRAM, ...flags];
}

function jobEnvironment({ ranks, supervised, environment }: JobSpec): NodeJS.ProcessEnv {
  const own = { ...process.env, ...environment };
  return supervised ? own : launchEnvironment({ ranks, survives: true }, own);
}

/** Ends what carries a mark once nobody holds the other end of its stdin: scripts/chaos was killed. */
const GUARD = `read -r _ && exit 0
for p in /proc/[0-9]*; do
  grep -qzx "$1" "$p/environ" 2>/dev/null && kill -KILL "\${p#/proc/}"
done`;

function startGuard(mark: string): ChildProcess {
  const args = ["-c", GUARD, "baash-chaos-guard", `${MARK_VARIABLE}=${mark}`];
  const stdio = ["pipe", "ignore", "ignore"] as const;
  const guard = spawn("/bin/sh", args, { detached: true, stdio: [...stdio] });
  guard.on("error", () => {}); // one safety less
  guard.stdin!.on("error", () => {});
  return guard;
}

let started = 0;

export class ChaosJob {
  /** Resolves with the exit code of the supervisor, or of the launcher. */
  readonly exited: Promise<number>;
  hasExited = false;
  /** What it said, last words of ranks among it; a supervisor keeps these for itself, in job.err. */
  readonly texts: string[] = [];
  readonly spec: JobSpec;
  private readonly mark = `${process.pid}-${Date.now().toString(36)}-${++started}`;
  private readonly child: ChildProcess;
  private readonly guard: ChildProcess;
  private readonly cache = new MarkCache();

  constructor(spec: JobSpec) {
    this.spec = spec;
    mkdirSync(socketsOf(spec.places), { recursive: true, mode: 0o700 });
    const [program, ...args] = jobCommand(spec);
    this.guard = startGuard(this.mark);
    this.child = spawn(program, args, {
      // Ctrl-C is for us alone: what becomes of the job we decide.
      detached: true,
      env: { ...jobEnvironment(spec), [MARK_VARIABLE]: this.mark },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const tell = (line: string) => {
      this.texts.push(line);
      if (!NOISE.test(line)) spec.onText(line.replace(PREAMBLE, ""));
    };
    const output = [readLines(this.child.stdout!, tell), readLines(this.child.stderr!, tell)];
    const ended = new Promise<number>((resolve) => {
      this.child.once("exit", (code) => resolve(code ?? EXIT.failed));
      this.child.once("error", () => resolve(EXIT.failed));
    });
    this.exited = ended.then((code) => {
      this.hasExited = true;
      return code;
    });
    void Promise.all(output);
  }

  /** By the status file; undefined while there is none. */
  view(): JobView | undefined {
    return readJobView(statusOf(this.spec.places));
  }

  /** Ranks that live, also those that are stopped, by process number. */
  ranks(): LiveRank[] {
    const numbers = new Map(this.view()?.members.map(({ pid, process }) => [pid, process]));
    const ranks = findMarked(this.mark, this.cache).filter(({ isRank }) => isRank);
    // Before there is a status the launcher's numbers are the transport's. Later, who is no member
    // yet comes last, in the order of starting.
    const numberOf = (rank: MarkedProcess, i: number) =>
      numbers.size === 0 ? rank.worldRank : (numbers.get(rank.pid) ?? this.spec.ranks + i);
    return ranks
      .map((rank, i) => ({ ...rank, process: numberOf(rank, i) }))
      .sort((a, b) => a.process - b.process);
  }

  signalRanks(name: NodeJS.Signals): MarkedProcess[] {
    return findMarked(this.mark).filter((each) => each.isRank && signal(each, name));
  }

  /** SIGKILL for every rank and every launcher; a supervisor is left to see it. */
  killRanks(): void {
    for (const each of findMarked(this.mark)) {
      if (each.isRank || each.isLauncher) signal(each, "SIGKILL");
    }
  }

  /** SIGKILL for whatever belongs to it. */
  killAll(): Promise<void> {
    return killMarked(this.mark);
  }

  /** Asks for a clean stop: nothing new is taken, what was accepted becomes final. */
  drain(): void {
    this.child.kill("SIGUSR1");
  }

  /** Waits for its end, so long; answers whether it ended by itself. What is left is killed. */
  async end(graceMs: number): Promise<boolean> {
    const timer = Promise.withResolvers<false>();
    const timeout = setTimeout(() => timer.resolve(false), graceMs);
    const isEnded = await Promise.race([this.exited.then(() => true), timer.promise]);
    clearTimeout(timeout);
    await this.killAll();
    await this.exited;
    this.guard.stdin?.end("\n");
    return isEnded;
  }
}

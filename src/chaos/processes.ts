/**
 * The processes of a job on this host, by a mark in their environment: found whatever started them
 * (launcher, supervisor, MPI_Comm_spawn), never confused with those of another job, also after ranks
 * were replaced. Process numbers of the transport come from the job's status file where there is one.
 */
import { readdirSync, readFileSync } from "node:fs";
import { basename } from "node:path";

/** Environment variable that marks a job. */
export const MARK_VARIABLE = "BAASH_CHAOS_MARK";

export interface MarkedProcess {
  readonly pid: number;
  /** Of the system's clock, in ticks: tells a number that was used again. */
  readonly startTicks: number;
  /** R, S, D, T (stopped), …; never Z: what is dead is not listed. */
  readonly state: string;
  readonly isRank: boolean;
  /** One that starts ranks and carries their signals, as opposed to a supervisor above it. */
  readonly isLauncher: boolean;
  /** As its launcher numbered it, among the ranks that it started together. */
  readonly worldRank: number;
}

const LAUNCHERS = ["mpirun", "mpiexec", "orterun", "orted", "prterun", "prted", "srun"];

/** All that carry the mark, oldest first; those of one moment by their numbers. */
export function findMarked(mark: string, known?: MarkCache): MarkedProcess[] {
  const found: MarkedProcess[] = [];
  for (const name of readdirSync("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    const stat = readStat(pid);
    if (stat === undefined || stat.state === "Z" || stat.state === "X") continue;
    const facts = known === undefined ? readFacts(pid, mark) : known.factsOf(pid, stat, mark);
    if (facts !== undefined) found.push({ pid, ...stat, ...facts });
  }
  return found.sort((a, b) => a.startTicks - b.startTicks || a.worldRank - b.worldRank);
}

type Facts = Pick<MarkedProcess, "isRank" | "isLauncher" | "worldRank">;

/** What a process is does not change between two looks, except by exec: only ranks are remembered. */
export class MarkCache {
  private readonly facts = new Map<string, Facts>();

  factsOf(pid: number, { startTicks }: { startTicks: number }, mark: string): Facts | undefined {
    const key = `${pid} ${startTicks}`;
    const known = this.facts.get(key);
    if (known !== undefined) return known;
    const facts = readFacts(pid, mark);
    if (facts?.isRank) this.facts.set(key, facts);
    return facts;
  }
}

/** Undefined when it is not marked, or is gone. */
function readFacts(pid: number, mark: string): Facts | undefined {
  const environment = readProc(pid, "environ")?.split("\0") ?? [];
  if (!environment.includes(`${MARK_VARIABLE}=${mark}`)) return undefined;
  const [command = "", program = ""] = readProc(pid, "cmdline")?.split("\0") ?? [];
  const number = environment.find((each) => each.startsWith("OMPI_COMM_WORLD_RANK="));
  return {
    isRank: program.endsWith("/rank.ts"),
    isLauncher: LAUNCHERS.includes(basename(command)),
    worldRank: number === undefined ? 0 : Number(number.slice(number.indexOf("=") + 1)),
  };
}

/** State and start of a process; undefined when there is none. See proc(5). */
export function readStat(pid: number): { state: string; startTicks: number } | undefined {
  const text = readProc(pid, "stat");
  if (text === undefined) return undefined;
  // The name stands in brackets and may hold anything.
  const [state, ...rest] = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return { state, startTicks: Number(rest[18]) };
}

function readProc(pid: number, file: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "latin1");
  } catch {
    return undefined;
  }
}

/** Signals that very process, not one that has its number now. Answers whether it was there. */
export function signal(target: MarkedProcess, name: NodeJS.Signals): boolean {
  if (readStat(target.pid)?.startTicks !== target.startTicks) return false;
  try {
    return process.kill(target.pid, name);
  } catch {
    return false;
  }
}

/** Kills all that carry the mark, until none is left; what they start meanwhile is found as well. */
export async function killMarked(mark: string): Promise<void> {
  for (let tries = 0; tries < 50; tries++) {
    const left = findMarked(mark);
    if (left.length === 0) return;
    for (const each of left) signal(each, "SIGKILL");
    await Bun.sleep(20);
  }
}

/**
 * Processes of a job on this host. A launcher is started in a session of its own; its ranks have
 * process groups of their own (Open MPI sees to that) but stay in the session, and that is how all
 * are found. Ranks on other hosts end by themselves when their launcher does.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

const GONE_POLL_MS = 20;
const GONE_MAX_MS = 2000;

/** Members of a session that still run. Empty where there is no /proc. */
export function processesOf(session: number): number[] {
  const found: number[] = [];
  for (const name of procEntries()) {
    const pid = Number(name);
    if (Number.isInteger(pid) && sessionOf(pid) === session) found.push(pid);
  }
  return found;
}

/** How many ranks a launcher of MPI starts on one host, in each rank's environment. */
const RANKS_HERE = /(?:^|\0)(?:OMPI_COMM_WORLD_LOCAL_SIZE|MPI_LOCALNRANKS)=(\d+)(?:\0|$)/;

/**
 * The ranks of a session, and how many there should be; undefined: no launcher says. Only who runs
 * this very program is a rank: not the launcher, nor what is about to become one.
 */
export function ranksIn(session: number): { pids: number[]; expected: number | undefined } {
  const pids = processesOf(session).filter((pid) => programOf(pid) === process.execPath);
  const said = pids.map((pid) => RANKS_HERE.exec(environmentOf(pid))?.[1]);
  const expected = said.find((count) => count !== undefined);
  return { pids, expected: expected === undefined ? undefined : Number(expected) };
}

function programOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/exe`);
  } catch {
    return undefined;
  }
}

function environmentOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/environ`, "latin1");
  } catch {
    return "";
  }
}

function procEntries(): string[] {
  try {
    return readdirSync("/proc");
  } catch {
    return [];
  }
}

/** undefined: no such process, or nothing but its exit code is left of it. */
function sessionOf(pid: number): number | undefined {
  const fields = statOf(pid);
  const isGone = fields === undefined || fields[0] === "Z" || fields[0] === "X";
  return isGone ? undefined : Number(fields[3]);
}

/** Fields of /proc/PID/stat from the third one, the state, on; see proc(5). */
function statOf(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The second field, the name, is in brackets and may hold anything.
    return text.slice(text.lastIndexOf(")") + 2).split(" ");
  } catch {
    return undefined;
  }
}

/** Tells two processes that had the same number apart; undefined: no such process. */
export function startOf(pid: number): string | undefined {
  return statOf(pid)?.[19];
}

/** False when it is not there any more. */
export function signalProcess(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false;
  }
}

/** Kills what is left of a session. Answers how many there were, once they are gone. */
export async function sweep(session: number): Promise<number> {
  const left = processesOf(session);
  for (const pid of left) signalProcess(pid, "SIGKILL");
  const deadline = performance.now() + GONE_MAX_MS;
  while (processesOf(session).length > 0 && performance.now() < deadline)
    await Bun.sleep(GONE_POLL_MS);
  return left.length;
}

/**
 * Asks again every second, since a launcher that is just starting passes nothing on; then as a
 * supervisor does.
 */
const GUARD_SCRIPT = `
read -r _ && exit 0
second=0
while [ "$second" -lt "$2" ]; do
  kill -USR1 "$1" 2>/dev/null || exit 0
  sleep 1
  second=$((second + 1))
done
kill -TERM "$1" 2>/dev/null || exit 0
sleep 5
kill -KILL "$1" 2>/dev/null
`;

/**
 * Stands by for the case that the supervisor itself is killed: a shell that waits for the end of a
 * pipe, which the system closes with its writer. It then stops the job cleanly.
 */
export class Guard {
  private readonly shell: ChildProcess;

  constructor(launcher: number, drainSeconds: number) {
    const args = ["-c", GUARD_SCRIPT, "baash-guard", String(launcher), String(drainSeconds)];
    this.shell = spawn("/bin/sh", args, {
      // A signal to the supervisor's group must not reach it.
      detached: true,
      stdio: ["pipe", "ignore", "ignore"],
    });
    // Without it there is one safety less: no reason to end a job.
    this.shell.on("error", () => {});
    this.shell.stdin!.on("error", () => {});
    this.shell.unref();
  }

  /** The launcher has ended by itself. */
  dismiss(): void {
    this.shell.stdin!.end("\n");
  }
}

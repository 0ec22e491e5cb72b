/**
 * The real ProcessWatch, by /proc of Linux. Reads of /proc are answered by the kernel from memory,
 * a few microseconds each, so they are done on the main thread. Where /proc is missing or hidden
 * nothing is ever called gone, and heartbeats alone tell of deaths.
 */
import { readFileSync } from "node:fs";
import { errorCode } from "../base/errors.ts";
import {
  PollingWatch,
  type ProcessWatch,
  type Sighting,
  type WatchedProcess,
} from "./process-watch.ts";

/** Fields of /proc/<pid>/stat counted from the state, which follows the name (proc(5)). */
const FIELD = { state: 0, flags: 6, startTicks: 19 } as const;
/** PF_EXITING of linux/sched.h: it has begun to end and runs no more of its program. */
const EXITING = 0x4;

interface ProcessStat {
  readonly state: string;
  readonly flags: number;
  readonly startTicks: number;
}

/** `pid` may be "self". Throws what the file system says. */
function readStat(pid: number | "self"): ProcessStat {
  const text = readFileSync(`/proc/${pid}/stat`, "latin1");
  // The name stands in parentheses and may itself hold anything, parentheses and blanks included.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return {
    state: fields[FIELD.state],
    flags: Number(fields[FIELD.flags]),
    startTicks: Number(fields[FIELD.startTicks]),
  };
}

/** This process as others can watch it; startTicks is 0 where the system does not tell. */
export function ownProcess(): { pid: number; startTicks: number } {
  try {
    return { pid: process.pid, startTicks: readStat("self").startTicks || 0 };
  } catch {
    return { pid: process.pid, startTicks: 0 };
  }
}

/** A zombie has ended, a stopped process has not; another start time is another process. */
export function lookInProc({ pid, startTicks }: WatchedProcess): Sighting {
  try {
    const stat = readStat(pid);
    const hasEnded = "ZXx".includes(stat.state) || (stat.flags & EXITING) !== 0;
    return hasEnded || stat.startTicks !== startTicks ? "gone" : "alive";
  } catch (error) {
    // ESRCH: it ended between open and read. Anything else says nothing about the process.
    return ["ENOENT", "ESRCH"].includes(errorCode(error)) ? "gone" : "unknown";
  }
}

export function openProcWatch(
  look: (process: WatchedProcess) => Sighting = lookInProc,
): ProcessWatch {
  return new PollingWatch({
    look,
    after: (delayMs, callback) => {
      const timer = setTimeout(callback, delayMs);
      timer.unref(); // watching alone keeps no process alive
      return () => clearTimeout(timer);
    },
  });
}

/**
 * What the supervisor says: a line for a person on stderr for each event, and on stdout one JSON
 * object where a program listens. `kind` and the fields are stable, the sentences are not.
 */
import type { JobView, JobViewEvent } from "./job-status.ts";
import type { PolicyEvent } from "./policy.ts";

export type SupervisorEvent =
  | PolicyEvent
  | {
      kind: "started";
      attempt: number;
      ranks: number;
      pid: number | undefined;
      launcher: string;
      runDirectory: string;
    }
  | { kind: "serves"; slot: number | undefined; epoch: number | undefined; members: number }
  | { kind: "members"; epoch: number | undefined; members: number; processes: readonly number[] }
  /** Of the ranks' fault monitor, as their status file has it. */
  | { kind: "monitor"; event: JobViewEvent }
  /** A sentence that a rank wrote to stderr. */
  | { kind: "rank"; text: string }
  /** Left behind by a launcher that is gone. */
  | { kind: "swept"; processes: number };

export function sentenceOf(event: SupervisorEvent): string {
  switch (event.kind) {
    case "started":
      return `${event.attempt === 1 ? "starts" : "starts again:"} ${counted(event.ranks, "rank")}${event.launcher && ` with ${event.launcher}`} (attempt ${event.attempt}); its files are in ${event.runDirectory}`;
    case "serves":
      return `serves at slot ${event.slot ?? "?"}, ${epochText(event)}, ${counted(event.members, "member")}`;
    case "members":
      return `${epochText(event)} has ${counted(event.members, "member")}: ${event.members === 1 ? "process" : "processes"} ${event.processes.join(", ")}`;
    case "monitor":
      return event.event.text;
    case "rank":
      return event.text;
    case "swept":
      return `ended ${counted(event.processes, "process", "processes")} that the launcher had left behind`;
    case "died":
      return `the job died: ${stripped(event.why)} (code ${event.exitCode}); a new one starts in ${seconds(event.restartMs)}`;
    case "busy":
      return `${stripped(event.why)}; the next try is in ${seconds(event.againMs)}`;
    case "incomplete":
      return `${counted(event.processes, "rank")} ended before the job served, and MPI starts with all or not at all: ends the others`;
    case "leftover":
      return "the ledger is closed, but processes of the job are left: ends them";
    case "stopping":
      return `${event.by}: stops; what was accepted becomes final within ${seconds(event.drainMs)} (a second signal ends the job)`;
    case "ending":
      return `${reasonText(event.why)}: ends the ranks; what is final stays`;
    case "killing":
      return `${reasonText(event.why)}: kills all processes of the job; what is final stays`;
    case "gave-up":
      return `gives up: ${event.deaths === 1 ? "a death" : `${event.deaths} deaths within ${seconds(event.withinMs)}`} and no round settled; the last one: ${stripped(event.why)}`;
    case "refused":
      return `ended, and another try would end the same: ${stripped(event.why)} (code ${event.exitCode})`;
    case "stopped":
      return event.isClean
        ? `stopped cleanly: ${event.why}`
        : `stopped, but the ledger was not closed: ${stripped(event.why)} (code ${event.exitCode}); the next job takes it over`;
  }
}

/** Undefined where the ranks' status says nothing of it. */
function epochText({ epoch }: { epoch: number | undefined }): string {
  return `epoch ${epoch ?? "?"}`;
}

function reasonText(why: "deadline" | "signal"): string {
  return why === "deadline" ? "not stopped in time" : "a further signal";
}

function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

function seconds(ms: number): string {
  return `${ms < 10_000 ? Number((ms / 1000).toFixed(1)) : Math.round(ms / 1000)} s`;
}

/** Sentences of others, to go into one of ours. */
function stripped(text: string): string {
  return text.replace(/\.$/, "");
}

/** Turns what the status file says, time after time, into what is new in it. */
export class StatusEvents {
  private served = false;
  private processes = "";
  private told = new Set<string>();

  /** A new job: its first status is news. */
  reset(): void {
    this.served = false;
    this.processes = "";
    this.told = new Set();
  }

  take(view: JobView): SupervisorEvent[] {
    const news: SupervisorEvent[] = [];
    const epoch = view.epoch?.number;
    const members = view.members.length;
    const processes = view.members.map(({ process }) => process);
    const key = processes.join();
    const serves = view.state === "running" && !this.served;
    if (serves) news.push({ kind: "serves", slot: view.slot, epoch, members });
    // What the monitor saw comes before what became of it.
    const keyOf = ({ at, kind, rank, text }: JobViewEvent) => `${at} ${kind} ${rank} ${text}`;
    for (const event of view.events)
      if (!this.told.has(keyOf(event))) news.push({ kind: "monitor", event });
    this.told = new Set(view.events.map(keyOf));
    if (this.served && members > 0 && key !== this.processes)
      news.push({ kind: "members", epoch, members, processes });
    this.served ||= serves;
    if (members > 0) this.processes = key;
    return news;
  }
}

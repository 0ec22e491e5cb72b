/**
 * When the supervisor starts the job, restarts it, stops it and gives up. Pure: inputs and the time
 * go in, effects come out; no process, no clock. The ranks heal a job that still has members, so that
 * a restart is for a job of which nothing is left.
 *
 *     begin → running ──ended──► pausing ──► running …        pausing: back-off, or waiting (busy)
 *                │ stop             │ stop
 *                ▼                  ▼
 *             draining ─► ending ─► killing ─► over           each by its deadline or a second signal
 */
import { assert } from "../base/assert.ts";
import { EXIT, type ExitCode } from "../base/errors.ts";
import { type JobEnd, judgeEnd, type Verdict } from "./job-end.ts";

export interface PolicyOptions {
  /** Before the first restart; each further one waits twice as long, up to the most. */
  readonly backoffFirstMs: number;
  readonly backoffMaxMs: number;
  /** The same while another job has the ledger: each try costs that job a record. */
  readonly busyFirstMs: number;
  /** Served for so long, a job counts as healthy: its death waits `backoffFirstMs` again. */
  readonly healthyMs: number;
  /** So many deaths within the window, and no round settled between: no more restarts. */
  readonly crashLimit: number;
  readonly crashWindowMs: number;
  /** Given to a clean stop. */
  readonly drainMs: number;
  /** Given to the launcher to end its ranks; then all is killed, again and again. */
  readonly endMs: number;
  /** A job of which a rank has ended before it served: given to the others to end by themselves. */
  readonly incompleteMs: number;
  /** Given to the processes of a job that has closed its ledger. */
  readonly leftoverMs: number;
  /** A ledger in use is waited for. */
  readonly wait: boolean;
}

export const DEFAULT_POLICY: PolicyOptions = {
  backoffFirstMs: 1000,
  backoffMaxMs: 60_000,
  busyFirstMs: 10_000,
  healthyMs: 60_000,
  crashLimit: 8,
  crashWindowMs: 30 * 60_000,
  drainMs: 60_000,
  endMs: 5000,
  incompleteMs: 5000,
  leftoverMs: 10_000,
  wait: false,
};

/** A launcher that is just starting drops signals, and ranks without a handler die of them. */
const STOP_AGAIN_MS = 1000;
/** `timeout` and shells signal a process and its group: two signals that mean one. */
const SAME_SIGNAL_MS = 500;

export type PolicyInput =
  | { type: "begin" }
  /** What the ranks wrote into their status file. */
  | { type: "status"; state: string; settledRound: number }
  /** So many ranks are missing on this host, now. */
  | { type: "missing"; processes: number }
  /** The launcher and everything that it started are gone. */
  | { type: "ended"; end: JobEnd }
  /** Somebody wants it to stop; a second time: sooner. */
  | { type: "stop"; by: string }
  /** Time has passed: at the latest at `nextDeadline()`. */
  | { type: "tick" };

export type PolicyEffect =
  | { type: "launch"; attempt: number }
  /** To the launcher; KILL to everything that it started. */
  | { type: "signal"; signal: "SIGUSR1" | "SIGTERM" | "SIGKILL" }
  | { type: "say"; event: PolicyEvent }
  /** The last effect. */
  | { type: "finish"; exitCode: ExitCode };

/** What a person is told. */
export type PolicyEvent =
  | { kind: "died"; why: string; exitCode: ExitCode; deaths: number; restartMs: number }
  | { kind: "busy"; why: string; againMs: number }
  | { kind: "incomplete"; processes: number }
  /** The ledger is closed, and something of the job is left all the same. */
  | { kind: "leftover" }
  | { kind: "stopping"; by: string; drainMs: number }
  | { kind: "ending"; why: "deadline" | "signal" }
  | { kind: "killing"; why: "deadline" | "signal" }
  | { kind: "gave-up"; why: string; deaths: number; withinMs: number }
  | { kind: "refused"; why: string; exitCode: ExitCode }
  | { kind: "stopped"; isClean: boolean; why: string; exitCode: ExitCode };

type Phase = "idle" | "running" | "pausing" | "draining" | "ending" | "killing" | "over";

const STOPPING: readonly Phase[] = ["draining", "ending", "killing"];
/** The ranks are at it: they need not be asked again. */
const LEAVING: readonly string[] = ["draining", "sealing", "stopped", "failed"];

export class Policy {
  private readonly options: PolicyOptions;
  private phase: Phase = "idle";
  private effects: PolicyEffect[] = [];
  private deadline = Number.POSITIVE_INFINITY;
  private askAgainAt = Number.POSITIVE_INFINITY;
  private stoppedAt = 0;
  private attempt = 0;
  /** Of the job under way: since when it serves, and what was settled then. */
  private servesSince: number | undefined;
  private settledAtStart = 0;
  /** Some job of this supervisor has. */
  private hasServed = false;
  private missing = 0;
  /** It has closed the ledger: what still runs has nothing to do. */
  private closed = false;
  private backoffMs: number;
  private busyMs: number;
  /** Times of deaths without a settled round between them. */
  private deaths: number[] = [];
  /** What a stop between two jobs ends with: the last job left the ledger as this says. */
  private lastExit: ExitCode = EXIT.ok;

  constructor(options: PolicyOptions) {
    this.options = options;
    this.backoffMs = options.backoffFirstMs;
    this.busyMs = options.busyFirstMs;
  }

  step(input: PolicyInput, now: number): readonly PolicyEffect[] {
    this.effects = [];
    if (this.phase !== "over") this.take(input, now);
    return this.effects;
  }

  /** When `step` has to be called at the latest; Infinity: not by time. */
  nextDeadline(): number {
    return Math.min(this.deadline, this.askAgainAt);
  }

  private take(input: PolicyInput, now: number): void {
    switch (input.type) {
      case "begin":
        assert(this.phase === "idle", "the supervisor begins once");
        return this.launch();
      case "status":
        return this.onStatus(input.state, input.settledRound, now);
      case "missing":
        return this.onMissing(input.processes, now);
      case "ended":
        return this.onEnded(input.end, now);
      case "stop":
        return this.onStop(input.by, now);
      case "tick":
        return this.onTick(now);
    }
  }

  private launch(): void {
    this.phase = "running";
    this.deadline = Number.POSITIVE_INFINITY;
    this.servesSince = undefined;
    this.closed = false;
    this.attempt++;
    this.effects.push({ type: "launch", attempt: this.attempt });
  }

  private onStatus(state: string, settledRound: number, now: number): void {
    if (
      state === "stopped" &&
      !this.closed &&
      (this.phase === "running" || this.phase === "draining")
    ) {
      this.closed = true;
      this.deadline = now + this.options.leftoverMs;
    }
    if (LEAVING.includes(state)) this.askAgainAt = Number.POSITIVE_INFINITY;
    if (state === "running" && this.servesSince === undefined) {
      this.servesSince = now;
      this.hasServed = true;
      this.settledAtStart = settledRound;
      if (this.phase === "running") this.deadline = Number.POSITIVE_INFINITY;
    }
    // The records by which a job starts are no progress: each try links them.
    if (this.servesSince !== undefined && settledRound > this.settledAtStart) this.deaths = [];
  }

  /** MPI starts with all or not at all: the others would wait for minutes. Mostly they end as well. */
  private onMissing(processes: number, now: number): void {
    if (this.phase !== "running" || this.servesSince !== undefined || this.closed) return;
    if (processes === 0) this.deadline = Number.POSITIVE_INFINITY;
    else this.deadline = Math.min(this.deadline, now + this.options.incompleteMs);
    this.missing = processes;
  }

  private onEnded(end: JobEnd, now: number): void {
    const verdict = judgeEnd(end);
    if (STOPPING.includes(this.phase)) return this.endStop(verdict);
    switch (verdict.kind) {
      case "clean":
        return this.finish(EXIT.ok, {
          kind: "stopped",
          isClean: true,
          why: "its work is done",
          exitCode: EXIT.ok,
        });
      case "final":
        // Where a job has served there is a ledger that fits: storage is away, and may come back.
        if (verdict.exitCode === EXIT.configuration && this.hasServed)
          return this.onDeath({ ...verdict, kind: "death", told: true }, now);
        return this.finish(verdict.exitCode, { ...verdict, kind: "refused" });
      case "busy":
        return this.onBusy(verdict.why, now);
      case "death":
        return this.onDeath(verdict, now);
    }
  }

  private onBusy(why: string, now: number): void {
    const exitCode = EXIT.busy;
    if (!this.options.wait) return this.finish(exitCode, { kind: "refused", why, exitCode });
    const againMs = this.busyMs;
    this.busyMs = Math.min(2 * againMs, this.options.backoffMaxMs);
    this.pause(againMs, exitCode, { kind: "busy", why, againMs }, now);
  }

  private onDeath(verdict: Verdict & { kind: "death" }, now: number): void {
    const { backoffFirstMs, backoffMaxMs, healthyMs, crashLimit, crashWindowMs } = this.options;
    const { why, exitCode } = verdict;
    const lived = this.servesSince === undefined ? 0 : now - this.servesSince;
    if (lived >= healthyMs) this.backoffMs = backoffFirstMs;
    this.deaths = [...this.deaths.filter((at) => now - at <= crashWindowMs), now];
    const deaths = this.deaths.length;
    if (deaths >= crashLimit) {
      const withinMs = now - this.deaths[0];
      return this.finish(exitCode, { kind: "gave-up", why, deaths, withinMs });
    }
    const restartMs = this.backoffMs;
    this.backoffMs = Math.min(2 * restartMs, backoffMaxMs);
    this.busyMs = this.options.busyFirstMs;
    this.pause(restartMs, exitCode, { kind: "died", why, exitCode, deaths, restartMs }, now);
  }

  private pause(forMs: number, lastExit: ExitCode, event: PolicyEvent, now: number): void {
    this.phase = "pausing";
    this.lastExit = lastExit;
    this.deadline = now + forMs;
    this.effects.push({ type: "say", event });
  }

  private onStop(by: string, now: number): void {
    if (this.phase === "idle" || this.phase === "pausing") {
      const exitCode = this.lastExit;
      const isClean = exitCode === EXIT.ok;
      const why = "no job was running";
      return this.finish(exitCode, { kind: "stopped", isClean, why, exitCode });
    }
    if (this.phase === "running") {
      const { drainMs } = this.options;
      this.phase = "draining";
      this.stoppedAt = now;
      this.deadline = now + drainMs;
      this.effects.push({ type: "say", event: { kind: "stopping", by, drainMs } });
      return this.ask(now);
    }
    if (now - this.stoppedAt < SAME_SIGNAL_MS) return;
    this.stoppedAt = now;
    this.escalate("signal", now);
  }

  private ask(now: number): void {
    this.askAgainAt = now + STOP_AGAIN_MS;
    this.effects.push({ type: "signal", signal: "SIGUSR1" });
  }

  private escalate(why: "deadline" | "signal", now: number): void {
    const isDraining = this.phase === "draining";
    if (this.phase !== "killing") {
      const kind = isDraining ? "ending" : "killing";
      this.phase = kind;
      this.effects.push({ type: "say", event: { kind, why } });
    }
    this.askAgainAt = Number.POSITIVE_INFINITY;
    this.deadline = now + this.options.endMs;
    this.effects.push({ type: "signal", signal: isDraining ? "SIGTERM" : "SIGKILL" });
  }

  private onTick(now: number): void {
    if (now >= this.deadline) {
      if (this.phase === "pausing") this.launch();
      else if (this.closed) this.clear(now);
      else if (this.phase === "running") this.killIncomplete(now);
      else if (STOPPING.includes(this.phase)) this.escalate("deadline", now);
    } else if (now >= this.askAgainAt) this.ask(now);
  }

  /** A replacement that was started at the last moment, say: nobody will ever let it in. */
  private clear(now: number): void {
    this.deadline = now + this.options.endMs;
    this.askAgainAt = Number.POSITIVE_INFINITY;
    this.effects.push({ type: "say", event: { kind: "leftover" } });
    this.effects.push({ type: "signal", signal: "SIGKILL" });
  }

  private killIncomplete(now: number): void {
    this.deadline = now + this.options.endMs;
    const event: PolicyEvent = { kind: "incomplete", processes: this.missing };
    this.effects.push({ type: "say", event }, { type: "signal", signal: "SIGKILL" });
  }

  /** The job ended after a stop was asked: it never starts again. */
  private endStop(verdict: Verdict): void {
    const isForced = this.phase !== "draining";
    const say = (isClean: boolean, why: string, exitCode: ExitCode) =>
      this.finish(exitCode, { kind: "stopped", isClean, why, exitCode });
    switch (verdict.kind) {
      case "clean":
        return say(true, "as asked", EXIT.ok);
      case "final":
        return say(false, verdict.why, verdict.exitCode);
      case "busy":
        return say(false, verdict.why, EXIT.busy);
      case "death": {
        if (verdict.told) return say(false, verdict.why, verdict.exitCode);
        // It had taken nothing yet: all is as the job before left it.
        const isEarly = this.servesSince === undefined && !isForced;
        if (isEarly) return say(this.lastExit === EXIT.ok, "it had not served yet", this.lastExit);
        const why = isForced ? "it was ended by force" : verdict.why;
        return say(false, why, EXIT.unavailable);
      }
    }
  }

  private finish(exitCode: ExitCode, event: PolicyEvent): void {
    this.phase = "over";
    this.deadline = Number.POSITIVE_INFINITY;
    this.askAgainAt = Number.POSITIVE_INFINITY;
    this.effects.push({ type: "say", event }, { type: "finish", exitCode });
  }
}

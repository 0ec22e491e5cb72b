/** A supervisor's policy in a world without processes or waiting: time passes when a test says so. */
import { expect } from "bun:test";
import type { JobEnd } from "../../src/supervisor/job-end.ts";
import {
  DEFAULT_POLICY,
  Policy,
  type PolicyEffect,
  type PolicyEvent,
  type PolicyInput,
  type PolicyOptions,
} from "../../src/supervisor/policy.ts";

export const RANKS = 4;

export function endOf(part: Partial<JobEnd>): JobEnd {
  return {
    ranks: RANKS,
    served: false,
    status: undefined,
    words: [],
    launcher: { code: 0, signal: null },
    sentence: undefined,
    launcherText: undefined,
    ...part,
  };
}

/** All ranks end with this code, by their own words. */
export const told = (code: number) =>
  endOf({ words: Array(RANKS).fill(code), sentence: "the reason." });
/** SIGKILL to all: Open MPI's mpirun answers 0, nobody says a word. */
export const KILLED = endOf({ served: true });
export const SEALED = endOf({ served: true, words: Array(RANKS).fill(0) });

export class World {
  now = 0;
  readonly launches: number[] = [];
  readonly signals: [number, string][] = [];
  readonly events: PolicyEvent[] = [];
  exitCode: number | undefined;
  private readonly policy: Policy;

  constructor(options: Partial<PolicyOptions> = {}) {
    this.policy = new Policy({ ...DEFAULT_POLICY, ...options });
    this.step({ type: "begin" });
  }

  step(input: PolicyInput): void {
    for (const effect of this.policy.step(input, this.now)) this.take(effect);
  }

  private take(effect: PolicyEffect): void {
    if (this.exitCode !== undefined) throw new Error("an effect after the last one");
    if (effect.type === "launch") this.launches.push(this.now);
    else if (effect.type === "signal") this.signals.push([this.now, effect.signal]);
    else if (effect.type === "say") this.events.push(effect.event);
    else this.exitCode = effect.exitCode;
  }

  /** Time passes, and the supervisor wakes up when it asked to be woken. */
  pass(ms: number): void {
    const until = this.now + ms;
    for (let next = this.due(); next <= until; next = this.due()) {
      this.now = next;
      this.step({ type: "tick" });
      expect(this.due()).toBeGreaterThan(this.now);
    }
    this.now = until;
  }

  due(): number {
    return this.policy.nextDeadline();
  }

  /** The job serves, settles that round, and ends after so long. */
  live(ms: number, settledRound: number, end = KILLED): void {
    this.step({ type: "status", state: "starting", settledRound: 0 });
    this.step({ type: "status", state: "running", settledRound: 100 });
    this.pass(ms);
    this.step({ type: "status", state: "running", settledRound: 100 + settledRound });
    this.end(end);
  }

  end(end: JobEnd): void {
    this.step({ type: "ended", end });
  }

  stop(by = "SIGTERM"): void {
    this.step({ type: "stop", by });
  }

  get last(): PolicyEvent {
    return this.events.at(-1)!;
  }
}

/** Which run of how many is under way, and how long all will take: sentences on stderr. */
import { hasCeiling } from "./ceiling.ts";
import type { Setting } from "./setting.ts";

/** Until ranks serve, and until a ledger is closed and verified; of them all, and of each. */
const AROUND_S = 3;
const AROUND_PER_RANK_S = 0.2;
/** Records that are loaded in a second, roughly. */
const LOADED_PER_S = 50_000;
/** A ledger's life starts its ranks three times more, and waits for the dead once. */
const LIFE_S = 20;
const UNTIMED_S = 5;

/** Roughly; what has been measured corrects it. */
export function expectedSeconds(setting: Setting, kind: "load" | "life"): number {
  const { ranks, records, seconds, warmup } = setting;
  const around = AROUND_S + AROUND_PER_RANK_S * ranks + records / LOADED_PER_S;
  if (kind === "life") return around + LIFE_S;
  return around + (seconds || UNTIMED_S) + warmup + (hasCeiling(setting) ? seconds + 1 : 0);
}

export class Pace {
  /** Seconds that all runs were expected to take, and those that are over. */
  private expected: number;
  private done = 0;
  private took = 0;
  private readonly runs: number;
  private run = 0;
  private readonly now: () => number;

  /** `expected`: seconds of each run. */
  constructor(expected: readonly number[], now: () => number) {
    this.runs = expected.length;
    this.expected = expected.reduce((sum, seconds) => sum + seconds, 0);
    this.now = now;
  }

  /** "run 3 of 35, about 12 min left" */
  text(): string {
    const factor = this.done === 0 ? 1 : this.took / this.done;
    const left = durationText(factor * (this.expected - this.done));
    return `run ${this.run + 1} of ${this.runs}, about ${left} left`;
  }

  /** Times the run; `seconds` is what was expected of it. */
  async time<T>(seconds: number, action: () => Promise<T>): Promise<T> {
    const began = this.now();
    try {
      return await action();
    } finally {
      this.run++;
      this.done += seconds;
      this.took += (this.now() - began) / 1000;
    }
  }

  /** Not run after all: nothing is to be waited for. */
  skip(seconds: number): void {
    this.run++;
    this.expected -= seconds;
  }
}

export function durationText(seconds: number): string {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

/**
 * What is seen while a phase runs, on standard error: a progress bar of one line where that is a
 * terminal, YCSB's status lines elsewhere. Fed with the ranks' intervals, paced by its caller.
 */
import { type Counters, MergedResult, type RankResult } from "./measurements.ts";
import { OPERATION_NAMES } from "./operation.ts";
import { duration, grouped } from "./report.ts";

/** Redrawing more often than this is only flicker. */
const REDRAW_MS = 200;
const BAR_CELLS = 20;
/** Narrower than this the bar goes, and then figure by figure. */
const COLUMNS_PRESET = 80;
const DIM = "\x1b[2m";
const GREEN = "\x1b[32m";
const RESET = "\x1b[0m";

/** What the ranks together have done so far. */
export class ProgressTally {
  readonly #all = new MergedResult();
  #interval = new MergedResult();

  add(interval: RankResult): void {
    this.#all.add(interval);
    this.#interval.add(interval);
  }

  get counters(): Readonly<Counters> {
    return this.#all.counters;
  }

  get all(): MergedResult {
    return this.#all;
  }

  /** The intervals since the last call, as one. */
  takeInterval(): MergedResult {
    const interval = this.#interval;
    this.#interval = new MergedResult();
    return interval;
  }
}

export interface ProgressBarOptions {
  readonly write: (text: string) => void;
  /** Asked at each drawing: terminals are resized. */
  readonly columns: () => number | undefined;
  readonly colour: boolean;
  readonly now: () => number;
}

/** Whether to colour a stream: https://no-color.org */
export function wantsColour(environment: Record<string, string | undefined>): boolean {
  return !environment.NO_COLOR && environment.TERM !== "dumb";
}

export class ProgressBar {
  readonly #options: ProgressBarOptions;
  #drawnAt = Number.NEGATIVE_INFINITY;
  #isShown = false;

  constructor(options: ProgressBarOptions) {
    this.#options = options;
  }

  /** Draws, unless it has just done so. `total` may be Infinity. */
  update(label: string, tally: ProgressTally, total: number, elapsedMs: number): void {
    const now = this.#options.now();
    if (now - this.#drawnAt < REDRAW_MS) return;
    this.#drawnAt = now;
    this.#isShown = true;
    this.#options.write(`\r${this.line(label, tally, total, elapsedMs)}\x1b[K`);
  }

  /** Takes the bar away, so that what follows begins on a clean line. */
  clear(): void {
    if (this.#isShown) this.#options.write("\r\x1b[K");
    this.#isShown = false;
    this.#drawnAt = Number.NEGATIVE_INFINITY;
  }

  /** The line, fitted to the terminal: figures that have no room are left out, the last first. */
  line(label: string, tally: ProgressTally, total: number, elapsedMs: number): string {
    const { operations, transactions } = tally.counters;
    const rate = elapsedMs > 0 ? (operations * 1000) / elapsedMs : 0;
    const txRate = elapsedMs > 0 ? (transactions * 1000) / elapsedMs : 0;
    const share = Number.isFinite(total) && total > 0 ? Math.min(1, operations / total) : undefined;
    const parts = [label];
    if (share === undefined) parts.push(`${grouped(operations)} operations`);
    else parts.push(`${Math.floor(share * 100)}%`.padStart(4));
    parts.push(`${grouped(txRate)} tx/s`);
    if (share !== undefined && share < 1 && rate > 0) {
      parts.push(`${remaining((total - operations) / rate)} left`);
    }
    for (const level of ["agreed", "final"]) {
      const histogram = tally.all.allAt(level);
      if (histogram) parts.push(`${level} p99 ${duration(histogram.getValueAtPercentile(99))}`);
    }
    // One column stays free: writing into the last one makes some terminals scroll.
    const columns = (this.#options.columns() || COLUMNS_PRESET) - 1;
    const bar = share === undefined ? "" : this.#bar(share);
    const separator = "  ";
    const whole = [parts[0], bar, ...parts.slice(1)].filter((part) => part !== "").join(separator);
    if (Bun.stringWidth(whole) <= columns) return whole;
    while (parts.length > 1 && Bun.stringWidth(parts.join(separator)) > columns) parts.pop();
    return Array.from(parts.join(separator)).slice(0, columns).join("");
  }

  #bar(share: number): string {
    const full = Math.round(share * BAR_CELLS);
    const done = "█".repeat(full);
    const rest = "░".repeat(BAR_CELLS - full);
    return this.#options.colour ? `${GREEN}${done}${DIM}${rest}${RESET}` : done + rest;
  }
}

/** YCSB's status line of one interval. `done` and `total` count operations since the start. */
export function statusLine(status: {
  readonly label: string;
  readonly date: Date;
  readonly elapsedMs: number;
  readonly done: number;
  readonly total: number;
  readonly interval: MergedResult;
  readonly intervalMs: number;
  readonly ack: "agreed" | "final";
}): string {
  const { done, total, elapsedMs, interval, intervalMs } = status;
  let line = `${status.label}${timestamp(status.date)} ${Math.floor(elapsedMs / 1000)} sec: ${done} operations; `;
  if (done > 0) {
    const current = intervalMs > 0 ? (interval.counters.operations * 1000) / intervalMs : 0;
    line += `${shortened(current)} current ops/sec; `;
  }
  if (done > 0 && Number.isFinite(total) && done < total) {
    const seconds = Math.ceil((total - done) / ((done * 1000) / elapsedMs));
    line += `est completion in ${estimate(seconds)} `;
  }
  for (const operation of OPERATION_NAMES) {
    for (const level of ["local", status.ack, "failed"]) {
      const histogram =
        interval.histogram(operation, level, "intended") ??
        interval.histogram(operation, level, "op");
      if (histogram === undefined) continue;
      const name = level === "failed" ? `${operation}-FAILED` : operation;
      const at = (percentile: number) => histogram.getValueAtPercentile(percentile);
      line +=
        `[${name}: Count=${histogram.totalCount}, Max=${histogram.maxValue}, ` +
        `Min=${histogram.minNonZeroValue}, Avg=${shortened(histogram.mean)}, 90=${at(90)}, ` +
        `99=${at(99)}, 99.9=${at(99.9)}, 99.99=${at(99.99)}] `;
    }
  }
  return line.trimEnd();
}

/** Two digits behind the point at most, as Java's "#.##". */
function shortened(value: number): string {
  return String(Math.round(value * 100) / 100);
}

/** Local time, as YCSB writes it: yyyy-MM-dd HH:mm:ss:SSS. */
function timestamp(date: Date): string {
  const two = (value: number) => String(value).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  return `${day} ${time}:${String(date.getMilliseconds()).padStart(3, "0")}`;
}

/** "9 seconds", "1 hour 2 minutes": units that are zero are left out, seconds beside hours too. */
function estimate(seconds: number): string {
  const counts = [
    [Math.floor(seconds / 86_400), "day"],
    [Math.floor(seconds / 3600) % 24, "hour"],
    [Math.floor(seconds / 60) % 60, "minute"],
    [seconds < 3600 ? seconds % 60 : 0, "second"],
  ] as const;
  const said = counts.filter(([count]) => count > 0);
  if (said.length === 0) return "0 seconds";
  return said.map(([count, unit]) => `${count} ${unit}${count === 1 ? "" : "s"}`).join(" ");
}

/** 75 → 1:15. */
function remaining(seconds: number): string {
  const whole = Math.ceil(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  const rest = String(whole % 60).padStart(2, "0");
  if (minutes < 60) return `${minutes}:${rest}`;
  return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
}

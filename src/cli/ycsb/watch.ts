/**
 * What one sees on stderr while a load runs: a progress bar on a terminal, YCSB's status lines
 * elsewhere or with -s, one sentence for a load that only prepares. Fed with each rank's progress.
 */
import type { Phase, PhaseProgress } from "../../job/load-phases.ts";
import { ProgressBar, ProgressTally, statusLine, wantsColour } from "../../workload/progress.ts";
import { grouped } from "../../workload/report.ts";

export interface WatchOptions {
  readonly ranks: number;
  readonly ack: "agreed" | "final";
  readonly label: string;
  readonly statusMs: number;
  /** Status lines also on a terminal. */
  readonly status: boolean;
  /** What comes before a run gets one sentence instead of lines. */
  readonly prepares: boolean;
}

class PhaseWatch {
  readonly tally = new ProgressTally();
  readonly phase: Phase;
  readonly latest = new Map<number, PhaseProgress>();
  lineAt = 0;

  constructor(phase: Phase) {
    this.phase = phase;
  }

  add(progress: PhaseProgress): void {
    this.latest.set(progress.interval.rank, progress);
    this.tally.add(progress.interval);
  }

  /** Of all ranks, once each has been heard; their totals are about equal before. */
  total(ranks: number): number {
    let total = 0;
    for (const progress of this.latest.values()) total += progress.total ?? Infinity;
    return this.latest.size === 0 ? Infinity : (total * ranks) / this.latest.size;
  }

  get elapsedMs(): number {
    return Math.max(0, ...[...this.latest.values()].map(({ elapsedMs }) => elapsedMs));
  }
}

export class Watch {
  private readonly options: WatchOptions;
  private readonly isTerminal = process.stderr.isTTY === true;
  private readonly bar = new ProgressBar({
    write: (text) => void process.stderr.write(text),
    columns: () => process.stderr.columns,
    colour: wantsColour(process.env),
    now: () => performance.now(),
  });
  private current: PhaseWatch | undefined;
  private ticker: ReturnType<typeof setInterval> | undefined;

  constructor(options: WatchOptions) {
    this.options = options;
  }

  onProgress(progress: PhaseProgress): void {
    if (this.current?.phase !== progress.phase) {
      this.current = new PhaseWatch(progress.phase);
      clearInterval(this.ticker);
      this.ticker = setInterval(() => this.line(), this.options.statusMs);
    }
    const { current } = this;
    // A tick after the last word of a rank has nothing new.
    if (current.latest.get(progress.interval.rank)?.ended) return;
    current.add(progress);
    const all = [...current.latest.values()];
    const isOver = all.length === this.options.ranks && all.every(({ ended }) => ended);
    if (isOver) this.endPhase(current);
    else if (this.isTerminal) this.draw(current);
  }

  /** A sentence of its own line, the bar out of its way. */
  say(text: string): void {
    this.bar.clear();
    process.stderr.write(`${text}\n`);
  }

  end(): void {
    clearInterval(this.ticker);
    this.bar.clear();
    this.current = undefined;
  }

  private endPhase(current: PhaseWatch): void {
    const prepares = current.phase !== "run" && this.options.prepares;
    if (!prepares) this.line();
    this.end();
    if (!prepares) return;
    const { transactions } = current.tally.counters;
    const seconds = current.elapsedMs / 1000;
    const rate = seconds > 0 ? grouped(transactions / seconds) : "0";
    const name = current.phase === "load" ? "load phase" : "warm-up";
    this.say(
      `${name}: ${grouped(transactions)} transactions in ${seconds.toFixed(1)} s, ${rate} tx/s`,
    );
  }

  private draw(current: PhaseWatch): void {
    const total = current.total(this.options.ranks);
    const label = `${this.options.label}${current.phase}`;
    this.bar.update(label, current.tally, total, current.elapsedMs);
  }

  private line(): void {
    const { current, options } = this;
    if (current === undefined || (this.isTerminal && !options.status)) return;
    const { elapsedMs } = current;
    const text = statusLine({
      label: options.label,
      date: new Date(),
      elapsedMs,
      done: current.tally.counters.operations,
      total: current.total(options.ranks),
      interval: current.tally.takeInterval(),
      intervalMs: elapsedMs - current.lineAt,
      ack: options.ack,
    });
    current.lineAt = elapsedMs;
    this.say(text);
  }
}

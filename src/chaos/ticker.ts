/** What one sees on stderr while a run goes on: a line a second, and each fault as it happens. */
import { groups } from "../cli/output.ts";
import type { Clients } from "./clients.ts";
import type { JobKeeper } from "./job-keeper.ts";

/** How often the job is looked at; every fourth look is a line. */
const LOOK_MS = 250;
const LOOKS_A_LINE = 4;

export interface TickerOptions {
  readonly keeper: JobKeeper;
  readonly clients: Clients;
  /** Nothing but sentences of people. */
  readonly quiet: boolean;
}

export class Ticker {
  private readonly options: TickerOptions;
  private timer: ReturnType<typeof setInterval> | undefined;
  private startedAt = 0;
  private looks = 0;
  private last = { agreed: 0, final: 0, at: 0 };

  constructor(options: TickerOptions) {
    this.options = options;
  }

  /** The load's clock begins. */
  start(): void {
    this.startedAt = performance.now();
    const { agreed, final } = this.options.clients.counts;
    this.last = { agreed, final, at: this.startedAt };
    this.timer = setInterval(() => this.look(), LOOK_MS);
  }

  stop(): void {
    clearInterval(this.timer);
  }

  private look(): void {
    const { keeper, clients, quiet } = this.options;
    const ranks = keeper.look();
    if (++this.looks % LOOKS_A_LINE !== 0) return;
    const now = performance.now();
    const { agreed, final, open, connections } = clients.counts;
    const seconds = (now - this.last.at) / 1000;
    const rate = (count: number) => groups(Math.round(count / seconds)).padStart(7);
    const stopped = ranks.filter(({ state }) => state === "T").length;
    const live = `${ranks.length} ranks${stopped > 0 ? ` (${stopped} stopped)` : ""}`;
    const view = keeper.job.view();
    const epoch = view?.epoch.number ?? clients.epochs.length;
    const words = [
      `${rate(agreed - this.last.agreed)} agreed/s ${rate(final - this.last.final)} final/s`,
      `${groups(open).padStart(6)} open`,
      live,
      `epoch ${epoch}`,
      ...(view === undefined ? [] : [`slot ${view.slot}`]),
      `${connections} connections`,
    ];
    this.last = { agreed, final, at: now };
    if (!quiet) process.stderr.write(`${this.clock(now)}  ${words.join(", ")}\n`);
  }

  /** A fault, or a sentence of the job, at its time. */
  say(text: string): void {
    if (!this.options.quiet) process.stderr.write(`${this.clock(performance.now())}  * ${text}\n`);
  }

  private clock(now: number): string {
    const seconds = this.startedAt === 0 ? 0 : (now - this.startedAt) / 1000;
    return `${seconds.toFixed(1).padStart(6)} s`;
  }
}

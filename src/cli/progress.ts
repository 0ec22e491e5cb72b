/** Progress on stderr: one line that is drawn over on a terminal, sparse lines elsewhere. */
import { groups } from "./output.ts";

const BAR_WIDTH = 30;
const DRAW_EVERY_MS = 100;
/** Off a terminal a line for each tenth, but not more often than this. */
const LINE_EVERY_MS = 5000;

export class ProgressLine {
  private readonly start = performance.now();
  private drawnAt = Number.NEGATIVE_INFINITY;
  private tenth = 0;
  private open = false;
  private readonly title: string;
  private readonly quiet: boolean;
  private readonly terminal = process.stderr.isTTY === true;

  constructor(title: string, quiet: boolean) {
    this.title = title;
    this.quiet = quiet;
  }

  /** `part` runs from 0 to 1; `count` things of kind `unit` are done. */
  update(part: number, count: number, unit: string): void {
    if (this.quiet) return;
    const now = performance.now();
    const rate = Math.round((1000 * count) / Math.max(1, now - this.start));
    const words = `${Math.floor(100 * part)} %, ${groups(count)} ${unit}, ${groups(rate)}/s`;
    if (this.terminal) {
      if (now - this.drawnAt < DRAW_EVERY_MS) return;
      const filled = Math.round(BAR_WIDTH * Math.min(1, part));
      const bar = "█".repeat(filled) + "░".repeat(BAR_WIDTH - filled);
      process.stderr.write(`\r\x1b[K${this.title} ${bar} ${words}`);
      this.open = true;
    } else {
      if (now - this.drawnAt < LINE_EVERY_MS || Math.floor(10 * part) <= this.tenth) return;
      this.tenth = Math.floor(10 * part);
      process.stderr.write(`${this.title}: ${words}\n`);
    }
    this.drawnAt = now;
  }

  /** A line of its own, above whatever is drawn next. */
  say(text: string): void {
    if (this.quiet) return;
    this.end();
    process.stderr.write(`${text}\n`);
  }

  end(): void {
    if (this.open) process.stderr.write("\r\x1b[K");
    this.open = false;
  }
}

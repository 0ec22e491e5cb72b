/**
 * What happened, as lines: all of them go into a digest that two runs of one seed share,
 * and each can be printed.
 */
import { toHex } from "../base/bytes.ts";

/** Lines are hashed in pieces: one call of the hash a line would be most of a run. */
const PIECE = 16_384;

export class Trace {
  lines = 0;
  private readonly hash = new Bun.SHA256();
  private pending = "";
  private readonly print: ((line: string) => void) | undefined;
  private readonly now: () => number;

  constructor(now: () => number, print?: (line: string) => void) {
    this.now = now;
    this.print = print;
  }

  add(text: string): void {
    const line = `${this.now().toFixed(3)} ${text}`;
    this.lines++;
    this.pending += `${line}\n`;
    if (this.pending.length > PIECE) this.flush();
    this.print?.(line);
  }

  private flush(): void {
    this.hash.update(this.pending);
    this.pending = "";
  }

  /** Once, at the end. */
  digest(): string {
    this.flush();
    const out = new Uint8Array(32);
    this.hash.digest(out);
    return toHex(out);
  }
}

/** What a broken rule means: a wrong answer, none at all, or a rank (or this simulator) that breaks. */
export type Family = "safety" | "liveness" | "crash";

/** A promise of protocol.md that was broken, or a bug that ended a rank. */
export class Violation extends Error {
  override name = "Violation";
  /** "S1" … "S11", "L2", "QUEUE", "CRASH". */
  readonly rule: string;

  constructor(rule: string, what: string, cause?: unknown) {
    super(`${rule}: ${what}`, cause === undefined ? undefined : { cause });
    this.rule = rule;
  }

  get family(): Family {
    if (/^S\d+$/.test(this.rule)) return "safety";
    // Slots that nobody gives back are memory that is not bounded: L7.
    return /^(L\d+|QUEUE)$/.test(this.rule) ? "liveness" : "crash";
  }
}

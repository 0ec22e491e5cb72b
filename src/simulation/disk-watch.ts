/**
 * Watches the steps on the disk for what only their order shows: rare ways, a name of the log that
 * goes though it is written once (S1), and evidence against somebody honest (S14).
 */
import type { DiskClock, DiskStep } from "../storage/simulated-disk.ts";
import type { LogOracle } from "./log-oracle.ts";
import { Violation } from "./trace.ts";
import type { Ways } from "./ways.ts";

/** A read that ended longer ago is over: its reader has gone on to something else. */
const READING_MS = 20;
const READS: ReadonlySet<DiskStep["step"]> = new Set(["read", "readDirectory", "status"]);
const TAIL = /\/log\/(\d+)(?:\/|$)/;

export class DiskWatch {
  private readonly clock: Pick<DiskClock, "now">;
  private readonly oracle: LogOracle;
  private readonly ways: Ways;
  /** Host → the tail that it read from last, and when. */
  private readonly reading = new Map<string, { tail: string; at: number }>();

  constructor(clock: Pick<DiskClock, "now">, oracle: LogOracle, ways: Ways) {
    this.clock = clock;
    this.oracle = oracle;
    this.ways = ways;
  }

  /** Before the step acts. */
  saw({ host, step, path }: DiskStep): void {
    if (step === "link" && path.includes("/evidence/"))
      throw new Violation("S14", `${host} writes evidence, and nobody lied`);
    const tail = TAIL.exec(path)?.[1];
    if (tail !== undefined && step === "unlink" && this.oracle.isRecordFile(path))
      throw new Violation("S1", `${host} takes ${path} away while its tail is there`);
    const now = this.clock.now();
    if (tail !== undefined && step === "rename" && path.endsWith(`/${tail}`))
      for (const [reader, read] of this.reading)
        if (reader !== host && read.tail === tail && now - read.at < READING_MS)
          this.ways.took("fold under a racing reader");
    if (tail !== undefined && READS.has(step)) this.reading.set(host, { tail, at: now });
    else this.reading.delete(host);
  }
}

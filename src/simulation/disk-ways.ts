/** Watches the steps on the disk for ways that only their order shows. */
import type { DiskClock, DiskStep } from "../storage/simulated-disk.ts";
import type { Ways } from "./ways.ts";

/** A read that ended longer ago is over: its reader has gone on to something else. */
const READING_MS = 20;
const READS: ReadonlySet<DiskStep["step"]> = new Set(["read", "readDirectory", "status"]);

export class DiskWays {
  private readonly clock: Pick<DiskClock, "now">;
  private readonly ways: Ways;
  /** Host → the tail that it read from last, and when. */
  private readonly reading = new Map<string, { tail: string; at: number }>();

  constructor(clock: Pick<DiskClock, "now">, ways: Ways) {
    this.clock = clock;
    this.ways = ways;
  }

  saw({ host, step, path }: DiskStep): void {
    const tail = /\/log\/(\d+)/.exec(path)?.[1];
    const now = this.clock.now();
    if (step === "rename" && tail !== undefined) {
      for (const [reader, read] of this.reading)
        if (reader !== host && read.tail === tail && now - read.at < READING_MS)
          this.ways.took("fold under a racing reader");
    }
    if (tail !== undefined && READS.has(step)) this.reading.set(host, { tail, at: now });
    else this.reading.delete(host);
  }
}

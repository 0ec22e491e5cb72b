/** What is measured of a run, from the end of its warm-up on. */
import { build, type Histogram } from "hdr-histogram-js";
import type { Traffic } from "./dissemination.ts";
import type { Batch, Load } from "./load.ts";

/** Latency of so many transactions of a batch is recorded, weighted. */
const SAMPLES = 16;

export class Latency {
  /** Microseconds. */
  private readonly histogram: Histogram = build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: 3_600_000_000,
    numberOfSignificantValueDigits: 3,
  });

  /** The transactions of `batch` have waited until `at`. */
  add(batch: Batch, load: Load, at: number): void {
    const samples = Math.min(SAMPLES, batch.count);
    for (let i = 0; i < samples; i++) {
      const number = batch.first + Math.floor(((i + 0.5) * batch.count) / samples);
      const waited = Math.max(1, Math.round(1000 * (at - load.cameAt(number))));
      const weight =
        Math.floor(((i + 1) * batch.count) / samples) - Math.floor((i * batch.count) / samples);
      this.histogram.recordValueWithCount(waited, weight);
    }
  }

  /** Milliseconds; undefined while there is nothing. */
  at(percentile: number): number | undefined {
    if (this.histogram.totalCount === 0) return undefined;
    return this.histogram.getValueAtPercentile(percentile) / 1000;
  }

  reset(): void {
    this.histogram.reset();
  }
}

export class Measures {
  readonly agreed = new Latency();
  readonly final = new Latency();
  since = 0;
  rounds = 0;
  records = 0;
  transactions = 0;
  /** Whose round was settled without them: proposed again. */
  blocksLost = 0;
  blocksAgreed = 0;
  hashes = 0;
  /** Sent by one rank, on average. */
  messages = 0;
  bytes = 0;

  /** Of all ranks together: `senders` of `ranks` send this. */
  sent({ messages, bytes }: Traffic, share: number): void {
    this.messages += messages * share;
    this.bytes += bytes * share;
  }

  forget(now: number): void {
    this.agreed.reset();
    this.final.reset();
    this.since = now;
    this.rounds = this.records = this.transactions = 0;
    this.blocksLost = this.blocksAgreed = this.hashes = 0;
    this.messages = this.bytes = 0;
  }
}

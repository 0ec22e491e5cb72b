/** What one run of a point gives, whatever kind of run it is. */
import type { JobFacts } from "../../job/reporter.ts";
import type { Figures } from "./metrics.ts";

export interface Measured {
  readonly figures: Figures;
  /** Where the time of a transaction goes, by stage, thread and queue; see breakdown.ts. */
  readonly breakdown: Readonly<Record<string, number>>;
  readonly facts: JobFacts;
  /** What is wrong with the ledger, a sentence each; none: it is verified. */
  readonly problems: readonly string[];
}

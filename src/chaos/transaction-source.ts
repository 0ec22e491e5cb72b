/**
 * The transactions of one client of a chaos run: its share of the paper's transfers or of YCSB updates,
 * first those that prepare the accounts or records, then without end.
 */
import { VALIDITY_ROUNDS_MAX } from "../limits.ts";
import { createWorkload } from "../workload/driver-settings.ts";
import type { Operation, Sender, Workload } from "../workload/operation.ts";
import { OutgoingBatch } from "../workload/outgoing-batch.ts";
import { mergeProperties } from "../workload/properties.ts";
import { buildWorkloadConfig, type WorkloadConfig } from "../workload/workload-config.ts";
import type { Plan } from "./plan.ts";

export function workloadOf({ load, seed }: Pick<Plan, "load" | "seed">): WorkloadConfig {
  // Without an end: the run says when it is over.
  const assignments = [`baash.seed=${seed}`, "operationcount=0", "maxexecutiontime=1e9"];
  if (load.kind === "transfers") {
    assignments.push("workload=transfers", `baash.accounts=${load.size}`);
  } else {
    assignments.push("workload=core", `recordcount=${load.size}`, "requestdistribution=zipfian");
    assignments.push("readproportion=0", "updateproportion=1", "writeallfields=true");
    assignments.push("fieldcount=2", "fieldlength=50");
  }
  return buildWorkloadConfig(mergeProperties([], assignments), () => "");
}

export interface SourceOptions {
  readonly plan: Pick<Plan, "load" | "seed">;
  readonly phase: "load" | "run";
  /** This client, of so many. */
  readonly place: number;
  readonly of: number;
  readonly chainId: Uint8Array;
  /** What account 0 holds. */
  readonly treasury: number;
  readonly sender: Sender;
}

export class TransactionSource {
  private readonly workload: Workload;
  private readonly batch: OutgoingBatch;
  private readonly chainId: Uint8Array;
  private readonly validityRounds: number;
  private readonly operation: Operation = { kind: 0, subject: 0, object: 0, amount: 0 };
  private made = 0;

  constructor({ plan, phase, place, of, chainId, treasury, sender }: SourceOptions) {
    const config = workloadOf(plan);
    this.workload = createWorkload({ config, phase, rank: place, ranks: of, sender, treasury });
    this.chainId = chainId;
    this.validityRounds = Math.min(plan.load.validityRounds, VALIDITY_ROUNDS_MAX / 2);
    const { transactionBytesMax, pool } = this.workload;
    this.batch = new OutgoingBatch({ transactionsMax: 1, transactionBytesMax, pool });
    this.workload.usePool?.(this.batch.bytes, this.batch.poolAt);
  }

  /** Of the load phase, those that are left; Infinity of the run phase. */
  get left(): number {
    return this.workload.operations - this.made;
  }

  /** The next one, as bytes of its own; `now` in ms since 1970. */
  next(lastRound: number, now: number): Uint8Array {
    this.made++;
    this.workload.choose(this.operation);
    const head = {
      chainId: this.chainId,
      senderID: 0,
      sequence: 0,
      lastValidRound: lastRound + this.validityRounds,
      creationTime: Math.floor(now),
    };
    const { bytes } = this.batch;
    return bytes.slice(0, this.workload.encode(this.operation, bytes, 0, head));
  }
}

/** When transactions are due at a fixed rate, whatever became of those before. Times in ms. */
export class FixedRate {
  private readonly start: number;
  private readonly intervalMs: number;
  private given = 0;

  /** `offset`: share of an interval, so that clients do not send in step. */
  constructor(start: number, perSecond: number, offset: number) {
    this.intervalMs = 1000 / perSecond;
    this.start = start + offset * this.intervalMs;
  }

  /** Intended times of what became due since the last call. */
  due(now: number, most: number): number[] {
    const times: number[] = [];
    for (; times.length < most; this.given++) {
      const time = this.start + this.given * this.intervalMs;
      if (time > now) break;
      times.push(time);
    }
    return times;
  }
}

/**
 * The log of a cluster of cores: one child a record, whatever races, and the epochs that its SEALs
 * make. Members of an epoch are processes; their place in the list is what the cores call rank.
 */
import { createHash } from "node:crypto";
import type { RecordKind, RoundSettlement } from "../../src/consensus/effects.ts";

export const hashOf = (text: string) => createHash("sha256").update(text).digest("hex");
export const GENESIS = hashOf("genesis");
export const OUTSIDER = -1;

export interface Epoch {
  readonly number: number;
  /** Process numbers, by place. */
  readonly processes: readonly number[];
  /** What installed it, and the last round settled by then. */
  readonly slot: number;
  readonly hash: string;
  readonly settled: number;
}

export interface Draft {
  readonly slot: number;
  readonly prevHash: string;
  readonly kind: RecordKind;
  /** Process number, or OUTSIDER. */
  readonly author: number;
  readonly settlement: readonly RoundSettlement[];
  /** Of a SEAL. */
  readonly answers?: readonly number[];
  readonly evict?: readonly number[];
  readonly admit?: readonly string[];
  /** Of an INTENT. */
  readonly answered?: readonly number[];
  readonly deadlineMs?: number;
}

export interface LogRecord extends Draft {
  readonly hash: string;
  /** When it was linked, in ms. */
  readonly at: number;
  /** The epoch that it belongs to: that of its parent. */
  readonly epoch: Epoch;
}

/** Newcomers are named by their process number where real ones have an incarnation. */
export const incarnationOf = (process: number) => process.toString(16).padStart(16, "0");
const processOf = (incarnation: string) => Number.parseInt(incarnation, 16);

export class RecordLog {
  /** Child of a record, by the parent's hash: what `link` makes exclusive. */
  private readonly children = new Map<string, LogRecord>();
  private readonly epochs: Epoch[];
  private readonly bySeal = new Map<string, Epoch>();
  private readonly chain: LogRecord[] = [];

  constructor(ranks: number) {
    const processes = Array.from({ length: ranks }, (_, process) => process);
    this.epochs = [{ number: 0, processes, slot: 0, hash: GENESIS, settled: 0 }];
  }

  get firstEpoch(): Epoch {
    return this.epochs[0];
  }
  get newestEpoch(): Epoch {
    return this.epochs.at(-1)!;
  }

  /** The epoch that the SEAL of this hash installed. */
  epochOf(seal: string): Epoch {
    return this.bySeal.get(seal)!;
  }

  everMember(process: number): boolean {
    return this.epochs.some(({ processes }) => processes.includes(process));
  }

  child(hash: string): LogRecord | undefined {
    return this.children.get(hash);
  }

  /** Links a record unless its parent has a child: undefined then. */
  link(draft: Draft, at: number): LogRecord | undefined {
    // What has no child and can be named is the head: a record is on the chain once it is linked.
    if (this.children.has(draft.prevHash)) return undefined;
    const hash = hashOf(`record ${this.chain.length} ${draft.slot} ${draft.author}`);
    const record = { ...draft, hash, at, epoch: this.newestEpoch };
    this.children.set(draft.prevHash, record);
    this.chain.push(record);
    if (draft.kind === "SEAL") this.install(record);
    return record;
  }

  private install({ slot, hash, epoch, evict = [], admit = [], author }: LogRecord): void {
    // An outsider takes the ledger over for another job: nobody here is in its epoch.
    const staying = author === OUTSIDER ? [] : epoch.processes.filter((_, i) => !evict.includes(i));
    const processes = [...staying, ...admit.map(processOf)];
    let settled = 0;
    for (const { settlement } of this.all()) settled = settlement.at(-1)?.round ?? settled;
    const next = { number: this.epochs.length, processes, slot, hash, settled };
    this.epochs.push(next);
    this.bySeal.set(hash, next);
  }

  /** All records after genesis, in order. */
  all(): readonly LogRecord[] {
    return this.chain;
  }

  get head(): { slot: number; hash: string } {
    return this.chain.at(-1) ?? { slot: 0, hash: GENESIS };
  }
}

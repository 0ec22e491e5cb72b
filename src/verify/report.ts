/** What reading a ledger gives: figures, damages, notes; and what the caller may listen to. */
import type { DamageFacts } from "./damage.ts";
import type { Conviction } from "./evidence-reader.ts";
import type { Warning } from "./not-valid.ts";

/** Where a transaction lies. One object, used again for each: copy what you keep. */
export interface TransactionPlace {
  slot: number;
  round: number;
  rank: number;
  height: number;
  index: number;
}

export interface ReadOptions {
  /** Called for each transaction in order of execution; the id lies at ids[idOffset .. +32). */
  onTransaction?(ids: Uint8Array, idOffset: number, outcome: number, place: TransactionPlace): void;
  onProgress?(progress: Progress): void;
}

export interface Progress {
  slot: number;
  transactions: number;
  bytes: number;
  bytesTotal: number;
}

export interface LedgerSummary {
  chainId: string;
  created: number;
  /** By kind; what does not count is a NOOP. */
  records: Record<string, number>;
  slots: number;
  rounds: number;
  proposals: number;
  blocks: number;
  transactions: number;
  outcomes: Record<string, number>;
  epochs: number;
  /** Members of the epoch in force; none after a clean stop. */
  members: { rank: number; incarnation: string; host: string }[];
  settledRound: number;
  supply: number;
  totalBalance: number;
  storedRecords: number;
  headHash: string;
  merkleRoot: string;
  stateRoot: string;
  effectsDigest: string;
  checkpoints: number;
  bytes: number;
}

export interface LedgerReport {
  summary: LedgerSummary;
  /** In the order found; empty when the ledger is good. */
  damages: DamageFacts[];
  /** Records that do not count, in the order of the log, and evidence that proves nothing. */
  warnings: Warning[];
  /** Members that evidence/ shows to have contradicted themselves. The ledger is good all the same. */
  convictions: Conviction[];
  notes: string[];
}

export function emptySummary(): LedgerSummary {
  return {
    chainId: "",
    created: 0,
    records: {},
    slots: 0,
    rounds: 0,
    proposals: 0,
    blocks: 0,
    transactions: 0,
    outcomes: {},
    epochs: 0,
    members: [],
    settledRound: 0,
    supply: 0,
    totalBalance: 0,
    storedRecords: 0,
    headHash: "",
    merkleRoot: "",
    stateRoot: "",
    effectsDigest: "",
    checkpoints: 0,
    bytes: 0,
  };
}

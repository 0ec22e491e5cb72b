/**
 * The writer of one rank: turns drafts into signed records and appends them, reads, checkpoints and
 * folds. The only code of a running rank that touches the ledger directory. It runs in the
 * writer-worker, or inline over the simulated disk.
 */
import type { KeyObject } from "node:crypto";
import { toHex } from "../base/bytes.ts";
import { BaashError } from "../base/errors.ts";
import { signMessage } from "../ledger/keys.ts";
import {
  type EncodedRecord,
  encodeRecord,
  type RecordFields,
  type RecordKind,
} from "../ledger/record.ts";
import {
  encodeNoop,
  encodeSettlement,
  type PayloadParts,
  type SettledRound,
} from "../ledger/settlement.ts";
import type { SharedLog } from "./shared-log.ts";

/** A proposal inside a draft: its blocks stay in the incoming queue, named by slot. */
export interface DraftProposal {
  readonly rank: number;
  readonly header: Uint8Array;
  readonly slots: readonly number[];
}

export interface DraftRound extends Omit<SettledRound, "proposals"> {
  readonly proposals: readonly DraftProposal[];
}

export interface RecordDraft {
  readonly kind: RecordKind;
  readonly slot: number;
  readonly prevHash: Uint8Array;
  readonly epoch: Uint8Array;
  readonly firstRound: number;
  readonly lastRound: number;
  readonly heightBefore: number;
  readonly creationTime: number;
  readonly rounds: readonly DraftRound[];
  /** SEAL and INTENT: the payload, encoded. */
  readonly payload?: Uint8Array;
}

export type AppendResult =
  | { readonly won: true; readonly hash: Uint8Array; readonly bytes: number }
  | { readonly won: false; readonly winner: Uint8Array };

/** Where the bytes of the blocks lie. */
export interface BlockSource {
  block(slot: number): Uint8Array;
}

export interface Author {
  readonly chainId: Uint8Array;
  readonly rank: number;
  readonly incarnation: Uint8Array;
  readonly privateKey: KeyObject;
  /** genesis.storageDifficulty. */
  readonly storageDifficulty: number;
}

export interface WriterCounters {
  records: number;
  bytes: number;
  /** Appends that found the slot taken: the race costs work, never a fork. */
  lostRaces: number;
  appendMs: number;
}

export class LedgerWriter {
  readonly counters: WriterCounters = { records: 0, bytes: 0, lostRaces: 0, appendMs: 0 };
  private readonly log: SharedLog;
  private readonly author: Author;
  private readonly blocks: BlockSource;
  private readonly now: () => number;

  constructor(options: { log: SharedLog; author: Author; blocks: BlockSource; now: () => number }) {
    this.log = options.log;
    this.author = options.author;
    this.blocks = options.blocks;
    this.now = options.now;
  }

  async append(draft: RecordDraft): Promise<AppendResult> {
    const started = this.now();
    const { slot, prevHash } = draft;
    this.noteHead(slot, prevHash);
    const record = this.encode(draft);
    const result = await this.log.append({
      slot,
      prevHash,
      hash: record.hash,
      parts: record.parts,
    });
    this.counters.appendMs += this.now() - started;
    switch (result.outcome) {
      case "won":
        this.counters.records++;
        this.counters.bytes += record.length;
        return { won: true, hash: record.hash, bytes: record.length };
      case "lost":
        this.counters.lostRaces++;
        await this.log.adopt({ slot, prevHash });
        return { won: false, winner: result.bytes };
      case "void":
        throw new BaashError(
          "LINK_VOID",
          `Slot ${slot} is folded with another parent than ${toHex(prevHash)}: this rank is on a chain that nobody follows.`,
        );
      case "unknown":
        throw result.error;
    }
  }

  /** The record after `prevHash`, durable before it is answered. */
  async child(slot: number, prevHash: Uint8Array): Promise<Uint8Array | undefined> {
    this.noteHead(slot, prevHash);
    const found = await this.log.adopt({ slot, prevHash });
    return found?.bytes;
  }

  /** The caller's head is final: linked here, adopted, or announced as synced by its recorder. */
  private noteHead(slot: number, prevHash: Uint8Array): void {
    if (slot > 0) this.log.noteSynced({ slot: slot - 1, hash: prevHash });
  }

  private encode(draft: RecordDraft): EncodedRecord {
    const { author } = this;
    const fields: RecordFields = {
      kind: draft.kind,
      puzzleBits: draft.kind === "STORAGE" ? author.storageDifficulty : 0,
      slot: draft.slot,
      chainId: author.chainId,
      prevHash: draft.prevHash,
      epoch: draft.epoch,
      firstRound: draft.firstRound,
      lastRound: draft.lastRound,
      authorRank: author.rank,
      authorIncarnation: author.incarnation,
      creationTime: draft.creationTime,
      heightBefore: draft.heightBefore,
    };
    const sign = (message: Uint8Array) => signMessage(author.privateKey, message);
    return encodeRecord(fields, this.payload(draft), sign);
  }

  private payload(draft: RecordDraft): PayloadParts {
    if (draft.payload !== undefined) {
      return { parts: [draft.payload], length: draft.payload.length };
    }
    if (draft.kind === "NOOP") return encodeNoop();
    return encodeSettlement(
      draft.rounds.map((round) => ({
        ...round,
        proposals: round.proposals.map(({ rank, header, slots }) => ({
          rank,
          header,
          blocks: slots.map((slot) => this.blocks.block(slot)),
        })),
      })),
    );
  }
}

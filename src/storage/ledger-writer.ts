/**
 * The writer of one rank: turns drafts into signed records and appends them, reads, checkpoints and
 * folds. The only code of a running rank that touches the ledger directory. It runs in the
 * writer-worker, or inline over the simulated disk.
 */
import type { KeyObject } from "node:crypto";
import { toHex } from "../base/bytes.ts";
import { BaashError, errorCode } from "../base/errors.ts";
import { signMessage } from "../ledger/keys.ts";
import {
  type EncodedRecord,
  encodeRecord,
  RECORD_HEADER_BYTES,
  type RecordFields,
  type RecordKind,
  recordHash,
} from "../ledger/record.ts";
import {
  encodeNoop,
  encodeSeal,
  encodeSettlement,
  type Member,
  type PayloadParts,
  type SettledRound,
  type SignedAnswer,
} from "../ledger/settlement.ts";
import type { HeadWatch } from "./head-watch.ts";
import type { RecordCache } from "./record-cache.ts";
import type { Reserve } from "./reserve.ts";
import type { Appended, SharedLog } from "./shared-log.ts";
import { ioError } from "./storage-errors.ts";

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
  /** The author's number in the epoch, where it is not the one that `writeAs` gave. */
  readonly authorRank?: number;
  /** A SEAL that settles rounds. */
  readonly seal?: {
    readonly members: readonly Member[];
    readonly answers: readonly number[];
    /** Byzantine epochs: what each of `answers` signed. */
    readonly signedAnswers?: readonly SignedAnswer[] | undefined;
  };
  /** INTENT, and SEAL without rounds: the payload, encoded. */
  readonly payload?: Uint8Array;
  /** May take of the room in reserve as SEAL, INTENT and NOOP do: what a clean stop drains. */
  readonly urgent?: boolean;
}

type Placed = Pick<RecordDraft, "slot" | "prevHash" | "kind" | "urgent">;

/** Without these nobody is evicted, no newcomer refuted, no ledger closed. */
const MEMBERSHIP: ReadonlySet<RecordKind> = new Set(["SEAL", "INTENT", "NOOP"]);
/** Pieces of other processes' reserves that one record may take. */
const FOREIGN_PIECES_MAX = 3;

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
  /** Pieces of the reserve that membership records took. */
  reserveUses: number;
}

export function newWriterCounters(): WriterCounters {
  return { records: 0, bytes: 0, lostRaces: 0, appendMs: 0, reserveUses: 0 };
}

export class LedgerWriter {
  private readonly counters: WriterCounters;
  private readonly log: SharedLog;
  private readonly headWatch: HeadWatch;
  private readonly reserve: Reserve;
  private readonly cache: RecordCache;
  private readonly author: Author;
  private readonly blocks: BlockSource;
  private readonly now: () => number;

  constructor(options: {
    log: SharedLog;
    headWatch: HeadWatch;
    reserve: Reserve;
    cache: RecordCache;
    counters: WriterCounters;
    author: Author;
    blocks: BlockSource;
    now: () => number;
  }) {
    this.counters = options.counters;
    this.log = options.log;
    this.headWatch = options.headWatch;
    this.reserve = options.reserve;
    this.cache = options.cache;
    this.author = options.author;
    this.blocks = options.blocks;
    this.now = options.now;
  }

  append(draft: RecordDraft): Promise<AppendResult> {
    return this.appendEncoded(encodeDraft(this.author, this.blocks, draft), draft);
  }

  /** A record that somebody else has signed, whole. */
  appendWhole(bytes: Uint8Array, place: { slot: number; prevHash: Uint8Array; kind: RecordKind }) {
    const header = bytes.subarray(0, RECORD_HEADER_BYTES);
    const record = { hash: recordHash(bytes), header, parts: [bytes], length: bytes.length };
    return this.appendEncoded(record, place);
  }

  private async appendEncoded(record: EncodedRecord, draft: Placed): Promise<AppendResult> {
    const started = this.now();
    const { slot, prevHash } = draft;
    this.noteHead(slot, prevHash);
    // Before the link: should the file be damaged as soon as it is there, these are its bytes.
    this.cache.keep({ slot, hash: record.hash }, record.parts);
    const result = await this.appendWithReserve(record, draft);
    this.counters.appendMs += this.now() - started;
    switch (result.outcome) {
      case "won":
        this.counters.records++;
        this.counters.bytes += record.length;
        return { won: true, hash: record.hash, bytes: record.length };
      case "lost":
        this.counters.lostRaces++;
        return { won: false, winner: await this.adoptWinner(slot, prevHash) };
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
    if (found === undefined) await this.headWatch.check();
    else this.cache.keep({ slot, hash: found.hash }, [found.bytes]);
    return found?.bytes;
  }

  private async appendWithReserve(record: EncodedRecord, draft: Placed): Promise<Appended> {
    const { slot, prevHash } = draft;
    const isUrgent = draft.urgent === true || MEMBERSHIP.has(draft.kind);
    for (let foreign = 0; ; ) {
      try {
        return await this.log.append({ slot, prevHash, hash: record.hash, parts: record.parts });
      } catch (error) {
        if (errorCode(error) !== "STORAGE_FULL" || !isUrgent) throw error;
        if (this.reserve.bytes === 0 && ++foreign > FOREIGN_PIECES_MAX) throw error;
        if (!(await this.reserve.release())) throw error;
        this.counters.reserveUses++;
      }
    }
  }

  /** Who lost builds on the winner, which is durable first. */
  private async adoptWinner(slot: number, prevHash: Uint8Array): Promise<Uint8Array> {
    const winner = await this.log.adopt({ slot, prevHash });
    if (winner === undefined) {
      const { context } = this.log;
      const path = context.paths.record(this.log.segmentOf(slot), slot, prevHash);
      throw ioError(path, new Error("it was there and is not"));
    }
    this.cache.keep({ slot, hash: winner.hash }, [winner.bytes]);
    return winner.bytes;
  }

  /** The caller's head is final: linked here, adopted, or announced as synced by its recorder. */
  private noteHead(slot: number, prevHash: Uint8Array): void {
    if (slot > 0) this.log.noteSynced({ slot: slot - 1, hash: prevHash });
  }
}

/** The record that a draft becomes under its author's signature; a STORAGE record is mined here. */
export function encodeDraft(
  author: Author,
  blocks: BlockSource,
  draft: RecordDraft,
): EncodedRecord {
  const fields: RecordFields = {
    kind: draft.kind,
    puzzleBits: draft.kind === "STORAGE" ? author.storageDifficulty : 0,
    slot: draft.slot,
    chainId: author.chainId,
    prevHash: draft.prevHash,
    epoch: draft.epoch,
    firstRound: draft.firstRound,
    lastRound: draft.lastRound,
    authorRank: draft.authorRank ?? author.rank,
    authorIncarnation: author.incarnation,
    creationTime: draft.creationTime,
    heightBefore: draft.heightBefore,
  };
  const sign = (message: Uint8Array) => signMessage(author.privateKey, message);
  return encodeRecord(fields, payloadOf(draft, blocks), sign);
}

function payloadOf(draft: RecordDraft, blocks: BlockSource): PayloadParts {
  if (draft.payload !== undefined) {
    return { parts: [draft.payload], length: draft.payload.length };
  }
  if (draft.kind === "NOOP") return encodeNoop();
  const rounds = draft.rounds.map((round) => ({
    ...round,
    proposals: round.proposals.map(({ rank, header, slots }) => ({
      rank,
      header,
      blocks: slots.map((slot) => blocks.block(slot)),
    })),
  }));
  if (draft.seal === undefined) return encodeSettlement(rounds);
  const { members, answers, signedAnswers } = draft.seal;
  return encodeSeal({
    members: [...members],
    rounds,
    answers: [...answers],
    ...(signedAnswers && { signedAnswers: [...signedAnswers] }),
  });
}

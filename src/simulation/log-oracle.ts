/**
 * The ledger as storage holds it at this moment: follows the names on the disk from genesis, counts
 * only what would survive a loss of all power, judges each record and runs it through the model.
 * Whatever a rank calls final must be here already.
 */
import { equalBytes, fromHex, readU32, toHex } from "../base/bytes.ts";
import { blockHash, createBlockLocation, locateBlock } from "../ledger/block.ts";
import { Chain } from "../ledger/chain.ts";
import type { Genesis, Quorum } from "../ledger/genesis.ts";
import { judgeRecord, namesOf } from "../ledger/judge.ts";
import { decodeRecord, type LedgerRecord } from "../ledger/record.ts";
import { settledBy } from "../ledger/replay.ts";
import type { SettledRound } from "../ledger/settlement.ts";
import { decodeTransaction, type Transaction } from "../ledger/transaction-object.ts";
import { verdictName } from "../ledger/verdict.ts";
import { LedgerPaths, parseHeadName, parseRecordName, recordName } from "../storage/paths.ts";
import type { SimulatedDisk } from "../storage/simulated-disk.ts";
import { type Epoch, type EpochEnd, Epochs, yesVoters } from "./epochs.ts";
import type { Presence } from "./presence.ts";
import { StateModel } from "./state-model.ts";
import type { Timeline } from "./timeline.ts";
import { type Trace, Violation } from "./trace.ts";
import type { Ways } from "./ways.ts";

export interface OracleRecord {
  readonly slot: number;
  readonly hash: string;
  readonly kind: string;
  readonly counts: boolean;
  readonly settledRound: number;
  readonly height: number;
  readonly effectsDigest: string;
  /** In force after it: the hash of a SEAL. */
  readonly epoch: string;
}

export interface LoggedTransaction {
  readonly transaction: Transaction;
  /** Of each time that it is in a block, in order. */
  readonly outcomes: number[];
  readonly slots: number[];
}

export class LogOracle {
  readonly records: OracleRecord[] = [];
  readonly transactions = new Map<string, LoggedTransaction>();
  readonly model: StateModel;
  readonly epochs: Epochs;
  private readonly disk: SimulatedDisk;
  private readonly paths: LedgerPaths;
  private readonly segmentRecords: number;
  private readonly genesis: Genesis;
  /** Its place alone is kept up, for the judge: its state stays as genesis left it. */
  private readonly chain: Chain;
  private readonly blocks = new Map<string, number>();
  /** As they were written, by slot. */
  private readonly recordBytes: Uint8Array[] = [];
  private readonly trace: Trace;
  private readonly timeline: Timeline | undefined;
  private readonly presence: Presence | undefined;
  private readonly mayLie: (incarnation: string) => boolean;

  constructor(options: {
    disk: SimulatedDisk;
    root: string;
    genesis: Genesis;
    segmentRecords: number;
    trace: Trace;
    ways: Ways;
    presence?: Presence | undefined;
    timeline?: Timeline | undefined;
    /** An epoch ended with a SEAL that counts. */
    onEpochEnd(epoch: Epoch, end: EpochEnd): void;
    /** This incarnation (hex) may write junk: it takes the slot and nothing else. */
    mayLie?(incarnation: string): boolean;
  }) {
    this.mayLie = options.mayLie ?? (() => false);
    this.epochs = new Epochs({ ...options, quorum: options.genesis.quorum });
    this.disk = options.disk;
    this.paths = new LedgerPaths(options.root);
    this.genesis = options.genesis;
    this.segmentRecords = options.segmentRecords;
    this.trace = options.trace;
    this.timeline = options.timeline;
    this.presence = options.presence;
    this.chain = new Chain(options.genesis);
    this.model = new StateModel(options.genesis.supply, options.genesis.chainHash);
  }

  get head(): OracleRecord | undefined {
    return this.records.at(-1);
  }

  /** Members of the epoch in force at the head. */
  get members() {
    return this.chain.epoch.members;
  }

  /** Takes in every record that is durable by now. */
  advance(): void {
    for (;;) {
      const slot = this.records.length;
      const bytes = this.durableChild(slot, fromHex(this.chain.hash));
      if (bytes === undefined) return;
      this.take(slot, bytes);
    }
  }

  /** The file that has a record of the log in it: its own, or its segment's. */
  pathOf(slot: number): string {
    const segment = Math.floor(slot / this.segmentRecords);
    const folded = this.paths.segment(segment);
    return this.disk.find(folded) !== undefined ? folded : this.tailPathOf(slot);
  }

  private tailPathOf(slot: number): string {
    const prevHash = slot === 0 ? new Uint8Array(32) : fromHex(this.records[slot - 1].hash);
    return this.paths.record(Math.floor(slot / this.segmentRecords), slot, prevHash);
  }

  /** Bytes of a final record as they were written. */
  bytesOf(slot: number): Uint8Array | undefined {
    return this.recordBytes[slot];
  }

  /** Slot of the newest checkpoint whose head is durable, or -1. */
  newestCheckpoint(): number {
    const directory = this.disk.find(this.paths.checkpoints);
    const slots = [...(directory?.durableEntries.keys() ?? [])].map((name) => parseHeadName(name));
    return Math.max(-1, ...slots.filter((slot) => slot !== undefined));
  }

  /** The path is the name of a final record in the tail, and what lies there is whole. */
  isRecordFile(path: string): boolean {
    const name = parseRecordName(path.slice(path.lastIndexOf("/") + 1));
    const record = name && this.records[name.slot];
    if (record === undefined || this.tailPathOf(name!.slot) !== path) return false;
    const file = this.disk.find(path);
    return file !== undefined && equalBytes(file.bytes, this.recordBytes[name!.slot]);
  }

  private durableChild(slot: number, prevHash: Uint8Array): Uint8Array | undefined {
    // A segment is folded when all of its records are long known here.
    const tail = this.paths.tail(Math.floor(slot / this.segmentRecords));
    const log = this.disk.find(this.paths.log);
    const directory = log?.durableEntries.get(tail.slice(tail.lastIndexOf("/") + 1));
    const node = directory?.durableEntries.get(recordName(slot, prevHash));
    return node?.durableBytes;
  }

  private take(slot: number, bytes: Uint8Array): void {
    const { chain } = this;
    const record = decodeRecord(bytes, chain.ranks, {
      chainId: chain.chainId,
      slot,
      prevHash: fromHex(chain.hash),
      storageDifficulty: this.genesis.storageDifficulty,
    });
    if (!record.ok) {
      throw new Violation(
        "S12",
        `slot ${slot} holds what nobody can read: ${verdictName(record.verdict)}`,
      );
    }
    const { header, body, hash } = record.value;
    const counts = judgeRecord(chain, record.value, bytes).counts;
    if (!counts && body.kind !== "NOOP" && !this.mayLie(toHex(header.authorIncarnation))) {
      throw new Violation(
        "S4",
        `slot ${slot} is a ${body.kind} of an honest rank and does not count`,
      );
    }
    if (counts) this.epochs.take(record.value);
    else this.epochs.pass();
    if (counts) this.execute(record.value);
    if (counts && body.kind === "QUORUM")
      for (const round of body.rounds) this.checkQuorum(slot, round);
    if (header.heightBefore !== chain.height && counts) {
      throw new Violation(
        "S8",
        `slot ${slot} says height ${header.heightBefore}, it is ${chain.height}`,
      );
    }
    chain.height = this.model.height;
    chain.advance(slot, toHex(hash));
    if (counts && body.kind === "SEAL") chain.install(body.seal.members);
    if (counts && body.kind === "INTENT")
      chain.announce(header.authorIncarnation, body.intent.answered);
    this.recordBytes.push(bytes);
    this.records.push({
      slot,
      hash: toHex(hash),
      kind: header.kind,
      counts,
      settledRound: chain.settledRound,
      height: this.model.height,
      effectsDigest: this.model.effectsDigest,
      epoch: chain.epoch.hash,
    });
    this.trace.add(
      `durable ${header.kind} slot ${slot} rounds ${header.firstRound}-${header.lastRound} ${toHex(hash, 0, 4)}`,
    );
    const author = this.presence?.processOf(toHex(header.authorIncarnation))?.name ?? "?";
    const kind = counts ? header.kind : `${header.kind} (void)`;
    const rounds: [number, number] = [header.firstRound, header.lastRound];
    this.timeline?.recorded({ kind, slot, rounds, by: author });
  }

  private execute(record: LedgerRecord): void {
    const { chain } = this;
    const slot = record.header.slot;
    for (const round of settledBy(record)) {
      if (round.round !== chain.settledRound + 1) {
        throw new Violation(
          "S8",
          `slot ${slot} settles round ${round.round} after ${chain.settledRound}`,
        );
      }
      for (let place = 0; place < chain.ranks; place++) {
        const rank = (round.round + place) % chain.ranks;
        const proposal = round.proposals.find((one) => one.rank === rank);
        for (const block of proposal?.blocks ?? []) this.block(slot, round.round, block);
      }
      this.model.endRound(round.round);
      chain.settledRound = round.round;
    }
    if (this.model.total() !== this.genesis.supply) {
      throw new Violation("S7", `slot ${slot} changes the total to ${this.model.total()}`);
    }
  }

  private block(slot: number, round: number, bytes: Uint8Array): void {
    const location = createBlockLocation();
    const hash = new Uint8Array(32);
    locateBlock(bytes, 0, bytes.length, location);
    blockHash(bytes, location.headerOffset, hash, 0);
    const name = toHex(hash);
    const before = this.blocks.get(name);
    if (before !== undefined) {
      throw new Violation("S6", `block ${name.slice(0, 8)} is in slots ${before} and ${slot}`);
    }
    this.blocks.set(name, slot);
    const transactions: Transaction[] = [];
    const end = location.bodyOffset + location.bodyLength;
    for (let at = location.bodyOffset; at < end; ) {
      const length = readU32(bytes, at);
      const transaction = decodeTransaction(bytes, at + 4, length);
      if (!transaction.ok) throw new Violation("S12", `slot ${slot} has a malformed transaction`);
      transactions.push(transaction.value);
      at += 4 + length;
    }
    const outcomes = this.model.block(hash, transactions, round);
    for (const [index, transaction] of transactions.entries()) {
      this.note(transaction, outcomes[index], slot);
    }
  }

  private note(transaction: Transaction, outcome: number, slot: number): void {
    const logged = this.transactions.get(transaction.txnID);
    if (logged === undefined) {
      this.transactions.set(transaction.txnID, { transaction, outcomes: [outcome], slots: [slot] });
      return;
    }
    if (outcome === 0 && logged.outcomes.includes(0)) {
      throw new Violation("S6", `transaction ${transaction.txnID.slice(0, 8)} takes effect twice`);
    }
    logged.outcomes.push(outcome);
    logged.slots.push(slot);
  }

  /** S4, counted here once more, rank by rank: w members said yes to each block that is in. */
  private checkQuorum(slot: number, round: SettledRound): void {
    const ranks = this.chain.ranks;
    for (const { rank } of namesOf(round)) {
      const yes = yesVoters(round, rank, 0, ranks);
      if (yes < winsIn(ranks, this.genesis.quorum)) {
        throw new Violation(
          "S4",
          `slot ${slot} includes rank ${rank} with ${yes} of ${ranks} votes`,
        );
      }
    }
  }
}

/** w of protocol.md: more than half, or all but the third that may lie. */
function winsIn(ranks: number, quorum: Quorum): number {
  if (quorum === "majority") return Math.floor(ranks / 2) + 1;
  return ranks - Math.floor((ranks - 1) / 3);
}

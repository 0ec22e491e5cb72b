/**
 * Reads a whole ledger directory offline and checks it: the chain of records, who wrote them, what
 * they settle, every block and transaction, and a second execution of it all. It shares no code
 * with the writer but hash functions and constants. One thread; memory holds one record, the
 * remembered window and the state.
 *
 * The walk along the chain stops at the first damage, because all after it depends on it. Records
 * of a writer that was overtaken (an old epoch, rounds settled before) settle nothing, as for the
 * ranks, and are only noted.
 */
import { statSync } from "node:fs";
import { concatBytes, toHex, writeU64 } from "../base/bytes.ts";
import { configurationError } from "../base/errors.ts";
import { kernels } from "../base/kernels.ts";
import { BlockReader } from "./block-reader.ts";
import { checkHead, type HeadFile, readHeads } from "./checkpoint-reader.ts";
import { ADVICE_REPORT, Damage, type DamageFacts, fail, type Origin } from "./damage.ts";
import {
  answersMin,
  checkAuthor,
  type Epoch,
  NO_EPOCH,
  readMember,
  readMembers,
} from "./epoch-reader.ts";
import { type Genesis, readGenesis, sha256 } from "./genesis-reader.ts";
import { BLOCK, KIND, KIND_NAMES, OUTCOME_NAMES, RECORD } from "./layout.ts";
import { MerkleHead } from "./merkle-head.ts";
import {
  type ProposalEntry,
  type RoundEntry,
  readRounds,
  unpackPayload,
} from "./payload-reader.ts";
import { leadingZeroBits, type RecordView, readRecord, signedPart } from "./record-reader.ts";
import { RecordSource } from "./record-source.ts";
import { Replay } from "./replay.ts";
import type { FoundRecord } from "./segment-file.ts";
import { AnchorWindow, checkProposalTotals, checkRound } from "./settlement-reader.ts";

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
  notes: string[];
}

/** How many slots' digests of effects are kept to compare with votes that name an older slot. */
const EFFECTS_KEPT = 65_536;
const PROGRESS_EVERY_BYTES = 4 * 1024 * 1024;

/** Throws NOT_A_LEDGER (exit 78); whatever else is wrong is in the report. */
export function readLedger(dir: string, options: ReadOptions = {}): LedgerReport {
  let genesis: Genesis | undefined;
  try {
    if (statSync(dir, { throwIfNoEntry: false })?.isDirectory()) genesis = readGenesis(dir);
  } catch (error) {
    if (!(error instanceof Damage)) throw error;
    return { summary: emptySummary(), damages: [error.facts], notes: [] };
  }
  if (genesis === undefined) {
    const message = `${dir} is not a ledger: it holds no file named genesis; give its directory`;
    throw configurationError("NOT_A_LEDGER", message, { dir });
  }
  return new LedgerReader(dir, genesis, options).read();
}

class LedgerReader {
  private readonly damages: DamageFacts[] = [];
  private readonly notes: string[] = [];
  private readonly blocks = new BlockReader();
  private readonly replay: Replay;
  private readonly anchors = new AnchorWindow();
  private readonly tree = new MerkleHead();
  private readonly epochs = new Map<string, Epoch>([[NO_EPOCH.hash, NO_EPOCH]]);
  private readonly effectsAtSlot = new Map<number, string>();
  private readonly summary = emptySummary();
  private readonly place: TransactionPlace = { slot: 0, round: 0, rank: 0, height: 0, index: 0 };
  private epoch = NO_EPOCH;
  private settled = 0;
  private height = 0;
  private chainHash: Uint8Array;
  private head: Uint8Array = new Uint8Array(32);
  /** The record before, when it is an INTENT in force: its author. */
  private intentBy = "";
  private effects = new Uint8Array(64 * 1024);
  private effectsBytes = 0;

  constructor(
    private readonly dir: string,
    private readonly genesis: Genesis,
    private readonly options: ReadOptions,
  ) {
    this.replay = new Replay(genesis.supply);
    this.chainHash = genesis.hash;
    this.summary.chainId = toHex(genesis.chainId);
    this.summary.created = genesis.created;
    this.summary.supply = genesis.supply;
  }

  read(): LedgerReport {
    const heads = this.guarded(() => readHeads(this.dir, this.genesis, this.damages, this.notes));
    this.guarded(() => this.walk(heads ?? []));
    this.finishSummary();
    return { summary: this.summary, damages: this.damages, notes: this.notes };
  }

  private guarded<T>(work: () => T): T | undefined {
    try {
      return work();
    } catch (error) {
      if (!(error instanceof Damage)) throw error;
      this.damages.push(error.facts);
      return undefined;
    }
  }

  private walk(heads: HeadFile[]): void {
    const source = new RecordSource(this.dir);
    const headAt = new Map(heads.map((head) => [head.slot, head]));
    let bytes = 0;
    let reported = 0;
    try {
      for (const found of source.records(() => toHex(this.head))) {
        this.readOne(found);
        bytes += found.bytes.length;
        const head = headAt.get(found.slot);
        if (head !== undefined) this.compareHead(head);
        if (bytes - reported < PROGRESS_EVERY_BYTES) continue;
        reported = bytes;
        const { transactions } = this.summary;
        const bytesTotal = source.bytesTotal;
        this.options.onProgress?.({ slot: found.slot, transactions, bytes, bytesTotal });
      }
    } finally {
      this.summary.bytes = bytes;
      this.notes.push(...source.notes);
    }
    if (this.summary.slots === 0) {
      const what = "the log is empty: the SEAL of slot 0 is missing";
      throw new Damage({ code: "LOG_EMPTY", file: "log", offset: 0, slot: 0, what });
    }
    for (const head of heads) {
      if (head.slot < this.summary.slots) continue;
      throw new Damage({
        code: "TAIL_MISSING",
        file: head.file,
        offset: 0,
        slot: head.slot,
        what: "the end of the log is missing: this signed checkpoint is ahead of it",
        expected: `slot ${head.slot}`,
        found: `slot ${this.summary.slots - 1}`,
        advice: "restore the missing records of log/ or segments/ from a copy",
      });
    }
    if (this.replay.totalBalance() !== this.genesis.supply) {
      throw new Damage({
        code: "SUPPLY",
        file: "genesis",
        offset: 0,
        what: "the balances do not add up to the supply",
        expected: String(this.genesis.supply),
        found: String(this.replay.totalBalance()),
        advice: ADVICE_REPORT,
      });
    }
  }

  private compareHead(head: HeadFile): void {
    this.summary.checkpoints++;
    checkHead(head, {
      size: this.tree.size,
      root: this.tree.root(),
      stateRoot: this.replay.stateRoot(),
      recordHash: this.head,
    });
  }

  private readOne(found: FoundRecord): void {
    const origin = { file: found.file, base: found.offset, slot: found.slot };
    const chain = { chainId: this.genesis.chainId, prevHash: this.head };
    const record = readRecord(found.bytes, origin, chain);
    if (found.prevHash !== toHex(this.head)) {
      const what = "the name or index states another parent";
      fail(origin, { code: "RECORD_PARENT", offset: 0, what, expected: toHex(this.head) });
    }
    const overtaken = this.overtaken(record);
    if (overtaken !== undefined) {
      checkAuthor(record, this.epochs.get(record.epoch)!, []);
      this.notes.push(`${found.file}, byte ${found.offset} (slot ${found.slot}): ${overtaken}`);
      this.intentBy = "";
    } else {
      this.judge(record);
    }
    this.head = record.hash;
    this.anchors.add(record.hash, this.settled);
    this.effectsAtSlot.set(record.slot, toHex(this.replay.effectsDigest));
    this.effectsAtSlot.delete(record.slot - EFFECTS_KEPT);
    this.summary.slots++;
    const kind = KIND_NAMES[record.kind];
    this.summary.records[kind] = (this.summary.records[kind] ?? 0) + 1;
  }

  /** Why an intact record settles nothing though its author did no wrong; undefined if in force. */
  private overtaken(record: RecordView): string | undefined {
    if (record.slot === 0) return undefined;
    if (record.epoch !== this.epoch.hash) {
      if (this.epochs.has(record.epoch))
        return "a record of an epoch that has ended settles nothing";
      return fail(record.origin, {
        code: "EPOCH",
        offset: RECORD.at.epoch,
        what: "the record belongs to an epoch that never was",
        expected: this.epoch.hash,
        found: record.epoch,
        advice: ADVICE_REPORT,
      });
    }
    const settles = record.lastRound >= record.firstRound;
    if (!settles || record.firstRound > this.settled) return undefined;
    return `rounds from ${record.firstRound} were settled before: the record settles nothing`;
  }

  private judge(record: RecordView): void {
    const bad = (code: string, offset: number, what: string, expected: unknown, found: unknown) =>
      fail(record.origin, {
        code,
        offset,
        what,
        expected: String(expected),
        found: String(found),
        advice: ADVICE_REPORT,
      });
    const { firstRound, lastRound, kind } = record;
    const at = RECORD.at;
    if (record.slot === 0) {
      if (kind !== KIND.seal)
        bad("FIRST_RECORD", at.kind, "slot 0 is no SEAL", "SEAL", KIND_NAMES[kind]);
      if (record.epoch !== NO_EPOCH.hash)
        bad("EPOCH", at.epoch, "slot 0 has an epoch", 0, record.epoch);
    }
    const settles = kind === KIND.quorum || kind === KIND.storage || kind === KIND.seal;
    if (lastRound < firstRound - 1 || (!settles && lastRound !== firstRound - 1)) {
      bad("ROUNDS", at.lastRound, "the range of rounds is wrong", firstRound - 1, lastRound);
    }
    if (lastRound >= firstRound && firstRound !== this.settled + 1) {
      bad("ROUNDS_GAP", at.firstRound, "rounds are missing", this.settled + 1, firstRound);
    }
    if (record.heightBefore !== this.height) {
      bad("HEIGHT", at.heightBefore, "wrong height", this.height, record.heightBefore);
    }
    this.checkPuzzle(record);
    const payload = unpackPayload(record);
    const authority = this.genesis;
    if (kind === KIND.seal) this.readSeal(record, payload);
    else {
      const introduced = kind === KIND.intent ? [readMember(record, payload[0], authority)] : [];
      checkAuthor(record, this.epoch, introduced);
      if (settles) this.settle(record, payload, false);
    }
    this.intentBy = kind === KIND.intent ? record.incarnation : "";
  }

  private checkPuzzle(record: RecordView): void {
    const asked = record.kind === KIND.storage ? this.genesis.storageDifficulty : 0;
    const bits = leadingZeroBits(
      sha256(signedPart(record.bytes).subarray(RECORD.signDomain.length)),
    );
    if (record.puzzleBits === asked && bits >= asked) return;
    fail(record.origin, {
      code: "STORAGE_PUZZLE",
      offset: record.puzzleBits === asked ? RECORD.at.nonce : RECORD.at.puzzleBits,
      what: "the record's puzzle is not solved at the difficulty of genesis",
      expected: `${asked} bits`,
      found: `${Math.min(bits, record.puzzleBits)} bits`,
      advice: ADVICE_REPORT,
    });
  }

  private readSeal(record: RecordView, payload: unknown[]): void {
    const members = readMembers(record, payload[0], this.genesis);
    checkAuthor(record, this.epoch, members);
    const answers = Array.isArray(payload[2]) ? payload[2].length : 0;
    const asked = answersMin(this.epoch.members.length);
    const current = this.epoch.members;
    const isMember = current.some((member) => member.incarnation === record.incarnation);
    const newcomer = !isMember && current.length > 0;
    if ((answers < asked || newcomer) && this.intentBy !== record.incarnation) {
      fail(record.origin, {
        code: "SEAL_ANSWERS",
        offset: RECORD.headerBytes,
        what: "a SEAL by a newcomer or by too few answers that is not above its author's own INTENT",
        expected: `${asked} answers`,
        found: `${answers}`,
        advice: ADVICE_REPORT,
      });
    }
    this.settle(record, payload[1], answers < asked);
    this.epoch = { hash: toHex(record.hash), members };
    this.epochs.set(this.epoch.hash, this.epoch);
    if (members.length > 0) this.summary.epochs++;
  }

  private settle(record: RecordView, settlement: unknown, minority: boolean): void {
    const members = this.epoch.members.length;
    const entries = readRounds(record, settlement, members);
    const rounds = record.lastRound - record.firstRound + 1;
    if (entries.length !== rounds) {
      fail(record.origin, {
        code: "ROUNDS",
        offset: RECORD.headerBytes,
        what: "the payload does not settle the rounds of the header",
        expected: `${rounds} rounds`,
        found: `${entries.length}`,
        advice: ADVICE_REPORT,
      });
    }
    const rules = {
      chainId: this.genesis.chainId,
      epoch: this.epoch,
      anchors: this.anchors,
      minority,
    };
    for (const [i, entry] of entries.entries()) {
      if (entry.round !== record.firstRound + i) {
        fail(record.origin, {
          code: "ROUNDS",
          offset: RECORD.headerBytes,
          what: "the rounds of the payload are not in order",
          expected: String(record.firstRound + i),
          found: String(entry.round),
          advice: ADVICE_REPORT,
        });
      }
      checkRound(record, entry, rules);
      this.compareEffects(record, entry);
      this.execute(record, entry);
    }
    if (rounds > 0) this.settled = record.lastRound;
  }

  /** Votes carry what their voter had computed: more than half must have computed what we did. */
  private compareEffects(record: RecordView, entry: RoundEntry): void {
    let same = 0;
    const others: number[] = [];
    let example = "";
    for (const group of entry.votes) {
      const own = this.effectsAtSlot.get(group.effectsSlot);
      const theirs = toHex(group.effectsDigest);
      if (own === undefined && group.effectsSlot < record.slot - EFFECTS_KEPT) continue;
      if (own === theirs) same += group.voters.length;
      else {
        others.push(...group.voters);
        example = `${theirs} at slot ${group.effectsSlot}, here ${own}`;
      }
    }
    if (others.length === 0) return;
    const what = `round ${entry.round}: ranks ${others} voted with other effects (${example})`;
    if (same > others.length) this.notes.push(`${record.origin.file}: ${what}`);
    else {
      const advice = ADVICE_REPORT;
      fail(record.origin, { code: "EFFECTS", offset: RECORD.headerBytes, what, advice });
    }
  }

  private execute(record: RecordView, entry: RoundEntry): void {
    const members = this.epoch.members.length;
    const turn = ({ rank }: ProposalEntry) => (rank + members - (entry.round % members)) % members;
    const order = [...entry.proposals].sort((a, b) => turn(a) - turn(b));
    this.effectsBytes = 0;
    for (const proposal of order) {
      const hashes: Uint8Array[] = [];
      let txnCount = 0;
      for (const [index, block] of proposal.blocks.entries()) {
        this.executeBlock(record, entry, { proposal, block, index });
        hashes.push(this.blocks.hash.slice());
        txnCount += this.blocks.count;
      }
      checkProposalTotals(record, proposal, { blockHashes: concatBytes(hashes), txnCount });
    }
    this.replay.endRound(entry.round, this.effects.subarray(0, this.effectsBytes));
    this.summary.rounds++;
    this.summary.proposals += order.length;
  }

  private executeBlock(
    record: RecordView,
    entry: RoundEntry,
    at: { proposal: ProposalEntry; block: Uint8Array; index: number },
  ): void {
    const { genesis, blocks, place } = this;
    const { block, proposal } = at;
    const origin: Origin = {
      file: record.origin.file,
      base: record.origin.base + block.byteOffset - record.bytes.byteOffset,
      slot: record.slot,
    };
    blocks.read(block, origin, {
      chainId: genesis.chainId,
      proposal: proposal.header,
      index: at.index,
      difficulty: genesis.difficulty,
      transactionsMax: genesis.blockTransactionsMax,
    });
    const anchorAt = blocks.headerAt + BLOCK.at.anchor;
    const stale = this.anchors.check(block, anchorAt, entry.round);
    if (stale !== undefined) {
      const advice = ADVICE_REPORT;
      fail(origin, { code: "BLOCK_ANCHOR", offset: anchorAt, what: stale, advice });
    }
    this.height++;
    const linked = new Uint8Array(72);
    linked.set(blocks.hash, 0);
    linked.set(this.chainHash, 32);
    writeU64(linked, 64, this.height);
    const chainHash = new Uint8Array(32);
    kernels.sha256(linked, 0, 72, chainHash, 0);
    this.chainHash = chainHash;
    this.tree.append(chainHash);
    this.addEffects(chainHash, blocks.count);

    Object.assign(place, { slot: record.slot, round: entry.round, rank: proposal.rank });
    place.height = this.height;
    this.executeTransactions(block, entry.round);
    this.summary.blocks++;
    this.summary.transactions += blocks.count;
  }

  private executeTransactions(block: Uint8Array, round: number): void {
    const { blocks, place, replay, effects } = this;
    const { ids, spans, count } = blocks;
    const { onTransaction } = this.options;
    const span = { offset: 0, length: 0 };
    const outcomesAt = this.effectsBytes - count;
    for (let i = 0; i < count; i++) {
      span.offset = spans[2 * i];
      span.length = spans[2 * i + 1];
      const outcome = replay.execute(block, span, ids, 32 * i, round);
      effects[outcomesAt + i] = outcome;
      this.outcomeCounts[outcome]++;
      if (onTransaction === undefined) continue;
      place.index = i;
      onTransaction(ids, 32 * i, outcome, place);
    }
  }

  private readonly outcomeCounts = new Array<number>(OUTCOME_NAMES.length).fill(0);

  /** Makes room for a block's chain hash and outcomes, and sets the hash. */
  private addEffects(chainHash: Uint8Array, outcomes: number): void {
    const end = this.effectsBytes + 32 + outcomes;
    if (end > this.effects.length) {
      const larger = new Uint8Array(2 * end);
      larger.set(this.effects.subarray(0, this.effectsBytes));
      this.effects = larger;
    }
    this.effects.set(chainHash, this.effectsBytes);
    this.effectsBytes = end;
  }

  private finishSummary(): void {
    const { summary, replay } = this;
    for (const [outcome, name] of OUTCOME_NAMES.entries()) {
      if (this.outcomeCounts[outcome] > 0) summary.outcomes[name] = this.outcomeCounts[outcome];
    }
    summary.settledRound = this.settled;
    summary.totalBalance = replay.totalBalance();
    summary.storedRecords = replay.records.size;
    summary.headHash = toHex(this.head);
    summary.merkleRoot = toHex(this.tree.root());
    // After damage it would be the root of some state in between.
    if (this.damages.length === 0) summary.stateRoot = toHex(replay.stateRoot());
    summary.effectsDigest = toHex(replay.effectsDigest);
    for (const { rank, incarnation, host } of this.epoch.members) {
      summary.members.push({ rank, incarnation, host });
    }
  }
}

function emptySummary(): LedgerSummary {
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

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
import { toHex } from "../base/bytes.ts";
import { configurationError } from "../base/errors.ts";
import { checkHead, type HeadFile, readHeads } from "./checkpoint-reader.ts";
import { ADVICE_REPORT, Damage, type DamageFacts, fail } from "./damage.ts";
import {
  answersMin,
  checkAuthor,
  type Epoch,
  NO_EPOCH,
  readMember,
  readMembers,
} from "./epoch-reader.ts";
import { Execution } from "./execution.ts";
import { type Genesis, readGenesis, sha256 } from "./genesis-reader.ts";
import { KIND, KIND_NAMES, OUTCOME_NAMES, RECORD } from "./layout.ts";
import { type RoundEntry, readRounds, unpackPayload } from "./payload-reader.ts";
import { leadingZeroBits, type RecordView, readRecord, signedPart } from "./record-reader.ts";
import { RecordSource } from "./record-source.ts";
import { emptySummary, type LedgerReport, type ReadOptions } from "./report.ts";
import type { FoundRecord } from "./segment-file.ts";
import { AnchorWindow, checkRound } from "./settlement-reader.ts";

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
  private readonly execution: Execution;
  private readonly anchors = new AnchorWindow();
  private readonly epochs = new Map<string, Epoch>([[NO_EPOCH.hash, NO_EPOCH]]);
  private readonly effectsAtSlot = new Map<number, string>();
  private readonly summary = emptySummary();
  private epoch = NO_EPOCH;
  private settled = 0;
  private head: Uint8Array = new Uint8Array(32);
  /** The record before, when it is an INTENT in force: its author. */
  private intentBy = "";

  constructor(
    private readonly dir: string,
    private readonly genesis: Genesis,
    private readonly options: ReadOptions,
  ) {
    this.execution = new Execution(genesis, this.anchors, this.summary, options);
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
    if (this.execution.replay.totalBalance() !== this.genesis.supply) {
      throw new Damage({
        code: "SUPPLY",
        file: "genesis",
        offset: 0,
        what: "the balances do not add up to the supply",
        expected: String(this.genesis.supply),
        found: String(this.execution.replay.totalBalance()),
        advice: ADVICE_REPORT,
      });
    }
  }

  private compareHead(head: HeadFile): void {
    this.summary.checkpoints++;
    checkHead(head, {
      size: this.execution.tree.size,
      root: this.execution.tree.root(),
      stateRoot: this.execution.replay.stateRoot(),
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
    this.effectsAtSlot.set(record.slot, toHex(this.execution.replay.effectsDigest));
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
    if (record.heightBefore !== this.execution.height) {
      bad("HEIGHT", at.heightBefore, "wrong height", this.execution.height, record.heightBefore);
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
    this.epoch = { hash: toHex(record.hash), hashBytes: record.hash, members };
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
      this.execution.round(record, entry, members);
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

  private finishSummary(): void {
    const { summary } = this;
    const { replay } = this.execution;
    for (const [outcome, name] of OUTCOME_NAMES.entries()) {
      if (this.execution.outcomes[outcome] > 0)
        summary.outcomes[name] = this.execution.outcomes[outcome];
    }
    summary.settledRound = this.settled;
    summary.totalBalance = replay.totalBalance();
    summary.storedRecords = replay.records.size;
    summary.headHash = toHex(this.head);
    summary.merkleRoot = toHex(this.execution.tree.root());
    // After damage it would be the root of some state in between.
    if (this.damages.length === 0) summary.stateRoot = toHex(replay.stateRoot());
    summary.effectsDigest = toHex(replay.effectsDigest);
    for (const { rank, incarnation, host } of this.epoch.members) {
      summary.members.push({ rank, incarnation, host });
    }
  }
}

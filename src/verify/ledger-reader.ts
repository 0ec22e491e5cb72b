/**
 * Reads a whole ledger directory offline and checks it: the chain of records, who wrote them, what
 * they settle, every block and transaction, and a second execution of it all. It shares no code
 * with the writer but hash functions and constants. One thread; memory holds one record, the
 * remembered window and the state.
 *
 * The walk along the chain stops at the first damage, because all after it depends on it. An intact
 * record that does not count settles nothing, as for the ranks: a warning tells of it, and the walk
 * goes on.
 */
import { statSync } from "node:fs";
import { toHex } from "../base/bytes.ts";
import { configurationError } from "../base/errors.ts";
import { checkHead, type HeadFile, readHeads } from "./checkpoint-reader.ts";
import { ADVICE_REPORT, Damage, type DamageFacts, fail } from "./damage.ts";
import { readEvidence } from "./evidence-reader.ts";
import { Execution } from "./execution.ts";
import { type Genesis, readGenesis } from "./genesis-reader.ts";
import { LogJudge } from "./judgement.ts";
import { KIND, KIND_NAMES, OUTCOME_NAMES, RECORD } from "./layout.ts";
import { NotValid, type Warning, warningOf } from "./not-valid.ts";
import type { RoundEntry } from "./payload-reader.ts";
import { type RecordView, readRecord } from "./record-reader.ts";
import { RecordSource } from "./record-source.ts";
import { emptySummary, type LedgerReport, type ReadOptions } from "./report.ts";
import type { FoundRecord } from "./segment-file.ts";
import { AnchorWindow, checkProposals } from "./settlement-reader.ts";

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
    const nothing = { warnings: [], convictions: [], notes: [] };
    return { summary: emptySummary(), damages: [error.facts], ...nothing };
  }
  if (genesis === undefined) {
    const message = `${dir} is not a ledger: it holds no file named genesis; give its directory`;
    throw configurationError("NOT_A_LEDGER", message, { dir });
  }
  return new LedgerReader(dir, genesis, options).read();
}

class LedgerReader {
  private readonly damages: DamageFacts[] = [];
  private readonly warnings: Warning[] = [];
  private readonly notes: string[] = [];
  private readonly judge: LogJudge;
  private readonly execution: Execution;
  private readonly anchors = new AnchorWindow();
  private readonly effectsAtSlot = new Map<number, string>();
  private readonly summary = emptySummary();
  private head: Uint8Array = new Uint8Array(32);

  constructor(
    private readonly dir: string,
    private readonly genesis: Genesis,
    private readonly options: ReadOptions,
  ) {
    this.judge = new LogJudge(genesis);
    this.execution = new Execution(genesis, this.anchors, this.summary, options);
    this.summary.chainId = toHex(genesis.chainId);
    this.summary.created = genesis.created;
    this.summary.supply = genesis.supply;
  }

  read(): LedgerReport {
    const heads = this.guarded(() => readHeads(this.dir, this.genesis, this.damages, this.notes));
    this.guarded(() => this.walk(heads ?? []));
    this.finishSummary();
    const evidence = readEvidence(this.dir, this.genesis);
    const { summary, damages } = this;
    return {
      summary,
      damages,
      warnings: [...this.warnings, ...evidence.warnings],
      convictions: evidence.convictions,
      notes: [...this.notes, ...evidence.notes],
    };
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
    const record = readRecord(found.bytes, origin, this.head);
    if (found.prevHash !== toHex(this.head)) {
      const what = "the name or index states another parent";
      fail(origin, { code: "RECORD_PARENT", offset: 0, what, expected: toHex(this.head) });
    }
    const { judge, summary } = this;
    const ruling = judge.judge(record);
    const counts = !(ruling instanceof NotValid);
    if (counts) this.execute(record, ruling.rounds);
    else if (record.slot > 0) this.warnings.push(warningOf(origin, ruling));
    else {
      const what = `slot 0 is not the SEAL that begins this ledger: ${ruling.message}`;
      fail(origin, { code: "FIRST_RECORD", offset: 0, what, advice: ADVICE_REPORT });
    }
    judge.advance(record, ruling);
    if (counts && ruling.installs !== undefined && ruling.installs.length > 0) summary.epochs++;
    this.head = record.hash;
    this.anchors.add(record.hash, judge.settled);
    this.effectsAtSlot.set(record.slot, toHex(this.execution.replay.effectsDigest));
    this.effectsAtSlot.delete(record.slot - EFFECTS_KEPT);
    summary.slots++;
    const kind = KIND_NAMES[counts ? record.kind : KIND.noop];
    summary.records[kind] = (summary.records[kind] ?? 0) + 1;
  }

  private execute(record: RecordView, rounds: readonly RoundEntry[]): void {
    const { chainId } = this.genesis;
    const { anchors } = this;
    const { epoch } = this.judge;
    for (const entry of rounds) {
      checkProposals(record, entry, { chainId, epoch, anchors });
      this.compareEffects(record, entry);
      this.execution.round(record, entry, epoch.members.length);
    }
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
    summary.settledRound = this.judge.settled;
    summary.totalBalance = replay.totalBalance();
    summary.storedRecords = replay.records.size;
    summary.headHash = toHex(this.head);
    summary.merkleRoot = toHex(this.execution.tree.root());
    // After damage it would be the root of some state in between.
    if (this.damages.length === 0) summary.stateRoot = toHex(replay.stateRoot());
    summary.effectsDigest = toHex(replay.effectsDigest);
    for (const { rank, incarnation, host } of this.judge.epoch.members) {
      summary.members.push({ rank, incarnation, host });
    }
  }
}

/**
 * The second execution: checks the blocks of a round, fixes their heights and hashes in the chain
 * and runs their transactions on the reader's own state.
 */
import { concatBytes, writeU64 } from "../base/bytes.ts";
import { kernels } from "../base/kernels.ts";
import { BlockReader } from "./block-reader.ts";
import { ADVICE_REPORT, fail, type Origin } from "./damage.ts";
import type { Genesis } from "./genesis-reader.ts";
import { BLOCK, OUTCOME_NAMES } from "./layout.ts";
import { MerkleHead } from "./merkle-head.ts";
import type { ProposalEntry, RoundEntry } from "./payload-reader.ts";
import type { RecordView } from "./record-reader.ts";
import { Replay } from "./replay.ts";
import type { LedgerSummary, ReadOptions, TransactionPlace } from "./report.ts";
import { type AnchorWindow, checkProposalTotals } from "./settlement-reader.ts";

export class Execution {
  readonly replay: Replay;
  readonly tree = new MerkleHead();
  /** Transactions by outcome. */
  readonly outcomes = new Array<number>(OUTCOME_NAMES.length).fill(0);
  height = 0;
  private readonly blocks = new BlockReader();
  private readonly place: TransactionPlace = { slot: 0, round: 0, rank: 0, height: 0, index: 0 };
  private chainHash: Uint8Array;
  private effects = new Uint8Array(64 * 1024);
  private effectsBytes = 0;

  constructor(
    private readonly genesis: Genesis,
    private readonly anchors: AnchorWindow,
    private readonly summary: LedgerSummary,
    private readonly options: ReadOptions,
  ) {
    this.replay = new Replay(genesis.supply);
    this.chainHash = genesis.hash;
  }

  /** Executes what a round includes: by rank, rotated by the round's number, blocks by index. */
  round(record: RecordView, entry: RoundEntry, members: number): void {
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
      this.outcomes[outcome]++;
      if (onTransaction === undefined) continue;
      place.index = i;
      onTransaction(ids, 32 * i, outcome, place);
    }
  }

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
}

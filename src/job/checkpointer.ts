/**
 * When a rank computes its state root, writes checkpoints and folds segments. One rank by turn
 * does it for all: the k-th checkpoint is rank (k mod N)'s. At a clean stop rank 0 writes one, so
 * that the next job starts at once.
 */
import { fromHex, toHex } from "../base/bytes.ts";
import type { Chain } from "../ledger/chain.ts";
import type { RankSettings } from "../rank/context.ts";
import type { RankLoop } from "../rank/loop.ts";
import type { LedgerStorage } from "../storage/storage-service.ts";

/** Folded this many segments after their end, so that no rank still links into the tail. */
const SEGMENTS_KEPT = 1;

/** What it needs of a running rank, real or simulated. */
export interface CheckpointedRank {
  readonly loop: RankLoop;
  readonly storage: LedgerStorage;
  readonly chain: Chain;
}

export class Checkpointer {
  private readonly rank: CheckpointedRank;
  private readonly every: number;
  private readonly segmentRecords: number;
  private busy: Promise<void> = Promise.resolve();

  constructor(
    rank: CheckpointedRank,
    {
      checkpointRecords,
      segmentRecords,
    }: Pick<RankSettings, "checkpointRecords" | "segmentRecords">,
  ) {
    this.rank = rank;
    this.every = checkpointRecords;
    this.segmentRecords = segmentRecords;
  }

  onFinal(slot: number): void {
    const session = this.rank.loop.context?.session;
    if (session === undefined) return;
    const { self, ranks } = session;
    if (slot > 0 && slot % this.every === 0 && (slot / this.every) % ranks === self) this.write();
    if (slot > 0 && slot % this.segmentRecords === 0) {
      const segment = slot / this.segmentRecords - 1 - SEGMENTS_KEPT;
      if (segment >= 0 && segment % ranks === self) this.fold(segment);
    }
  }

  /** The state is copied here, before anything else executes; the rest runs in the writer. */
  private write(): void {
    const { chain, storage, loop } = this.rank;
    const draft = {
      slot: chain.slot,
      recordHash: fromHex(chain.hash),
      stateRoot: chain.state.root(),
      size: chain.height,
      root: chain.treeRoot(),
      payload: chain.snapshot(),
    };
    this.after(() => storage.checkpoint(draft), loop);
  }

  private fold(segment: number): void {
    const { storage, loop } = this.rank;
    const parent = loop.segmentParent(segment);
    if (parent !== undefined)
      this.after(async () => void (await storage.fold(segment, parent)), loop);
  }

  private after(work: () => Promise<void>, { shared }: CheckpointedRank["loop"]): void {
    this.busy = this.busy.then(work).catch((error) => {
      // A checkpoint or fold that fails costs time at the next start, never a transaction.
      shared.events.onAlert({ code: "CHECKPOINT_FAILED", message: String(error) });
    });
  }

  /** At the end: one rank leaves a checkpoint (`last`). Answers the state root, hex. */
  async close(last: boolean): Promise<string> {
    if (last) this.write();
    await this.busy;
    return toHex(this.rank.chain.state.root());
  }
}

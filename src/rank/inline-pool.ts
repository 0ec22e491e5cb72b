/**
 * The worker pool's in-process twin: does the work at once, on the calling thread. The simulator
 * uses it for its determinism; a rank that shares its core with others uses it for small work,
 * where a hop to a thread and back costs more than the work (`thread-pool.ts`).
 */
import { type BuildRequest, buildBlocks } from "../queue/block-building.ts";
import { type CheckRequest, checkBlocks } from "../queue/block-checking.ts";
import type { BlockQueue } from "../queue/block-queue.ts";
import type { TransactionQueue } from "../queue/transaction-queue.ts";
import type { PoolHandler, WorkerPool } from "./ports.ts";

export interface PoolQueues {
  readonly transactions: TransactionQueue;
  readonly outgoing: BlockQueue;
  readonly incoming: BlockQueue;
}

export class InlinePool implements WorkerPool {
  handler!: PoolHandler;
  private readonly queues: PoolQueues;
  private builds = 0;
  private checks = 0;

  constructor(queues: PoolQueues) {
    this.queues = queues;
  }

  build(request: BuildRequest): void {
    this.builds++;
    const blocks = buildBlocks(request, this.queues.transactions, this.queues.outgoing);
    this.handler.onBuilt(request.setting.round, blocks);
  }

  check(ticket: number, request: CheckRequest): void {
    this.checks++;
    let verdict: number;
    try {
      verdict = checkBlocks(request, this.queues.incoming);
    } catch (error) {
      return this.handler.onCheckFailed(ticket, error);
    }
    this.handler.onChecked(ticket, verdict);
  }

  counters(): Record<string, number> {
    return { inlineBuilds: this.builds, inlineChecks: this.checks };
  }

  async close(): Promise<void> {}
}

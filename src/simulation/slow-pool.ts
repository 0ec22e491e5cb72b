/**
 * A worker pool with the time that threads take: builds one after the other, checks side by side,
 * answers later, as `rank/thread-pool.ts` does it. The work itself is the inline pool's, done at
 * the moment of the answer, so that whoever frees a block under check is found out.
 */

import type { BuildRequest } from "../queue/block-building.ts";
import type { CheckRequest } from "../queue/block-checking.ts";
import { InlinePool, type PoolQueues } from "../rank/inline-pool.ts";
import type { Clock, PoolHandler, WorkerPool } from "../rank/ports.ts";

export interface SlowPoolOptions {
  readonly queues: PoolQueues;
  readonly clock: Clock;
  /** Of the next job; 0: at once, inside the call, as the inline pool does it. */
  delayMs(): number;
  /** True: the worker throws while it checks. */
  checkThrows(): boolean;
}

export class SlowPool implements WorkerPool {
  private readonly inline: InlinePool;
  private readonly options: SlowPoolOptions;
  private readonly waiting: BuildRequest[] = [];
  private building = false;

  constructor(options: SlowPoolOptions) {
    this.options = options;
    this.inline = new InlinePool(options.queues);
  }

  get handler(): PoolHandler {
    return this.inline.handler;
  }
  set handler(handler: PoolHandler) {
    this.inline.handler = handler;
  }

  build(request: BuildRequest): void {
    if (this.building) {
      this.waiting.push(request);
      return;
    }
    const delayMs = this.options.delayMs();
    if (delayMs === 0) return this.inline.build(request);
    this.building = true;
    this.after(delayMs, () => {
      this.building = false;
      this.inline.build(request);
      while (!this.building && this.waiting.length > 0) this.build(this.waiting.shift()!);
    });
  }

  check(ticket: number, request: CheckRequest): void {
    const run = () => {
      if (this.options.checkThrows()) {
        this.handler.onCheckFailed(ticket, new Error("a simulated exception"));
      } else this.inline.check(ticket, request);
    };
    const delayMs = this.options.delayMs();
    if (delayMs === 0) run();
    else this.after(delayMs, run);
  }

  private after(delayMs: number, work: () => void): void {
    const { clock } = this.options;
    clock.schedule(clock.now() + delayMs, work);
  }

  counters(): Record<string, number> {
    return this.inline.counters();
  }

  async close(): Promise<void> {}
}

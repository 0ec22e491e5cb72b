/**
 * The worker pool: transaction-workers build and mine blocks, block-workers check them, each on a
 * thread of its own over the shared-memory queues. Small work is done inline: a hop to a thread
 * and back costs some 50 µs, more than a block of four takes. Same code, chosen by load.
 */
import * as Comlink from "comlink";
import { BaashError } from "../base/errors.ts";
import type { BuildRequest } from "../queue/block-building.ts";
import type { CheckRequest } from "../queue/block-checking.ts";
import { MessageRing } from "../queue/message-ring.ts";
import { decodeAnswer, encodeBuildJob, encodeCheckJob } from "../queue/pool-jobs.ts";
import { InlinePool, type PoolQueues } from "./inline-pool.ts";
import type { PoolHandler, WorkerPool } from "./ports.ts";

export interface ThreadPoolOptions {
  /** 0 or 1: blocks of one round are built one after the other, so a second would only wait. */
  readonly transactionWorkers: number;
  readonly blockWorkers: number;
  /** Work on up to this many transactions is done inline. */
  readonly inlineTransactionsMax: number;
}

/** What a worker attaches to. */
export interface PoolShared {
  readonly transactions: SharedArrayBuffer;
  readonly outgoing: SharedArrayBuffer;
  readonly incoming: SharedArrayBuffer;
  readonly jobs: SharedArrayBuffer;
  readonly answers: SharedArrayBuffer;
}

export interface PoolWorker {
  /** Works until the job ring is closed; then resolves. */
  work(shared: PoolShared): Promise<void>;
}

const RING_BYTES = 1 << 20;
/** A wait without an answer ends now and then, so that a lost wake-up could not stop a rank. */
const WAIT_MS = 1000;

export class ThreadPool implements WorkerPool {
  private readonly inline: InlinePool;
  private readonly queues: PoolQueues;
  private readonly options: ThreadPoolOptions;
  private readonly buildJobs = MessageRing.create({ bytes: RING_BYTES });
  private readonly checkJobs = MessageRing.create({ bytes: RING_BYTES });
  private readonly answers = MessageRing.create({ bytes: RING_BYTES });
  private readonly workers: { worker: Worker; done: Promise<void> }[] = [];
  private threadBuilds = 0;
  private threadChecks = 0;
  /** Builds that wait for the one under way: the outgoing queue holds one round at a time. */
  private readonly waitingBuilds: BuildRequest[] = [];
  private building = false;
  private closed = false;
  private failure: ((error: unknown) => void) | undefined;

  constructor(queues: PoolQueues, options: ThreadPoolOptions) {
    this.queues = queues;
    this.options = options;
    this.inline = new InlinePool(queues);
  }

  get handler(): PoolHandler {
    return this.inline.handler;
  }
  set handler(handler: PoolHandler) {
    this.inline.handler = handler;
  }

  /** Starts the threads. `onFailure` hears of a worker that died: the rank cannot go on. */
  start(onFailure: (error: unknown) => void): void {
    this.failure = onFailure;
    for (let i = 0; i < this.options.transactionWorkers; i++)
      this.startWorker("transaction-worker", this.buildJobs);
    for (let i = 0; i < this.options.blockWorkers; i++)
      this.startWorker("block-worker", this.checkJobs);
    void this.takeAnswers();
  }

  private startWorker(name: string, jobs: MessageRing): void {
    const worker = new Worker(new URL(`../../workers/${name}.ts`, import.meta.url), { name });
    worker.onerror = (event) =>
      this.failure?.(new BaashError("WORKER_DIED", `A ${name} died: ${event.message}`));
    const remote = Comlink.wrap<PoolWorker>(worker);
    const done = remote.work({
      transactions: this.queues.transactions.shared,
      outgoing: this.queues.outgoing.shared,
      incoming: this.queues.incoming.shared,
      jobs: jobs.shared,
      answers: this.answers.shared,
    });
    done.catch((error) => this.failure?.(error));
    this.workers.push({ worker, done });
  }

  build(request: BuildRequest): void {
    if (this.building) this.waitingBuilds.push(request);
    else this.buildNow(request);
  }

  private buildNow(request: BuildRequest): void {
    const waiting = this.queues.transactions.waiting();
    const small = waiting <= this.options.inlineTransactionsMax;
    if (small || this.options.transactionWorkers === 0) return this.inline.build(request);
    if (!this.buildJobs.tryPush(encodeBuildJob(request))) return this.inline.build(request);
    this.building = true;
    this.threadBuilds++;
  }

  private onBuilt(round: number, blocks: number): void {
    this.building = false;
    this.handler.onBuilt(round, blocks);
    while (!this.building && this.waitingBuilds.length > 0)
      this.buildNow(this.waitingBuilds.shift()!);
  }

  check(ticket: number, request: CheckRequest, txnCount: number): void {
    const small = txnCount <= this.options.inlineTransactionsMax;
    if (small || this.options.blockWorkers === 0) return this.inline.check(ticket, request);
    if (!this.checkJobs.tryPush(encodeCheckJob(ticket, request)))
      return this.inline.check(ticket, request);
    this.threadChecks++;
  }

  private async takeAnswers(): Promise<void> {
    while (!this.closed) {
      for (let bytes = this.answers.tryPop(); bytes !== undefined; bytes = this.answers.tryPop()) {
        const answer = decodeAnswer(bytes);
        if (answer.type === "built") this.onBuilt(answer.round, answer.blocks);
        else if (answer.type === "checked") this.handler.onChecked(answer.ticket, answer.verdict);
        else this.handler.onCheckFailed(answer.ticket, answer.error);
      }
      await this.answers.waitAsync(WAIT_MS);
    }
  }

  counters(): Record<string, number> {
    const { threadBuilds, threadChecks } = this;
    return { ...this.inline.counters(), threadBuilds, threadChecks };
  }

  async close(): Promise<void> {
    this.closed = true;
    this.failure = undefined;
    for (const ring of [this.buildJobs, this.checkJobs, this.answers]) ring.close();
    await Promise.all(this.workers.map(({ done }) => done));
    for (const { worker } of this.workers) worker.terminate();
  }
}

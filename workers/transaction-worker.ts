/** Thread that batches waiting transactions into blocks, mines them and queues them for sending. */
import * as Comlink from "comlink";
import { buildBlocks } from "../src/queue/block-building.ts";
import { BlockQueue } from "../src/queue/block-queue.ts";
import { decodeBuildJob } from "../src/queue/pool-jobs.ts";
import { TransactionQueue } from "../src/queue/transaction-queue.ts";
import { type PoolShared, serve } from "./boot.ts";

Comlink.expose({
  async work(shared: PoolShared): Promise<void> {
    const transactions = TransactionQueue.attach(shared.transactions);
    const outgoing = BlockQueue.attach(shared.outgoing);
    serve(shared, (job) => {
      const request = decodeBuildJob(job);
      const blocks = buildBlocks(request, transactions, outgoing);
      return { type: "built", round: request.setting.round, blocks };
    });
  },
});

/** Thread that checks received blocks where they lie and leaves their txnIDs behind them. */
import * as Comlink from "comlink";
import { checkBlocks } from "../src/queue/block-checking.ts";
import { BlockQueue } from "../src/queue/block-queue.ts";
import { decodeCheckJob } from "../src/queue/pool-jobs.ts";
import { type PoolShared, serve } from "./boot.ts";

Comlink.expose({
  async work(shared: PoolShared): Promise<void> {
    const incoming = BlockQueue.attach(shared.incoming);
    serve(shared, (job) => {
      const { ticket, request } = decodeCheckJob(job);
      try {
        return { type: "checked", ticket, verdict: checkBlocks(request, incoming) };
      } catch (error) {
        return { type: "check-failed", ticket, error: String(error) };
      }
    });
  },
});

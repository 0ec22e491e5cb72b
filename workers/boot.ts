/** What the pool's threads share: a loop over the jobs of a ring until the ring is closed. */
import { assert } from "../src/base/assert.ts";
import { MessageRing } from "../src/queue/message-ring.ts";
import { encodeAnswer, type PoolAnswer } from "../src/queue/pool-jobs.ts";

export interface PoolShared {
  readonly transactions: SharedArrayBuffer;
  readonly outgoing: SharedArrayBuffer;
  readonly incoming: SharedArrayBuffer;
  readonly jobs: SharedArrayBuffer;
  readonly answers: SharedArrayBuffer;
}

const WAIT_MS = 1000;

/** Blocks this thread; ends when the job ring is closed and empty. */
export function serve(shared: PoolShared, handle: (job: Uint8Array) => PoolAnswer): void {
  const jobs = MessageRing.attach(shared.jobs);
  const answers = MessageRing.attach(shared.answers);
  for (;;) {
    const job = jobs.tryPop();
    if (job === undefined) {
      if (jobs.closed()) return;
      jobs.wait(WAIT_MS);
      continue;
    }
    const sent = answers.tryPush(encodeAnswer(handle(job)));
    // A job in flight has at most one answer, and the ring holds far more than the jobs' ring.
    assert(sent || answers.closed(), "the ring of answers has room for every job's answer");
  }
}

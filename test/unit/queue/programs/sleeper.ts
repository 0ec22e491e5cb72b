/**
 * Answers each message of one ring with one in the other, sleeping in between; or, told to watch,
 * waits without end for something that only a close brings.
 */
import { parentPort, workerData } from "node:worker_threads";
import { KeyedFifo } from "../../../../src/queue/keyed-fifo.ts";
import { MessageRing } from "../../../../src/queue/message-ring.ts";

interface SleeperSetting {
  watch?: { queue: SharedArrayBuffer; ring: SharedArrayBuffer; list: number };
  echo?: { requests: SharedArrayBuffer; replies: SharedArrayBuffer };
}

const { watch, echo } = workerData as SleeperSetting;

if (watch !== undefined) {
  parentPort?.postMessage("about to wait");
  const fifo = KeyedFifo.attach(watch.queue).wait(watch.list, Number.POSITIVE_INFINITY);
  const ring = MessageRing.attach(watch.ring).wait(Number.POSITIVE_INFINITY);
  parentPort?.postMessage({ fifo, ring });
}

if (echo !== undefined) {
  const requests = MessageRing.attach(echo.requests);
  const replies = MessageRing.attach(echo.replies);
  let echoed = 0;
  let lost = 0;
  while (!requests.closed() || requests.count() > 0) {
    // A wake-up that got lost shows as a wait that finds nothing for five seconds.
    if (!requests.wait(5000) && !requests.closed()) lost++;
    for (let message = requests.tryPop(); message !== undefined; message = requests.tryPop()) {
      replies.tryPush(message);
      echoed++;
    }
  }
  parentPort?.postMessage({ echoed, lost });
}

/** Pushes its numbers into a ring, or pops until the ring is closed and empty. */
import { parentPort, workerData } from "node:worker_threads";
import { readU32, writeU32 } from "../../../../src/base/bytes.ts";
import { EventCount } from "../../../../src/queue/event-count.ts";
import { MessageRing } from "../../../../src/queue/message-ring.ts";

interface RingSetting {
  ring: SharedArrayBuffer;
  /** Words: producers that are done, then the event of room, then how often each number came. */
  board: SharedArrayBuffer;
  producers: number;
  messagesEach: number;
  index: number;
  produce: boolean;
}

const setting = workerData as RingSetting;
const ring = MessageRing.attach(setting.ring);
const words = new Int32Array(setting.board);
const room = new EventCount(words, 2);
const pops = () => ring.counters().pops;

if (setting.produce) {
  const head = new Uint8Array(4);
  for (let i = 0; i < setting.messagesEach; i++) {
    const number = setting.index * setting.messagesEach + i;
    writeU32(head, 0, number);
    const body = new Uint8Array(number % 97).fill(number);
    for (;;) {
      const before = pops();
      if (ring.tryPush(i % 2 === 0 ? [head, body] : Uint8Array.of(...head, ...body))) break;
      // What is refused for want of room has something before it that will be popped.
      room.wait(() => pops() !== before, 5000);
    }
  }
  if (Atomics.add(words, 0, 1) + 1 === setting.producers) ring.close();
  parentPort?.postMessage({ wrong: 0 });
} else {
  let wrong = 0;
  while (!ring.closed() || ring.count() > 0) {
    ring.wait(5000);
    const message = ring.tryPop();
    if (message === undefined) continue;
    const number = readU32(message, 0);
    if (message.length !== 4 + (number % 97)) wrong++;
    for (let i = 4; i < message.length; i++) if (message[i] !== (number & 255)) wrong++;
    Atomics.add(words, 4 + number, 1);
    room.notify(Number.POSITIVE_INFINITY);
  }
  parentPort?.postMessage({ wrong });
}

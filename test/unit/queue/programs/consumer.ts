/**
 * Takes elements until the queue is closed and empty; checks each, puts some back, frees the rest.
 * Reports the first thing that was wrong, and how often a producer's elements came out of order.
 */
import { parentPort, workerData } from "node:worker_threads";
import { KeyedFifo, NONE } from "../../../../src/queue/keyed-fifo.ts";
import { HammerBoard, type HammerSetting, payloadBytes } from "./elements.ts";

const setting = workerData as HammerSetting & { putBack: boolean };
const fifo = KeyedFifo.attach(setting.queue);
const board = new HammerBoard(setting);
const idWords = new Int32Array(fifo.ids.buffer, fifo.ids.byteOffset, fifo.ids.length >>> 2);
const newest = new Int32Array(setting.producers).fill(-1);
let outOfOrder = 0;
let wrong = "";

function look(slot: number): void {
  const producer = idWords[8 * slot + 1];
  const element = idWords[8 * slot + 2];
  const offset = fifo.payloadOffset(slot);
  const length = fifo.payloadLength(slot);
  if (length !== payloadBytes(producer, element)) wrong = `length of ${producer}/${element}`;
  for (let i = 0; i < length; i++) {
    if (fifo.bytes[offset + i] !== (element & 255)) wrong = `payload of ${producer}/${element}`;
  }
  if (fifo.words[4 * slot] !== producer || fifo.words[4 * slot + 1] !== element) wrong = "words";
  if (element <= newest[producer]) outOfOrder++;
  newest[producer] = element;
  board.see(producer, element);
}

for (let turn = 1; !fifo.closed() || fifo.count(0) > 0; turn++) {
  fifo.wait(0, 5000);
  const chain = fifo.split(0, turn % 9 === 0 ? Number.POSITIVE_INFINITY : 1 + (turn % 40));
  if (setting.putBack && turn % 5 === 0) {
    fifo.joinFront(0, chain);
    continue;
  }
  let count = 0;
  for (let slot = chain.head; slot !== NONE; slot = fifo.next(slot)) {
    look(slot);
    count++;
  }
  if (count !== chain.count) wrong = `a chain of ${chain.count} had ${count}`;
  fifo.free(chain);
  board.room.notify(Number.POSITIVE_INFINITY);
}
parentPort?.postMessage({ outOfOrder, wrong });

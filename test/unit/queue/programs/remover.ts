/** Looks for elements all over and removes those that it finds in the list, until the close. */
import { parentPort, workerData } from "node:worker_threads";
import { KeyedFifo } from "../../../../src/queue/keyed-fifo.ts";
import { HammerBoard, type HammerSetting, writeId } from "./elements.ts";

const setting = workerData as HammerSetting;
const fifo = KeyedFifo.attach(setting.queue);
const board = new HammerBoard(setting);
const words = new Int32Array(8);
const id = new Uint8Array(words.buffer);
let state = setting.index + 1;
let found = 0;
let removed = 0;
let newest = 0;

while (!fifo.closed()) {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
  // Near the newest pushes that were seen: elsewhere nothing is left to find.
  const element = (newest + (state % 600)) % setting.elementsEach;
  const producer = (state >>> 16) % setting.producers;
  writeId(words, 0, producer, element);
  const slot = fifo.find(id, 0);
  if (slot < 0) {
    newest = Math.max(0, fifo.counters().pushes / setting.producers - 300);
    continue;
  }
  found++;
  if (state % 2 === 0 && fifo.tryRemove(id, 0)) {
    removed++;
    board.see(producer, element);
    board.room.notify(Number.POSITIVE_INFINITY);
  }
}
parentPort?.postMessage({ found, removed });

/** Pushes its elements in order, in batches and one by one; the last producer closes the queue. */
import { parentPort, workerData } from "node:worker_threads";
import { KeyedFifo } from "../../../../src/queue/keyed-fifo.ts";
import { HammerBoard, type HammerSetting, payloadBytes, writeId } from "./elements.ts";

const BATCH = 64;
const setting = workerData as HammerSetting;
const fifo = KeyedFifo.attach(setting.queue);
const board = new HammerBoard(setting);
const ids = new Int32Array(8 * BATCH);
const idBytes = new Uint8Array(ids.buffer);
const payload = new Uint8Array(512 * BATCH);
const spans = new Uint32Array(2 * BATCH);
const slots = new Int32Array(BATCH);
const tags = new Int32Array(BATCH);
let refusals = 0;

const removals = () => fifo.counters().removals;

function pushBatch(first: number, count: number): void {
  for (let i = 0; i < count; i++) {
    const length = payloadBytes(setting.index, first + i);
    writeId(ids, 8 * i, setting.index, first + i);
    payload.fill(first + i, 512 * i, 512 * i + length);
    spans.set([512 * i, length], 2 * i);
    tags[i] = first + i;
  }
  const batch = { ids: idBytes, payload, spans, count, slots, tags, owner: setting.index };
  for (let from = 0; from < count; ) {
    const before = removals();
    from = fifo.tryPushMany(0, { ...batch, from });
    if (from < count) waitForRoom(before);
  }
}

function pushOne(element: number): void {
  const length = payloadBytes(setting.index, element);
  writeId(ids, 0, setting.index, element);
  payload.fill(element, 0, length);
  const user = { owner: setting.index, tag: element };
  for (;;) {
    const before = removals();
    if (fifo.tryPush(0, idBytes, 0, payload, 0, length, user) >= 0) return;
    waitForRoom(before);
  }
}

/** What is refused for want of room has something before it that will be freed. */
function waitForRoom(before: number): void {
  refusals++;
  board.room.wait(() => removals() !== before, 5000);
}

for (let element = 0; element < setting.elementsEach; ) {
  const count = Math.min(BATCH, setting.elementsEach - element);
  if (element % 3 === 0) pushBatch(element, count);
  else for (let i = 0; i < count; i++) pushOne(element + i);
  element += count;
}
if (board.producerDone() === setting.producers) fifo.close();
parentPort?.postMessage({ refusals });

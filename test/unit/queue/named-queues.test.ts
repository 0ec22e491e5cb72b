/** TransactionQueue and BlockQueue: the domain's words for what a KeyedFifo does. */
import { describe, expect, test } from "bun:test";
import { BlockQueue, DONE, PENDING } from "../../../src/queue/block-queue.ts";
import { DUPLICATE, FULL, NONE, TOO_LARGE } from "../../../src/queue/keyed-fifo.ts";
import { TransactionQueue } from "../../../src/queue/transaction-queue.ts";

function batchOf(count: number) {
  const ids = new Uint8Array(32 * count);
  const payload = new Uint8Array(count);
  const spans = new Uint32Array(2 * count);
  const times = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    ids.fill(i + 1, 32 * i, 32 * i + 32);
    payload[i] = i + 1;
    spans.set([i, 1], 2 * i);
    times[i] = 1000 + i;
  }
  return { ids, payload, spans, from: 0, count, slots: new Int32Array(count), times, owner: 5 };
}

describe("TransactionQueue", () => {
  test("follows transactions from intake to their block, back, and to the settlement", () => {
    const queue = TransactionQueue.create({ slots: 8, arenaBytes: 65_536 });
    const batch = batchOf(6);
    expect(queue.oldestTime()).toBeNaN();
    expect(queue.accept(batch)).toBe(6);
    expect(queue.waiting()).toBe(6);
    expect(queue.oldestTime()).toBe(1000);
    const lost = queue.take(2);
    expect(queue.oldestTime()).toBe(1002);
    expect(queue.byId(batch.ids, 0)).toBe(lost.head);
    queue.putBack(lost);
    expect(queue.oldestTime()).toBe(1000);
    const chain = queue.take(4);
    const tags = [];
    for (let slot = chain.head; slot !== NONE; slot = queue.fifo.next(slot)) {
      tags.push(queue.fifo.bytes[queue.fifo.payloadOffset(slot)], queue.fifo.words[4 * slot]);
    }
    expect(tags).toEqual([1, 5, 2, 5, 3, 5, 4, 5]);
    expect(queue.accept({ ...batch, slots: new Int32Array(6) })).toBe(6);
    expect(queue.counters().duplicates).toBe(6);
    queue.settle(chain);
    expect(queue.byId(batch.ids, 0)).toBe(NONE);
    expect(queue.settleWaiting(batch.ids, 32 * 4)).toBe(true);
    expect(queue.settleWaiting(batch.ids, 32 * 4)).toBe(false);
    expect(queue.waiting()).toBe(1);
    expect(TransactionQueue.attach(queue.shared).waiting()).toBe(1);
  });

  test("takes as many of a batch as there is room for, and the rest later", () => {
    const queue = TransactionQueue.create({ slots: 4, arenaBytes: 65_536 });
    const batch = batchOf(6);
    expect(queue.accept(batch)).toBe(4);
    expect(batch.slots[4]).toBe(FULL);
    queue.settle(queue.take(3));
    expect(queue.accept({ ...batch, from: 4 })).toBe(6);
    expect(queue.waiting()).toBe(3);
  });
});

describe("BlockQueue", () => {
  test("holds message and txnIDs of a block in one payload, from reserve to free", () => {
    const queue = BlockQueue.create({ slots: 4, arenaBytes: 1 << 20 });
    const slot = queue.reserve(165, 4);
    expect(queue.messageLength(slot)).toBe(165);
    expect(queue.idsOffset(slot) % 8).toBe(0);
    expect(queue.idsOffset(slot) - queue.messageOffset(slot)).toBe(168);
    expect(queue.idCount(slot)).toBe(4);
    queue.setOrigin(slot, { rank: 3, round: 2 ** 31 + 9 });
    const hash = new Uint8Array(32).fill(9);
    expect(queue.commit(slot, hash, 0)).toBe(slot);
    expect(queue.byHash(hash, 0)).toBe(slot);
    const twice = queue.reserve(10, 1);
    expect(queue.commit(twice, hash, 0)).toBe(DUPLICATE);
    queue.fifo.discard(twice);
    const peer = BlockQueue.attach(queue.shared);
    const taken = peer.takePending(8);
    peer.setVerdict(taken.head, 7);
    peer.done(taken);
    expect([queue.pending(), queue.fifo.count(PENDING), queue.fifo.count(DONE)]).toEqual([0, 0, 1]);
    const done = queue.takeDone(1);
    const { head } = done;
    expect([queue.rank(head), queue.roundLow31(head), queue.verdict(head)]).toEqual([3, 9, 7]);
    queue.free(done);
    expect(queue.fifo.freeSlots()).toBe(4);
    expect(queue.reserve(1 << 21, 0)).toBe(TOO_LARGE);
  });
});

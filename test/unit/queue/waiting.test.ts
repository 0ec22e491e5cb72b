/** Sleeping for elements and messages: no wake-up is lost, and a close wakes everybody. */
import { describe, expect, test } from "bun:test";
import { KeyedFifo } from "../../../src/queue/keyed-fifo.ts";
import { MessageRing } from "../../../src/queue/message-ring.ts";
import { startProgram } from "./programs/start.ts";

const TIMEOUT_MS = 30_000;
const createFifo = () =>
  KeyedFifo.create({ slots: 8, arenaBytes: 65_536, lists: 2, payloadBytesMax: 64 });

function push(fifo: KeyedFifo, list: number, key: number): number {
  return fifo.tryPush(list, new Uint8Array(32).fill(key), 0, Uint8Array.of(key), 0, 1);
}

describe("waiting", () => {
  test(
    "loses no wake-up in thousands of rounds between a worker and the main thread",
    async () => {
      const requests = MessageRing.create({ bytes: 1024 });
      const replies = MessageRing.create({ bytes: 1024 });
      const shared = { requests: requests.shared, replies: replies.shared };
      const echo = startProgram<{ echoed: number; lost: number }>("sleeper", { echo: shared });
      const rounds = 5000;
      let lost = 0;
      for (let round = 0; round < rounds; round++) {
        expect(requests.tryPush(Uint8Array.of(round, round >>> 8))).toBe(true);
        if (!(await replies.waitAsync(10_000))) lost++;
        expect([...(replies.tryPop() ?? [])]).toEqual([round & 255, round >>> 8]);
      }
      requests.close();
      expect(await echo.next()).toEqual({ echoed: rounds, lost: 0 });
      expect(lost).toBe(0);
      await echo.ended;
    },
    TIMEOUT_MS,
  );

  test(
    "ends with the close of what is waited for",
    async () => {
      const fifo = createFifo();
      const ring = MessageRing.create({ bytes: 64 });
      const watch = { queue: fifo.shared, ring: ring.shared };
      const watchers = [0, 1, 0].map((list) =>
        startProgram<unknown>("sleeper", { watch: { ...watch, list } }),
      );
      const here = fifo.waitAsync(1, Number.POSITIVE_INFINITY);
      for (const watcher of watchers) expect(await watcher.next()).toBe("about to wait");
      fifo.close();
      ring.close();
      expect(await here).toBe(false);
      for (const watcher of watchers) {
        expect(await watcher.next()).toEqual({ fifo: false, ring: false });
        await watcher.ended;
      }
    },
    TIMEOUT_MS,
  );

  test("answers at once what is there, and after a timeout what is not", async () => {
    const fifo = createFifo();
    expect(await fifo.waitAsync(0, 0)).toBe(false);
    expect(await fifo.waitAsync(0, 2)).toBe(false);
    push(fifo, 0, 1);
    expect(await fifo.waitAsync(0, 0)).toBe(true);
    expect(await fifo.waitAsync(1, 0)).toBe(false);
  });

  test("is woken by a push, a commit and a join, each for its own list", async () => {
    const fifo = createFifo();
    const pushed = fifo.waitAsync(0, 10_000);
    push(fifo, 0, 1);
    expect(await pushed).toBe(true);
    const committed = fifo.waitAsync(1, 10_000);
    fifo.commit(fifo.tryReserve(4), 1, new Uint8Array(32).fill(2), 0);
    expect(await committed).toBe(true);
    const chain = fifo.split(0, 1);
    const joined = fifo.waitAsync(0, 10_000);
    fifo.joinFront(0, chain);
    expect(await joined).toBe(true);
  });

  test(
    "passes on a wake-up that reached a promise that nobody heeds",
    async () => {
      const fifo = createFifo();
      const ring = MessageRing.create({ bytes: 64 });
      const abandoned = fifo.waitAsync(0, 60_000);
      const watch = { queue: fifo.shared, ring: ring.shared, list: 0 };
      const watcher = startProgram<unknown>("sleeper", { watch });
      expect(await watcher.next()).toBe("about to wait");
      ring.tryPush(Uint8Array.of(1));
      push(fifo, 0, 1);
      expect(await watcher.next()).toEqual({ fifo: true, ring: true });
      expect(await abandoned).toBe(true);
      await watcher.ended;
    },
    TIMEOUT_MS,
  );

  test("does not park the main thread", () => {
    expect(() => createFifo().wait(0, 1)).toThrow("main thread");
  });
});

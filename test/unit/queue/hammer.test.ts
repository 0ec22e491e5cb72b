/** Several threads at one queue: nothing is lost, doubled, torn or out of order. */
import { describe, expect, test } from "bun:test";
import { KeyedFifo } from "../../../src/queue/keyed-fifo.ts";
import { MessageRing } from "../../../src/queue/message-ring.ts";
import { HammerBoard } from "./programs/elements.ts";
import { startProgram } from "./programs/start.ts";

const TIMEOUT_MS = 30_000;

interface HammerRun {
  producers: number;
  consumers: number;
  removers: number;
  elementsEach: number;
  slots: number;
  putBack: boolean;
}

async function hammer(run: HammerRun) {
  const fifo = KeyedFifo.create({
    slots: run.slots,
    arenaBytes: 1 << 20,
    lists: 1,
    payloadBytesMax: 4096,
  });
  const pages = fifo.freePages();
  const board = new SharedArrayBuffer(HammerBoard.bytes(run));
  const setting = { ...run, queue: fifo.shared, board };
  const each = (count: number, name: string) =>
    Array.from({ length: count }, (_, index) =>
      startProgram<Record<string, number | string>>(name, { ...setting, index }),
    );
  const consumers = each(run.consumers, "consumer");
  const removers = each(run.removers, "remover");
  const producers = each(run.producers, "producer");
  const programs = [...consumers, ...removers, ...producers];
  const reports = await Promise.all(programs.map((program) => program.next()));
  await Promise.all(programs.map((program) => program.ended));
  const seen = new HammerBoard({ ...setting, index: 0 }).seen();
  return { fifo, pages, reports, seen };
}

describe("a KeyedFifo that many threads use", () => {
  test(
    "gives every element to exactly one consumer or remover",
    async () => {
      const run = { producers: 2, consumers: 2, removers: 1, elementsEach: 40_000 };
      const { fifo, pages, reports, seen } = await hammer({ ...run, slots: 700, putBack: true });
      expect(seen.length).toBe(80_000);
      expect(seen.findIndex((times) => times !== 1)).toBe(-1);
      expect(reports.map((report) => report.wrong ?? "").join("")).toBe("");
      expect(fifo.freeSlots()).toBe(700);
      expect(fifo.freePages()).toBe(pages);
      const { pushes, removals, duplicates } = fifo.counters();
      expect({ pushes, removals, duplicates }).toEqual({
        pushes: 80_000,
        removals: 80_000,
        duplicates: 0,
      });
    },
    TIMEOUT_MS,
  );

  test(
    "keeps each producer's order for a single consumer",
    async () => {
      const run = { producers: 3, consumers: 1, removers: 0, elementsEach: 8000 };
      const { reports, seen } = await hammer({ ...run, slots: 256, putBack: false });
      expect(seen.findIndex((times) => times !== 1)).toBe(-1);
      expect(reports[0]).toEqual({ outOfOrder: 0, wrong: "" });
    },
    TIMEOUT_MS,
  );
});

describe("a MessageRing that many threads use", () => {
  test(
    "gives every message to exactly one consumer, whole",
    async () => {
      const producers = 2;
      const messagesEach = 15_000;
      const ring = MessageRing.create({ bytes: 4096 });
      const board = new SharedArrayBuffer(4 * (4 + producers * messagesEach));
      const setting = { ring: ring.shared, board, producers, messagesEach };
      const programs = [0, 1, 2, 3].map((index) =>
        startProgram<{ wrong: number }>("ring-peer", { ...setting, index, produce: index < 2 }),
      );
      const reports = await Promise.all(programs.map((program) => program.next()));
      await Promise.all(programs.map((program) => program.ended));
      expect(reports.map((report) => report.wrong)).toEqual([0, 0, 0, 0]);
      const came = new Int32Array(board, 16);
      expect(came.findIndex((times) => times !== 1)).toBe(-1);
      expect(ring.count()).toBe(0);
    },
    TIMEOUT_MS,
  );
});

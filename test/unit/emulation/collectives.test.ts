/** Messages of all-gathers, and of the ways in which rounds reach everybody. */
import { describe, expect, test } from "bun:test";
import { allgatherAlgorithm, allgatherCost } from "../../../src/emulation/collectives.ts";
import {
  DIRECT,
  DIRECT_RANKS_MAX,
  disseminationFor,
  GATHERED,
} from "../../../src/emulation/dissemination.ts";

const SIZES = [2, 3, 4, 7, 16, 64, 100, 500, 1000, 4096, 40_000];

describe("all-gathers", () => {
  test("every algorithm hands each rank the parts of all others", () => {
    for (const ranks of SIZES)
      for (const choice of ["linear", "logarithmic", "tuned"] as const)
        for (const bytes of [0, 100, 100_000])
          expect(allgatherCost(choice, ranks, bytes).bytes).toBe((ranks - 1) * bytes);
  });

  test("one rank alone sends nothing", () => {
    const nothing = { messages: 0, bytes: 0, steps: 0 };
    for (const choice of ["linear", "logarithmic", "tuned"] as const)
      expect(allgatherCost(choice, 1, 100)).toMatchObject(nothing);
  });

  test("the nonblocking one of Open MPI sends to everybody, the logarithmic ones to log2 N", () => {
    expect(allgatherCost("linear", 500, 100).messages).toBe(499);
    expect(allgatherCost("logarithmic", 512, 100)).toMatchObject({
      algorithm: "recursive doubling",
      messages: 9,
    });
    expect(allgatherCost("logarithmic", 500, 100)).toMatchObject({
      algorithm: "bruck",
      messages: 9,
    });
  });

  test("Open MPI's blocking one goes by rings where there is much to move", () => {
    expect(allgatherAlgorithm("tuned", 64, 700)).toBe("recursive doubling");
    expect(allgatherAlgorithm("tuned", 60, 700)).toBe("bruck");
    expect(allgatherAlgorithm("tuned", 64, 1000)).toBe("neighbor exchange");
    expect(allgatherAlgorithm("tuned", 65, 1000)).toBe("ring");
  });
});

describe("dissemination", () => {
  test("is direct up to 64 ranks and gathered above, unless asked for", () => {
    expect(disseminationFor(DIRECT_RANKS_MAX, "auto")).toBe(DIRECT);
    expect(disseminationFor(DIRECT_RANKS_MAX + 1, "auto")).toBe(GATHERED);
    expect(disseminationFor(4, "gathered")).toBe(GATHERED);
    expect(disseminationFor(4000, "direct")).toBe(DIRECT);
  });

  test("direct: a message to every other rank, for proposals and for votes", () => {
    const proposal = { bytes: 1000, slotBytes: 1024, larger: 0 };
    expect(DIRECT.proposals(16, proposal)).toMatchObject({ messages: 15, bytes: 15_000 });
    expect(DIRECT.votes(16, 150)).toMatchObject({ messages: 15, bytes: 15 * 150 });
  });

  test("gathered: proposals take their slot; larger ones go to everybody as well", () => {
    const fits = GATHERED.proposals(100, { bytes: 700, slotBytes: 1024, larger: 0 });
    expect(fits).toMatchObject({ messages: 7, bytes: 99 * 1024 });
    const more = GATHERED.proposals(100, { bytes: 2000, slotBytes: 1024, larger: 0.5 });
    expect(more.messages).toBe(7 + 49.5);
    expect(more.bytes).toBe(99 * 1024 + 49.5 * 2000);
  });

  test("a word to all costs one rank N - 1 messages, or each rank log2 N", () => {
    expect(DIRECT.announcement(100, 50).messages).toBeCloseTo(0.99);
    expect(DIRECT.announcement(100, 50).busiest).toBe(99);
    for (const told of [GATHERED.announcement(100, 50), GATHERED.ring(100)])
      expect(told).toMatchObject({ messages: 7, steps: 7, busiest: 7 });
  });
});

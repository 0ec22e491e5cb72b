/** Cost models, load, resources, log and charts, each alone. */
import { describe, expect, test } from "bun:test";
import type { LinkEffect } from "../../../src/consensus/effects.ts";
import { parseCostModel } from "../../../src/emulation/cost-model.ts";
import { Load } from "../../../src/emulation/load.ts";
import { EmulatedLog } from "../../../src/emulation/log.ts";
import { proposalName, recordName } from "../../../src/emulation/names.ts";
import { Resources } from "../../../src/emulation/resources.ts";
import { REFERENCE, referenceText } from "../../support/emulation-options.ts";

describe("cost model", () => {
  test("the one of the repository is good", () => {
    expect(parseCostModel(referenceText, REFERENCE).version).toBe(1);
  });

  test("what is wrong is told by its place", () => {
    const wrong = (change: (model: Record<string, Record<string, unknown>>) => void) => {
      const model = JSON.parse(referenceText);
      change(model);
      return () => parseCostModel(JSON.stringify(model), "m.json");
    };
    expect(() => parseCostModel("{", "m.json")).toThrow("m.json is not JSON");
    expect(wrong((model) => void (model.cpu.hashUs = -1))).toThrow("cpu.hashUs");
    expect(wrong((model) => void delete model.storage.appendMs)).toThrow("storage.appendMs");
    expect(wrong((model) => void (model.cpu.gpuUs = 1))).toThrow("cpu");
    expect(wrong((model) => void ((model as { version: unknown }).version = 2))).toThrow("version");
  });
});

describe("load", () => {
  const options = { ranks: 10, blockTransactions: 4, blockDelayMs: 5, proposalBlocksMax: 8 };

  test("a block is due when it is full or its oldest transaction has waited", () => {
    const slow = new Load({ ...options, perRank: 1 }, 0);
    // One transaction comes each 100 ms, and nothing says that rounds are long.
    expect(slow.dueAt(0)).toBeCloseTo(100);
    slow.roundTrips.proposed(1, 0);
    slow.roundTrips.agreed(1, 20);
    expect(slow.dueAt(0)).toBeCloseTo(105);
    expect(slow.take(104, 10).count).toBe(0);
    expect(slow.take(105, 10).count).toBe(1);
    const fast = new Load({ ...options, perRank: 10_000 }, 0);
    // 40 transactions, a block of each rank, are there after 0.4 ms.
    fast.roundTrips.proposed(1, 0);
    fast.roundTrips.agreed(1, 20);
    expect(fast.dueAt(0)).toBeCloseTo(0.4);
  });

  test("each transaction is taken once, what is given back again", () => {
    const load = new Load({ ...options, perRank: 1000 }, 0);
    let taken = 0;
    const seen = new Set<number>();
    for (let now = 7; now < 400; now += 7) {
      const { batches, count } = load.take(now, 10);
      for (const { first, count: of } of batches)
        for (let i = first; i < first + of; i++) {
          expect(seen.has(i)).toBe(false);
          seen.add(i);
        }
      taken += count;
      if (now % 5 === 0) {
        load.giveBack(batches);
        for (const { first, count: of } of batches)
          for (let i = first; i < first + of; i++) seen.delete(i);
        taken -= count;
      }
    }
    expect(seen.size).toBe(taken);
    expect(load.waiting(400) + taken).toBe(load.came(400));
  });

  test("no proposal has more blocks than it may", () => {
    const load = new Load({ ...options, perRank: 1_000_000 }, 0);
    const { count, blocks, blocksMost } = load.take(1000, 10);
    expect([count, blocks, blocksMost]).toEqual([10 * 8 * 4, 80, 8]);
  });
});

describe("resources", () => {
  const model = parseCostModel(referenceText, REFERENCE);

  test("ranks that share cores wait for each other", () => {
    const own = new Resources(model, { ranks: 8, ranksPerNode: 8, coresPerNode: 8 });
    const shared = new Resources(model, { ranks: 8, ranksPerNode: 8, coresPerNode: 2 });
    expect(own.compute(0, { round: 1 })).toBe(1);
    // Two doublings of the ranks on a core.
    const took = 4 * (1 + 2 * model.cpu.crowding);
    expect(shared.compute(0, { round: 1 })).toBeCloseTo(took, 9);
    // What is asked for while they are busy comes after that.
    expect(shared.compute(1, { round: 1 })).toBeCloseTo(2 * took, 9);
    // A little of something else gets its turn meanwhile, and the rest waits for as much longer.
    expect(shared.computeBeside(2, { round: 0.1 })).toBeCloseTo(2 + 0.2 * took, 9);
    expect(shared.compute(2, { round: 1 })).toBeCloseTo(3.1 * took, 9);
    expect(shared.utilization(3.1 * took).cores).toBeCloseTo(1, 9);
    expect(own.computeBeside(10, { round: 0.1 })).toBeCloseTo(10.1, 9);
  });

  test("records are synced one after the other", () => {
    const resources = new Resources(model, { ranks: 2, ranksPerNode: 2, coresPerNode: 2 });
    const first = resources.append(0, 0);
    expect(resources.append(0, 0)).toBeCloseTo(2 * first);
  });
});

describe("log", () => {
  const link = (slot: number, prevHash: string, ranks: number[]): LinkEffect => ({
    ...{ type: "link", kind: "QUORUM", slot, prevHash },
    settlement: [
      {
        ...{ round: slot, lost: [], votes: [] },
        included: ranks.map((rank) => ({ rank, hash: proposalName(rank, slot) })),
      },
    ],
  });
  const order = (...ranks: number[]) => [
    { round: 1, order: ranks.map((rank) => ({ rank, hash: proposalName(rank, 1) })) },
  ];

  test("a slot has the first record that is linked", () => {
    const log = new EmulatedLog();
    expect(log.link(link(1, recordName(0), [0, 1, 2]), 3)).toBe(true);
    expect(log.link(link(1, recordName(0), [0, 1]), 3)).toBe(false);
    expect(log.read(1)!.rounds[0].included).toHaveLength(3);
    expect(log.read(2)).toBeUndefined();
  });

  test("a ledger is valid with the same records, blocks and order alone", () => {
    const log = new EmulatedLog();
    log.link(link(1, recordName(0), [0, 1, 2]), 3);
    const slot = { slot: 1, hash: recordName(1) };
    expect(log.agrees({ ...slot, rounds: order(1, 2, 0) })).toBe(true);
    expect(log.agrees({ ...slot, rounds: order(0, 1, 2) })).toBe(false);
    expect(log.agrees({ ...slot, rounds: order(1, 2) })).toBe(false);
    expect(log.agrees({ ...slot, rounds: [] })).toBe(false);
    expect(log.agrees({ ...slot, hash: recordName(2), rounds: order(1, 2, 0) })).toBe(false);
    expect(log.agrees({ ...slot, slot: 2, rounds: [] })).toBe(false);
  });
});

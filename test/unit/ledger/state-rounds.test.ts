/** Whole rounds of blocks in one call, as large as they come, against the model. */
import { expect, test } from "bun:test";
import { kernels } from "../../../src/base/kernels.ts";
import { Random } from "../../../src/base/random.ts";
import { OUTCOME } from "../../../src/ledger/receipt.ts";
import { State } from "../../../src/ledger/state.ts";
import { VALIDITY_ROUNDS_MAX } from "../../../src/limits.ts";
import { encode, ModelState, type ModelTransaction, type Operation, txnID } from "./state-model.ts";

const SUPPLY = 1_000_000;

/** Bodies, then txnIDs, in shared memory; blocks lie apart and not in order. */
function place(all: readonly ModelTransaction[][]) {
  const bodies = all.map((txns) => txns.map(encode));
  const size = bodies.flat().reduce((sum, body) => sum + 4 + body.length + 32, 64 * all.length);
  const bytes = new Uint8Array(new SharedArrayBuffer(size)).fill(0xee);
  const view = new DataView(bytes.buffer);
  const blocks = new Uint32Array(4 * all.length);
  let at = 3;
  for (const index of all.keys().toArray().reverse()) {
    const start = at;
    for (const body of bodies[index]) {
      view.setUint32(at, body.length, true);
      bytes.set(body, at + 4);
      at += 4 + body.length;
    }
    blocks.set([start, at - start, all[index].length, at + 1], 4 * index);
    at += 1;
    for (const txn of all[index]) {
      bytes.set(txnID(txn), at);
      at += 32;
    }
    at += 7;
  }
  const transactions = all.reduce((sum, txns) => sum + txns.length, 0);
  return { bytes, blocks, count: all.length, transactions, ids: bytes };
}

function operationOf(random: Random): Operation {
  const key = `user${random.nextBelow(3000)}`;
  const field = `field${random.nextBelow(12)}`;
  const value = "v".repeat(random.nextBelow(4) === 0 ? random.nextBelow(300) : 100);
  const drawn = random.nextBelow(20);
  if (drawn < 3) return { kind: "insert", key, fields: [[field, value]] };
  if (drawn < 5) {
    const fields = Array.from({ length: 1 + random.nextBelow(90) }, (_, i): [string, string] => [
      `field${i % 80}`,
      value,
    ]);
    return { kind: "insert", key, fields };
  }
  if (drawn < 6) return { kind: "delete", key };
  if (drawn < 7) return { kind: "record", key, payload: value };
  if (drawn < 11) return { kind: "transfer", to: random.nextBelow(500), amount: 1 };
  const fields: [string, string][] = [[field, value]];
  if (drawn < 13) fields.push([`field${random.nextBelow(80)}`, value], [field, value]);
  return { kind: "update", key, fields };
}

test("does what the model does with forty rounds of twenty blocks", () => {
  const random = new Random(7);
  const state = new State({ supply: SUPPLY });
  const model = new ModelState(SUPPLY, VALIDITY_ROUNDS_MAX);
  let earlier: ModelTransaction[] = [];
  for (let round = 1; round <= 40; round++) {
    let made = 0;
    const all = Array.from({ length: 20 }, () =>
      Array.from({ length: random.nextBelow(60) }, (): ModelTransaction => {
        // Some come twice, in this round or a later one.
        if (earlier.length > 0 && random.nextBelow(40) === 0)
          return earlier[random.nextBelow(earlier.length)];
        const txn = {
          sender: random.nextBelow(4) === 0 ? random.nextBelow(2000) : 0,
          sequence: 1000 * round + made++,
          lastValidRound: round + 15 + random.nextBelow(20),
          operation: operationOf(random),
        };
        earlier.push(txn);
        return txn;
      }),
    );
    earlier = earlier.slice(-2000);
    const chainHashes = new Uint8Array(32 * all.length).map((_, i) => round + (i >> 5));
    const placed = place(all);
    const outcomes = new Uint8Array(placed.transactions);
    state.executeBlocks({ ...placed, round, chainHashes, outcomes });
    const expected = all.flatMap((txns, i) =>
      model.executeBlock(txns, round, chainHashes.subarray(32 * i, 32 * i + 32)),
    );
    expect([...outcomes]).toEqual(expected);
    state.endRound(round);
    model.endRound(round);
    const digest = Buffer.from(state.effectsDigest).toString("hex");
    expect(digest).toBe(model.effectsDigest.toString("hex"));
    expect(state.size().remembered).toBe(model.remembered.size);
    expect(state.size().senders).toBe(model.floors.size);
    expect(state.size().accounts).toBe([...model.balances.values()].filter((b) => b > 0).length);
  }
  expect(Buffer.from(state.root()).toString("hex")).toBe(model.root().toString("hex"));
  // More than it began with room for, and each way out of the native loop was taken.
  expect(state.size().remembered).toBeGreaterThan(8192);
  for (const outcome of [OUTCOME.OK, OUTCOME.DUPLICATE, OUTCOME.NO_SUCH_KEY, OUTCOME.OVERDRAFT])
    expect(state.counts[outcome]).toBeGreaterThan(0);
  expect(state.counts.reduce((sum, count) => sum + count)).toBeGreaterThan(20_000);
});

test("a body or a place that is none is refused before anything changes", () => {
  const state = new State({ supply: SUPPLY });
  const txn: ModelTransaction = {
    ...{ sender: 0, sequence: 1, lastValidRound: 9 },
    operation: { kind: "insert", key: "k", fields: [["f", "v"]] },
  };
  const good = place([[txn]]);
  const chainHashes = new Uint8Array(32);
  const bad: Partial<typeof good>[] = [
    { blocks: Uint32Array.of(good.blocks[0], good.bytes.length, 1, good.blocks[3]) },
    { blocks: Uint32Array.of(good.blocks[0], good.blocks[1], 1, good.bytes.length - 31) },
    { blocks: Uint32Array.of(good.blocks[0], good.blocks[1], 2, good.blocks[3]) },
    { blocks: Uint32Array.of(good.blocks[0], good.blocks[1] - 1, 1, good.blocks[3]) },
    { blocks: Uint32Array.of(good.blocks[0], 3, 1, good.blocks[3]) },
  ];
  for (const part of bad) {
    const placed = { ...good, ...part };
    const outcomes = new Uint8Array(2);
    const act = () => state.executeBlocks({ ...placed, round: 1, chainHashes, outcomes });
    expect(act).toThrow();
  }
  expect(state.size().records).toBe(0);
  expect(state.size().remembered).toBe(0);
});

test("a table of a size that it cannot have is refused", () => {
  const control = new Float64Array(30);
  const words = new Int32Array(1 << 11);
  const slots = new Float64Array(512);
  const index = new Int32Array(2048);
  const call = (heads: Int32Array, shift: number) => {
    control.fill(0);
    control[13] = 22;
    control[14] = shift;
    control[15] = 24;
    return kernels.forgetRound(control, words, heads, words, slots, slots, index, words, words);
  };
  expect(call(words, 24)).toBe(0);
  expect(() => call(words.subarray(0, 1000), 24)).toThrow(/table/);
  expect(() => call(words, 23)).toThrow(/table/);
  expect(() => call(words, -1)).toThrow(/table/);
});

/** The state against its model, over random blocks of all kinds. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { State } from "../../../src/ledger/state.ts";
import { VALIDITY_ROUNDS_MAX } from "../../../src/limits.ts";
import { executeBlock } from "../../support/execute-block.ts";
import {
  encode,
  latin,
  ModelState,
  type ModelTransaction,
  type Operation,
  txnID,
} from "./state-model.ts";

const SUPPLY = 1000;

/** Hands a block to the state as a rank does: a body and ids at odd offsets of shared memory. */
export function execute(state: State, txns: ModelTransaction[], round: number, chain: Uint8Array) {
  const bodies = txns.map(encode);
  const bodyLength = bodies.reduce((sum, body) => sum + 4 + body.length, 0);
  const bodyOffset = 1 + (bodyLength % 3);
  const idsOffset = bodyOffset + bodyLength + 5;
  const bytes = new Uint8Array(new SharedArrayBuffer(idsOffset + 32 * txns.length + 8)).fill(0xee);
  const view = new DataView(bytes.buffer);
  let at = bodyOffset;
  for (const [i, body] of bodies.entries()) {
    view.setUint32(at, body.length, true);
    bytes.set(body, at + 4);
    bytes.set(txnID(txns[i]), idsOffset + 32 * i);
    at += 4 + body.length;
  }
  const outcomes = new Uint8Array(txns.length);
  executeBlock(state, {
    bytes,
    bodyOffset,
    bodyLength,
    count: txns.length,
    ids: bytes,
    idsOffset,
    round,
    chainHash: chain,
    outcomes,
  });
  // What the block lay in is used again at once.
  bytes.fill(0xdd);
  return [...outcomes];
}

const keys = fc.constantFrom(
  "a",
  "b",
  "ab",
  "ÿ",
  "user1",
  "user2",
  "a much longer key than others",
);
const text = fc.oneof(
  fc.constantFrom("", "x", "yy", "zz", "1234", "5678"),
  fc.string({ unit: "binary-ascii", maxLength: 40 }),
  fc.nat(700).map((length) => "l".repeat(length)),
);
const field = fc.tuple(fc.constantFrom("a", "b", "field0", "field1", "field2", "fieldÿ"), text);
const fields = fc.array(field, { minLength: 1, maxLength: 8 });
const accounts = fc.constantFrom(0, 1, 2, 255, 256, 2 ** 32, 2 ** 53 - 1);
const operation: fc.Arbitrary<Operation> = fc.oneof(
  fc.record({
    kind: fc.constant("transfer" as const),
    to: accounts,
    amount: fc.integer({ min: 1, max: 700 }),
  }),
  fc.record({ kind: fc.constant("insert" as const), key: keys, fields }),
  fc.record({ kind: fc.constant("update" as const), key: keys, fields }),
  fc.record({ kind: fc.constant("update" as const), key: keys, fields }),
  fc.record({ kind: fc.constant("delete" as const), key: keys }),
  fc.record({ kind: fc.constant("record" as const), key: keys, payload: text }),
);
/** lastValidRound counts from the round the transaction is executed in. */
const transaction = fc.record({
  sender: fc.constantFrom(0, 1, 2, 2 ** 32 + 1),
  sequence: fc.oneof(fc.nat(30), fc.constantFrom(2 ** 32, 2 ** 53 - 1)),
  lastValidRound: fc.oneof(
    { weight: 8, arbitrary: fc.integer({ min: -1, max: 4 }) },
    { weight: 1, arbitrary: fc.constantFrom(VALIDITY_ROUNDS_MAX, VALIDITY_ROUNDS_MAX + 1) },
  ),
  operation,
});
const block = fc.array(transaction, { maxLength: 12 });
const step = fc.oneof(
  { weight: 6, arbitrary: block.map((txns) => ({ do: "block" as const, txns })) },
  { weight: 1, arbitrary: fc.constant({ do: "repeat" as const }) },
  { weight: 4, arbitrary: fc.constant({ do: "end" as const }) },
  {
    weight: 1,
    arbitrary: fc.integer({ min: 2, max: 5 }).map((by) => ({ do: "skip" as const, by })),
  },
  { weight: 2, arbitrary: fc.constant({ do: "restore" as const }) },
  { weight: 1, arbitrary: fc.constant({ do: "root" as const }) },
  { weight: 2, arbitrary: keys.map((start) => ({ do: "scan" as const, start })) },
);

function joined(parts: Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

function expectSame(state: State, model: ModelState): void {
  expect(Buffer.from(state.effectsDigest).toString("hex")).toBe(
    model.effectsDigest.toString("hex"),
  );
  expect(Buffer.from(state.root()).toString("hex")).toBe(model.root().toString("hex"));
  expect(state.total()).toBe(SUPPLY);
  const size = state.size();
  expect(size.records).toBe(model.records.size);
  expect(size.remembered).toBe(model.remembered.size);
  expect(size.senders).toBe(model.floors.size);
  for (const [account, balance] of model.balances) expect(state.balance(account)).toBe(balance);
  for (const key of model.records.keys()) {
    const record = state
      .read(latin(key))
      ?.map(({ name, value }) => [
        Buffer.from(name).toString("latin1"),
        Buffer.from(value).toString("latin1"),
      ]);
    expect(record).toEqual(model.sortedFields(key));
  }
  for (const { sender, sequence, id, outcome } of model.remembered.values()) {
    expect(state.lookup(sender, sequence, Buffer.from(id, "hex"))).toBe(outcome);
    expect(state.lookup(sender, sequence, new Uint8Array(32))).toBeUndefined();
  }
}

describe("state", () => {
  test("does what its model does, block after block, across snapshots", () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 4, maxLength: 40 }), (steps) => {
        let state = new State({ supply: SUPPLY });
        const model = new ModelState(SUPPLY, VALIDITY_ROUNDS_MAX);
        let round = 1;
        let last: ModelTransaction[] = [];
        let chain = 0;
        for (const step of steps) {
          if (step.do === "block" || step.do === "repeat") {
            if (step.do === "block") {
              last = step.txns.map((txn) => ({
                ...txn,
                lastValidRound: Math.max(0, round + txn.lastValidRound),
              }));
            }
            const chainHash = new Uint8Array(32).fill(++chain);
            const outcomes = execute(state, last, round, chainHash);
            expect(outcomes).toEqual(model.executeBlock(last, round, chainHash));
          } else if (step.do === "end" || step.do === "skip") {
            state.endRound(round);
            model.endRound(round);
            round++;
            if (step.do === "skip") {
              // A round that nobody ended before the next block forgets as if it had been ended.
              round += step.by;
              const digest = model.effectsDigest;
              model.endRound(round - 1);
              model.effectsDigest = digest;
              execute(state, [], round, new Uint8Array(32));
              model.executeBlock([], round, new Uint8Array(32));
            }
          } else if (step.do === "restore") {
            const bytes = joined(state.snapshot());
            const restored = State.restore(bytes);
            expect(Buffer.compare(joined(restored.snapshot()), bytes)).toBe(0);
            expect([...restored.counts]).toEqual([...state.counts]);
            state = restored;
          } else if (step.do === "root") expectSame(state, model);
          else {
            const expected = model.sortedKeys().filter((key) => key >= step.start);
            const found = state
              .scan(latin(step.start), 3)
              .map((key) => Buffer.from(key).toString("latin1"));
            expect(found).toEqual(expected.slice(0, 3));
          }
        }
        state.endRound(round);
        model.endRound(round);
        expectSame(state, model);
      }),
      { numRuns: 100 },
    );
  }, 60_000);

  test("does what its model does with crowded tables and buckets", () => {
    const state = new State({ supply: SUPPLY });
    const model = new ModelState(SUPPLY, VALIDITY_ROUNDS_MAX);
    let seed = 7;
    const random = (below: number) => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
      return (seed >>> 8) % below;
    };
    const operations: Array<() => Operation> = [
      () => ({ kind: "insert", key: `k${random(1500)}`, fields: [["f", `${random(1e6)}`]] }),
      () => ({ kind: "insert", key: `k${random(1500)}`, fields: [["f", "v".repeat(random(99))]] }),
      () => ({ kind: "update", key: `k${random(1500)}`, fields: [[`g${random(3)}`, "new"]] }),
      () => ({ kind: "delete", key: `k${random(1500)}` }),
      () => ({ kind: "transfer", to: random(2) * 2 ** 40 + random(3000), amount: 1 }),
    ];
    for (let round = 1; round <= 40; round++) {
      const txns = Array.from({ length: 250 }, (_, i) => ({
        sender: random(3) === 0 ? random(3000) : 0,
        sequence: 1000 * round + i,
        lastValidRound: round + random(5),
        operation: operations[random(operations.length)](),
      }));
      const chain = new Uint8Array(32).fill(round);
      expect(execute(state, txns, round, chain)).toEqual(model.executeBlock(txns, round, chain));
      state.endRound(round);
      model.endRound(round);
      if (round % 10 !== 0) continue;
      const found = state.scan(latin(""), 2000).map((key) => Buffer.from(key).toString("latin1"));
      expect(found).toEqual(model.sortedKeys());
      expectSame(state, model);
    }
  });

  test("gives a root after updates that a state from scratch gives too", () => {
    const a = new State({ supply: SUPPLY });
    const b = new State({ supply: SUPPLY });
    for (let round = 1; round <= 30; round++) {
      const txns = Array.from({ length: 50 }, (_, i) => ({
        sender: i % 3,
        sequence: 100 * round + i,
        lastValidRound: round + (i % 7),
        operation: {
          kind: "insert" as const,
          key: `key${(round * 31 + i * 17) % 400}`,
          fields: [["f", "v".repeat((round * i) % 90)]] as Array<[string, string]>,
        },
      }));
      for (const state of [a, b]) {
        execute(state, txns, round, new Uint8Array(32).fill(round));
        state.endRound(round);
      }
      a.root();
    }
    expect(a.root()).toEqual(b.root());
    expect(State.restore(joined(a.snapshot())).root()).toEqual(b.root());
  });

  test("stays within twice its live records, whatever the order of sizes", () => {
    const state = new State({ supply: 0 });
    let sequence = 0;
    for (let round = 1; round <= 60; round++) {
      const bytes = 200 * round;
      const txns = Array.from({ length: 500 }, (_, i) => ({
        sender: 1,
        sequence: sequence++,
        lastValidRound: round,
        operation: {
          kind: "insert" as const,
          key: `key${i}`,
          fields: [["f", "v".repeat(bytes)]] as Array<[string, string]>,
        },
      }));
      execute(state, txns, round, new Uint8Array(32));
      state.endRound(round);
    }
    const live = 500 * 60 * 200;
    expect(state.size().records).toBe(500);
    expect(state.size().remembered).toBe(0);
    expect(state.size().bytes).toBeLessThan(3 * live + (8 << 20));
  });

  test("merges a large overflow of keys into the order of scans", () => {
    const state = new State({ supply: 0 });
    const insert = (round: number, names: string[]) => {
      const txns = names.map((key, i) => ({
        sender: 1,
        sequence: 10_000 * round + i,
        lastValidRound: round,
        operation: {
          kind: "insert" as const,
          key,
          fields: [["f", "v"]] as Array<[string, string]>,
        },
      }));
      execute(state, txns, round, new Uint8Array(32));
      state.endRound(round);
    };
    insert(1, ["m"]);
    expect(state.scan(latin(""), 9).length).toBe(1);
    const names = Array.from({ length: 3000 }, (_, i) => `key${(i * 7919) % 3000}`);
    insert(2, names);
    const expected = [...names, "m"].sort();
    const found = state.scan(latin(""), 5000).map((key) => Buffer.from(key).toString("latin1"));
    expect(found).toEqual(expected);
    expect(state.has(latin("key5"))).toBe(true);
    expect(state.has(latin("key50000"))).toBe(false);
  });

  test("remembers no more than its window holds, and all of it again once it is over", () => {
    const state = new State({ supply: 0, rememberedMax: 20_000 });
    const note = (sequence: number, lastValidRound: number) => ({
      sender: (sequence * 7) % 5,
      sequence,
      lastValidRound,
      operation: { kind: "record" as const, key: "", payload: "" },
    });
    const first = Array.from({ length: 15_000 }, (_, i) => note(i, 1 + (i % 3)));
    const second = Array.from({ length: 6000 }, (_, i) => note(100_000 + i, 3));
    const chain = new Uint8Array(32);
    expect(execute(state, first, 1, chain).every((outcome) => outcome === 0)).toBe(true);
    const outcomes = execute(state, second, 1, chain);
    expect(outcomes.indexOf(7)).toBe(5000);
    expect(state.size().remembered).toBe(20_000);
    expect(execute(state, first, 1, chain).every((outcome) => outcome === 1)).toBe(true);
    expect(state.lookup(note(100_007, 3).sender, 100_007, txnID(second[7]))).toBe(0);
    state.endRound(1);
    expect(state.size().remembered).toBe(15_000);
    expect(execute(state, second.slice(5000), 2, chain)).toEqual(new Array(1000).fill(0));
    state.endRound(2);
    expect(execute(state, second, 3, chain)).toEqual(new Array(6000).fill(1));
    state.endRound(3);
    expect(state.size()).toMatchObject({ remembered: 0, senders: 5 });
    // What was forgotten lies below the floors: nothing is executed twice.
    const late = second.map((txn) => ({ ...txn, lastValidRound: 9 }));
    expect(execute(state, late, 4, chain)).toEqual(new Array(6000).fill(4));
  });
});

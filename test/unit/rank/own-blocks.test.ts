/** Receipts of a rank's own transactions, on real queues and a real state. */
import { expect, test } from "bun:test";
import { kernels } from "../../../src/base/kernels.ts";
import { createBlockLocation, locateBlock } from "../../../src/ledger/block.ts";
import { OUTCOME } from "../../../src/ledger/receipt.ts";
import { State } from "../../../src/ledger/state.ts";
import { encodeTransaction } from "../../../src/ledger/transaction-object.ts";
import { buildBlocks } from "../../../src/queue/block-building.ts";
import { BlockQueue } from "../../../src/queue/block-queue.ts";
import { LAST_ROUND, TransactionQueue } from "../../../src/queue/transaction-queue.ts";
import { OwnBlocks } from "../../../src/rank/own-blocks.ts";
import { executeBlock } from "../../support/execute-block.ts";
import { makeBlock, SETTING, TRANSFER } from "../ledger/samples.ts";

const LAST_VALID = 3;
const BYTES = encodeTransaction({ ...TRANSFER, senderID: 0, lastValidRound: LAST_VALID });

/** A rank with this transaction in its queue, and what its client is told as final. */
function rankWithIt() {
  const transactions = TransactionQueue.create({ slots: 16, arenaBytes: 1 << 16 });
  const outgoing = BlockQueue.create({ slots: 16, arenaBytes: 1 << 16 });
  const told: number[] = [];
  const own = new OwnBlocks(transactions, (_, { level, count, outcomes }) => {
    if (level === "final") told.push(...outcomes.subarray(0, count));
  });
  const state = new State({ supply: 1000 });
  state.forgetting = own;
  const spans = Uint32Array.of(0, BYTES.length);
  const ids = new Uint8Array(32);
  kernels.leafHashes(BYTES, spans, 1, ids, 0);
  const batch = { ids, payload: BYTES, spans, from: 0, count: 1, slots: new Int32Array(1) };
  const tags = { owner: 0, tags: new Int32Array(1), times: new Float64Array(1) };
  expect(transactions.accept({ ...batch, ...tags })).toBe(1);
  transactions.fifo.words[4 * batch.slots[0] + LAST_ROUND] = own.lastRounds.accepted(LAST_VALID);

  const execute = (round: number) => {
    const block = makeBlock([BYTES], { ...SETTING, round });
    const at = createBlockLocation();
    locateBlock(block, 0, block.length, at);
    const outcomes = new Uint8Array(1);
    executeBlock(state, {
      ...{ bytes: block, bodyOffset: at.bodyOffset, bodyLength: at.bodyLength, count: 1 },
      ...{ ids, idsOffset: 0, round, chainHash: new Uint8Array(32), outcomes },
    });
    state.endRound(round);
    return outcomes;
  };
  /** Its own block of the round has it, and is final. */
  const settleOwn = (round: number) => {
    const request = { blockTransactions: 4, blocksMax: 1, bytesMax: 1 << 16, partial: true };
    buildBlocks({ ...request, setting: { ...SETTING, round } }, transactions, outgoing);
    const { head } = outgoing.takePending(1);
    own.add(round, outgoing, [head], round);
    own.executed(round, 0, execute(round));
    own.settle(round);
  };
  return { told, execute, settleOwn, transactions };
}

test("nobody else had it: its last valid round passes, and it is told so", () => {
  const { told, settleOwn } = rankWithIt();
  settleOwn(LAST_VALID + 1);
  expect(told).toEqual([OUTCOME.EXPIRED]);
});

test("another rank's block had it in time: its first receipt is its receipt", () => {
  const { told, execute, settleOwn, transactions } = rankWithIt();
  expect(execute(LAST_VALID)[0]).toBe(OUTCOME.OK);
  settleOwn(LAST_VALID + 1);
  expect(told).toEqual([OUTCOME.OK]);
  expect(transactions.waiting()).toBe(0);
});

test("its own block is the last that could have it", () => {
  const { told, settleOwn } = rankWithIt();
  settleOwn(LAST_VALID);
  expect(told).toEqual([OUTCOME.OK]);
});

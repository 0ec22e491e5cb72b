/**
 * What executing a transaction costs: `bun test/bench/state.bench.ts [records]`. Not part of the tests.
 * Blocks lie in shared memory as they do in a rank; keys are drawn Zipfian (0.99) and scrambled.
 */

import { State } from "../../src/ledger/state.ts";
import { encodeInsert, encodeTransfer, encodeUpdate } from "../../src/ledger/transaction.ts";
import { executeBlock } from "../support/execute-block.ts";

const RECORDS = Number(process.argv[2] ?? 100_000);
const FIELDS = 10;
const VALUE_BYTES = 100;
/** Rounds that a transaction stays valid: 400,000 are remembered. */
const HORIZON = 100;
const SENDERS = 64;
const TXNS = 400_000;
const ROUND_TXNS = 4000;
const CHUNK_TXNS = 20_000;

const text = new TextEncoder();
const key = { bytes: new Uint8Array(23), start: 0, length: 23 };
const head = {
  chainId: new Uint8Array(16),
  senderID: 0,
  sequence: 0,
  lastValidRound: 0,
  creationTime: 1_700_000_000_000,
};
let seed = 1;
function random(): number {
  seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) | 0;
  return (seed >>> 0) / 2 ** 32;
}

const zipfian = Int32Array.from({ length: 1 << 17 }, () => zipf(random()));
function zipf(u: number): number {
  // Inverse of the continuous approximation of Zipf(0.99) over RECORDS ranks, then scrambled.
  const s = 0.01;
  const rank = Math.floor((u * ((RECORDS + 1) ** s - 1) + 1) ** (1 / s)) - 1;
  return (Math.imul(rank, 2_654_435_761) >>> 0) % RECORDS;
}

function setKey(record: number): void {
  text.encodeInto(`user${String(record * 7919 + 1_000_000_000).padStart(19, "0")}`, key.bytes);
}

const names = text.encode(Array.from({ length: FIELDS }, (_, i) => `field${i}`).join(""));
const values = new Uint8Array(FIELDS * VALUE_BYTES).map(() => 32 + Math.floor(random() * 90));
const all = fieldRanges(0, FIELDS);
const single = Array.from({ length: FIELDS }, (_, i) => fieldRanges(i, 1));
function fieldRanges(from: number, count: number) {
  const spans = (size: number) =>
    Uint32Array.from({ length: 2 * count }, (_, i) => (i & 1 ? size : size * (from + (i >> 1))));
  return { count, names, nameSpans: spans(6), values, valueSpans: spans(VALUE_BYTES) };
}

type Encode = (out: Uint8Array, offset: number, index: number) => number;
const encodeInserts: Encode = (out, offset, index) => {
  setKey(index);
  return encodeInsert(out, offset, head, key, all);
};
const encodeUpdates: Encode = (out, offset) => {
  setKey(zipfian[Math.floor(random() * zipfian.length)]);
  return encodeUpdate(out, offset, head, key, single[Math.floor(random() * FIELDS)]);
};
const encodeTransfers: Encode = (out, offset) =>
  encodeTransfer(out, offset, head, Math.floor(random() * RECORDS), 1);

const state = new State({ supply: 1e15 });
let round = 0;
const chunkBytes = new Uint8Array(new SharedArrayBuffer(CHUNK_TXNS * 1300));
const chunkView = new DataView(chunkBytes.buffer);
const ids = new Uint8Array(new SharedArrayBuffer(32 * CHUNK_TXNS));
const idWords = new Int32Array(ids.buffer);
const outcomes = new Uint8Array(CHUNK_TXNS);
const chainHash = new Uint8Array(32);
const sequences = new Float64Array(SENDERS);

/**
 * Executes `count` transactions in blocks of `blockTxns`; answers nanoseconds of processor time for
 * each, ends of rounds included. A chunk of blocks is encoded ahead, so that encoding is not measured.
 */
function run(encode: Encode, count: number, blockTxns: number, sender = -1): number {
  let spent = 0;
  for (let done = 0; done < count; done += CHUNK_TXNS) {
    const chunk = Math.min(CHUNK_TXNS, count - done);
    let end = 0;
    const starts = [];
    for (let i = 0; i < chunk; i++) {
      if (i % blockTxns === 0) starts.push(end);
      head.senderID = sender >= 0 ? sender : (i >> 4) % SENDERS;
      head.sequence = sequences[head.senderID]++;
      head.lastValidRound = round + Math.floor(i / ROUND_TXNS) + HORIZON;
      const length = encode(chunkBytes, end + 4, done + i);
      chunkView.setUint32(end, length, true);
      end += 4 + length;
      for (let w = 0; w < 8; w++) idWords[8 * i + w] = (random() * 2 ** 32) | 0;
    }
    starts.push(end);
    const before = process.cpuUsage();
    for (let b = 0; b + 1 < starts.length; b++) {
      const first = b * blockTxns;
      executeBlock(state, {
        bytes: chunkBytes,
        bodyOffset: starts[b],
        bodyLength: starts[b + 1] - starts[b],
        count: Math.min(blockTxns, chunk - first),
        ids,
        idsOffset: 32 * first,
        round,
        chainHash,
        outcomes,
      });
      if ((first + blockTxns) % ROUND_TXNS === 0) state.endRound(round++);
    }
    const used = process.cpuUsage(before);
    spent += used.user + used.system;
  }
  return (1000 * spent) / count;
}

const report = (what: string, value: number, unit: string) =>
  console.log(`${what.padEnd(52)} ${value.toFixed(unit === "ns" ? 0 : 1).padStart(9)} ${unit}`);
function time(what: string, act: () => unknown): void {
  const start = performance.now();
  act();
  report(what, performance.now() - start, "ms");
}

report(`insert, ${RECORDS} records, blocks of 1000`, run(encodeInserts, RECORDS, 1000), "ns");
time("first root", () => state.root());
for (const [name, encode, sender] of [
  ["update", encodeUpdates, -1],
  ["insert over the same keys", encodeInserts, -1],
  ["transfer", encodeTransfers, 0],
] as const) {
  for (const blockTxns of [1000, 100, 4]) {
    const count = Math.min(TXNS, name === "update" ? TXNS : RECORDS);
    run(encode, Math.min(count, 100_000), blockTxns, sender);
    report(`${name}, blocks of ${blockTxns}`, run(encode, count, blockTxns, sender), "ns");
  }
}
state.root();
run(encodeUpdates, 100_000, 1000);
time("root after 100000 Zipfian updates", () => state.root());
run(encodeUpdates, 1000, 1000);
time("root after 1000 Zipfian updates", () => state.root());
run(encodeUpdates, 4, 4);
time("root after 4 updates", () => state.root());
let parts: Uint8Array[] = [];
time("snapshot", () => (parts = state.snapshot()));
const whole = new Uint8Array(Buffer.concat(parts));
report("snapshot bytes", whole.length / 1e6, "MB");
parts = [];
time("restore", () => State.restore(whole));
time("first scan of 100 keys", () => state.scan(key.bytes, 100));
time("scan of 100 keys", () => state.scan(key.bytes, 100));
const size = state.size();
console.log(size);
report("bytes of the state", size.bytes / 1e6, "MB");
report("resident", process.memoryUsage.rss() / 1e6, "MB");

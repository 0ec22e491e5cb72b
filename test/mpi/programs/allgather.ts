/**
 * Allgathers on three lanes, several under way on each, lengths that differ by rank and call; then
 * allreduces. Checks contents and the order of each lane, and reports the time of one alone.
 */
import { readU32, writeU32 } from "../../../src/base/bytes.ts";
import { expect, openInbox, patternByte, print } from "./program.ts";

const CALLS = Number(process.env.CALLS ?? 60);
const DEPTH = Math.min(4, CALLS);
const BYTES_MAX = 1000;
const ALONE = Number(process.env.ALONE ?? 100);
const ALONE_BYTES = 128;
const DEADLINE_MS = 30_000;
const inbox = await openInbox();
const { transport } = inbox;
const { rank, size } = transport;
const called = [0, 0, 0];
const completed = [0, 0, 0];
const finished = Promise.withResolvers<void>();

function lengthOf(lane: number, call: number, from: number): number {
  return 8 + ((lane * 131 + call * 37 + from * 211) % (BYTES_MAX - 7));
}

function contribute(lane: number): void {
  const call = called[lane]++;
  const bytes = new Uint8Array(lengthOf(lane, call, rank));
  writeU32(bytes, 0, call);
  writeU32(bytes, 4, lane);
  for (let i = 8; i < bytes.length; i++) bytes[i] = patternByte(rank, lane, call, i);
  transport.allgather(lane, bytes, BYTES_MAX, DEADLINE_MS);
}

inbox.onAllgather = (lane, parts) => {
  const call = completed[lane]++;
  expect(transport, parts.length === size, "a part for each rank");
  for (const [from, bytes] of parts.entries()) {
    const fits = bytes.length === lengthOf(lane, call, from) && readU32(bytes, 4) === lane;
    expect(transport, fits && readU32(bytes, 0) === call, `call ${call} of lane ${lane}: order`);
    for (let i = 8; i < bytes.length; i++) {
      if (bytes[i] !== patternByte(from, lane, call, i)) {
        expect(transport, false, `call ${call} of lane ${lane}: byte ${i} of ${from}`);
        break;
      }
    }
  }
  if (called[lane] < CALLS) contribute(lane);
  if (completed.every((count) => count === CALLS)) finished.resolve();
};

for (let i = 0; i < DEPTH; i++) for (const lane of [0, 1, 2]) contribute(lane);
await finished.promise;

for (const [operation, wanted] of [
  ["sum", (size * (size - 1)) / 2],
  ["min", 0],
  ["max", size - 1],
] as const) {
  const result = await transport.allreduce(new Float64Array([rank, 0.5]), operation);
  expect(transport, result[0] === wanted, `allreduce ${operation} gave ${result[0]}`);
}

const times: number[] = [];
const alone = Promise.withResolvers<void>();
let started = 0;
const bytes = new Uint8Array(ALONE_BYTES);
inbox.onAllgather = (lane) => {
  times.push(performance.now() - started);
  if (times.length === ALONE) {
    alone.resolve();
    return;
  }
  started = performance.now();
  transport.allgather(lane, bytes, ALONE_BYTES, DEADLINE_MS);
};
await transport.barrier();
started = performance.now();
transport.allgather(0, bytes, ALONE_BYTES, DEADLINE_MS);
await alone.promise;
times.sort((a, b) => a - b);
const at = (share: number) => Math.round(1000 * times[Math.floor(share * times.length)]);
const finalized = await transport.close();
print({ rank, completed, finalized, aloneUs: { p10: at(0.1), p50: at(0.5), p99: at(0.99) } });

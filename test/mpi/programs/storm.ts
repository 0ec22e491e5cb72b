/**
 * Every rank sends numbered messages of mixed lengths to every rank, itself too, one by one and with
 * sendMany. Checks every byte and that the order of each pair is kept. The arena is small, so that
 * receivers push back.
 */
import { readU32, writeU32 } from "../../../src/base/bytes.ts";
import { expect, fillPattern, openInbox, patternByte, print } from "./program.ts";

const MESSAGES = Number(process.env.MESSAGES ?? 400);
const LENGTHS = [8, 9, 64, 700, 4096, 5000, 70_000, 200_000];
const inbox = await openInbox({ arenaBytes: 1024 * 1024, messageBytesMax: 256 * 1024 });
const { transport } = inbox;
const { rank, size } = transport;
const next = new Array<number>(size).fill(0);
const finished = Promise.withResolvers<void>();
let left = MESSAGES * size;
let bytesReceived = 0;

inbox.onMessages = (batch) => {
  for (let i = 0; i < batch.count; i++) {
    const from = batch.from(i);
    const bytes = batch.bytes(i);
    const number = readU32(bytes, 0);
    expect(transport, number === next[from]++, `message ${number} of ${from} out of order`);
    expect(transport, bytes.length === lengthOf(number), `message ${number} has a wrong length`);
    // sendMany's messages are equal for all destinations: they carry destination 0.
    const to = readU32(bytes, 4);
    for (let k = 8; k < bytes.length; k++) {
      if (bytes[k] === patternByte(from, to, number, k)) continue;
      expect(transport, false, `byte ${k} of message ${number} from ${from} is damaged`);
      break;
    }
    bytesReceived += bytes.length;
    left--;
  }
  if (left === 0) finished.resolve();
};

function lengthOf(number: number): number {
  // Long ones are rare, as in practice: a quarter of the messages is over 4 KiB.
  return LENGTHS[(number * 5) % (number % 4 === 0 ? LENGTHS.length : 4)];
}

function compose(number: number, to: number): Uint8Array {
  const bytes = new Uint8Array(lengthOf(number));
  writeU32(bytes, 0, number);
  writeU32(bytes, 4, to);
  fillPattern(bytes, rank, to, number);
  return bytes;
}

const everybody = Array.from({ length: size }, (_, to) => to);
for (let number = 0; number < MESSAGES; number++) {
  if (number % 3 === 0) transport.sendMany(everybody, compose(number, 0));
  else for (const to of everybody) transport.send(to, compose(number, to));
  // Lets received messages in, as the loop of a rank does.
  if (number % 50 === 49) await new Promise(setImmediate);
}
await finished.promise;
await transport.barrier();
// Counted after the close, which flushes: that everybody has received everything does not say that
// MPI has told each sender so yet.
const finalized = await transport.close();
const { arenaBytesUsed, arenaWaits, sendsPending } = transport.counters();
print({ rank, bytesReceived, arenaBytesUsed, arenaWaits, sendsPending, finalized });

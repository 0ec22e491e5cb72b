/**
 * One rank of scripts/calibrate's look at MPI, started by it under mpirun: rank 0 plays ping-pong with
 * rank 1 and sends it a burst, and prints what that took as one line of JSON.
 */
import { openTransport } from "../../rank/start.ts";
import type { Transport } from "../../transport/transport.ts";

const SMALL = new Uint8Array(64);
const LARGE = new Uint8Array(64 << 10);
const PINGS = 3000;
const BURST = 30_000;
const LARGE_BURST = 3000;
const WARM_UP = 500;

/** The other rank's echo: every `every`-th message is answered. */
let echoEvery = 1;
let received = 0;
let expected = 0;
let reached: (() => void) | undefined;

const transport = await openTransport();
transport.handler = {
  onMessages(batch) {
    for (let i = 0; i < batch.count; i++) onMessage(transport, batch.bytes(i));
  },
  onAllgather: () => {},
  onError: (error) => {
    throw error;
  },
};

function onMessage(to: Transport, bytes: Uint8Array): void {
  received++;
  if (to.rank === 1) {
    // A message of four bytes says how many follow for one answer.
    if (bytes.length === 4) {
      echoEvery = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
      received = 0;
    } else if (received % echoEvery === 0) to.send(0, SMALL);
  } else if (to.rank === 0 && received === expected) reached?.();
}

/** Milliseconds from the first of `count` messages to the answer to the last. */
async function burst(count: number, bytes: Uint8Array): Promise<number> {
  const every = new Uint8Array(4);
  new DataView(every.buffer).setUint32(0, count);
  transport.send(1, every);
  const started = performance.now();
  await answered(1, () => {
    for (let i = 0; i < count; i++) transport.send(1, bytes);
  });
  return performance.now() - started;
}

function answered(answers: number, send: () => void): Promise<void> {
  received = 0;
  expected = answers;
  const promise = new Promise<void>((resolve) => {
    reached = resolve;
  });
  send();
  return promise;
}

if (transport.rank === 0) {
  for (let i = 0; i < WARM_UP; i++) await burst(1, SMALL);
  const pings = performance.now();
  for (let i = 0; i < PINGS; i++) await burst(1, SMALL);
  const roundTripMs = (performance.now() - pings) / PINGS;
  await burst(BURST, SMALL);
  const smallMs = (await burst(BURST, SMALL)) / BURST;
  const largeMs = (await burst(LARGE_BURST, LARGE)) / LARGE_BURST;
  const result = { roundTripMs, smallMs, largeMs, largeBytes: LARGE.length };
  await Bun.write(Bun.stdout, `${JSON.stringify(result)}\n`);
}
await transport.barrier(120_000);
await transport.close();
process.exit(0);

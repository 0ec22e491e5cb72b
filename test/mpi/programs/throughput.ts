/** Rank 0 sends 200 KB messages to all others as fast as they take them: MB/s out of rank 0. */
import { openInbox, print } from "./program.ts";

const MESSAGES = Number(process.env.MESSAGES ?? 500);
const BYTES = Number(process.env.BYTES ?? 200_000);
const inbox = await openInbox();
const { transport } = inbox;
const { rank, size } = transport;
const finished = Promise.withResolvers<void>();
let received = 0;
inbox.onMessages = (batch) => {
  received += batch.count;
  if (received === (rank === 0 ? size - 1 : MESSAGES)) finished.resolve();
};
await transport.barrier();
const start = performance.now();
const others = Array.from({ length: size - 1 }, (_, index) => index + 1);
const bytes = new Uint8Array(BYTES);
if (rank === 0) {
  for (let i = 0; i < MESSAGES; i++) {
    transport.sendMany(others, bytes);
    while (transport.counters().sendBytesPending > 32e6) await new Promise(setImmediate);
  }
}
await finished.promise;
if (rank > 0) transport.send(0, new Uint8Array(1));
const seconds = (performance.now() - start) / 1000;
const megabytes = (MESSAGES * BYTES * (size - 1)) / 1e6;
if (rank === 0) {
  print({
    megabytesPerSecond: Math.round(megabytes / seconds),
    messagesPerSecond: Math.round((MESSAGES * (size - 1)) / seconds),
  });
}
await transport.close();

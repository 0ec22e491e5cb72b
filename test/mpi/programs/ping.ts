/** Round trips of 64 bytes between ranks 0 and 1, from JavaScript to JavaScript. */
import { openInbox, print } from "./program.ts";

const ROUND_TRIPS = Number(process.env.ROUND_TRIPS ?? 500);
const inbox = await openInbox();
const { transport } = inbox;
const bytes = new Uint8Array(64);
const times: number[] = [];
const finished = Promise.withResolvers<void>();
let sent = 0;
inbox.onMessages = (batch) => {
  for (let i = 0; i < batch.count; i++) {
    if (transport.rank === 1) {
      transport.send(0, batch.bytes(i));
      if (++sent === ROUND_TRIPS) finished.resolve();
      continue;
    }
    times.push(performance.now() - sent);
    if (times.length === ROUND_TRIPS) {
      finished.resolve();
      return;
    }
    sent = performance.now();
    transport.send(1, bytes);
  }
};
await transport.barrier();
sent = transport.rank === 0 ? performance.now() : 0;
if (transport.rank === 0) transport.send(1, bytes);
if (transport.rank < 2) await finished.promise;
times.sort((a, b) => a - b);
const at = (share: number) => Math.round(1000 * times[Math.floor(share * times.length)]);
if (transport.rank === 0) print({ roundTripUs: { p10: at(0.1), p50: at(0.5), p99: at(0.99) } });
await transport.close();

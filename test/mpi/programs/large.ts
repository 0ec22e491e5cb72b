/** 8 MiB around a ring, while small messages overtake nothing on their pair. Reports the speed. */
import { expect, fillPattern, openInbox, patternByte, print } from "./program.ts";

const BYTES = 8 * 1024 * 1024;
const LAPS = 4;
const inbox = await openInbox();
const { transport } = inbox;
const { rank, size } = transport;
const finished = Promise.withResolvers<void>();
const from = (rank + size - 1) % size;
let received = 0;

inbox.onMessages = (batch) => {
  for (let i = 0; i < batch.count; i++) {
    const bytes = batch.bytes(i);
    const lap = received >> 1;
    expect(transport, batch.from(i) === from, "a message from an unexpected rank");
    if (received % 2 === 0) {
      expect(transport, bytes.length === BYTES, `a large message of ${bytes.length} bytes`);
      for (let k = 8; k < BYTES; k += 4093) {
        expect(transport, bytes[k] === patternByte(from, rank, lap, k), `byte ${k} is damaged`);
      }
    } else {
      expect(transport, bytes.length === 1 && bytes[0] === lap, "the small one comes after it");
    }
    received++;
  }
  if (received === 2 * LAPS) finished.resolve();
};

await transport.barrier();
for (let lap = 0; lap < LAPS; lap++) {
  const bytes = new Uint8Array(BYTES);
  fillPattern(bytes, rank, (rank + 1) % size, lap);
  transport.send((rank + 1) % size, bytes);
  transport.send((rank + 1) % size, new Uint8Array([lap]));
}
await finished.promise;
print({ rank, received, finalized: await transport.close() });

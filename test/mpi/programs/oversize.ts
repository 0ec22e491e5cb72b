/** Odd ranks accept less than even ones send: what is too long is dropped and told, the rest comes. */
import { errorCode } from "../../../src/base/errors.ts";
import { expect, openInbox, print } from "./program.ts";

const KiB = 1024;
// Too long for 64 KiB in one frame, for 9 MiB in many, and only by its last frame.
const LENGTHS = [10, 100 * KiB, 20, 8 * KiB * KiB, 30, 65 * KiB, 40];
const odd = Number(process.env.OMPI_COMM_WORLD_RANK ?? process.env.PMI_RANK ?? 0) % 2 === 1;
const messageBytesMax = odd ? 64 * KiB : 9 * KiB * KiB;
const inbox = await openInbox({ messageBytesMax, arenaBytes: 2 * messageBytesMax });
const { transport } = inbox;
const received: number[] = [];
const rejected: string[] = [];
const finished = Promise.withResolvers<void>();

inbox.onMessages = (batch) => {
  for (let i = 0; i < batch.count; i++) received.push(batch.bytes(i).length);
  if (received.at(-1) === 40) finished.resolve();
};
inbox.onError = (error) => rejected.push(error.code);
await transport.barrier();
if (odd) {
  let code = "none";
  try {
    transport.send(0, new Uint8Array(messageBytesMax + 1));
  } catch (error) {
    code = errorCode(error);
  }
  expect(transport, code === "MESSAGE_TOO_LARGE", "a sender's own mistake is refused at once");
  await finished.promise;
} else if (transport.rank + 1 < transport.size) {
  for (const length of LENGTHS) transport.send(transport.rank + 1, new Uint8Array(length));
}
await transport.barrier();
const { oversizeRejected, arenaBytesUsed } = transport.counters();
const finalized = await transport.close();
print({
  rank: transport.rank,
  received,
  rejected,
  oversizeRejected,
  arenaBytesUsed,
  finalized,
});

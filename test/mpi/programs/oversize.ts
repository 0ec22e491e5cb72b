/** Odd ranks accept less than even ones send: what is too long is dropped and told, the rest comes. */
import { errorCode } from "../../../src/base/errors.ts";
import { expect, openInbox, print } from "./program.ts";

const KiB = 1024;
const MiB = KiB * KiB;
const LENGTHS = [10, 100 * KiB, 20, 8 * MiB, 30, 2.75 * MiB, 40];
// Rank 1 refuses what comes in one piece, rank 3 in pieces: 8 MiB by the first one's announcement,
// 2.75 MiB only by the length of the last.
const LIMITS = [9 * MiB, 64 * KiB, 9 * MiB, 2.5 * MiB];
const own = Number(process.env.OMPI_COMM_WORLD_RANK ?? process.env.PMI_RANK ?? 0);
const odd = own % 2 === 1;
const messageBytesMax = LIMITS[own % LIMITS.length];
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

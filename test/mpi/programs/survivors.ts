/** The last rank kills itself inside an allgather; the others notice, regroup and work on. */
import { expect, openInbox } from "./program.ts";

const inbox = await openInbox();
const { transport } = inbox;
const { rank, size } = transport;
const survivors = Array.from({ length: size - 1 }, (_, index) => index);
const failed = Promise.withResolvers<void>();
const heard = Promise.withResolvers<void>();
let onGathered = Promise.withResolvers<number>();
let greetings = 0;
inbox.onError = (error) => {
  if (error.code === "COLLECTIVE_DEADLINE") failed.resolve();
};
inbox.onAllgather = (_, parts) => onGathered.resolve(parts.length);
inbox.onMessages = (batch) => {
  greetings += batch.count;
  if (greetings === survivors.length) heard.resolve();
};

await transport.barrier();
transport.allgather(0, new Uint8Array([rank]), 8, 10_000);
expect(transport, (await onGathered.promise) === size, "all are there at first");
if (rank === size - 1) process.kill(process.pid, "SIGKILL");
onGathered = Promise.withResolvers();
transport.allgather(0, new Uint8Array([rank]), 8, 300);
await failed.promise;
// Sends to the dead rank neither fail nor block.
transport.send(size - 1, new Uint8Array(1_000_000));
transport.sendMany(survivors, new Uint8Array([rank]));
await heard.promise;
await transport.regroup({ members: survivors, attempt: 1, deadlineMs: 20_000 });
onGathered = Promise.withResolvers();
transport.allgather(0, new Uint8Array([rank]), 8, 10_000);
const parts = await onGathered.promise;
await transport.barrier();
const finalized = await transport.close(100);
await Bun.write(Bun.stdout, `${JSON.stringify({ rank, parts, finalized })}\n`);
process.exit(0);

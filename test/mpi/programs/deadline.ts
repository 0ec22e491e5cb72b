/**
 * The last rank never joins an allgather: the others are told at the deadline, the lane is lost and
 * says so, another lane and point-to-point go on. Then all regroup and the lane works again; a
 * regroup that not everybody joins ends at its deadline, and hinders none that comes after it.
 */
import { errorCode } from "../../../src/base/errors.ts";
import { expect, openInbox } from "./program.ts";

const inbox = await openInbox();
const { transport } = inbox;
const { rank, size } = transport;
const members = Array.from({ length: size }, (_, index) => index);
const last = size - 1;
const codes: string[] = [];
const failed = Promise.withResolvers<void>();
const gathered = [0, 0, 0];
let onGathered = Promise.withResolvers<void>();
const met = Promise.withResolvers<void>();
let greetings = 0;

inbox.onError = (error) => {
  codes.push(`${error.code} lane ${error.data.lane}`);
  failed.resolve();
};
inbox.onAllgather = (lane, parts) => {
  expect(transport, parts.length === transport.members.length, "a part for each member");
  gathered[lane]++;
  onGathered.resolve();
};
inbox.onMessages = (batch) => {
  greetings += batch.count;
  if (greetings === size) met.resolve();
};

await transport.barrier();
if (rank !== last) {
  transport.allgather(1, new Uint8Array([rank]), 8, 150);
  await failed.promise;
  expect(transport, transport.lanePoisoned(1), "the lane is known to be lost");
  try {
    transport.allgather(1, new Uint8Array([rank]), 8, 150);
  } catch (error) {
    codes.push(errorCode(error));
  }
}
transport.sendMany(members, new Uint8Array([rank]));
await met.promise;
transport.allgather(2, new Uint8Array([rank]), 8, 20_000);
await onGathered.promise;

await transport.regroup({ members, attempt: 1, deadlineMs: 20_000 });
onGathered = Promise.withResolvers<void>();
transport.allgather(1, new Uint8Array([rank]), 8, 20_000);
await onGathered.promise;
await transport.barrier();

if (rank !== last) {
  await transport.regroup({ members, attempt: 2, deadlineMs: 150 }).catch((error) => {
    codes.push(errorCode(error));
  });
}
await transport.barrier();
await transport.regroup({ members, attempt: 3, deadlineMs: 20_000 });
onGathered = Promise.withResolvers<void>();
transport.allgather(0, new Uint8Array([rank]), 8, 20_000);
await onGathered.promise;
await transport.barrier();
// The last one knows of no failure; the others tell it, so that it does not wait for them.
const start = performance.now();
const finalized = await transport.close(60_000);
expect(transport, performance.now() - start < 20_000, "a close after failures does not wait");
await Bun.write(Bun.stdout, `${JSON.stringify({ rank, codes, gathered, finalized })}\n`);
process.exit(0);

/** All but rank 0 regroup in reverse order and work on while rank 0 stays outside. */
import { expect, openInbox, print } from "./program.ts";

const inbox = await openInbox();
const { transport } = inbox;
const { rank, size } = transport;
const members = Array.from({ length: size - 1 }, (_, index) => size - 1 - index);
const gathered = Promise.withResolvers<void>();
const told = Promise.withResolvers<void>();
let orders = 0;
let reports = 0;

inbox.onAllgather = (_, parts) => {
  const order = parts.map((part) => part[0]);
  expect(transport, order.join() === members.join(), `parts in the order of members: ${order}`);
  if (++orders === 3) gathered.resolve();
};
inbox.onMessages = (batch) => {
  reports += batch.count;
  if (reports === members.length) told.resolve();
};

if (rank > 0) {
  await transport.regroup({ members, attempt: 7, deadlineMs: 20_000 });
  for (const lane of [0, 1, 2]) transport.allgather(lane, new Uint8Array([rank]), 4, 20_000);
  await gathered.promise;
  const sum = await transport.allreduce(new Float64Array([1]), "sum");
  expect(transport, sum[0] === members.length, "an allreduce among the members");
  // Point-to-point reaches who is outside.
  transport.send(0, new Uint8Array([rank]));
} else {
  await told.promise;
}
const finalized = await transport.close(100);
print({ rank, orders, reports, finalized });
if (!finalized) process.exit(0);

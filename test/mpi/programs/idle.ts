/** Every rank idles for a while; reports the CPU time that this took, as a share of one core. */
import { openInbox, print } from "./program.ts";

const inbox = await openInbox();
const { transport } = inbox;
await transport.barrier();
const before = process.cpuUsage();
const start = performance.now();
const { sleeps } = transport.counters();
await Bun.sleep(Number(process.env.IDLE_MS ?? 1000));
const used = process.cpuUsage(before);
const share = (used.user + used.system) / 1000 / (performance.now() - start);
const total = await transport.allreduce(new Float64Array([share]), "sum");
const wakes = transport.counters().sleeps - sleeps;
if (transport.rank === 0) print({ sharePerRank: total[0] / transport.size, wakes });
await transport.close();

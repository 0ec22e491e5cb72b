/**
 * Processes end without a word and without MPI_Finalize: 0 by SIGKILL, 1 with an exit code, 2 with
 * success. Those who are left send to the dead without end, which must not pile up; then they forget
 * them. At last they close, which does not take long.
 */
import { expect, openInbox } from "./program.ts";

const PIECE_BYTES = 1024 * 1024;
/** More than what a destination may have waiting. */
const PIECES = 300;
const inbox = await openInbox();
const { transport } = inbox;
const self = transport.rank;
const pids = new Map<number, number>();
let told = 0;
let wake = () => {};
const codes = new Set<string>();

inbox.onMessages = (batch) => {
  for (let i = 0; i < batch.count; i++) {
    pids.set(batch.from(i), JSON.parse(new TextDecoder().decode(batch.bytes(i))));
    told++;
  }
  wake();
};
inbox.onError = (error) => codes.add(`${error.code} ${error.data.peer}`);

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) {
    await new Promise<void>((resolve) => {
      wake = resolve;
    });
  }
}

function tell(to: readonly number[]): void {
  transport.sendMany(to, new TextEncoder().encode(String(process.pid)));
}

/** Until the system says so; there is no event for it. */
async function ended(victim: number): Promise<void> {
  for (;;) {
    try {
      process.kill(pids.get(victim)!, 0);
    } catch {
      return;
    }
    await Bun.sleep(5);
  }
}

const { processes } = transport;
tell(processes);
await until(() => told === processes.length);
// So that nobody ends before all have heard of it.
await transport.barrier();
if (self === 0) process.kill(process.pid, "SIGKILL");
if (self === 1) process.exit(3);
if (self === 2) process.exit(0);
const dead = [0, 1, 2];
await Promise.all(dead.map(ended));
const piece = new Uint8Array(PIECE_BYTES);
for (let i = 0; i < PIECES; i++) transport.sendMany(dead, piece);
// A message to somebody alive gets through as ever.
const alive = processes.filter((process) => !dead.includes(process));
tell(alive);
await until(() => told === processes.length + alive.length);
const before = transport.counters();
for (const process of dead) transport.forget(process);
transport.sendMany(dead, piece);
await transport.regroup({ members: alive, attempt: 1, deadlineMs: 30_000 });
await transport.barrier();
const after = transport.counters();
expect(transport, before.sendBytesPending <= 3 * 260 * PIECE_BYTES, "what waits is bounded");
const start = performance.now();
const finalized = await transport.close(30_000);
const closedInTime = performance.now() - start < 5000;
const dropped = {
  before: before.sendsDropped > 0,
  after: after.sendsDropped - before.sendsDropped,
};
const { sendsPending, bytesAbandoned } = after;
const abandonedFew = bytesAbandoned > 0 && bytesAbandoned < 3 * 8 * PIECE_BYTES;
const result = { rank: self, codes: [...codes].sort(), dropped, sendsPending, abandonedFew };
await Bun.write(Bun.stdout, `${JSON.stringify({ ...result, finalized, closedInTime })}\n`);
process.exit(0);

/**
 * Spawns that come to nothing, and those after them that work: the program does not exist; it ends at
 * once; a member dies meanwhile. Regroups with somebody unknown, or dead. Last, a spawned process aborts
 * the job, which ends everybody, also those who were not started with it.
 */
import { errorCode } from "../../../src/base/errors.ts";
import { openInbox } from "./program.ts";

const DEADLINE_MS = 30_000;
const inbox = await openInbox();
const { transport } = inbox;
const self = transport.rank;
const codes: string[] = [];
let attempt = 0;
let told = 0;
let wake = () => {};
const pids = new Map<number, number>();

inbox.onMessages = (batch) => {
  for (let i = 0; i < batch.count; i++) {
    pids.set(batch.from(i), JSON.parse(new TextDecoder().decode(batch.bytes(i))));
    told++;
  }
  wake();
};

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) {
    await new Promise<void>((resolve) => {
      wake = resolve;
    });
  }
}

async function spawn(members: number[], command: string[], deadlineMs = DEADLINE_MS) {
  attempt++;
  await transport.spawn({ members, attempt, count: 1, command, deadlineMs }).then(
    (numbers) => codes.push(`spawned ${numbers}`),
    (error) => codes.push(errorCode(error)),
  );
}

function tell(to: readonly number[]): void {
  transport.sendMany(to, new TextEncoder().encode(String(process.pid)));
}

const good = [process.execPath, import.meta.path];
if (transport.spawned) {
  tell(transport.processes);
  // From itself; and from the others, once they have printed everything.
  await until(() => told === 3);
  transport.abort(3);
  await new Promise(() => {});
}
tell([0, 1, 2]);
await until(() => told === 3);
const last = pids.get(2)!;
await spawn([0, 1, 2], ["/no/such/program"]);
await spawn([0, 1, 2], ["no-such-program"]);
await spawn([0, 1, 2], ["true"], 300);
// Process 2 never joins this one; the others learn of its death, and need not wait any longer.
if (self === 2) await new Promise(() => {});
const spawning = spawn([0, 1, 2], good);
if (self === 0) process.kill(last, "SIGKILL");
for (;;) {
  try {
    process.kill(last, 0);
    await Bun.sleep(5);
  } catch {
    break;
  }
}
transport.forget(2);
await spawning;
await spawn([0, 1], good);
await until(() => told === 4);
await transport.regroup({ members: [0, 1, 99], attempt: 50, deadlineMs: 100 }).catch((error) => {
  codes.push(errorCode(error));
});
await transport.regroup({ members: [0, 1, 2], attempt: 51, deadlineMs: 100 }).catch((error) => {
  codes.push(errorCode(error));
});
await transport.regroup({ members: [0, 1], attempt: 52, deadlineMs: DEADLINE_MS });
codes.push("regrouped");
await Bun.write(Bun.stdout, `${JSON.stringify({ rank: self, codes })}\n`);
await transport.barrier();
tell(transport.processes);
await new Promise(() => {});

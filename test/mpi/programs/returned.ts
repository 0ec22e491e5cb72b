/**
 * Processes that stand still for a while (SIGSTOP) and come back (SIGCONT): the others regroup without
 * them, spawn somebody whom they have never met, and regroup with all. First 3 and 4 are away while 5
 * is spawned; then 5 is away while 6 is spawned; last, 3 is away and comes back without a spawn.
 */
import { readFileSync } from "node:fs";
import { expect, openInbox } from "./program.ts";

const DEADLINE_MS = 20_000;
/** Messages that wait for somebody who is away. */
const MESSAGES = 40;

interface Orders {
  readonly step: number;
  readonly members: number[];
  readonly attempt: number;
}

const inbox = await openInbox();
const { transport } = inbox;
const self = transport.rank;
let members = [...transport.members];
let step = 0;
/** By step: orders of whoever leads it. */
const orders = new Map<number, Orders>();
/** By process: the numbers that came from it, and its process id. */
const heard = new Map<number, number[]>();
const pids = new Map<number, number>();
let wake = () => {};
let gathered = Promise.withResolvers<readonly number[]>();

inbox.onMessages = (batch) => {
  for (let i = 0; i < batch.count; i++) {
    const message = JSON.parse(new TextDecoder().decode(batch.bytes(i)));
    if (message.members !== undefined) orders.set(message.step, message);
    else {
      const from = batch.from(i);
      heard.set(from, [...(heard.get(from) ?? []), message.number]);
      pids.set(from, message.pid);
    }
  }
  wake();
};
inbox.onAllgather = (_, parts) => {
  gathered.resolve(parts.map((part) => part[0]));
  gathered = Promise.withResolvers();
};

function send(to: readonly number[], message: object): void {
  transport.sendMany(to, new TextEncoder().encode(JSON.stringify(message)));
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) {
    await new Promise<void>((resolve) => {
      wake = resolve;
    });
  }
}

/** All members reach each other by the new lanes and by messages. */
async function meet(attempt: number): Promise<void> {
  await transport.regroup({ members, attempt, deadlineMs: DEADLINE_MS });
  const { promise } = gathered;
  transport.allgather(0, new Uint8Array([self]), 8, DEADLINE_MS);
  const order = await promise;
  expect(transport, order.join() === members.join(), `${order} gathered among ${members}`);
  const before = new Map(members.map((member) => [member, heard.get(member)?.length ?? 0]));
  void before;
  send(members, { number: attempt, pid: process.pid });
  await until(() => members.every((member) => heard.get(member)?.includes(attempt) ?? false));
}

/** There is no event for it: the system has to be asked. */
async function stop(process_: number): Promise<void> {
  const pid = pids.get(process_)!;
  process.kill(pid, "SIGSTOP");
  while (!/^State:\s+T/m.test(readFileSync(`/proc/${pid}/status`, "utf8"))) await Bun.sleep(1);
}

/** `away` stand still while the others regroup and `spawn` processes; then all come together. */
async function round(away: readonly number[], spawn: number): Promise<void> {
  const leader = members[0];
  const present = members.filter((member) => !away.includes(member));
  const attempt = 10 * step;
  if (self === leader) {
    for (const member of away) await stop(member);
    send(present, { step, members: present, attempt });
    for (let number = 0; number < MESSAGES; number++) {
      send(away, { number: 1000 * step + number, pid: process.pid });
    }
  }
  await until(() => orders.has(step));
  if (!away.includes(self)) {
    members = present;
    await meet(attempt);
    if (spawn > 0) {
      const command = [process.execPath, import.meta.path];
      const options = { members, attempt: attempt + 1, count: spawn, command };
      const spawned = await transport.spawn({ ...options, deadlineMs: DEADLINE_MS });
      members = [...members, ...spawned];
      if (self === leader) send(spawned, { step, members, attempt: attempt + 2 });
      await meet(attempt + 2);
    }
    if (self === leader) {
      send(away, { step, members: [...members, ...away], attempt: attempt + 3 });
      for (const member of away) process.kill(pids.get(member)!, "SIGCONT");
    }
  }
  if (away.includes(self)) {
    const numbers = heard
      .get(leader)!
      .filter((number) => number >= 1000 * step && number < 1000 * step + MESSAGES);
    const wanted = Array.from({ length: MESSAGES }, (_, number) => 1000 * step + number);
    expect(transport, step === 0 || numbers.join() === wanted.join(), "what waited came in order");
    members = orders.get(step)!.members;
  } else {
    members = [...members, ...away];
  }
  await meet(attempt + 3);
  step++;
}

const SCHEDULE = [
  { away: [3, 4], spawn: 1 },
  { away: [5], spawn: 1 },
  { away: [3], spawn: 0 },
] as const;

if (transport.spawned) {
  await until(() => orders.size > 0);
  ({ step, members } = [...orders.values()][0]);
  const { attempt } = orders.get(step)!;
  await meet(attempt);
  members = [...members, ...SCHEDULE[step].away];
  await meet(attempt + 1);
  step++;
} else {
  await meet(999);
}
while (step < SCHEDULE.length) {
  const { away, spawn } = SCHEDULE[step];
  await round(away, spawn);
}
const { meshesProbed } = transport.counters();
const finalized = await transport.close(5_000);
const processes = transport.processes;
await Bun.write(
  Bun.stdout,
  `${JSON.stringify({ rank: self, members, processes, meshesProbed, finalized })}\n`,
);
process.exit(0);

/**
 * Processes that stand still for a while (SIGSTOP) and come back (SIGCONT): the others regroup without
 * them, spawn somebody whom they have never met, and regroup with all. First 3 and 4 are away while 5
 * is spawned; then 5 is away while 6 is spawned; last, 3 is away and comes back without a spawn.
 */
import { readFileSync } from "node:fs";
import { expect, openInbox } from "./program.ts";

const SCHEDULE = [
  { away: [3, 4], spawn: 1 },
  { away: [5], spawn: 1 },
  { away: [3], spawn: 0 },
];
const DEADLINE_MS = 30_000;
/** Messages that wait for somebody who is away. */
const MESSAGES = 40;

interface Orders {
  readonly step: number;
  readonly members: number[];
}

const inbox = await openInbox();
const { transport } = inbox;
const self = transport.rank;
let members = [...transport.members];
let step = 0;
/** By step: the members with whom to end it; at those who are away the orders to come back. */
const orders = new Map<number, number[]>();
/** By process: the numbers that came from it, and its process id. */
const heard = new Map<number, number[]>();
const pids = new Map<number, number>();
let wake = () => {};
let gathered = Promise.withResolvers<readonly number[]>();

inbox.onMessages = (batch) => {
  for (let i = 0; i < batch.count; i++) {
    const message = JSON.parse(new TextDecoder().decode(batch.bytes(i)));
    if (message.members !== undefined) {
      orders.set(message.step, message.members);
      continue;
    }
    const from = batch.from(i);
    heard.set(from, [...(heard.get(from) ?? []), message.number]);
    pids.set(from, message.pid);
  }
  wake();
};
inbox.onAllgather = (_, parts) => {
  gathered.resolve(parts.map((part) => part[0]));
  gathered = Promise.withResolvers();
};

function send(to: readonly number[], message: Orders | { number: number; pid: number }): void {
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
  send(members, { number: attempt, pid: process.pid });
  await until(() => members.every((member) => heard.get(member)?.includes(attempt) ?? false));
}

/** There is no event for it: the system has to be asked. */
async function stop(victim: number): Promise<void> {
  const pid = pids.get(victim)!;
  process.kill(pid, "SIGSTOP");
  while (!/^State:\s+T/m.test(readFileSync(`/proc/${pid}/status`, "utf8"))) await Bun.sleep(1);
}

/** Attempts of a step; what waits for those who are away is numbered from `step * 1000`. */
const attemptOf = (part: number) => 10 * step + part;

async function stay(away: readonly number[], spawn: number): Promise<void> {
  const leads = self === members[0];
  const present = members.filter((member) => !away.includes(member));
  if (leads) {
    for (const member of away) await stop(member);
    for (let number = 0; number < MESSAGES; number++) {
      send(away, { number: 1000 * (step + 1) + number, pid: process.pid });
    }
    send(present, { step, members: present });
  }
  await until(() => orders.has(step));
  members = present;
  await meet(attemptOf(0));
  if (spawn > 0) {
    const command = [process.execPath, import.meta.path];
    const options = { members, attempt: attemptOf(1), count: spawn, command };
    const spawned = await transport.spawn({ ...options, deadlineMs: DEADLINE_MS });
    members = [...members, ...spawned];
    if (leads) send(spawned, { step, members });
    await meet(attemptOf(2));
  }
  members = [...members, ...away];
  if (leads) {
    send(away, { step, members });
    for (const member of away) process.kill(pids.get(member)!, "SIGCONT");
  }
}

async function leave(): Promise<void> {
  await until(() => orders.has(step));
  const first = 1000 * (step + 1);
  const waited = heard.get(members[0])!.filter((number) => number >= first);
  const wanted = Array.from({ length: MESSAGES }, (_, index) => first + index);
  expect(transport, waited.join() === wanted.join(), "what waited came whole and in order");
  members = orders.get(step)!;
}

if (transport.spawned) {
  await until(() => orders.size > 0);
  [[step, members]] = [...orders];
  await meet(attemptOf(2));
  members = [...members, ...SCHEDULE[step].away];
  await meet(attemptOf(3));
  step++;
} else {
  await meet(attemptOf(9));
}
while (step < SCHEDULE.length) {
  const { away, spawn } = SCHEDULE[step];
  if (away.includes(self)) await leave();
  else await stay(away, spawn);
  await meet(attemptOf(3));
  step++;
}
const finalized = await transport.close(5_000);
const { processes } = transport;
const result = { rank: self, members, processes, finalized };
await Bun.write(Bun.stdout, `${JSON.stringify(result)}\n`);
process.exit(0);

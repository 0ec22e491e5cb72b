/**
 * Kill, heal, and again: in each of ROUNDS rounds KILLS members end by SIGKILL while messages and
 * collectives are under way; the others regroup, spawn as many new ones, and regroup with them.
 * Between each two members messages go back and forth all the time, numbered: each pair's arrive in
 * order and once, whatever happens to others. Who is spawned learns the state of affairs by a message.
 * Reports how long survivors took to have lanes again, and until the new ones were in them.
 */
import { readU32, writeU32 } from "../../../src/base/bytes.ts";
import { expect, openInbox } from "./program.ts";

const ROUNDS = Number(process.env.ROUNDS ?? 3);
const KILLS = Number(process.env.KILLS ?? 1);
/** Messages that each pair must have exchanged anew in each round. */
const MESSAGES = Number(process.env.MESSAGES ?? 50);
const DEADLINE_MS = 30_000;
/** Kinds of messages: the first byte. */
const NUMBERED = 0;
const STATE = 1;
const READY = 2;
/** For the dead, who are not known to be dead at once: of all lengths. */
const NOISE = 3;

const inbox = await openInbox();
const { transport } = inbox;
const self = transport.rank;
/** By process: how many numbered messages went to it, how many came, and its process id. */
const sent = new Map<number, number>();
const received = new Map<number, number>();
const pids = new Map<number, number>();
const state = Promise.withResolvers<{ round: number; members: number[] }>();
/** By round: how many members have finished it. */
const ready = new Map<number, number>();
let members = [...transport.members];
let round = 0;
let wake = () => {};
let gathered = Promise.withResolvers<readonly number[]>();
const regroupMs: number[] = [];
const healMs: number[] = [];

/** Messages differ in length, so that some travel by rendezvous and some in several frames. */
function sendNumbered(to: number): void {
  const number = sent.get(to) ?? 0;
  sent.set(to, number + 1);
  const length = number % 40 === 39 ? 3_000_000 : number % 8 === 7 ? 20_000 : 12;
  const bytes = new Uint8Array(length);
  bytes[0] = NUMBERED;
  writeU32(bytes, 4, number);
  writeU32(bytes, 8, process.pid);
  transport.send(to, bytes);
}

inbox.onMessages = (batch) => {
  for (let i = 0; i < batch.count; i++) receive(batch.from(i), batch.bytes(i));
  wake();
};
inbox.onAllgather = (lane, parts) => {
  if (lane !== 0) {
    transport.allgather(lane, new Uint8Array([self]), 8, 60_000);
    return;
  }
  gathered.resolve(parts.map((part) => part[0]));
  gathered = Promise.withResolvers();
};

function receive(from: number, bytes: Uint8Array): void {
  switch (bytes[0]) {
    case STATE:
      state.resolve(JSON.parse(new TextDecoder().decode(bytes.subarray(1))));
      return;
    case READY:
      ready.set(bytes[1], (ready.get(bytes[1]) ?? 0) + 1);
      return;
    case NUMBERED: {
      const number = readU32(bytes, 4);
      const wanted = received.get(from) ?? 0;
      expect(transport, number === wanted, `message ${number} of ${from} came for ${wanted}`);
      received.set(from, wanted + 1);
      pids.set(from, readU32(bytes, 8));
      sendNumbered(from);
    }
  }
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) {
    await new Promise<void>((resolve) => {
      wake = resolve;
    });
  }
}

async function regroup(attempt: number): Promise<void> {
  await transport.regroup({ members, attempt, deadlineMs: DEADLINE_MS });
  for (const lane of [1, 2]) transport.allgather(lane, new Uint8Array([self]), 8, 60_000);
}

/** All members contribute to an allgather, and each other one sends MESSAGES more. */
async function check(): Promise<void> {
  const { promise } = gathered;
  transport.allgather(0, new Uint8Array([self]), 8, DEADLINE_MS);
  const order = await promise;
  expect(transport, order.join() === members.join(), `${order} gathered among ${members}`);
  const others = members.filter((member) => member !== self);
  const goals = others.map((other) => (received.get(other) ?? 0) + MESSAGES);
  await until(() => others.every((other, i) => (received.get(other) ?? 0) >= goals[i]));
}

/** Every member is killed sooner or later, the oldest ones and process 0 too. */
function chooseVictims(): number[] {
  const chosen: number[] = [];
  for (let i = 0; chosen.length < KILLS; i++) {
    const member = members[(round * 7 + i * 3) % members.length];
    if (!chosen.includes(member)) chosen.push(member);
  }
  return chosen;
}

function sendNoise(to: readonly number[]): void {
  for (const length of [10, 5000, 100_000, 2_500_000]) {
    const bytes = new Uint8Array(length);
    bytes[0] = NOISE;
    transport.sendMany(to, bytes);
  }
}

/** Until the system says so, as a monitor would find out; there is no event for it. */
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

async function heal(victims: readonly number[]): Promise<void> {
  const start = performance.now();
  sendNoise(victims);
  await regroup(4 * round);
  regroupMs.push(Math.round(performance.now() - start));
  sendNoise(victims);
  const spawned = await transport.spawn({
    members,
    attempt: 4 * round + 1,
    count: KILLS,
    command: [process.execPath, import.meta.path],
    deadlineMs: DEADLINE_MS,
  });
  await Promise.all(victims.map(ended));
  sendNoise(victims);
  for (const victim of victims) transport.forget(victim);
  members = [...members, ...spawned];
  if (self === members[0]) {
    const text = new TextEncoder().encode(`\0${JSON.stringify({ round, members })}`);
    text[0] = STATE;
    transport.sendMany(spawned, text);
  }
  await regroup(4 * round + 2);
  healMs.push(Math.round(performance.now() - start));
  for (const other of spawned) sendNumbered(other);
}

if (transport.spawned) {
  expect(transport, transport.lanePoisoned(0), "a spawned process is in no lane");
  ({ round, members } = await state.promise);
  await regroup(4 * round + 2);
  round++;
} else {
  for (const lane of [1, 2]) transport.allgather(lane, new Uint8Array([self]), 8, 60_000);
}
for (const other of members) if (other !== self) sendNumbered(other);
await check();

while (round < ROUNDS) {
  const victims = chooseVictims();
  if (victims.includes(self)) await new Promise(() => {});
  members = members.filter((member) => !victims.includes(member));
  transport.send(members[0], new Uint8Array([READY, round]));
  if (self === members[0]) {
    await until(() => ready.get(round) === members.length);
    for (const victim of victims) process.kill(pids.get(victim)!, "SIGKILL");
  }
  await heal(victims);
  round++;
  await check();
}
const { promise } = gathered;
transport.allgather(0, new Uint8Array([self]), 8, DEADLINE_MS);
await promise;
const { helpersLeft, meshesProbed, sendsDropped } = transport.counters();
const finalized = await transport.close(5_000);
const result = { rank: self, members, regroupMs, healMs, helpersLeft, meshesProbed, finalized };
await Bun.write(Bun.stdout, `${JSON.stringify({ ...result, sendsDropped })}\n`);
process.exit(0);

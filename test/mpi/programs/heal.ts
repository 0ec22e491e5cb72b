/**
 * Kill, heal, and again: in each of ROUNDS rounds KILLS members end by SIGKILL while messages and
 * collectives are under way; the others regroup, spawn as many new ones, and regroup with them.
 * Between each two members messages go back and forth all the time, numbered: each pair's arrive in
 * order and once, whatever happens to others. Who is spawned learns the state of affairs by a message.
 */
import { readU32, writeU32 } from "../../../src/base/bytes.ts";
import { expect, openInbox } from "./program.ts";

const ROUNDS = Number(process.env.ROUNDS ?? 3);
const KILLS = Number(process.env.KILLS ?? 1);
/** Messages that each pair must have exchanged anew in each round. */
const MESSAGES = Number(process.env.MESSAGES ?? 50);
const DEADLINE_MS = 20_000;
const NUMBERED = 0;
const STATE = 1;
const READY = 2;
/** For the dead, who is not known to be dead at once: of all lengths. */
const NOISE = 3;

const inbox = await openInbox();
const { transport } = inbox;
const self = transport.rank;
/** By process: how many numbered messages went to it, and how many came from it. */
const sent = new Map<number, number>();
const received = new Map<number, number>();
const pids = new Map<number, number>();
const state = Promise.withResolvers<{ round: number; members: number[] }>();
let members = [...transport.members];
let round = 0;
let wake = () => {};
/** Members that have finished this round. */
let ready = 0;
let gathered = Promise.withResolvers<readonly number[]>();
const healMs: number[] = [];
const retries = 0;

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
  for (let i = 0; i < batch.count; i++) {
    const from = batch.from(i);
    const bytes = batch.bytes(i);
    if (bytes[0] === STATE) {
      state.resolve(JSON.parse(new TextDecoder().decode(bytes.subarray(1))));
      continue;
    }
    if (bytes[0] === READY) {
      ready++;
      continue;
    }
    if (bytes[0] === NOISE) continue;
    const number = readU32(bytes, 4);
    const wanted = received.get(from) ?? 0;
    expect(transport, number === wanted, `message ${number} of ${from} came for ${wanted}`);
    received.set(from, wanted + 1);
    pids.set(from, readU32(bytes, 8));
    sendNumbered(from);
  }
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
inbox.onError = (error) => {
  if (error.code !== "COLLECTIVE_DEADLINE") expect(transport, false, `${error}`);
};

/** Until each other member has sent so many messages more. */
async function traffic(messages: number): Promise<void> {
  const others = members.filter((member) => member !== self);
  const goal = new Map(others.map((other) => [other, (received.get(other) ?? 0) + messages]));
  await until(() => others.every((other) => (received.get(other) ?? 0) >= goal.get(other)!));
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) {
    await new Promise<void>((resolve) => {
      wake = resolve;
    });
  }
}

/** Until the system says so, as a monitor would find out; there is no event for it. */
async function end(of: number): Promise<void> {
  for (;;) {
    try {
      process.kill(pids.get(of)!, 0);
    } catch {
      return;
    }
    await Bun.sleep(5);
  }
}

function sendNoise(to: readonly number[]): void {
  for (const length of [10, 5000, 100_000, 2_500_000]) {
    const bytes = new Uint8Array(length);
    bytes[0] = NOISE;
    transport.sendMany(to, bytes);
  }
}

function victims(): number[] {
  const chosen: number[] = [];
  for (let i = 0; chosen.length < KILLS; i++) {
    const member = members[(round * 7 + i * 3) % members.length];
    if (!chosen.includes(member)) chosen.push(member);
  }
  return chosen;
}

async function regroup(among: readonly number[], attempt: number): Promise<void> {
  await transport.regroup({ members: among, attempt, deadlineMs: DEADLINE_MS });
  for (const lane of [1, 2]) transport.allgather(lane, new Uint8Array([self]), 8, 60_000);
}

async function check(): Promise<void> {
  const { promise } = gathered;
  transport.allgather(0, new Uint8Array([self]), 8, DEADLINE_MS);
  const order = await promise;
  expect(transport, order.join() === members.join(), `${order} gathered among ${members}`);
  await traffic(MESSAGES);
}

if (transport.spawned) {
  expect(transport, transport.lanePoisoned(0), "a spawned process is in no lane");
  ({ round, members } = await state.promise);
  await regroup(members, 4 * round + 2);
  round++;
} else {
  for (const lane of [1, 2]) transport.allgather(lane, new Uint8Array([self]), 8, 60_000);
}
for (const other of members) if (other !== self) sendNumbered(other);
await check();

while (round < ROUNDS) {
  const dead = victims();
  transport.sendMany(dead, new Uint8Array([READY]));
  if (dead.includes(self)) {
    await until(() => ready === members.length);
    process.kill(process.pid, "SIGKILL");
  }
  const start = performance.now();
  members = members.filter((member) => !dead.includes(member));
  sendNoise(dead);
  await regroup(members, 4 * round);
  sendNoise(dead);
  const command = [process.execPath, import.meta.path];
  const attempt = 4 * round + 1;
  const spawned = await transport.spawn({
    members,
    attempt,
    count: KILLS,
    command,
    deadlineMs: DEADLINE_MS,
  });
  await Promise.all(dead.map(end));
  sendNoise(dead);
  for (const process of dead) transport.forget(process);
  const first = members[0];
  members = [...members, ...spawned];
  if (self === first) {
    const text = new TextEncoder().encode(`\0${JSON.stringify({ round, members })}`);
    text[0] = STATE;
    transport.sendMany(spawned, text);
  }
  await regroup(members, 4 * round + 2);
  healMs.push(Math.round(performance.now() - start));
  for (const other of spawned) sendNumbered(other);
  round++;
  await check();
}
const { promise } = gathered;
transport.allgather(0, new Uint8Array([self]), 8, DEADLINE_MS);
await promise;
const { meshesProbed, helpersLeft, sendsPending } = transport.counters();
const finalized = await transport.close(5_000);
const result = {
  rank: self,
  members,
  healMs,
  retries,
  meshesProbed,
  helpersLeft,
  sendsPending,
  finalized,
};
await Bun.write(Bun.stdout, `${JSON.stringify(result)}\n`);
process.exit(0);

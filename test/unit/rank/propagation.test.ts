/** Accepted transactions outlive their origin: two to four ranks' propagation, wired to each other. */
import { expect, test } from "bun:test";
import { senderOf, sequenceOf } from "../../../src/ledger/transaction.ts";
import { encodeTransaction } from "../../../src/ledger/transaction-object.ts";
import type { RankContext, RankShared } from "../../../src/rank/context.ts";
import { Propagation } from "../../../src/rank/propagation.ts";
import { VirtualClock } from "../../../src/simulation/virtual-clock.ts";

const LAST_VALID = 1000;

function transfer(sequence: number, lastValidRound = LAST_VALID): Uint8Array {
  return encodeTransaction({
    kind: "transfer",
    chainId: new Uint8Array(16),
    senderID: 0,
    ...{ sequence, lastValidRound, creationTime: 0, receiverID: 1, txnAmount: 1 },
  });
}

/** What all ranks agree on: members by rank, what is executed, the round. */
class World {
  readonly clock = new VirtualClock();
  readonly executed = new Set<number>();
  readonly chain = {
    settledRound: 0,
    state: { remembers: (sender: number, n: number) => sender === 0 && this.executed.has(n) },
  };
  readonly ranks = new Map<number, Rank>();
  members: readonly number[] = [];
  readonly early: (() => void)[] = [];

  constructor(
    readonly propagate: "off" | "backup" | "all",
    processes: readonly number[],
  ) {
    for (const process of processes) this.ranks.set(process, new Rank(this, process));
    this.enter(processes);
  }

  /** The next epoch; members are known by their processes here, lowest first. */
  enter(processes: readonly number[]): void {
    const left = this.members.filter((process) => !processes.includes(process));
    this.members = processes;
    for (const process of processes) {
      if (!this.ranks.has(process)) this.ranks.set(process, new Rank(this, process));
      this.ranks.get(process)!.enter(left);
    }
    // Who has not entered yet keeps what is of an epoch that it does not know.
    for (const deliver of this.early.splice(0)) deliver();
  }
}

class Rank {
  /** Sequences that were handed to this rank's intake because their origin is gone. */
  readonly adopted: number[] = [];
  readonly propagation: Propagation;
  private readonly world: World;
  private readonly process: number;

  constructor(world: World, process: number) {
    this.world = world;
    this.process = process;
    this.propagation = new Propagation({
      clock: world.clock,
      chain: world.chain,
      transport: { rank: process },
      settings: { propagate: world.propagate },
      intake: {
        orphans: -1,
        attach: () => 0,
        submit: (_: number, { bytes, spans, count }: { bytes: Uint8Array } & Batch) => {
          for (let i = 0; i < count; i++) {
            expect(senderOf(bytes, spans[2 * i])).toBe(0);
            this.adopted.push(sequenceOf(bytes, spans[2 * i]));
          }
        },
      },
    } as unknown as RankShared);
  }

  enter(left: readonly number[]): void {
    const { world, process } = this;
    const self = world.members.indexOf(process);
    const all = world.members.map((_, rank) => rank);
    const session = {
      self,
      ranks: all.length,
      others: all.filter((rank) => rank !== self),
      process: (rank: number) => world.members[rank],
      processesOf: (ranks: readonly number[]) => ranks.map((rank) => world.members[rank]),
    };
    this.propagation.entered(
      { session, settings: { propagate: world.propagate } } as unknown as RankContext,
      (to, _type, body) => {
        for (const rank of to) {
          world.early.push(() => {
            const receiver = world.ranks.get(world.members[rank])!;
            expect(receiver.propagation.onMessage(self, body)).toBe(true);
          });
        }
      },
      left,
    );
  }
}

interface Batch {
  readonly spans: Uint32Array;
  readonly count: number;
}

function accept(world: World, process: number, ...sequences: number[]): void {
  world.ranks.get(process)!.propagation.accepted(sequences.map((n) => transfer(n)));
  for (const deliver of world.early.splice(0)) deliver();
}
const adopted = (world: World) =>
  Object.fromEntries([...world.ranks].map(([process, rank]) => [process, rank.adopted]));

test("the next rank proposes what the dead one had accepted, but for what is executed", () => {
  const world = new World("backup", [0, 1, 2]);
  accept(world, 1, 1, 2, 3);
  world.executed.add(2);
  world.enter([0, 2]);
  expect(adopted(world)).toEqual({ 0: [], 1: [], 2: [1, 3] });
});

test("with all, every survivor does: whoever comes first", () => {
  const world = new World("all", [0, 1, 2]);
  accept(world, 1, 1);
  world.enter([0, 2]);
  expect(adopted(world)).toEqual({ 0: [1], 1: [], 2: [1] });
});

test("a new backup is sent what the old one held: backup and origin may die one after the other", () => {
  const world = new World("backup", [0, 1, 2, 3]);
  accept(world, 1, 1, 2);
  world.executed.add(1);
  world.enter([0, 1, 3]); // the backup
  expect(world.ranks.get(1)!.propagation.counters).toMatchObject({ sent: 2, sentAgain: 1 });
  world.enter([0, 3]); // the origin
  expect(adopted(world)).toEqual({ 0: [], 1: [], 2: [], 3: [2] });
});

test("a replacement that stands between is the backup; who stays it is not sent anything again", () => {
  const world = new World("all", [0, 1]);
  accept(world, 0, 1);
  world.enter([0, 1, 7]);
  expect(world.ranks.get(0)!.propagation.counters).toMatchObject({ sent: 1, sentAgain: 1 });
  expect(world.ranks.get(7)!.propagation.counters.held).toBe(1);
  expect(world.ranks.get(1)!.propagation.counters.held).toBe(1);
});

test("what is accepted between two epochs reaches the backup of the next", () => {
  const world = new World("backup", [0, 1]);
  world.ranks.get(0)!.propagation.left();
  accept(world, 0, 5);
  expect(world.ranks.get(1)!.propagation.counters.held).toBe(0);
  world.enter([0, 2]);
  world.enter([2]);
  expect(adopted(world)).toEqual({ 0: [], 1: [], 2: [5] });
});

test("what is executed or has expired is forgotten by all who hold it", async () => {
  const world = new World("backup", [0, 1]);
  const { propagation } = world.ranks.get(0)!;
  propagation.accepted([transfer(1), transfer(2, 10), transfer(3)]);
  for (const deliver of world.early.splice(0)) deliver();
  world.executed.add(1);
  world.chain.settledRound = 9;
  await world.clock.run(1500, () => false);
  expect(propagation.counters.forgotten).toBe(1);
  world.chain.settledRound = 10;
  await world.clock.run(2500, () => false);
  for (const rank of [0, 1]) expect(world.ranks.get(rank)!.propagation.counters.forgotten).toBe(2);
  world.enter([1]);
  expect(adopted(world)).toEqual({ 0: [], 1: [3] });
});

/** The in-process twin: the promises of the port, and the faults that simulations rely on. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Random } from "../../../src/base/random.ts";
import {
  createInProcessNetwork,
  type InProcessNetwork,
  type InProcessOptions,
  type TransportClock,
} from "../../../src/transport/in-process.ts";
import type { Transport } from "../../../src/transport/transport.ts";

class VirtualClock implements TransportClock {
  #now = 0;
  #number = 0;
  #events: { at: number; number: number; callback: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  schedule(atMs: number, callback: () => void): () => void {
    const event = { at: Math.max(atMs, this.#now), number: this.#number++, callback };
    this.#events.push(event);
    return () => {
      this.#events = this.#events.filter((other) => other !== event);
    };
  }

  /** Runs everything that is due until `untilMs`. */
  run(untilMs = Number.POSITIVE_INFINITY): void {
    for (;;) {
      this.#events.sort((a, b) => a.at - b.at || a.number - b.number);
      if (this.#events.length === 0 || this.#events[0].at > untilMs) break;
      const event = this.#events.shift()!;
      this.#now = event.at;
      event.callback();
    }
    if (Number.isFinite(untilMs)) this.#now = untilMs;
  }
}

interface World {
  clock: VirtualClock;
  network: InProcessNetwork;
  /** What each rank saw: "from:bytes", "lane|part|part", "!CODE". */
  seen: string[][];
}

function listen(transport: Transport, seen: string[]): void {
  transport.handler = {
    onMessages(batch) {
      for (let i = 0; i < batch.count; i++) seen.push(`${batch.from(i)}:${batch.bytes(i)}`);
    },
    onAllgather(lane, parts) {
      seen.push([lane, ...parts.map((part) => part.join())].join("|"));
    },
    onError(error) {
      seen.push(`!${error.code}`);
    },
  };
}

function createWorld(size: number, seed: number, options: Partial<InProcessOptions> = {}): World {
  const clock = new VirtualClock();
  const network = createInProcessNetwork({ size, clock, random: new Random(seed), ...options });
  const seen = Array.from({ length: size }, () => [] as string[]);
  for (let rank = 0; rank < size; rank++) listen(network.endpoint(rank), seen[rank]);
  return { clock, network, seen };
}

const bytes = (...values: number[]) => new Uint8Array(values);

describe("messages", () => {
  test("keep the order of each pair, also to oneself, for any seed", () => {
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const { clock, network, seen } = createWorld(3, seed, { delayMaxMs: 50 });
        for (let number = 0; number < 20; number++) {
          for (let from = 0; from < 3; from++) {
            network.endpoint(from).sendMany([0, 1, 2], bytes(number));
          }
        }
        clock.run();
        for (let to = 0; to < 3; to++) {
          for (let from = 0; from < 3; from++) {
            const order = seen[to].filter((message) => message.startsWith(`${from}:`));
            expect(order).toEqual(Array.from({ length: 20 }, (_, i) => `${from}:${i}`));
          }
        }
      }),
      { numRuns: 30 },
    );
  });

  test("overtake each other only when told to", () => {
    const { clock, network, seen } = createWorld(2, 7, { reorder: true, delayMaxMs: 50 });
    for (let number = 0; number < 30; number++) network.endpoint(0).send(1, bytes(number));
    clock.run();
    expect(seen[1].length).toBe(30);
    expect(seen[1]).not.toEqual(
      seen[1].toSorted((a, b) => Number(a.slice(2)) - Number(b.slice(2))),
    );
  });

  test("are copied when sent, and overwritten when the handler returned", () => {
    const { clock, network } = createWorld(2, 1);
    const kept: Uint8Array[] = [];
    network.endpoint(1).handler = {
      onMessages: (batch) => {
        expect([...batch.bytes(0)]).toEqual([1, 2]);
        kept.push(batch.bytes(0));
      },
      onAllgather: () => {},
      onError: () => {},
    };
    const sent = bytes(1, 2);
    network.endpoint(0).send(1, sent);
    sent.fill(9);
    clock.run();
    expect([...kept[0]]).toEqual([0xdd, 0xdd]);
  });

  test("wait until there is a handler", () => {
    const clock = new VirtualClock();
    const network = createInProcessNetwork({ size: 2, clock, random: new Random(1) });
    network.endpoint(0).send(1, bytes(5));
    clock.run();
    const seen: string[] = [];
    listen(network.endpoint(1), seen);
    expect(seen).toEqual([]);
    clock.run();
    expect(seen).toEqual(["0:5"]);
  });

  test("vanish at the loss rate, except to oneself", () => {
    const { clock, network, seen } = createWorld(2, 3, { lossRate: 0.5 });
    for (let number = 0; number < 200; number++)
      network.endpoint(0).sendMany([0, 1], bytes(number));
    clock.run();
    expect(seen[0].length).toBe(200);
    expect(seen[1].length).toBeGreaterThan(60);
    expect(seen[1].length).toBeLessThan(140);
  });

  test("to what is no process number or of a bad length are refused at once", () => {
    const { network } = createWorld(2, 1, { messageBytesMax: 4 });
    expect(() => network.endpoint(0).send(-1, bytes(1))).toThrow(RangeError);
    expect(() => network.endpoint(0).send(1.5, bytes(1))).toThrow(RangeError);
    expect(() => network.endpoint(0).send(1, new Uint8Array(5))).toThrow("longer than 4");
  });

  test("to unknown or forgotten processes are dropped and counted; these are not heard either", () => {
    const { clock, network, seen } = createWorld(3, 1);
    network.endpoint(0).forget(2);
    network.endpoint(0).sendMany([1, 2, 7], bytes(1));
    network.endpoint(2).send(0, bytes(2));
    clock.run();
    expect(network.endpoint(0).counters().sendsDropped).toBe(2);
    expect(seen).toEqual([[], ["0:1"], []]);
  });

  test("of a Buffer are copied too, though its slice() is a view", () => {
    const { clock, network, seen } = createWorld(3, 1);
    network.endpoint(0).sendMany([1, 2], Buffer.from([4, 5]));
    clock.run();
    expect([seen[1], seen[2]]).toEqual([["0:4,5"], ["0:4,5"]]);
  });
});

describe("faults", () => {
  test("a partition cuts both directions and what is in flight, until it heals", () => {
    const { clock, network, seen } = createWorld(3, 1, { delayMinMs: 10, delayMaxMs: 20 });
    network.endpoint(0).send(1, bytes(1));
    network.partition([0], [1, 2]);
    network.endpoint(2).send(0, bytes(2));
    network.endpoint(2).send(1, bytes(3));
    clock.run();
    expect(seen).toEqual([[], ["2:3"], []]);
    network.heal();
    network.endpoint(0).send(1, bytes(4));
    clock.run();
    expect(seen[1]).toEqual(["2:3", "0:4"]);
  });

  test("a crashed rank is silent, and nothing reaches it", () => {
    const { clock, network, seen } = createWorld(2, 1);
    const dead = network.endpoint(1);
    network.crash(1);
    dead.send(0, bytes(1));
    network.endpoint(0).send(1, bytes(2));
    clock.run();
    expect(seen).toEqual([[], []]);
    expect(() => network.endpoint(1)).toThrow("rank 1 lives");
  });

  test("who forgets a member need not wait for it any longer", async () => {
    const { clock, network } = createWorld(3, 1);
    const [first, second] = [network.endpoint(0), network.endpoint(1)];
    const regroup = { members: [0, 1, 2], attempt: 1, deadlineMs: 100 };
    const code = (promise: Promise<unknown>) => promise.catch((error) => error.code);
    const waiting = code(first.regroup(regroup));
    network.crash(2);
    first.forget(2);
    expect(await waiting).toBe("REGROUP_IMPOSSIBLE");
    expect(await code(first.regroup({ ...regroup, attempt: 2 }))).toBe("REGROUP_IMPOSSIBLE");
    const survivors = { members: [0, 1], attempt: 3, deadlineMs: 100 };
    const done = Promise.all([first.regroup(survivors), second.regroup(survivors)]);
    clock.run();
    await done;
    expect(await first.close()).toBe(false);
  });

  test("an abort ends all", () => {
    const { network } = createWorld(2, 1);
    network.endpoint(1).abort(70);
    expect(network.aborted).toEqual({ rank: 1, code: 70 });
    expect(network.alive(0)).toBe(false);
  });
});

describe("collectives", () => {
  test("complete on every lane in the order of the calls, for any seed", () => {
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const { clock, network, seen } = createWorld(3, seed, { collectiveDelayMaxMs: 40 });
        for (let call = 0; call < 6; call++) {
          for (const rank of [2, 0, 1]) {
            for (const lane of [0, 1]) {
              const part = new Uint8Array(call % 3).fill(10 * call + rank);
              network.endpoint(rank).allgather(lane, part, 8, 1000);
            }
          }
        }
        clock.run();
        for (const lane of [0, 1]) {
          const calls = seen.map((one) => one.filter((text) => text.startsWith(`${lane}|`)));
          expect(calls[0].length).toBe(6);
          expect(calls[0][2]).toBe(`${lane}|20,20|21,21|22,22`);
          expect(calls[1]).toEqual(calls[0]);
          expect(calls[2]).toEqual(calls[0]);
        }
      }),
      { numRuns: 30 },
    );
  });

  test("with a member that never joins poison their lane at the deadline, and no other", async () => {
    const { clock, network, seen } = createWorld(3, 1);
    for (const rank of [0, 1]) network.endpoint(rank).allgather(0, bytes(rank), 4, 50);
    clock.run(49);
    expect(seen).toEqual([[], [], []]);
    clock.run(50);
    expect(seen).toEqual([["!COLLECTIVE_DEADLINE"], ["!COLLECTIVE_DEADLINE"], []]);
    expect(network.endpoint(0).lanePoisoned(0)).toBe(true);
    expect(() => network.endpoint(0).allgather(0, bytes(0), 4, 50)).toThrow("is lost");
    for (const rank of [0, 1, 2]) network.endpoint(rank).allgather(1, bytes(rank), 4, 50);
    clock.run();
    expect(seen[2]).toEqual(["1|0|1|2"]);
    expect(await network.endpoint(0).close()).toBe(false);
  });

  test("may hang everywhere, or complete at some ranks only", () => {
    const hanging = createWorld(4, 1, { collectiveHangRate: 1 });
    for (let rank = 0; rank < 4; rank++) hanging.network.endpoint(rank).allgather(0, bytes(), 1, 9);
    hanging.clock.run();
    expect(hanging.seen).toEqual(new Array(4).fill(["!COLLECTIVE_DEADLINE"]));

    const outcomes = new Set<number>();
    for (let seed = 0; seed < 20; seed++) {
      const { clock, network, seen } = createWorld(4, seed, { collectivePartialRate: 1 });
      for (let rank = 0; rank < 4; rank++) network.endpoint(rank).allgather(0, bytes(), 1, 9);
      clock.run();
      outcomes.add(seen.filter((one) => one[0] === "!COLLECTIVE_DEADLINE").length);
    }
    expect(outcomes.size).toBeGreaterThan(2);
  });

  test("barrier and allreduce answer their callers; close meets everybody", async () => {
    const { clock, network } = createWorld(3, 1);
    const endpoints = [0, 1, 2].map((rank) => network.endpoint(rank));
    const sums = endpoints.map((one) => one.allreduce(new Float64Array([one.rank, 1]), "sum"));
    const most = endpoints.map((one) => one.allreduce(new Float64Array([one.rank]), "max"));
    const met = endpoints.map((one) => one.barrier());
    clock.run();
    await Promise.all(met);
    for (const sum of await Promise.all(sums)) expect([...sum]).toEqual([3, 3]);
    for (const max of await Promise.all(most)) expect([...max]).toEqual([2]);
    const closed = Promise.all(endpoints.map((one) => one.close()));
    clock.run();
    expect(await closed).toEqual([true, true, true]);
  });

  test("a barrier or a regroup that not all join is rejected at its deadline", async () => {
    const { clock, network } = createWorld(3, 1);
    const barrier = network.endpoint(0).barrier(20);
    const regroup = network.endpoint(1).regroup({ members: [1, 2], attempt: 1, deadlineMs: 20 });
    clock.run();
    await expect(barrier).rejects.toMatchObject({ code: "COLLECTIVE_DEADLINE" });
    await expect(regroup).rejects.toMatchObject({ code: "REGROUP_DEADLINE" });
  });

  test("a group works in its own order while others stay outside", async () => {
    const { clock, network, seen } = createWorld(3, 1);
    const members = [2, 0];
    network.crash(1);
    const regroup = { members, attempt: 4, deadlineMs: 100 };
    const done = Promise.all(members.map((rank) => network.endpoint(rank).regroup(regroup)));
    clock.run();
    await done;
    expect(network.endpoint(0).members).toEqual([2, 0]);
    for (const rank of members) network.endpoint(rank).allgather(0, bytes(rank), 1, 10);
    clock.run();
    expect([seen[0], seen[2]]).toEqual([["0|2|0"], ["0|2|0"]]);
  });
});

describe("spawn", () => {
  function spawning(seed: number, options: Partial<InProcessOptions> = {}) {
    const born: { endpoint: Transport; seen: string[]; command: readonly string[] }[] = [];
    const world = createWorld(3, seed, {
      ranksPerHost: 2,
      onSpawn: (endpoint, command) => {
        const seen: string[] = [];
        listen(endpoint, seen);
        born.push({ endpoint, seen, command });
      },
      ...options,
    });
    const spawn = (rank: number, members: readonly number[]) =>
      world.network
        .endpoint(rank)
        .spawn({ members, attempt: 1, count: 2, command: ["rank", "1"], deadlineMs: 100 })
        .then(
          (numbers) => numbers.join(),
          (error) => error.code,
        );
    /** What each member is told. Virtual time goes on in turns, as promises do in between. */
    const ask = async (members: readonly number[], callers = members) => {
      const answers = callers.map((rank) => spawn(rank, members));
      for (let turn = 1; turn <= 20; turn++) {
        world.clock.run(10 * turn);
        await Promise.resolve();
      }
      return await Promise.all(answers);
    };
    return { ...world, born, ask };
  }

  test("starts processes once, with the lowest unused numbers and without lanes", async () => {
    const { clock, network, seen, born, ask } = spawning(5);
    expect(await ask([1, 2])).toEqual(["3,4", "3,4"]);
    expect(born.map(({ endpoint }) => endpoint.rank)).toEqual([3, 4]);
    const [{ endpoint, command, seen: heard }] = born;
    expect(command).toEqual(["rank", "1"]);
    expect([endpoint.spawned, endpoint.size, endpoint.lanePoisoned(0)]).toEqual([true, 3, true]);
    expect(endpoint.processes).toEqual([1, 2, 3, 4]);
    expect([endpoint.host, endpoint.ranksOnHost]).toEqual(["host-0", [1, 3, 4]]);
    // Who was not asked learns of them in a regroup.
    network.endpoint(0).send(3, bytes(1));
    network.endpoint(1).send(3, bytes(2));
    endpoint.send(2, bytes(3));
    clock.run(300);
    expect(heard).toEqual(["1:2"]);
    expect(seen[2]).toEqual(["3:3"]);
    const members = [0, 3];
    const regrouped = [network.endpoint(0), endpoint].map((one) =>
      one.regroup({ members, attempt: 2, deadlineMs: 50 }),
    );
    clock.run(400);
    await Promise.all(regrouped);
    network.endpoint(0).send(3, bytes(9));
    endpoint.allgather(0, bytes(7), 8, 50);
    network.endpoint(0).allgather(0, bytes(6), 8, 50);
    clock.run(500);
    expect(heard.toSorted()).toEqual(["0:9", "0|6|7", "1:2"]);
  });

  test("is refused where not all come, where the launcher fails, and where nothing can", async () => {
    expect(await spawning(1).ask([0, 1, 2], [0, 1])).toEqual(["SPAWN_DEADLINE", "SPAWN_DEADLINE"]);
    const failing = spawning(1, { spawnFailRate: 1 });
    expect(await failing.ask([0, 1])).toEqual(["SPAWN_FAILED", "SPAWN_FAILED"]);
    expect(failing.born).toEqual([]);
    expect(await spawning(1, { onSpawn: undefined }).ask([0])).toEqual(["NOT_SUPPORTED"]);
  });
});

test("the same seed gives the same run", () => {
  const play = () => {
    const { clock, network, seen } = createWorld(4, 42, {
      lossRate: 0.2,
      reorder: true,
      delayMaxMs: 30,
      collectivePartialRate: 0.5,
    });
    for (let step = 0; step < 20; step++) {
      for (let rank = 0; rank < 4; rank++) {
        if (!network.alive(rank)) continue;
        network.endpoint(rank).sendMany([0, 1, 2, 3], bytes(step, rank));
        if (!network.endpoint(rank).lanePoisoned(0)) {
          network.endpoint(rank).allgather(0, bytes(step), 4, 60);
        }
      }
      if (step === 10) network.crash(2);
      clock.run(clock.now() + 5);
    }
    clock.run();
    return seen;
  };
  expect(play()).toEqual(play());
});

/**
 * The transport's twin for simulations: N endpoints over a network model in one thread. Time is a
 * virtual clock, chance a seeded generator: the same seed gives the same run. It is as unkind as MPI
 * is: views are overwritten when a handler returns, and a collective with a dead or cut-off rank
 * completes at some ranks and hangs at others.
 */
import { assert } from "../base/assert.ts";
import { type CollectiveModel, InProcessCollectives } from "./in-process-collectives.ts";
import { InProcessEndpoint } from "./in-process-endpoint.ts";
import type { SpawnOptions, Transport } from "./transport.ts";

/** The part of a clock that a transport needs. Callbacks due at one time run as scheduled. */
export interface TransportClock {
  now(): number;
  /** Calls back at `atMs` (at once if that is past, but never inside this call); returns a cancel. */
  schedule(atMs: number, callback: () => void): () => void;
}

/** Faults and speeds; all may be changed while the network runs. */
export interface NetworkModel extends CollectiveModel {
  delayMinMs: number;
  delayMaxMs: number;
  /** Share of messages that vanish. MPI loses none while both ranks live; evicted ones do. */
  lossRate: number;
  /** Lets messages of one pair overtake each other. MPI keeps their order; off by default. */
  reorder: boolean;
  /** From a spawn on which all members agree until its processes exist, at most. */
  spawnDelayMaxMs: number;
  /** Share of spawns that start nothing. */
  spawnFailRate: number;
}

export interface InProcessOptions extends Partial<NetworkModel> {
  readonly size: number;
  readonly lanes?: number;
  readonly clock: TransportClock;
  readonly random: { nextFloat(): number };
  readonly messageBytesMax?: number;
  /** Ranks per machine, in blocks: `ranksOnHost` of each endpoint. All on one machine by default. */
  readonly ranksPerHost?: number;
  /** A process exists that `spawn` started. Without this the network cannot spawn, as MPICH cannot. */
  readonly onSpawn?: ((endpoint: Transport, command: readonly string[]) => void) | undefined;
}

const DEFAULT_MODEL: NetworkModel = {
  delayMinMs: 0.01,
  delayMaxMs: 0.1,
  lossRate: 0,
  reorder: false,
  spawnDelayMaxMs: 1,
  spawnFailRate: 0,
  collectiveDelayMinMs: 0.02,
  collectiveDelayMaxMs: 0.2,
  collectiveHangRate: 0,
  collectivePartialRate: 0,
};

/** Process numbers of a pair make one key. */
const PAIR = 1 << 16;

interface Flight {
  readonly to: number;
  readonly bytes: Uint8Array;
  lost: boolean;
}

export function createInProcessNetwork(options: InProcessOptions): InProcessNetwork {
  return new InProcessNetwork(options);
}

export class InProcessNetwork {
  readonly size: number;
  readonly model: NetworkModel;
  /** What `abort` of an endpoint left behind. */
  aborted: { rank: number; code: number } | undefined;
  readonly #options: InProcessOptions;
  readonly #endpoints: (InProcessEndpoint | undefined)[];
  readonly #collectives: InProcessCollectives;
  /** Arrival time of the newest message of each ordered pair, by from * PAIR + to. */
  readonly #arrivals = new Map<number, number>();
  readonly #flights: Set<Flight>[];
  /** Has a * PAIR + b: nothing passes from a to b. */
  readonly #cut = new Set<number>();
  /** Host of each process, by number. */
  readonly #hosts: number[];
  /** Numbers of the processes of each spawn, or undefined for one that failed. */
  readonly #spawns = new Map<string, readonly number[] | undefined>();
  readonly #counters = { sent: 0, delivered: 0, lost: 0, cutOff: 0, spawned: 0 };

  constructor(options: InProcessOptions) {
    const { size } = options;
    this.#options = options;
    this.size = size;
    const given = Object.entries(options).filter(([key]) => key in DEFAULT_MODEL);
    this.model = { ...DEFAULT_MODEL, ...Object.fromEntries(given) };
    const perHost = options.ranksPerHost ?? size;
    this.#hosts = Array.from({ length: size }, (_, rank) => Math.floor(rank / perHost));
    this.#flights = Array.from({ length: size }, () => new Set());
    this.#collectives = new InProcessCollectives({
      clock: options.clock,
      random: options.random,
      model: this.model,
      reachable: (from, to) => this.#reachable(from, to),
    });
    const all = Array.from({ length: size }, (_, rank) => rank);
    this.#endpoints = all.map((rank) => this.#createEndpoint(rank, { known: all }));
  }

  /** The endpoint of a rank that lives. */
  endpoint(rank: number): Transport {
    const endpoint = this.#endpoints[rank];
    assert(endpoint !== undefined, `rank ${rank} lives`);
    return endpoint;
  }

  alive(rank: number): boolean {
    return this.#endpoints[rank] !== undefined;
  }

  /** From now on nothing passes between the two sets; what is in flight between them is lost. */
  partition(setA: readonly number[], setB: readonly number[]): void {
    for (const a of setA) {
      for (const b of setB) {
        this.#cut.add(a * PAIR + b).add(b * PAIR + a);
      }
    }
  }

  heal(): void {
    this.#cut.clear();
  }

  /**
   * The process ends: its endpoint goes dumb, nothing reaches it, and for each destination chance
   * decides whether what it sent before still arrives.
   */
  crash(rank: number): void {
    const endpoint = this.#endpoints[rank];
    if (endpoint === undefined) return;
    this.#endpoints[rank] = undefined;
    endpoint.kill();
    const lostTo = this.#endpoints.map(() => this.#options.random.nextFloat() < 0.5);
    for (const flight of this.#flights[rank]) flight.lost ||= lostTo[flight.to];
    for (const flights of this.#flights) {
      for (const flight of flights) flight.lost ||= flight.to === rank;
    }
  }

  /** All members have asked for it: starts the processes once, and tells everyone their numbers. */
  #spawn(key: string, { members, count, command }: SpawnOptions): readonly number[] | undefined {
    if (this.#spawns.has(key)) return this.#spawns.get(key);
    const { random, onSpawn } = this.#options;
    const fails = random.nextFloat() < this.model.spawnFailRate;
    const first = this.#endpoints.length;
    const numbers = Array.from({ length: count }, (_, index) => first + index);
    this.#spawns.set(key, fails ? undefined : numbers);
    if (fails) return undefined;
    for (const number of numbers) {
      // The launcher puts them where the one who asks it runs.
      this.#hosts[number] = this.#hosts[members[0]];
      this.#flights[number] = new Set();
      const known = [...members, ...numbers].sort((a, b) => a - b);
      const endpoint = this.#createEndpoint(number, { known, spawned: true });
      endpoint.poisonAll();
      this.#endpoints[number] = endpoint;
      this.#counters.spawned++;
    }
    for (const number of numbers) onSpawn?.(this.endpoint(number), command);
    return numbers;
  }

  counters(): Record<string, number> {
    return { ...this.#counters, collectivesBroken: this.#collectives.broken };
  }

  #reachable(from: number, to: number): boolean {
    return this.alive(from) && this.alive(to) && !this.#cut.has(from * PAIR + to);
  }

  #createEndpoint(
    rank: number,
    { known, spawned = false }: { known: readonly number[]; spawned?: boolean },
  ): InProcessEndpoint {
    const { size, clock, onSpawn } = this.#options;
    const host = this.#hosts[rank];
    return new InProcessEndpoint({
      rank,
      size,
      lanes: this.#options.lanes ?? 4,
      host: `host-${host}`,
      ranksOnHost: () => known.filter((other) => this.#hosts[other] === host),
      known,
      spawned,
      messageBytesMax: this.#options.messageBytesMax ?? 2 ** 30,
      clock,
      collectives: this.#collectives,
      deliverTo: (to, bytes) => this.#send(rank, to, bytes),
      spawnDelayMs: () => this.#options.random.nextFloat() * this.model.spawnDelayMaxMs,
      spawn: onSpawn === undefined ? undefined : (key, options) => this.#spawn(key, options),
      abort: (code) => {
        this.aborted = { rank, code };
        for (const [other] of this.#endpoints.entries()) this.crash(other);
      },
    });
  }

  #send(from: number, to: number, bytes: Uint8Array): void {
    const { random, clock } = this.#options;
    const { delayMinMs, delayMaxMs, lossRate, reorder } = this.model;
    this.#counters.sent++;
    const pair = from * PAIR + to;
    let arrival = clock.now() + delayMinMs + random.nextFloat() * (delayMaxMs - delayMinMs);
    if (!reorder) arrival = Math.max(arrival, this.#arrivals.get(pair) ?? 0);
    this.#arrivals.set(pair, arrival);
    // A rank loses nothing on the way to itself.
    const flight = { to, bytes, lost: random.nextFloat() < lossRate && from !== to };
    const flights = this.#flights[from];
    flights.add(flight);
    clock.schedule(arrival, () => {
      flights.delete(flight);
      const receiver = this.#endpoints[to];
      if (flight.lost || receiver === undefined) this.#counters.lost++;
      else if (this.#cut.has(pair)) this.#counters.cutOff++;
      else {
        this.#counters.delivered++;
        receiver.receive(from, flight.bytes);
      }
    });
  }
}

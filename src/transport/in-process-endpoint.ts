/** One rank's end of the in-process network: the methods of the transport port. */
import { assert } from "../base/assert.ts";
import { BaashError, EXIT } from "../base/errors.ts";
import type { TransportClock } from "./in-process.ts";
import type { InProcessCollectives } from "./in-process-collectives.ts";
import {
  COLLECTIVE_DEADLINE_MS,
  type Messages,
  type ReduceOperation,
  type RegroupOptions,
  type SpawnOptions,
  type Transport,
  type TransportHandler,
} from "./transport.ts";

export interface EndpointOptions {
  readonly rank: number;
  readonly size: number;
  readonly lanes: number;
  readonly host: string;
  ranksOnHost(): readonly number[];
  /** Processes that it can send to from the start. */
  readonly known: readonly number[];
  readonly spawned: boolean;
  readonly messageBytesMax: number;
  readonly clock: TransportClock;
  readonly collectives: InProcessCollectives;
  deliverTo(to: number, bytes: Uint8Array): void;
  /** Numbers of the processes that this spawn of all its members started; undefined when it failed. */
  readonly spawn:
    | ((key: string, options: SpawnOptions) => readonly number[] | undefined)
    | undefined;
  /** How long one member waits for a spawn on which all agree. */
  spawnDelayMs(): number;
  abort(code: number): void;
}

/** A collective under way at this rank. `parts` is set once it is complete. */
interface Waiting {
  parts: readonly Uint8Array[] | undefined;
  cancelDeadline: () => void;
  complete(parts: readonly Uint8Array[]): void;
  fail(error: BaashError): void;
}

interface Meeting {
  readonly members: readonly number[];
  fail(code: string): void;
}

interface Lane {
  poisoned: boolean;
  calls: number;
  readonly waiting: Waiting[];
}

/** What a view holds after its time: whoever keeps one finds out. */
const OVERWRITTEN = 0xdd;

export class InProcessEndpoint implements Transport {
  readonly rank: number;
  readonly size: number;
  readonly lanes: number;
  readonly host: string;
  readonly spawned: boolean;
  readonly #known: Set<number>;
  readonly #forgotten = new Set<number>();
  /** Regroups and spawns whose members have not all come yet. */
  readonly #meetings = new Set<Meeting>();
  readonly #options: EndpointOptions;
  #members: readonly number[];
  #group = "all";
  #handler: TransportHandler | undefined;
  #alive = true;
  /** Arrived, not yet handed over: what arrives at one time is one batch. */
  #inbox: { from: number; bytes: Uint8Array }[] = [];
  #drainScheduled = false;
  /** The last one is the control lane of barrier, allreduce and close. */
  #lanes: Lane[];
  readonly #counters = {
    ...{ sends: 0, sendBytes: 0, sendsDropped: 0, receives: 0 },
    ...{ collectives: 0, lanesPoisoned: 0 },
  };

  constructor(options: EndpointOptions) {
    this.#options = options;
    this.rank = options.rank;
    this.size = options.size;
    this.lanes = options.lanes;
    this.host = options.host;
    this.spawned = options.spawned;
    this.#known = new Set(options.known);
    this.#members = options.spawned ? [] : Array.from({ length: options.size }, (_, rank) => rank);
    this.#lanes = this.#freshLanes();
  }

  get members(): readonly number[] {
    return this.#members;
  }

  get processes(): readonly number[] {
    return [...this.#known].sort((a, b) => a - b);
  }

  get ranksOnHost(): readonly number[] {
    return this.#options.ranksOnHost();
  }

  forget(process: number): void {
    if (process === this.rank) return;
    this.#forgotten.add(process);
    for (const meeting of [...this.#meetings]) {
      if (meeting.members.includes(process)) meeting.fail("REGROUP_IMPOSSIBLE");
    }
  }

  get handler(): TransportHandler {
    assert(this.#handler !== undefined, "the transport's handler was never set");
    return this.#handler;
  }

  set handler(handler: TransportHandler) {
    this.#handler = handler;
    this.#scheduleDrain();
  }

  send(to: number, bytes: Uint8Array): void {
    this.sendMany([to], bytes);
  }

  sendMany(to: readonly number[], bytes: Uint8Array): void {
    if (!to.every((number) => Number.isSafeInteger(number) && number >= 0)) {
      throw new RangeError("no process number");
    }
    if (bytes.length > this.#options.messageBytesMax) {
      const { messageBytesMax } = this.#options;
      throw new BaashError(
        "MESSAGE_TOO_LARGE",
        `a message of ${bytes.length} bytes is longer than ${messageBytesMax}`,
      );
    }
    if (!this.#alive) return;
    for (const number of to) {
      if (!this.#known.has(number) || this.#forgotten.has(number)) {
        this.#counters.sendsDropped++;
        continue;
      }
      this.#counters.sends++;
      this.#counters.sendBytes += bytes.length;
      this.#options.deliverTo(number, new Uint8Array(bytes));
    }
  }

  allgather(lane: number, bytes: Uint8Array, bytesMax: number, deadlineMs: number): void {
    assert(lane >= 0 && lane < this.lanes, "the transport has that lane");
    assert(bytes.length <= bytesMax, "a contribution fits the size that all agreed on");
    this.#join(lane, `allgather ${bytesMax}`, bytes, deadlineMs, {
      complete: (parts) => {
        const views = parts.map((part) => part.slice());
        this.#handler?.onAllgather(lane, views);
        for (const view of views) view.fill(OVERWRITTEN);
      },
      fail: () => {},
    });
  }

  barrier(deadlineMs = COLLECTIVE_DEADLINE_MS): Promise<void> {
    return new Promise((resolve, reject) => {
      const outcome = { complete: () => resolve(), fail: reject };
      this.#join(this.lanes, "barrier", new Uint8Array(0), deadlineMs, outcome);
    });
  }

  allreduce(
    values: Float64Array,
    operation: ReduceOperation,
    deadlineMs = COLLECTIVE_DEADLINE_MS,
  ): Promise<Float64Array> {
    return new Promise((resolve, reject) => {
      const bytes = new Uint8Array(new Float64Array(values).buffer);
      this.#join(this.lanes, `allreduce ${operation} ${values.length}`, bytes, deadlineMs, {
        complete: (parts) => {
          const all = parts.map((part) => new Float64Array(part.slice().buffer));
          resolve(values.map((_, i) => reduce(operation, all, i)));
        },
        fail: reject,
      });
    });
  }

  lanePoisoned(lane: number): boolean {
    return this.#lanes[lane].poisoned;
  }

  async regroup({ members, attempt, deadlineMs }: RegroupOptions): Promise<void> {
    const group = `${attempt}:${members.join()}`;
    await this.#meet(`regroup ${group}`, { members, deadlineMs, late: "REGROUP_DEADLINE" });
    this.#dropWaiting(unavailable("REGROUPED", {}));
    this.#members = [...members];
    this.#group = group;
    this.#lanes = this.#freshLanes();
    for (const number of members) this.#known.add(number);
  }

  async spawn(options: SpawnOptions): Promise<readonly number[]> {
    const { members, attempt, count, deadlineMs } = options;
    const { spawn, clock, spawnDelayMs } = this.#options;
    if (spawn === undefined) throw unavailable("NOT_SUPPORTED", {});
    const key = `spawn ${attempt}:${count}:${members.join()}`;
    await this.#meet(key, { members, deadlineMs, late: "SPAWN_DEADLINE" });
    await new Promise<void>((resolve) => clock.schedule(clock.now() + spawnDelayMs(), resolve));
    const numbers = spawn(key, options);
    if (numbers === undefined) throw unavailable("SPAWN_FAILED", { count });
    for (const number of numbers) this.#known.add(number);
    return numbers;
  }

  /** All members come to the same point; rejects with `late` when one of them does not in time. */
  #meet(
    key: string,
    how: { members: readonly number[]; deadlineMs: number; late: string },
  ): Promise<void> {
    const { members, deadlineMs, late } = how;
    assert(members.includes(this.rank), "who meets others is one of them");
    const { clock, collectives } = this.#options;
    return new Promise((resolve, reject) => {
      const fail = (code: string) => {
        cancel();
        if (this.#meetings.delete(meeting) && this.#alive) reject(unavailable(code, {}));
      };
      const cancel = clock.schedule(clock.now() + deadlineMs, () => fail(late));
      const meeting: Meeting = { members, fail };
      this.#meetings.add(meeting);
      if (members.some((number) => this.#forgotten.has(number))) {
        fail("REGROUP_IMPOSSIBLE");
        return;
      }
      const complete = () => {
        cancel();
        if (this.#meetings.delete(meeting) && this.#alive) resolve();
      };
      const mine = { rank: this.rank, bytes: new Uint8Array(0), complete };
      collectives.join(key, members, "meet", mine);
    });
  }

  counters(): Record<string, number> {
    return { ...this.#counters };
  }

  async close(deadlineMs = COLLECTIVE_DEADLINE_MS): Promise<boolean> {
    const poisoned = this.#lanes.some((lane) => lane.poisoned) || this.#forgotten.size > 0;
    const failed = poisoned || this.spawned || this.#members.length < this.size;
    const met = failed
      ? false
      : await this.barrier(deadlineMs).then(
          () => true,
          () => false,
        );
    this.kill();
    return met;
  }

  abort(code: number): void {
    this.#options.abort(code);
  }

  // ---- for the network ----

  receive(from: number, bytes: Uint8Array): void {
    if (this.#forgotten.has(from)) return;
    this.#inbox.push({ from, bytes });
    this.#scheduleDrain();
  }

  kill(): void {
    this.#alive = false;
    this.#inbox = [];
    for (const lane of this.#lanes) for (const waiting of lane.waiting) waiting.cancelDeadline();
  }

  /** A process that came later belongs to no communicator. */
  poisonAll(): void {
    for (const lane of this.#lanes) lane.poisoned = true;
  }

  #freshLanes(): Lane[] {
    return Array.from({ length: this.lanes + 1 }, () => ({
      poisoned: false,
      calls: 0,
      waiting: [],
    }));
  }

  #scheduleDrain(): void {
    if (this.#drainScheduled || this.#handler === undefined || this.#inbox.length === 0) return;
    this.#drainScheduled = true;
    this.#options.clock.schedule(this.#options.clock.now(), () => {
      this.#drainScheduled = false;
      const inbox = this.#inbox;
      this.#inbox = [];
      if (!this.#alive || inbox.length === 0) return;
      this.#counters.receives += inbox.length;
      const batch: Messages = {
        count: inbox.length,
        from: (index) => inbox[index].from,
        bytes: (index) => inbox[index].bytes,
      };
      this.handler.onMessages(batch);
      for (const message of inbox) message.bytes.fill(OVERWRITTEN);
    });
  }

  #join(
    index: number,
    shape: string,
    bytes: Uint8Array,
    deadlineMs: number,
    outcome: Pick<Waiting, "complete" | "fail">,
  ): void {
    const lane = this.#lanes[index];
    if (lane.poisoned) throw unavailable("LANE_POISONED", { lane: index });
    if (!this.#alive) return;
    const { clock, collectives } = this.#options;
    const waiting: Waiting = {
      ...outcome,
      parts: undefined,
      cancelDeadline: clock.schedule(clock.now() + deadlineMs, () => this.#poison(index, lane)),
    };
    lane.waiting.push(waiting);
    collectives.join(`${this.#group} ${index} ${lane.calls++}`, this.#members, shape, {
      rank: this.rank,
      bytes: new Uint8Array(bytes),
      complete: (parts) => {
        waiting.parts = parts;
        this.#completeFront(lane);
      },
    });
  }

  /** Results come in the order of the calls. */
  #completeFront(lane: Lane): void {
    while (this.#alive && !lane.poisoned && lane.waiting[0]?.parts !== undefined) {
      const { parts, cancelDeadline, complete } = lane.waiting.shift()!;
      cancelDeadline();
      this.#counters.collectives++;
      complete(parts!);
    }
  }

  #poison(index: number, lane: Lane): void {
    if (!this.#alive || lane.poisoned || this.#lanes[index] !== lane) return;
    lane.poisoned = true;
    this.#counters.lanesPoisoned++;
    const error = unavailable("COLLECTIVE_DEADLINE", { lane: index });
    for (const waiting of lane.waiting.splice(0)) {
      waiting.cancelDeadline();
      waiting.fail(error);
    }
    if (index < this.lanes) this.#handler?.onError(error);
  }

  #dropWaiting(error: BaashError): void {
    for (const lane of this.#lanes) {
      for (const waiting of lane.waiting.splice(0)) {
        waiting.cancelDeadline();
        waiting.fail(error);
      }
    }
  }
}

function reduce(operation: ReduceOperation, all: readonly Float64Array[], index: number): number {
  const values = all.map((one) => one[index]);
  if (operation === "sum") return values.reduce((sum, value) => sum + value, 0);
  return operation === "min" ? Math.min(...values) : Math.max(...values);
}

const SENTENCES: Record<string, string> = {
  COLLECTIVE_DEADLINE: "a collective did not complete in time",
  LANE_POISONED: "this lane missed a deadline and is lost: regroup to get fresh lanes",
  REGROUP_DEADLINE: "not every member came in time",
  REGROUP_IMPOSSIBLE: "a member is known to be dead",
  SPAWN_DEADLINE: "not every member came in time to start processes",
  SPAWN_FAILED: "the launcher started no process",
  NOT_SUPPORTED: "this network cannot start processes",
  REGROUPED: "a regroup gave this collective up",
};

function unavailable(code: string, data: Record<string, unknown>): BaashError {
  return new BaashError(code, SENTENCES[code], { data, exitCode: EXIT.unavailable });
}

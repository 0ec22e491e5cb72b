/**
 * The transport over MPI. The only file that loads the MPI addon (native/mpi.cc), whose own thread
 * makes every MPI call; here is JavaScript's side of it, on the thread that opened it.
 */
import { assert } from "../base/assert.ts";
import { readU32, writeU32 } from "../base/bytes.ts";
import { BaashError, EXIT } from "../base/errors.ts";
import type { Facts, MpiAddon, OnEvent } from "./mpi-addon.ts";
import { ArenaMessages } from "./mpi-buffers.ts";
import { type Collective, MpiLanes } from "./mpi-lanes.ts";
import { loadAddon } from "./mpi-library.ts";
import { watchTurns } from "./mpi-stall.ts";
import {
  COLLECTIVE_DEADLINE_MS,
  REGROUP_ATTEMPTS,
  type ReduceOperation,
  type RegroupOptions,
  type SpawnOptions,
  type Transport,
  type TransportHandler,
} from "./transport.ts";

export interface MpiTransportOptions {
  /** Communicators for allgathers, each with its own order of calls. */
  readonly lanes: number;
  /** Space for received messages; at least twice `messageBytesMax`. Untouched pages cost nothing. */
  readonly arenaBytes: number;
  readonly messageBytesMax: number;
  /** Ranks that share the cores here; asked of MPI if absent. Decides whether to poll hot. */
  readonly ranksPerHost?: number;
  /** Lanes of so many members gather in ⌈log2 N⌉ messages a rank; smaller ones as MPI does it. */
  readonly doublingFrom?: number;
  /** Messages up to this length are copied when sent, longer ones kept by reference. */
  readonly copyBytesMax?: number;
  /** Which built addon to load: "openmpi" or "mpich"; by the launcher's environment if absent. */
  readonly library?: string;
  /** How long to wait for all processes of the start, or, at a spawned process, for its parents. */
  readonly openDeadlineMs?: number;
}

/** A regroup or spawn under way. */
interface Operation<Result> {
  readonly members: readonly number[];
  resolve(result: Result): void;
  reject(error: BaashError): void;
}

/** Up to here, one message to each other member comes sooner than a chain of log2 N. */
const DOUBLING_FROM = 65;
/** Messages handed over in one call of the addon; more come in a further call at once. */
const DESCRIPTORS_MAX = 1024;
/** A copy of 64 KiB takes about 10 µs; a reference costs a few calls across the boundary. */
const COPY_BYTES_MAX = 64 * 1024;
/** The addon answers a close by its deadline; a hang inside MPI_Finalize gets this much longer. */
const FINALIZE_GRACE_MS = 5_000;
/** 200 ranks on two cores are there after 50 s (measured). */
const OPEN_DEADLINE_MS = 180_000;

/**
 * Starts MPI (also without mpirun: then there is one rank) and resolves when all ranks are there, or,
 * in a spawned process, its parents. Rejects with OPEN_DEADLINE when somebody does not come: MPI is
 * unusable then, and the process has to end.
 */
export function openMpiTransport(options: MpiTransportOptions): Promise<Transport> {
  const addon = loadAddon(options.library);
  const deadlineMs = options.openDeadlineMs ?? OPEN_DEADLINE_MS;
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      addon.leave();
      const sentence = `MPI did not bring all processes together within ${deadlineMs / 1000} s`;
      reject(
        new BaashError("OPEN_DEADLINE", `${sentence}: one died at its start`, {
          exitCode: EXIT.unavailable,
        }),
      );
    }, deadlineMs);
    const transport = new MpiTransport(addon, options, (error) => {
      clearTimeout(timer);
      if (error) reject(error);
      else resolve(transport);
    });
  });
}

/** What the handler throws must not unwind through the addon: it surfaces on its own. */
function guard(call: () => void): void {
  try {
    call();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

class MpiTransport implements Transport {
  readonly lanes: number;
  #facts: Facts | undefined;
  #members: readonly number[] = [];
  #processes: readonly number[] = [];
  #ranksOnHost: readonly number[] = [];
  #handler: TransportHandler | undefined;
  readonly #addon: MpiAddon;
  readonly #options: MpiTransportOptions;
  readonly #messages: ArenaMessages;
  #nextId = 1;
  readonly #lanes: MpiLanes;
  readonly #regroups = new Map<number, Operation<void>>();
  readonly #spawns = new Map<number, Operation<readonly number[]>>();
  #closing: Promise<boolean> | undefined;
  #stopWatch = () => {};
  #onClosed: ((finalized: boolean) => void) | undefined;
  readonly #onOpened: (error?: BaashError) => void;

  constructor(
    addon: MpiAddon,
    options: MpiTransportOptions,
    onOpened: (error?: BaashError) => void,
  ) {
    this.#addon = addon;
    this.#options = options;
    this.#onOpened = onOpened;
    this.lanes = options.lanes;
    this.#lanes = new MpiLanes(options.lanes);
    const arena = new Uint8Array(options.arenaBytes);
    const descriptors = new Int32Array(3 * DESCRIPTORS_MAX);
    this.#messages = new ArenaMessages(arena, descriptors);
    addon.open(
      options.lanes,
      options.messageBytesMax,
      options.ranksPerHost ?? 0,
      arena,
      descriptors,
      (count) => this.#onMessages(count),
      (...event) => this.#onEvent(...event),
      (processes, neighbours) => {
        this.#processes = processes;
        this.#ranksOnHost = neighbours;
      },
      options.doublingFrom ?? DOUBLING_FROM,
    );
  }

  get rank(): number {
    return this.#known().rank;
  }

  get size(): number {
    return this.#known().size;
  }

  get spawned(): boolean {
    return this.#known().spawned;
  }

  get host(): string {
    return this.#known().host;
  }

  get ranksOnHost(): readonly number[] {
    return this.#ranksOnHost;
  }

  get processes(): readonly number[] {
    return this.#processes;
  }

  get members(): readonly number[] {
    return this.#members;
  }

  get handler(): TransportHandler {
    assert(this.#handler !== undefined, "the transport's handler was never set");
    return this.#handler;
  }

  set handler(handler: TransportHandler) {
    const first = this.#handler === undefined;
    this.#handler = handler;
    if (first) this.#addon.start();
  }

  send(to: number, bytes: Uint8Array): void {
    this.#addon.send(to, bytes, this.#pins(bytes));
  }

  sendMany(to: readonly number[], bytes: Uint8Array): void {
    this.#addon.sendMany(to, bytes, this.#pins(bytes));
  }

  forget(process: number): void {
    this.#addon.forget(process);
  }

  allgather(lane: number, bytes: Uint8Array, bytesMax: number, deadlineMs: number): void {
    assert(lane >= 0 && lane < this.lanes, "the transport has that lane");
    assert(bytes.length <= bytesMax, "a contribution fits the size that all agreed on");
    this.#lanes.refusePoisoned(lane);
    // Contributions are padded to one size, each after its own length.
    const blockBytes = (4 + bytesMax + 7) & ~7;
    const count = this.#members.length;
    const buffers = this.#lanes.takeBuffers(blockBytes);
    writeU32(buffers.send, 0, bytes.length);
    buffers.send.set(bytes, 4);
    const id = this.#begin({
      lane,
      buffers,
      complete: () => {
        const parts = new Array<Uint8Array>(count);
        for (let i = 0; i < count; i++) {
          const start = i * blockBytes + 4;
          let length = readU32(buffers.receive, start - 4);
          if (length > bytesMax) {
            const peer = this.#members[i];
            this.#report("BAD_CONTRIBUTION", `rank ${peer} claims ${length} bytes`, { lane, peer });
            length = 0;
          }
          parts[i] = buffers.receive.subarray(start, start + length);
        }
        guard(() => this.#handler?.onAllgather(lane, parts));
      },
      fail: () => {},
    });
    this.#addon.allgather(lane, id, buffers.send, buffers.receive, blockBytes, count, deadlineMs);
  }

  barrier(deadlineMs = COLLECTIVE_DEADLINE_MS): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#lanes.refusePoisoned(this.lanes);
      const buffers = { send: new Uint8Array(0), receive: new Uint8Array(0) };
      const id = this.#begin({ lane: this.lanes, buffers, complete: resolve, fail: reject });
      this.#addon.barrier(id, deadlineMs);
    });
  }

  allreduce(
    values: Float64Array,
    operation: ReduceOperation,
    deadlineMs = COLLECTIVE_DEADLINE_MS,
  ): Promise<Float64Array> {
    return new Promise((resolve, reject) => {
      this.#lanes.refusePoisoned(this.lanes);
      const send = new Uint8Array(new Float64Array(values).buffer);
      const receive = new Uint8Array(send.length);
      const id = this.#begin({
        lane: this.lanes,
        buffers: { send, receive },
        complete: () => resolve(new Float64Array(receive.slice().buffer)),
        fail: reject,
      });
      const number = { sum: 0, min: 1, max: 2 }[operation];
      this.#addon.allreduce(id, send, receive, number, deadlineMs);
    });
  }

  lanePoisoned(lane: number): boolean {
    return this.#lanes.isPoisoned(lane);
  }

  regroup({ members, attempt, deadlineMs }: RegroupOptions): Promise<void> {
    assert(members.includes(this.rank), "who regroups is a member");
    return new Promise((resolve, reject) => {
      const id = this.#nextId++;
      this.#regroups.set(id, { members: [...members], resolve, reject });
      this.#addon.regroup(id, members, attempt % REGROUP_ATTEMPTS, deadlineMs);
    });
  }

  spawn(options: SpawnOptions): Promise<readonly number[]> {
    const { members, attempt, count, command, deadlineMs } = options;
    assert(members.includes(this.rank), "who spawns is a member");
    assert(count > 0 && command.length > 0, "a spawn has processes to start, and a program");
    return new Promise((resolve, reject) => {
      const id = this.#nextId++;
      this.#spawns.set(id, { members: [...members], resolve, reject });
      const number = attempt % REGROUP_ATTEMPTS;
      this.#addon.spawn(id, members, number, count, command, deadlineMs);
    });
  }

  counters(): Record<string, number> {
    return this.#addon.counters();
  }

  close(deadlineMs = COLLECTIVE_DEADLINE_MS): Promise<boolean> {
    this.#stopWatch();
    this.#closing ??= new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#addon.leave();
        resolve(false);
      }, deadlineMs + FINALIZE_GRACE_MS);
      this.#onClosed = (finalized) => {
        clearTimeout(timer);
        resolve(finalized);
      };
      this.#addon.close(deadlineMs);
    });
    return this.#closing;
  }

  abort(code: number): void {
    this.#addon.abort(code);
  }

  #known(): Facts {
    assert(this.#facts !== undefined, "the transport is open");
    return this.#facts;
  }

  #pins(bytes: Uint8Array): boolean {
    if (bytes.length > this.#options.messageBytesMax) {
      throw new BaashError(
        "MESSAGE_TOO_LARGE",
        `a message of ${bytes.length} bytes is longer than ${this.#options.messageBytesMax}`,
      );
    }
    return bytes.length > (this.#options.copyBytesMax ?? COPY_BYTES_MAX);
  }

  #begin(collective: Collective): number {
    const id = this.#nextId++;
    this.#lanes.begin(id, collective);
    return id;
  }

  #report(code: string, message: string, data: Record<string, unknown>): void {
    const error = new BaashError(code, message, { data, exitCode: EXIT.unavailable });
    guard(() => this.#handler?.onError(error));
  }

  #onMessages(count: number): void {
    this.#messages.count = count;
    if (this.#closing === undefined) guard(() => this.#handler?.onMessages(this.#messages));
  }

  #onEvent(...[kind, id, lane, peer, flag, code, call, text, numbers]: Parameters<OnEvent>): void {
    const failure = () =>
      new BaashError(code, `${call}: ${text}`, {
        data: { call, ...(lane >= 0 && { lane }), ...(peer >= 0 && { peer }) },
        exitCode: EXIT.unavailable,
      });
    switch (kind) {
      case "opened":
        if (!flag) {
          this.#onOpened(failure());
          return;
        }
        this.#facts = this.#addon.facts();
        this.#processes = this.#facts.processes;
        this.#ranksOnHost = this.#facts.ranksOnHost;
        this.#members = this.#facts.spawned ? [] : this.#facts.processes;
        this.#lanes.open(this.#members.length);
        this.#stopWatch = watchTurns(
          () => this.#addon.counters().polls,
          (seconds) =>
            this.#report("MPI_STALLED", `MPI hangs since ${seconds} s: end this process`, {}),
        );
        this.#onOpened();
        return;
      case "complete":
        this.#lanes.complete(id);
        return;
      case "laneFailed":
        if (id !== this.#lanes.generation) return;
        if (this.#lanes.poison(lane, failure()) && lane < this.lanes) {
          guard(() => this.#handler?.onError(failure()));
        }
        return;
      case "regrouped": {
        const regroup = this.#regroups.get(id)!;
        this.#regroups.delete(id);
        this.#members = regroup.members;
        this.#lanes.replace(regroup.members.length);
        this.#addon.install(id);
        regroup.resolve();
        return;
      }
      case "spawned":
        this.#spawns.get(id)!.resolve(numbers);
        this.#spawns.delete(id);
        return;
      case "operationFailed":
        (this.#regroups.get(id) ?? this.#spawns.get(id)!).reject(failure());
        this.#regroups.delete(id);
        this.#spawns.delete(id);
        return;
      case "error":
        guard(() => this.#handler?.onError(failure()));
        return;
      case "closed":
        this.#onClosed?.(flag);
    }
  }
}

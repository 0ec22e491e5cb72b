/**
 * What native/mpi.cc offers, as types; `mpi.ts` loads it. Every function enqueues a command for the
 * MPI thread and returns; outcomes come as events and messages, in batches, on the opener's thread.
 */

export type EventKind =
  | "opened"
  | "complete"
  | "laneFailed"
  | "regrouped"
  | "spawned"
  | "operationFailed"
  | "error"
  | "closed";

export type OnEvent = (
  kind: EventKind,
  id: number,
  lane: number,
  peer: number,
  flag: boolean,
  code: string,
  call: string,
  text: string,
  /** Of a spawn: the new processes. */
  numbers: number[],
) => void;

/** Further processes can be reached: all that can be by now, and those of them on this machine. */
export type OnReachable = (processes: number[], neighbours: number[]) => void;

export interface Facts {
  rank: number;
  size: number;
  threadMultiple: boolean;
  host: string;
  library: string;
  spawned: boolean;
  processes: number[];
  ranksOnHost: number[];
}

/** The functions of native/mpi.cc. */
export interface MpiAddon {
  open(
    lanes: number,
    messageBytesMax: number,
    ranksOnHost: number,
    arena: Uint8Array,
    descriptors: Int32Array,
    onMessages: (count: number) => void,
    onEvent: OnEvent,
    onReachable: OnReachable,
    doublingFrom: number,
  ): void;
  facts(): Facts;
  start(): void;
  send(to: number, bytes: Uint8Array, pin: boolean): void;
  sendMany(to: readonly number[], bytes: Uint8Array, pin: boolean): void;
  allgather(
    lane: number,
    id: number,
    send: Uint8Array,
    receive: Uint8Array,
    count: number,
    members: number,
    deadlineMs: number,
  ): void;
  allreduce(
    id: number,
    send: Uint8Array,
    receive: Uint8Array,
    operation: number,
    deadlineMs: number,
  ): void;
  barrier(id: number, deadlineMs: number): void;
  forget(process: number): void;
  regroup(id: number, members: readonly number[], attempt: number, deadlineMs: number): void;
  spawn(
    id: number,
    members: readonly number[],
    attempt: number,
    count: number,
    command: readonly string[],
    deadlineMs: number,
  ): void;
  /** Later collectives use the lanes of that regroup. */
  install(id: number): void;
  counters(): Record<string, number>;
  close(deadlineMs: number): void;
  leave(): void;
  abort(code: number): void;
}

/**
 * Memory that JavaScript and the MPI thread share: a view of the receive arena, and buffers of
 * allgathers, which are reused. A pair belongs to MPI from the call until its event; one of a lane
 * that missed a deadline is abandoned: referenced for ever, since MPI may still write into it.
 */
import type { Messages } from "./transport.ts";

export interface Buffers {
  readonly send: Uint8Array;
  readonly receive: Uint8Array;
}

/** Idle pairs of one size class: as many as rounds and lanes are usually under way. */
const SPARE_MAX = 16;
/** Pairs larger than this are left to the garbage collector. */
const SPARE_BYTES_MAX = 4 * 1024 * 1024;

const abandoned: Buffers[] = [];

export class CollectiveBuffers {
  readonly #members: number;
  /** Size classes are powers of two, so that few lists serve all sizes. */
  readonly #spare = new Map<number, Buffers[]>();

  constructor(members: number) {
    this.#members = members;
  }

  /** A pair in which each member has `blockBytes`. */
  take(blockBytes: number): Buffers {
    const sizeClass = 2 ** (32 - Math.clz32(this.#members * blockBytes - 1));
    return (
      this.#spare.get(sizeClass)?.pop() ?? {
        send: new Uint8Array(Math.floor(sizeClass / this.#members)),
        receive: new Uint8Array(sizeClass),
      }
    );
  }

  give(buffers: Buffers): void {
    const sizeClass = buffers.receive.length;
    if (sizeClass > SPARE_BYTES_MAX) return;
    const spare = this.#spare.get(sizeClass);
    if (spare === undefined) this.#spare.set(sizeClass, [buffers]);
    else if (spare.length < SPARE_MAX) spare.push(buffers);
  }

  abandon(buffers: Buffers): void {
    abandoned.push(buffers);
  }
}

/** The batch that is being handed over: triples (from, offset, length) over the arena. */
export class ArenaMessages implements Messages {
  count = 0;
  readonly #arena: Uint8Array;
  readonly #descriptors: Int32Array;

  constructor(arena: Uint8Array, descriptors: Int32Array) {
    this.#arena = arena;
    this.#descriptors = descriptors;
  }

  from(index: number): number {
    return this.#descriptors[3 * index];
  }

  bytes(index: number): Uint8Array {
    const offset = this.#descriptors[3 * index + 1];
    return this.#arena.subarray(offset, offset + this.#descriptors[3 * index + 2]);
  }
}

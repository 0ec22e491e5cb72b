/**
 * Collectives under way, by id, and which lanes are lost. Buffers of a collective belong to MPI from
 * the call until its event; those of a lane that missed a deadline, or that a regroup gave up, stay
 * referenced for ever: MPI may still write into them.
 */
import { BaashError, EXIT } from "../base/errors.ts";
import { type Buffers, CollectiveBuffers } from "./mpi-buffers.ts";

/** A collective under way: its buffers, and what to do with the outcome. */
export interface Collective {
  readonly lane: number;
  readonly buffers: Buffers;
  complete(): void;
  fail(error: BaashError): void;
}

export class MpiLanes {
  /** Of allgathers; the control lane of barrier and allreduce comes after these. */
  readonly #count: number;
  readonly #underWay = new Map<number, Collective>();
  #buffers = new CollectiveBuffers(1);
  /** How often lanes were installed: an event of older lanes is void. */
  #generation = 0;
  readonly #poisoned: boolean[];

  constructor(count: number) {
    this.#count = count;
    this.#poisoned = new Array<boolean>(count + 1).fill(false);
  }

  get generation(): number {
    return this.#generation;
  }

  isPoisoned(lane: number): boolean {
    return this.#poisoned[lane];
  }

  refusePoisoned(lane: number): void {
    if (!this.#poisoned[lane]) return;
    throw new BaashError(
      "LANE_POISONED",
      `collective lane ${lane} missed a deadline and is lost: regroup to get fresh lanes`,
      { data: { lane }, exitCode: EXIT.unavailable },
    );
  }

  /** The lanes of the start: `members` is 0 where there are none. */
  open(members: number): void {
    this.#buffers = new CollectiveBuffers(Math.max(1, members));
    if (members === 0) this.#poisoned.fill(true);
  }

  /** A pair of buffers in which each member has `blockBytes`; given back by `complete`. */
  takeBuffers(blockBytes: number): Buffers {
    return this.#buffers.take(blockBytes);
  }

  begin(id: number, collective: Collective): void {
    this.#underWay.set(id, collective);
  }

  complete(id: number): void {
    const collective = this.#underWay.get(id);
    if (collective === undefined) return; // given up by a regroup
    this.#underWay.delete(id);
    collective.complete();
    if (collective.lane < this.#count) this.#buffers.give(collective.buffers);
  }

  /** The lane is lost; true the first time. A call that was on its way then is not told again. */
  poison(lane: number, error: BaashError): boolean {
    const first = !this.#poisoned[lane];
    this.#poisoned[lane] = true;
    this.#abandon((collective) => collective.lane === lane, error);
    return first;
  }

  /** Fresh lanes of so many members. */
  replace(members: number): void {
    const error = new BaashError("REGROUPED", "a regroup gave this collective up", {
      exitCode: EXIT.unavailable,
    });
    this.#abandon(() => true, error);
    this.#buffers = new CollectiveBuffers(members);
    this.#generation++;
    this.#poisoned.fill(false);
  }

  #abandon(applies: (collective: Collective) => boolean, error: BaashError): void {
    for (const [id, collective] of this.#underWay) {
      if (!applies(collective)) continue;
      this.#underWay.delete(id);
      this.#buffers.abandon(collective.buffers);
      collective.fail(error);
    }
  }
}

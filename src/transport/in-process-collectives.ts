/**
 * Collectives of the in-process network. A collective is one object that all members of a group
 * join; it completes for each member on its own, later, or never. A group is what a communicator is
 * in MPI: all ranks at first, then those of a regroup; its collectives are numbered by lane.
 */
import { assert } from "../base/assert.ts";
import type { TransportClock } from "./in-process.ts";

/** How collectives behave; changeable while the network runs. */
export interface CollectiveModel {
  collectiveDelayMinMs: number;
  collectiveDelayMaxMs: number;
  /** Share of collectives that complete nowhere. */
  collectiveHangRate: number;
  /** Share of collectives that complete at some members only. */
  collectivePartialRate: number;
}

/** What a member contributes; `complete` gets all contributions in the order of the members. */
export interface Contribution {
  readonly rank: number;
  readonly bytes: Uint8Array;
  complete(parts: readonly Uint8Array[]): void;
}

interface Options {
  readonly clock: TransportClock;
  readonly random: { nextFloat(): number };
  readonly model: CollectiveModel;
  /** Both ranks live and nothing cuts them off from each other. */
  reachable(from: number, to: number): boolean;
}

export class InProcessCollectives {
  readonly #options: Options;
  /** What has begun and is not complete, by group, lane and number. */
  /** Collectives that chance let hang, or complete at some members only. */
  broken = 0;
  readonly #open = new Map<string, { shape: string; joined: Contribution[] }>();

  constructor(options: Options) {
    this.#options = options;
  }

  /** `key` names the collective; `shape` must be equal at all members, as sizes are in MPI. */
  join(key: string, members: readonly number[], shape: string, mine: Contribution): void {
    const open = this.#open.get(key) ?? { shape, joined: [] };
    this.#open.set(key, open);
    assert(open.shape === shape, `members of ${key} call the same: ${open.shape}, ${shape}`);
    // A rank that was restarted, or that tries a regroup again, joins in place of its former self.
    open.joined = open.joined.filter((other) => other.rank !== mine.rank);
    open.joined.push(mine);
    if (open.joined.length < members.length) return;
    this.#open.delete(key);
    this.#complete(members, open.joined);
  }

  /** All have joined: chance decides when each one is told, and whether. */
  #complete(members: readonly number[], joined: readonly Contribution[]): void {
    const { random, model, clock, reachable } = this.#options;
    const fate = random.nextFloat();
    const hangs = fate < model.collectiveHangRate;
    const partial = !hangs && fate < model.collectiveHangRate + model.collectivePartialRate;
    if (hangs || partial) this.broken++;
    const parts = members.map((rank) => joined.find((one) => one.rank === rank)!.bytes);
    for (const rank of members) {
      const mine = joined.find((one) => one.rank === rank)!;
      const spread = model.collectiveDelayMaxMs - model.collectiveDelayMinMs;
      const delayMs = model.collectiveDelayMinMs + random.nextFloat() * spread;
      const missed = partial && random.nextFloat() < 0.5;
      if (hangs || missed) continue;
      clock.schedule(clock.now() + delayMs, () => {
        // Data comes by way of the other members: it stays out if one of them is gone meanwhile.
        if (members.every((other) => reachable(other, rank))) mine.complete(parts);
      });
    }
  }
}

/**
 * How all members hear that a round is open, or which record was appended. In small epochs who knows
 * tells everybody. In large ones it tells the members 1, 2, 4, … places on, each of which does likewise:
 * everybody hears of it within ⌈log2 N⌉ steps, by several ways, and nobody sends more than ⌈log2 N⌉
 * messages. Main thread.
 */
import type { Decided } from "../consensus/effects.ts";
import type { RankContext } from "./context.ts";
import { encodeDecided, encodeRing, MESSAGE } from "./envelope.ts";

export interface AnnouncingPorts {
  /** The round's proposals go by collective: the epoch is large, and nobody is suspected. */
  gathers(round: number): boolean;
  send(to: readonly number[], type: number, body: Uint8Array): void;
}

export class Announcing {
  private readonly rank: RankContext;
  private readonly ports: AnnouncingPorts;
  /** Up to here records were told on. */
  private toldSlot = -1;

  constructor(rank: RankContext, ports: AnnouncingPorts) {
    this.rank = rank;
    this.ports = ports;
  }

  /** This rank opens a round; where proposals go to everybody, these say so. */
  opened(round: number): void {
    if (this.ports.gathers(round))
      this.ports.send(this.placesOn(), MESSAGE.ring, encodeRing(round));
  }

  /** This rank has appended a record. */
  decided(decided: Decided): void {
    const to = this.ports.gathers(decided.lastRound) ? this.placesOn() : this.rank.session.others;
    this.toldSlot = Math.max(this.toldSlot, decided.slot);
    this.ports.send(to, MESSAGE.decided, encodeDecided(decided));
  }

  /** A member said so. Told on it is hearsay: who says it has not seen to it that it is durable. */
  heard(decided: Decided): void {
    if (decided.slot <= this.toldSlot || !this.ports.gathers(decided.lastRound)) return;
    this.toldSlot = decided.slot;
    this.ports.send(this.placesOn(), MESSAGE.hearsay, encodeDecided(decided));
  }

  private placesOn(): number[] {
    const { self, ranks } = this.rank.session;
    const to: number[] = [];
    for (let distance = 1; distance < ranks; distance *= 2) to.push((self + distance) % ranks);
    return to;
  }
}

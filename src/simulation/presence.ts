/**
 * Who lived, and when it could act: the excuse of a promise that holds only while enough members
 * live, look and reach storage, and the proof that there was none. Times are virtual milliseconds.
 */

import { WALL_AT_START_MS } from "./virtual-clock.ts";

export interface Span {
  readonly from: number;
  readonly to: number;
}

/** One participation: an incarnation, and the process behind it. */
export interface Stay {
  readonly incarnation: string;
  readonly process: Living;
  /** Epoch (hex) → when it took part in it. */
  readonly entered: Map<string, number>;
}

/** What is known of a process, dead or alive. */
export interface Living {
  readonly name: string;
  readonly diedAt: number;
  /** How wrong its wall clock is. */
  readonly skewMs: number;
  /** It slept, or had no storage. */
  readonly absences: readonly Span[];
}

export class Presence {
  private readonly stays = new Map<string, Stay>();

  /** False: somebody has been that incarnation before. */
  drawn(incarnation: string, process: Living): boolean {
    if (this.stays.has(incarnation)) return false;
    this.stays.set(incarnation, { incarnation, process, entered: new Map() });
    return true;
  }

  entered(incarnation: string, epoch: string, at: number): void {
    this.stays.get(incarnation)?.entered.set(epoch, at);
  }

  /** Virtual time of what that incarnation dated by its own wall clock. */
  virtualTime(incarnation: string, wallMs: number): number {
    return wallMs - WALL_AT_START_MS - (this.processOf(incarnation)?.skewMs ?? 0);
  }

  processOf(incarnation: string): Living | undefined {
    return this.stays.get(incarnation)?.process;
  }

  /** It took part in the epoch, and could look at storage and link at any time of the span. */
  couldAct(incarnation: string, epoch: string, { from, to }: Span): boolean {
    const stay = this.stays.get(incarnation);
    const since = stay?.entered.get(epoch);
    if (stay === undefined || since === undefined || since > from) return false;
    const { diedAt, absences } = stay.process;
    return diedAt > to && !absences.some((away) => away.from < to && away.to > from);
  }
}

/**
 * When this rank asks for a round: for a full block, for one whose oldest transaction has waited
 * blockDelay, or at once where rounds are short and none of its own is under way (round-trips.ts); not
 * more often than the round interval, and not while storage lags behind. Main thread.
 */
import type { KeyedFifo } from "../queue/keyed-fifo.ts";
import type { RankContext, RankShared } from "./context.ts";
import type { Performer } from "./perform.ts";

export interface DemandPorts {
  /** The epoch that may be asked now; undefined while an input is being handled, or outside. */
  epoch(): { readonly context: RankContext; readonly performer: Performer } | undefined;
  /** The rank drains: no block waits to be full. */
  draining(): boolean;
  demand(): void;
}

export class Demand {
  private readonly shared: () => RankShared;
  private readonly ports: DemandPorts;
  private lastOpenedAt = Number.NEGATIVE_INFINITY;
  private timerSet = false;

  constructor(shared: () => RankShared, ports: DemandPorts) {
    this.shared = shared;
    this.ports = ports;
  }

  /** The last block may close before it is full. */
  oldestIsDue(): boolean {
    const { transactions, clock, settings, own } = this.shared();
    if (own.inFlight === 0 && own.roundTrips.areShort(settings.blockDelayMs)) return true;
    const waited = clock.wall() - transactions.oldestTime();
    return this.ports.draining() || waited >= settings.blockDelayMs;
  }

  seek(): void {
    const epoch = this.ports.epoch();
    if (epoch === undefined || epoch.performer.busyBuilding) return;
    const { transactions, settings, core, clock, incoming, proposals, session } = epoch.context;
    const waiting = transactions.waiting();
    if (waiting === 0) return;
    const now = clock.now();
    const open = this.lastOpenedAt + settings.roundIntervalMs;
    if (now < open) return this.seekAt(open);
    if (waiting < settings.blockTransactions && !this.oldestIsDue()) {
      const age = clock.wall() - transactions.oldestTime();
      return this.seekAt(now + Math.max(settings.blockDelayMs - age, 0));
    }
    // Back-pressure: rounds that storage has not taken fill the incoming queue.
    if (!core.mayOpen || !hasRoom(incoming.fifo)) return;
    // A round in which this rank could propose nothing would only make the others' wait longer.
    if (proposals.ownRoom(session.self) === 0) return;
    this.lastOpenedAt = now;
    this.ports.demand();
  }

  private seekAt(at: number): void {
    if (this.timerSet) return;
    this.timerSet = true;
    this.shared().clock.schedule(at, () => {
      this.timerSet = false;
      this.seek();
    });
  }
}

function hasRoom(fifo: KeyedFifo): boolean {
  const { slotCount, bytes } = fifo;
  return fifo.freeSlots() > slotCount / 4 && fifo.freeBytes() > bytes.length / 4;
}

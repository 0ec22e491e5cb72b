/**
 * Keeps one cause from filling the list of events: of the same kind about the same member one event
 * an interval is told, and it says how many were not.
 */
import type { MonitorEvent, MonitorEventKind } from "./monitor-events.ts";

/** What a single cause can bring about at any rate; the rest is rare by itself. */
const DAMPED: ReadonlySet<MonitorEventKind> = new Set<MonitorEventKind>([
  ...(["unheard", "late", "missed", "lane-lost", "status", "exception"] as const),
]);

export class EventDamper {
  private readonly intervalMs: number;
  /** Bounded by kinds times members. */
  private readonly told = new Map<string, { at: number; untold: number }>();

  constructor(intervalMs: number) {
    this.intervalMs = intervalMs;
  }

  /** The event to tell, or undefined. */
  admit(event: MonitorEvent): MonitorEvent | undefined {
    if (!DAMPED.has(event.kind)) return event;
    const key = `${event.kind} ${event.rank}`;
    const last = this.told.get(key);
    if (last !== undefined && event.at - last.at < this.intervalMs) {
      last.untold++;
      return undefined;
    }
    this.told.set(key, { at: event.at, untold: 0 });
    if (last === undefined || last.untold === 0) return event;
    return { ...event, text: `${event.text} (and ${last.untold} times before)` };
  }
}

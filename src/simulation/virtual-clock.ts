/**
 * Time of a simulation: a heap of what is due, in order of time and then of scheduling. Between two
 * events every promise that can go on does so, at one virtual instant: what runs is a function of
 * the seed alone. A process has a clock of its own on top, which stops with it and may freeze.
 */
import { drainMicrotasks } from "bun:jsc";
import type { Clock } from "../rank/ports.ts";

interface Event {
  readonly at: number;
  readonly order: number;
  callback: (() => void) | undefined;
}

const EVENTS_A_TURN = 1024;

/** 2026-01-01, so that transactions and records carry a plausible date. */
export const WALL_AT_START_MS = 1_767_225_600_000;

export class VirtualClock implements Clock {
  private readonly heap: Event[] = [];
  private time = 0;
  private order = 0;
  events = 0;

  now(): number {
    return this.time;
  }

  wall(): number {
    return WALL_AT_START_MS + this.time;
  }

  schedule(at: number, callback: () => void): () => void {
    const event: Event = { at: Math.max(at, this.time), order: this.order++, callback };
    this.push(event);
    return () => {
      event.callback = undefined;
    };
  }

  after(delayMs: number, callback: () => void): () => void {
    return this.schedule(this.time + delayMs, callback);
  }

  /** Runs events until `done` or until nothing is due before `until`. What a callback throws ends it. */
  async run(until: number, done: () => boolean): Promise<void> {
    while (!done()) {
      const next = this.heap[0];
      if (next === undefined || next.at > until) {
        this.time = Math.max(this.time, until);
        return;
      }
      this.pop();
      if (next.callback === undefined) continue;
      this.time = next.at;
      this.events++;
      next.callback();
      drainMicrotasks();
      if (this.events % EVENTS_A_TURN === 0) await turn();
    }
  }

  private push(event: Event): void {
    const { heap } = this;
    let at = heap.push(event) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(event, heap[parent])) break;
      heap[at] = heap[parent];
      at = parent;
    }
    heap[at] = event;
  }

  private pop(): void {
    const { heap } = this;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1], heap[child])) child++;
      if (!before(heap[child], last)) break;
      heap[at] = heap[child];
      at = child;
    }
    heap[at] = last;
  }
}

function before(a: Event, b: Event): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}

/**
 * A turn of the real event loop, where unhandled rejections are told and signals heard. Not between
 * any two events: it takes a millisecond. By a timer: a setImmediate alone may leave Bun asleep.
 */
export function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

/** The clock of one process: nothing fires once it is dead, nor while it is frozen (SIGSTOP). */
export class ProcessClock implements Clock {
  private readonly clock: VirtualClock;
  private readonly skewMs: number;
  private dead = false;
  private frozenUntil = 0;

  /** `skewMs`: how wrong its wall clock is. */
  constructor(clock: VirtualClock, skewMs: number) {
    this.clock = clock;
    this.skewMs = skewMs;
  }

  now(): number {
    return this.clock.now();
  }

  wall(): number {
    return this.clock.wall() + this.skewMs;
  }

  schedule(at: number, callback: () => void): () => void {
    let cancelled = false;
    let cancel = () => {};
    const fire = () => {
      if (this.dead || cancelled) return;
      if (this.clock.now() < this.frozenUntil) cancel = this.clock.schedule(this.frozenUntil, fire);
      else callback();
    };
    cancel = this.clock.schedule(at, fire);
    return () => {
      cancelled = true;
      cancel();
    };
  }

  get frozen(): boolean {
    return this.clock.now() < this.frozenUntil;
  }

  freeze(forMs: number): void {
    this.frozenUntil = Math.max(this.frozenUntil, this.clock.now() + forMs);
  }

  kill(): void {
    this.dead = true;
  }
}

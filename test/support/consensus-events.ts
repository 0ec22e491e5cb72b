/** Virtual time: what happens when, in the order of time and then of scheduling. */

interface Event {
  readonly at: number;
  readonly order: number;
  readonly run: () => void;
}

export class Events {
  now = 0;
  private readonly heap: Event[] = [];
  private order = 0;

  after(ms: number, run: () => void): void {
    const event = { at: this.now + ms, order: this.order++, run };
    const { heap } = this;
    let at = heap.push(event) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (before(heap[parent], event)) break;
      heap[at] = heap[parent];
      at = parent;
    }
    heap[at] = event;
  }

  private pop(): Event | undefined {
    const { heap } = this;
    const first = heap[0];
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1], heap[child])) child++;
      if (before(last, heap[child])) break;
      heap[at] = heap[child];
      at = child;
    }
    heap[at] = last;
    return first;
  }

  /** Runs until `until` ms, or until `done` says so. Returns true when `done` did. */
  run(until: number, done: () => boolean): boolean {
    while (!done()) {
      const next = this.heap[0];
      if (next === undefined || next.at > until) {
        this.now = Math.max(this.now, until);
        return false;
      }
      this.pop();
      this.now = next.at;
      next.run();
    }
    return true;
  }
}

function before(a: Event, b: Event): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}

/**
 * C2: members of one host watch each other's processes, which tells of a SIGKILL or an OOM kill
 * within a tenth of a second, where silence takes seconds and may mean anything. Each watches the
 * next few of the host that still live; whoever is found dead is passed over in the same look, so
 * that a whole row that died together is found at once. Runs on the main thread.
 *
 * Invariant: only who was seen alive is ever called gone. Members in containers may share the name
 * of a host and not its processes: there a pid says nothing, and heartbeats alone tell of deaths.
 */

/** A member of the own host, as its process is known to the system. */
export interface WatchedProcess {
  readonly rank: number;
  readonly pid: number;
  /**
   * Clock ticks from boot to its start (proc(5), field 22): tells it from a later process of the
   * same pid. 0: unknown, and so not watched.
   */
  readonly startTicks: number;
}

export interface ProcessWatch {
  /** Replaces what is watched: the others of the own host, nearest first (`successorsOnHost`). */
  watch(list: readonly WatchedProcess[]): void;
  /** Called once for each member of the list whose process has ended, never inside `watch`. */
  onGone: (rank: number) => void;
  close(): void;
}

/** What one look at a process says; "unknown" when the system would not tell. */
export type Sighting = "alive" | "gone" | "unknown";

export interface PollingWatchOptions {
  readonly look: (process: WatchedProcess) => Sighting;
  /** Calls back once after so many milliseconds; answers how to cancel that. */
  readonly after: (delayMs: number, callback: () => void) => () => void;
  readonly intervalMs?: number;
}

const LOOK_INTERVAL_MS = 100;
/** Processes that one rank looks at: like OBSERVERS of the ring. */
const WATCHED = 3;

export class PollingWatch implements ProcessWatch {
  onGone: (rank: number) => void = () => {};
  private readonly options: PollingWatchOptions;
  /** Not found dead so far, nearest first. */
  private living: WatchedProcess[] = [];
  /** Seen alive at least once, over all lists. */
  private seen = new Set<string>();
  /** Everybody on the list is looked at once, to be seen alive. */
  private isNew = false;
  private cancel: (() => void) | undefined;

  constructor(options: PollingWatchOptions) {
    this.options = options;
  }

  watch(list: readonly WatchedProcess[]): void {
    this.close();
    this.living = list.filter(({ startTicks }) => startTicks > 0);
    this.seen = new Set(this.living.map(nameOf).filter((name) => this.seen.has(name)));
    this.isNew = true;
    this.schedule(0);
  }

  close(): void {
    this.cancel?.();
    this.cancel = undefined;
    this.living = [];
  }

  private schedule(delayMs: number): void {
    this.cancel = undefined;
    if (this.living.length > 0) this.cancel = this.options.after(delayMs, () => this.look());
  }

  private look(): void {
    const gone = new Set<WatchedProcess>();
    let alive = 0;
    for (const each of this.living) {
      if (alive === WATCHED && !this.isNew) break;
      const sighting = this.options.look(each);
      if (sighting === "alive") this.seen.add(nameOf(each));
      if (sighting === "gone") gone.add(each);
      else alive++;
    }
    this.isNew = false;
    const living = this.living.filter((each) => !gone.has(each));
    this.living = living;
    this.schedule(this.options.intervalMs ?? LOOK_INTERVAL_MS);
    for (const each of gone) {
      // The answer to one may be another list, with other ranks in it: it is looked at anew.
      if (this.living !== living) return;
      if (this.seen.has(nameOf(each))) this.onGone(each.rank);
    }
  }
}

function nameOf({ pid, startTicks }: WatchedProcess): string {
  return `${pid}/${startTicks}`;
}

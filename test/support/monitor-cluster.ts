/**
 * N fault monitors in one thread: virtual time, a rule that says of each message when it arrives, if
 * at all, and processes that die, stop and go on. With `hosts` watched, deaths are also seen by the
 * production's polling watch over these processes. Deterministic: the same calls give the same run.
 */
import { FaultMonitor } from "../../src/monitor/fault-monitor.ts";
import type {
  MonitorEffect,
  MonitorEvent,
  MonitorInput,
  MonitorTiming,
} from "../../src/monitor/monitor-events.ts";
import { PollingWatch } from "../../src/monitor/process-watch.ts";
import { successorsOnHost } from "../../src/monitor/ring.ts";

export const TIMING: MonitorTiming = {
  heartbeatMs: 100,
  suspectMs: 1000,
  evictMs: 3000,
  turnDelayMs: 200,
  scale: 1,
};

export interface MonitorMessage {
  readonly kind: "heartbeat" | "probe" | "accuse" | "absolve";
  readonly from: number;
  readonly to: number;
  readonly at: number;
  /** Whom an accusation is about. */
  readonly about?: number;
  readonly certain?: boolean;
}

/** Milliseconds that a message takes; undefined: it never arrives. */
export type Network = (message: MonitorMessage) => number | undefined;

export interface MonitorClusterOptions {
  readonly ranks: number;
  readonly answersMin?: number;
  readonly certainMin?: number;
  readonly hosts?: readonly string[];
  readonly timing?: Partial<MonitorTiming>;
  readonly network?: Network;
  /** Deaths are seen by the processes of the same host. */
  readonly processWatch?: boolean;
  /** How much later than asked a tick comes. */
  readonly lateness?: (rank: number) => number;
}

export interface Eviction {
  readonly at: number;
  readonly by: number;
  readonly ranks: readonly number[];
  /** Whom `by` suspected then. */
  readonly suspects: readonly number[];
}

interface Member {
  readonly monitor: FaultMonitor;
  readonly watch: PollingWatch | undefined;
  isDead: boolean;
  isStopped: boolean;
  /** What happens to a stopped process happens when it goes on: its timers first, the harder case. */
  readonly timers: (() => void)[];
  readonly messages: (() => void)[];
  tickAt: number;
  suspects: readonly number[];
}

interface Due {
  readonly at: number;
  readonly order: number;
  readonly run: () => void;
}

export class MonitorCluster {
  now = 0;
  network: Network;
  readonly members: Member[] = [];
  readonly evictions: Eviction[] = [];
  readonly suspicions: { at: number; by: number; ranks: readonly number[] }[] = [];
  readonly events: { by: number; event: MonitorEvent }[] = [];
  readonly alerts: { by: number; reason: string }[] = [];
  readonly sent = { heartbeat: 0, probe: 0, accuse: 0, absolve: 0 };
  private readonly options: MonitorClusterOptions;
  private due: Due[] = [];
  private order = 0;

  constructor(options: MonitorClusterOptions) {
    this.options = options;
    this.network = options.network ?? (() => 1);
    const { ranks, answersMin = Math.ceil(options.ranks / 2), certainMin = 1 } = options;
    const hosts = options.hosts ?? Array.from({ length: ranks }, (_, rank) => `host-${rank}`);
    const timing = { ...TIMING, ...options.timing };
    for (let self = 0; self < ranks; self++) {
      this.members.push({
        monitor: new FaultMonitor({ self, ranks, answersMin, certainMin, hosts, timing }, 0),
        watch: options.processWatch ? this.openWatch(self) : undefined,
        ...{ isDead: false, isStopped: false, timers: [], messages: [], suspects: [] },
        tickAt: Number.POSITIVE_INFINITY,
      });
    }
    for (let self = 0; self < ranks; self++) {
      this.input(self, { type: "tick" });
      const list = successorsOnHost(self, hosts).map((rank) => ({
        rank,
        pid: rank,
        startTicks: 1,
      }));
      this.members[self].watch?.watch(list);
    }
  }

  private openWatch(self: number): PollingWatch {
    const watch = new PollingWatch({
      look: ({ pid }) => (this.members[pid].isDead ? "gone" : "alive"),
      after: (delayMs, callback) =>
        this.schedule(this.now + delayMs, () => this.onTimer(self, callback)),
    });
    watch.onGone = (rank) => this.input(self, { type: "gone", rank });
    return watch;
  }

  // What happens to processes.

  kill(...ranks: number[]): void {
    for (const rank of ranks) this.members[rank].isDead = true;
  }

  stop(rank: number): void {
    this.members[rank].isStopped = true;
  }

  resume(rank: number): void {
    const member = this.members[rank];
    member.isStopped = false;
    for (const each of [...member.timers.splice(0), ...member.messages.splice(0)])
      this.at(rank, each);
  }

  /** Calls back at `at`, in the order of time and then of scheduling. */
  schedule(at: number, run: () => void): () => void {
    const event = { at: Math.max(at, this.now), order: this.order++, run };
    let place = this.due.length;
    while (place > 0 && this.due[place - 1].at <= event.at) place--;
    this.due.splice(place, 0, event); // the soonest last
    return () => {
      this.due = this.due.filter((each) => each !== event);
    };
  }

  run(untilMs: number): void {
    for (let next = this.due.at(-1); next !== undefined && next.at <= untilMs; ) {
      this.due.pop();
      this.now = next.at;
      next.run();
      next = this.due.at(-1);
    }
    this.now = untilMs;
  }

  input(rank: number, input: MonitorInput): void {
    this.at(rank, () => this.perform(rank, this.members[rank].monitor.step(input, this.now)));
  }

  get living(): number[] {
    return this.members.flatMap(({ isDead }, rank) => (isDead ? [] : [rank]));
  }

  /** Members that the living ones among `ranks` suspect, if they agree; else undefined. */
  agreedSuspects(ranks: readonly number[] = this.living): readonly number[] | undefined {
    const sets = ranks.map((rank) => JSON.stringify(this.members[rank].suspects));
    return new Set(sets).size === 1 ? JSON.parse(sets[0]) : undefined;
  }

  private at(rank: number, run: () => void): void {
    const member = this.members[rank];
    if (member.isDead) return;
    if (member.isStopped) member.messages.push(run);
    else run();
  }

  private onTimer(rank: number, run: () => void): void {
    if (this.members[rank].isStopped) this.members[rank].timers.push(run);
    else this.at(rank, run);
  }

  private perform(self: number, effects: readonly MonitorEffect[]): void {
    for (const effect of effects) {
      switch (effect.type) {
        case "heartbeat":
          for (const to of effect.to) this.send({ kind: "heartbeat", from: self, to });
          break;
        case "probe":
          this.send({ kind: "probe", from: self, to: effect.to });
          break;
        case "accuse":
        case "absolve":
          for (let to = 0; to < this.members.length; to++) {
            const certain = effect.type === "accuse" && effect.certain;
            if (to !== self)
              this.send({ kind: effect.type, from: self, to, about: effect.rank, certain });
          }
          break;
        case "suspects":
          this.members[self].suspects = effect.ranks;
          this.suspicions.push({ at: this.now, by: self, ranks: effect.ranks });
          break;
        case "evict":
          this.evictions.push({
            ...{ at: this.now, by: self, ranks: effect.ranks },
            suspects: this.members[self].suspects,
          });
          break;
        case "alert":
          this.alerts.push({ by: self, reason: effect.reason });
          break;
        case "event":
          this.events.push({ by: self, event: effect.event });
          break;
      }
    }
    this.setTimer(self);
  }

  private setTimer(self: number): void {
    const member = this.members[self];
    const at = member.monitor.nextDeadline();
    if (at <= this.now) throw new Error(`rank ${self} wants to tick at ${at}, now ${this.now}`);
    if (at >= member.tickAt || at === Number.POSITIVE_INFINITY) return;
    member.tickAt = at;
    this.schedule(at + (this.options.lateness?.(self) ?? 0), () =>
      this.onTimer(self, () => {
        if (member.tickAt !== at) return; // an earlier one was wanted since
        member.tickAt = Number.POSITIVE_INFINITY;
        this.input(self, { type: "tick" });
      }),
    );
  }

  private send(message: Omit<MonitorMessage, "at">): void {
    this.sent[message.kind]++;
    const delay = this.network({ ...message, at: this.now });
    if (delay === undefined) return;
    this.schedule(this.now + delay, () => this.at(message.to, () => this.receive(message)));
  }

  private receive({
    kind,
    from,
    to,
    about = 0,
    certain = false,
  }: Omit<MonitorMessage, "at">): void {
    const effects = this.members[to].monitor.heard(from, this.now);
    if (effects.length > 0) this.perform(to, effects);
    if (kind === "probe") this.send({ kind: "heartbeat", from: to, to: from });
    if (kind === "accuse") this.input(to, { type: "accused", by: from, rank: about, certain });
    if (kind === "absolve") this.input(to, { type: "absolved", by: from, rank: about });
  }
}

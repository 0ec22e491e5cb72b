/**
 * Collects what status.json and the metrics say, and has them written while this process is the
 * speaking member: on an interval, and at each turn of its state.
 */
import { toHex } from "../base/bytes.ts";
import type { MonitorEvent } from "../monitor/monitor-events.ts";
import type { RunningRank } from "../rank/start.ts";
import { type JobState, type JobStatus, StatusFile, type StatusPaths } from "./status-file.ts";

const EVENTS_KEPT = 100;
const FLUSH_MS = 1000;

export class StatusKeeper {
  private readonly rank: RunningRank;
  private readonly speaks: () => boolean;
  private readonly file: StatusFile;
  private readonly synced: boolean;
  private readonly events: MonitorEvent[] = [];
  private state: JobState = "starting";
  private reason: JobStatus["reason"];
  private timer: ReturnType<typeof setInterval> | undefined;
  private storageError: string | undefined;

  constructor(
    paths: StatusPaths & { readonly sync: boolean },
    rank: RunningRank,
    speaks: () => boolean,
  ) {
    this.rank = rank;
    this.speaks = speaks;
    this.file = new StatusFile(paths);
    this.synced = paths.sync;
  }

  start(everyMs: number): void {
    this.timer = setInterval(() => this.keep(), everyMs);
    this.timer.unref();
  }

  event(event: MonitorEvent): void {
    // The monitor's clock starts with the process; a file is read by others.
    this.events.push({ ...event, at: performance.timeOrigin + event.at });
    if (this.events.length > EVENTS_KEPT) this.events.shift();
    this.keep();
  }

  storage(error: string | undefined): void {
    this.storageError = error;
  }

  /** The last state reaches the file before the process ends. */
  async close(): Promise<void> {
    await this.file.flush(FLUSH_MS);
  }

  turn(state: JobState, reason?: JobStatus["reason"]): void {
    this.state = state;
    this.reason = reason;
    if (state === "stopped" || state === "failed") clearInterval(this.timer);
    this.keep();
  }

  private keep(): void {
    if (!this.speaks()) return;
    const status = this.snapshot();
    if (status !== undefined) this.file.write(status);
  }

  private snapshot(): JobStatus | undefined {
    const { loop, transport, chain } = this.rank;
    const { context } = loop;
    if (context === undefined) return undefined;
    if (this.state === "starting") this.state = "running";
    const { session, roster } = context;
    const { suspects } = loop;
    return {
      at: Date.now(),
      pid: process.pid,
      process: transport.rank,
      rank: session.self,
      ranks: session.ranks,
      state: this.state,
      ...(this.reason && { reason: this.reason }),
      chainId: toHex(chain.chainId),
      epoch: {
        hash: toHex(session.epoch),
        slot: loop.epochSlot,
        number: loop.shared.counters.epochs,
      },
      members: session.members.map(({ rank, host, incarnation }) => ({
        rank,
        process: session.process(rank) ?? -1,
        pid: roster.get(toHex(incarnation))?.mark.pid ?? 0,
        host,
        incarnation: toHex(incarnation),
        suspected: suspects.includes(rank),
        lastHeardMs: rank === session.self ? 0 : Math.round(loop.heardAgoMs(rank)),
      })),
      slot: chain.slot,
      settledRound: chain.settledRound,
      head: chain.hash,
      unsettledRounds: context.core.unsettled,
      storage: {
        available: this.storageError === undefined,
        synced: this.synced,
        ...(this.storageError !== undefined && { lastError: this.storageError }),
      },
      events: [...this.events],
      counters: flatten({
        ...loop.counters,
        intake: loop.intake.counters,
        transport: transport.counters(),
      }),
    };
  }
}

/** Numbers of nested objects, by dotted name. */
function flatten(value: object, prefix = ""): Record<string, number> {
  const flat: Record<string, number> = {};
  for (const [name, part] of Object.entries(value)) {
    if (typeof part === "number") flat[prefix + name] = part;
    else if (typeof part === "object" && part !== null)
      Object.assign(flat, flatten(part, `${prefix}${name}.`));
  }
  return flat;
}

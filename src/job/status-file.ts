/**
 * status.json and the metrics file: what the speaking rank knows of the job, for people, for
 * supervisors and for monitoring. Each is replaced as a whole by rename, so that a reader never
 * sees half of it. Writing never waits: one write is under way at most, the newest status is the
 * next, and a file system that hangs or is full costs nothing but the news.
 */
import { rename, rm, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";
import { errorCode } from "../base/errors.ts";
import { logger } from "../base/log.ts";
import type { MonitorEvent } from "../monitor/monitor-events.ts";
import { metricsText } from "./metrics-text.ts";

const log = logger("status");

export type JobState = "starting" | "running" | "sealing" | "draining" | "stopped" | "failed";

export interface MemberStatus {
  readonly rank: number;
  readonly process: number;
  readonly pid: number;
  readonly host: string;
  readonly incarnation: string;
  readonly suspected: boolean;
  /** Milliseconds since the telling rank heard it; 0 of itself. */
  readonly lastHeardMs: number;
}

/** What one rank knows of the job at one moment: plain data, as it stands in status.json. */
export interface JobStatus {
  /** Milliseconds since 1970; so are the times of `events` here. */
  readonly at: number;
  readonly pid: number;
  readonly process: number;
  readonly rank: number;
  readonly ranks: number;
  readonly state: JobState;
  /** Why it stopped or failed. */
  readonly reason?: { readonly code: string; readonly message: string; readonly exitCode: number };
  readonly chainId: string;
  readonly epoch: { readonly hash: string; readonly slot: number; readonly number: number };
  readonly members: readonly MemberStatus[];
  readonly slot: number;
  readonly settledRound: number;
  readonly head: string;
  readonly unsettledRounds: number;
  /** Not synced: what is final was linked only, and a loss of power may take it. */
  readonly storage: {
    readonly available: boolean;
    readonly synced: boolean;
    readonly lastError?: string;
  };
  /** The newest hundred, oldest first. */
  readonly events: readonly MonitorEvent[];
  /** What the parts of this process count, by dotted name. */
  readonly counters: Readonly<Record<string, number>>;
}

export interface StatusPaths {
  /** Gets the JSON. */
  readonly status?: string | undefined;
  /** Gets the metrics; the textfile collector wants a name that ends in .prom. */
  readonly metrics?: string | undefined;
}

export class StatusFile {
  private readonly targets: readonly Target[];

  constructor({ status, metrics }: StatusPaths) {
    const targets: Target[] = [];
    if (status !== undefined)
      targets.push(new Target(status, (each) => `${JSON.stringify(each, null, 2)}\n`));
    if (metrics !== undefined) targets.push(new Target(metrics, metricsText));
    this.targets = targets;
  }

  /** Returns at once; of several calls during one write the last one counts. */
  write(status: JobStatus): void {
    for (const target of this.targets) target.write(status);
  }

  /** True once everything handed over is written, false if that failed or took longer than that. */
  async flush(deadlineMs: number): Promise<boolean> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const tooLate = new Promise<boolean>((resolve) => {
      timer = setTimeout(() => resolve(false), deadlineMs);
    });
    const written = Promise.all(this.targets.map((target) => target.flushed()));
    const done = await Promise.race([written.then((each) => each.every(Boolean)), tooLate]);
    clearTimeout(timer);
    return done;
  }
}

/** One file. */
class Target {
  private readonly path: string;
  private readonly textOf: (status: JobStatus) => string;
  /** In the same directory, as rename needs; its own on each host, as the speaker may change. */
  private readonly temporary: string;
  private next: JobStatus | undefined;
  private writing: Promise<void> | undefined;
  /** Code of the last failure; undefined while all is well. */
  private failure: string | undefined;

  constructor(path: string, textOf: (status: JobStatus) => string) {
    this.path = path;
    this.textOf = textOf;
    // The collector takes every file that ends in .prom, so this one must not.
    const name = `.${basename(path)}.${hostname()}-${process.pid}.tmp`;
    this.temporary = join(dirname(path), name);
  }

  write(status: JobStatus): void {
    this.next = status;
    this.writing ??= this.writeAll().finally(() => {
      this.writing = undefined;
    });
  }

  async flushed(): Promise<boolean> {
    await this.writing;
    return this.failure === undefined;
  }

  /** Until there is nothing newer. */
  private async writeAll(): Promise<void> {
    for (let status = this.next; status !== undefined; status = this.next) {
      this.next = undefined;
      try {
        await writeFile(this.temporary, this.textOf(status));
        await rename(this.temporary, this.path);
        this.failure = undefined;
      } catch (error) {
        this.fail(error);
        await rm(this.temporary, { force: true }).catch(() => {}); // goes with the directory
      }
    }
  }

  /** Said once for each cause: the next status may come in a tenth of a second. */
  private fail(error: unknown): void {
    const code = errorCode(error);
    if (code === this.failure) return;
    this.failure = code;
    log.warning(
      "{path} could not be written ({code}) and shows an old status: is its directory there, with space left?",
      { path: this.path, code },
    );
  }
}

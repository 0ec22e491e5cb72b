/**
 * Faults on demand, for chaos runs: a rank that dies or throws in the middle of a validation. Off
 * unless BAASH_FAULT names one, so that it costs a running rank nothing.
 *
 *   exit@validation:after=200     ends the process in its 200th validation, as a bug would
 *   kill@validation:after=200     the same by SIGKILL, which runs no exit routine
 *   throw@validation:rate=0.01    every hundredth validation throws, on average
 *   slow@validation:ms=50         every validation takes so much longer
 *
 * `process=3` limits it to one process of the job, `process=1-4` to some.
 */
import { usageError } from "../base/errors.ts";
import type { BuildRequest } from "../queue/block-building.ts";
import type { CheckRequest } from "../queue/block-checking.ts";
import type { PoolHandler, WorkerPool } from "./ports.ts";

const ACTIONS = ["exit", "kill", "throw", "slow"] as const;

export interface Fault {
  readonly action: (typeof ACTIONS)[number];
  readonly after: number;
  readonly rate: number;
  readonly ms: number;
  /** From … to; undefined: every process. */
  readonly processes: readonly [number, number] | undefined;
}

/** The fault is meant for this process of the job. */
export function concerns({ processes }: Fault, process: number): boolean {
  return processes === undefined || (process >= processes[0] && process <= processes[1]);
}

export function parseFault(text: string): Fault {
  const [what, options = ""] = text.split(/:(.*)/s);
  const [action, place] = what.split("@");
  const known = ACTIONS.find((name) => name === action);
  if (known === undefined || place !== "validation") {
    throw usageError(
      "BAD_FAULT",
      `BAASH_FAULT=${text} is no fault: use ${ACTIONS.join(", ")}@validation, for instance exit@validation:after=200`,
    );
  }
  const parts = options.split(",").filter((part) => part !== "");
  const given = new Map<string, number>();
  let processes: [number, number] | undefined;
  for (const part of parts) {
    const [name, value = ""] = part.split("=");
    const range = /^(\d+)(?:-(\d+))?$/.exec(value);
    if (name === "process" && range !== null) {
      processes = [Number(range[1]), Number(range[2] ?? range[1])];
      continue;
    }
    if (["after", "rate", "ms"].includes(name) && Number(value) >= 0) {
      given.set(name, Number(value));
      continue;
    }
    throw usageError("BAD_FAULT", `BAASH_FAULT=${text}: '${name}' is after, rate, ms or process`);
  }
  return {
    action: known,
    after: given.get("after") ?? 1,
    rate: given.get("rate") ?? 1,
    ms: given.get("ms") ?? 0,
    processes,
  };
}

/** A pool whose validations go wrong as `fault` says. */
export class FaultyPool implements WorkerPool {
  private readonly pool: WorkerPool;
  private readonly fault: Fault;
  private checks = 0;

  constructor(pool: WorkerPool, fault: Fault) {
    this.pool = pool;
    this.fault = fault;
  }

  get handler(): PoolHandler {
    return this.pool.handler;
  }
  set handler(handler: PoolHandler) {
    this.pool.handler = handler;
  }

  build(request: BuildRequest): void {
    this.pool.build(request);
  }

  check(ticket: number, request: CheckRequest, txnCount: number): void {
    const { action, after, rate, ms } = this.fault;
    this.checks++;
    const hit = this.checks >= after && Math.random() < rate;
    if (!hit) return this.pool.check(ticket, request, txnCount);
    switch (action) {
      case "exit":
        process.exit(70);
        break;
      case "kill":
        process.kill(process.pid, "SIGKILL");
        break;
      case "throw":
        return this.handler.onCheckFailed(ticket, new Error("BAASH_FAULT=throw@validation"));
      case "slow":
        setTimeout(() => this.pool.check(ticket, request, txnCount), ms);
    }
  }

  counters(): Record<string, number> {
    return this.pool.counters();
  }

  close(): Promise<void> {
    return this.pool.close();
  }
}

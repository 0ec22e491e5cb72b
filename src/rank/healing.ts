/**
 * Brings the job back to its size: the lowest member has all members start replacements together
 * (MPI_Comm_spawn is collective). Processes that were evicted but still live are waited for first.
 * What is started says hello like any newcomer.
 */
import { errorCode } from "../base/errors.ts";
import type { RankContext } from "./context.ts";
import { MESSAGE } from "./envelope.ts";
import { encodeHeal, type Heal } from "./membership-messages.ts";

/** Between two attempts, doubling while replacements keep failing. */
const PAUSE_MS = 1000;
const PAUSE_MAX_MS = 60_000;
/** A replacement that took part for so long was no failure. */
const SETTLED_MS = 30_000;
/** A process that was started says hello within this, or is counted as lost. */
const ARRIVAL_MS = 30_000;

export class Healing {
  /** Started and not admitted yet. */
  private expected = 0;
  private expectedUntil = Number.NEGATIVE_INFINITY;
  /** Evicted processes that may live, and until when they are waited for. */
  private readonly awaited = new Map<number, number>();
  private attempts = 0;
  private pauseMs = PAUSE_MS;
  private nextAt = Number.NEGATIVE_INFINITY;
  private spawning = false;
  private possible = true;
  private enteredAt = Number.NEGATIVE_INFINITY;
  private context: RankContext | undefined;
  private send: ((to: readonly number[], type: number, body: Uint8Array) => void) | undefined;
  private readonly command: readonly string[];
  private cancel: (() => void) | undefined;

  constructor(command: readonly string[]) {
    this.command = command;
  }

  /** `left`: processes that are no members any more; `dead` of them are known to have ended. */
  entered(
    context: RankContext,
    options: {
      send(to: readonly number[], type: number, body: Uint8Array): void;
      left: readonly number[];
      dead: readonly number[];
      /** Members that the epoch before did not have. */
      admitted: number;
    },
  ): void {
    const { clock, settings, session } = context;
    const now = clock.now();
    this.context = context;
    this.send = options.send;
    this.expected = Math.max(0, this.expected - options.admitted);
    if (now - this.enteredAt > SETTLED_MS) this.pauseMs = PAUSE_MS;
    this.enteredAt = now;
    for (const process of options.left)
      if (!options.dead.includes(process)) this.awaited.set(process, now + settings.healAfterMs);
    for (const { rank } of session.members) {
      const process = session.process(rank);
      if (process !== undefined) this.awaited.delete(process);
    }
    this.consider();
  }

  left(): void {
    this.context = undefined;
    this.cancel?.();
  }

  /** A process that was evicted has ended after all: it is replaced at once. */
  processGone(process: number): void {
    if (this.awaited.delete(process)) this.consider();
  }

  private consider(): void {
    const { context } = this;
    this.cancel?.();
    if (context === undefined || context.settings.heal === "off" || !this.possible) return;
    const { session, clock, settings } = context;
    const now = clock.now();
    // A replacement of a job that ends would come into being with nobody to let it in.
    if (session.self !== 0 || session.ranks >= settings.ranksWanted || context.draining()) return;
    for (const [process, until] of this.awaited) if (now >= until) this.awaited.delete(process);
    if (now >= this.expectedUntil) this.expected = 0;
    const missing = settings.ranksWanted - session.ranks - this.expected - this.awaited.size;
    if (missing <= 0 || this.spawning || now < this.nextAt) {
      const until = Math.min(
        this.expected > 0 ? this.expectedUntil : Number.POSITIVE_INFINITY,
        this.nextAt > now ? this.nextAt : Number.POSITIVE_INFINITY,
        ...this.awaited.values(),
      );
      if (Number.isFinite(until)) this.considerAt(until);
      return;
    }
    const heal = { attempt: (context.chain.slot + this.attempts++) % 65_536, count: missing };
    this.nextAt = now + this.pauseMs;
    this.pauseMs = Math.min(2 * this.pauseMs, PAUSE_MAX_MS);
    this.send!(session.others, MESSAGE.heal, encodeHeal(heal));
    this.heal(heal);
  }

  private considerAt(at: number): void {
    const { context } = this;
    this.cancel = context?.clock.schedule(at, () => {
      if (this.context === context) this.consider();
    });
  }

  /** Takes part in starting replacements. */
  heal({ attempt, count }: Heal): void {
    const { context } = this;
    if (context === undefined || this.spawning || !context.session.complete) return;
    const { session, transport, settings, clock, events } = context;
    const members = session.processesOf(session.members.map(({ rank }) => rank));
    this.spawning = true;
    const deadlineMs = settings.spawnTimeoutMs;
    const { command } = this;
    transport.spawn({ members, attempt, count, command, deadlineMs }).then(
      (processes) => {
        this.spawning = false;
        this.expected += processes.length;
        this.expectedUntil = clock.now() + ARRIVAL_MS;
        const text = `${processes.length} replacements were started: processes ${processes.join(", ")}`;
        events.onMonitor({
          at: clock.now(),
          kind: "heal",
          rank: session.self,
          checkpoint: "C2",
          text,
        });
        this.consider();
      },
      (error) => {
        this.spawning = false;
        if (errorCode(error) === "NOT_SUPPORTED") this.possible = false;
        events.onAlert({ code: errorCode(error), message: String(error) });
        this.consider();
      },
    );
  }
}

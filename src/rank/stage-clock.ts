/**
 * Where the main thread's time goes, by what began it: a message, a finished build, a decision. Stages
 * nest, and each counts what is its own. Off unless asked for: reading the thread's clock is a call
 * of the system, a third of a microsecond.
 */
import type { Effect } from "../consensus/effects.ts";
import type { Messages, TransportHandler } from "../transport/transport.ts";
import { MESSAGE } from "./envelope.ts";

export const STAGES = [
  /** A proposal came: its MAC, decoding, copying its blocks, checking them where that is done inline. */
  "proposals",
  /** Votes came, by collective or one by one. */
  "votes",
  /** Any other message. */
  "messages",
  /** Own blocks: asking for them, signing and sending them. */
  "building",
  /** Drafting records, handing them to storage, reading those of others. */
  "records",
  /** A record is final: its transactions are executed, their receipts told. */
  "execution",
] as const;
export type Stage = (typeof STAGES)[number];

export interface StageClock {
  enter(stage: Stage): void;
  /** Ends the stage that was entered last. */
  leave(): void;
  /** Microseconds of each stage so far; empty when nothing is timed. */
  spent(): Readonly<Partial<Record<Stage, number>>>;
}

export const NO_STAGES: StageClock = { enter() {}, leave() {}, spent: () => ({}) };

export class TimedStages implements StageClock {
  private readonly now: () => number;
  private readonly us: Record<Stage, number>;
  private readonly open: Stage[] = [];
  private since = 0;

  /** `now`: processor time of this thread, microseconds. */
  constructor(now: () => number) {
    this.now = now;
    this.us = Object.fromEntries(STAGES.map((stage) => [stage, 0])) as Record<Stage, number>;
  }

  enter(stage: Stage): void {
    this.charge();
    this.open.push(stage);
  }

  leave(): void {
    this.charge();
    this.open.pop();
  }

  private charge(): void {
    const now = this.now();
    const stage = this.open.at(-1);
    if (stage !== undefined) this.us[stage] += now - this.since;
    this.since = now;
  }

  spent(): Record<Stage, number> {
    return { ...this.us };
  }
}

/** What it takes to do these is a stage of its own; of all other effects it belongs to what brought them about. */
export const EFFECT_STAGES: Readonly<Partial<Record<Effect["type"], Stage>>> = {
  mine: "building",
  propose: "building",
  link: "records",
  read: "records",
  finalize: "execution",
};

/** The same handler, with the time of each message taken. */
export function timedHandler(stages: StageClock, handler: TransportHandler): TransportHandler {
  if (stages === NO_STAGES) return handler;
  return {
    onMessages: (batch) => {
      for (let i = 0; i < batch.count; i++) {
        const bytes = batch.bytes(i);
        const one: Messages = { count: 1, from: () => batch.from(i), bytes: () => bytes };
        stages.enter(stageOf(bytes[0]));
        handler.onMessages(one);
        stages.leave();
      }
    },
    onAllgather: (lane, parts) => {
      stages.enter("votes");
      handler.onAllgather(lane, parts);
      stages.leave();
    },
    onError: (error) => handler.onError(error),
  };
}

function stageOf(type: number): Stage {
  if (type === MESSAGE.proposal) return "proposals";
  return type === MESSAGE.vote ? "votes" : "messages";
}

/**
 * What lets a client outlive its rank: where other ranks are, and when one that says nothing counts as
 * lost. A rank that was killed closes its connections; one that is frozen keeps them, takes new ones,
 * and answers none.
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";

export interface FailoverOptions {
  /** Sockets of ranks of this ledger, the one to prefer first; asked anew whenever one is needed. */
  sockets(): readonly string[];
  /** A rank that answers nothing for about so long is left for another one. Milliseconds. */
  readonly silenceMs?: number;
  /** Told of each connection that stands. */
  onConnected?(path: string): void;
}

export const SILENCE_MS = 2000;
/** Looks during one span of silence: the first of them asks, the rest wait for the answer. */
const LOOKS = 5;
/** A rank that is alive, yet full, reads nothing: clients that run in circles make it no better. */
const PATIENCE_MAX = 16;

const SOCKET_NAME = /^rank-(\d+)\.sock$/;

/** Sockets in directories of ranks, by the number of the process; missing directories are empty. */
export function listSockets(directories: readonly string[]): string[] {
  return directories.flatMap((directory) => {
    const found: { path: string; process: number }[] = [];
    for (const name of namesIn(directory)) {
      const match = SOCKET_NAME.exec(name);
      if (match) found.push({ path: join(directory, name), process: Number(match[1]) });
    }
    return found.sort((a, b) => a.process - b.process).map(({ path }) => path);
  });
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

/**
 * The order in which client number `place` tries ranks: clients begin at different ones and go on in
 * a circle, so that those of a dead rank do not all meet at the same one.
 */
export function circleOf(sockets: readonly string[], place: number): string[] {
  const first = sockets.length === 0 ? 0 : place % sockets.length;
  return [...sockets.slice(first), ...sockets.slice(0, first)];
}

/**
 * Tells when the other side has been silent for too long while something is waited for. Counts its
 * own looks and no clock: a client that was starved itself has looked as seldom as it has listened.
 */
export class SilenceWatch {
  private readonly silenceMs: number;
  private readonly hooks: { isWaiting(): boolean; ask(): void; onSilent(): void };
  private timer: ReturnType<typeof setInterval> | undefined;
  private looks = 0;
  /** How many spans of silence are borne. */
  private patience = 1;

  constructor(silenceMs: number, hooks: { isWaiting(): boolean; ask(): void; onSilent(): void }) {
    this.silenceMs = silenceMs;
    this.hooks = hooks;
  }

  start(): void {
    this.stop();
    this.looks = 0;
    this.timer = setInterval(() => this.look(), this.silenceMs / LOOKS);
  }

  stop(): void {
    clearInterval(this.timer);
    this.timer = undefined;
  }

  /** Something came. */
  heard(): void {
    this.looks = 0;
  }

  /** Something was achieved: this rank is worth waiting for. */
  served(): void {
    this.patience = 1;
  }

  private look(): void {
    if (!this.hooks.isWaiting()) {
      this.looks = 0;
      return;
    }
    this.looks++;
    if (this.looks === 1) this.hooks.ask();
    if (this.looks <= LOOKS * this.patience) return;
    this.patience = Math.min(2 * this.patience, PATIENCE_MAX);
    this.hooks.onSilent();
  }
}

/**
 * Allgathers as promises, for the few collective steps before the loop runs. Messages that faster
 * ranks send meanwhile are kept and handed to the loop afterwards.
 */
import { BaashError, EXIT } from "../base/errors.ts";
import type { Messages, Transport } from "../transport/transport.ts";

/** A rank may be ahead by its first proposals only: the rounds it may open bound this. */
const EARLY_MESSAGES_MAX = 65_536;
const LANE = 0;

export class Handshake {
  readonly early: { from: number; bytes: Uint8Array }[] = [];
  private readonly transport: Transport;
  private readonly timeoutMs: number;
  private readonly waiting: {
    resolve(parts: Uint8Array[]): void;
    reject(error: Error): void;
  }[] = [];

  constructor(transport: Transport, timeoutMs: number) {
    this.transport = transport;
    this.timeoutMs = timeoutMs;
    transport.handler = {
      onMessages: (batch) => this.keep(batch),
      onAllgather: (_lane, parts) =>
        this.waiting.shift()?.resolve(parts.map((part) => part.slice())),
      onError: (error) => this.waiting.shift()?.reject(error),
    };
  }

  /** What every rank contributed, by rank. */
  async gather(what: string, bytes: Uint8Array, bytesMax: number): Promise<Uint8Array[]> {
    if (this.transport.size === 1) return [bytes];
    const gathered = new Promise<Uint8Array[]>((resolve, reject) => {
      this.waiting.push({ resolve, reject });
    });
    this.transport.allgather(LANE, bytes, bytesMax, this.timeoutMs);
    try {
      return await gathered;
    } catch (cause) {
      throw new BaashError(
        "START_TIMEOUT",
        `Not every rank came to '${what}' within ${this.timeoutMs / 1000} s: look for the first error of another rank above this line.`,
        { exitCode: EXIT.unavailable, cause },
      );
    }
  }

  private keep(batch: Messages): void {
    for (let i = 0; i < batch.count && this.early.length < EARLY_MESSAGES_MAX; i++)
      this.early.push({ from: batch.from(i), bytes: batch.bytes(i).slice() });
  }
}

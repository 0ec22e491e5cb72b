/**
 * A rank's transport with an ear on it: the checkers see every vote that leaves a process, a frozen
 * process hears nothing until it goes on, and what arrives may come twice or with a bit flipped.
 */
import type { BaashError } from "../base/errors.ts";
import type { Clock } from "../rank/ports.ts";
import type {
  Messages,
  ReduceOperation,
  RegroupOptions,
  Transport,
  TransportHandler,
} from "../transport/transport.ts";

export interface Tap {
  /** Bytes that leave this rank, by message or collective. */
  onSend(bytes: Uint8Array): void;
  /** A message that the process is about to handle. */
  onReceive(from: number, bytes: Uint8Array): void;
  /** What becomes of one message. */
  fate(): Fate;
}

export interface Fate {
  /** It comes once more, so many ms later. */
  readonly againMs?: number;
  /** This bit is flipped, modulo its length. */
  readonly flippedBit?: number;
}

interface Message {
  readonly from: number;
  readonly bytes: Uint8Array;
}

export class TappedTransport implements Transport {
  private readonly inner: Transport;
  private readonly clock: Clock;
  private readonly tap: Tap;
  private outer: TransportHandler | undefined;

  /** `clock` is the process's: what arrives while it is frozen is handled afterwards, in order. */
  constructor(inner: Transport, clock: Clock, tap: Tap) {
    this.inner = inner;
    this.clock = clock;
    this.tap = tap;
  }

  get rank(): number {
    return this.inner.rank;
  }
  get size(): number {
    return this.inner.size;
  }
  get lanes(): number {
    return this.inner.lanes;
  }
  get host(): string {
    return this.inner.host;
  }
  get ranksOnHost(): readonly number[] {
    return this.inner.ranksOnHost;
  }
  get members(): readonly number[] {
    return this.inner.members;
  }

  get handler(): TransportHandler {
    return this.inner.handler;
  }
  set handler(handler: TransportHandler) {
    const first = this.outer === undefined;
    this.outer = handler;
    if (!first) return;
    this.inner.handler = {
      onMessages: (batch) => this.later(this.copyOf(batch), (copy) => this.deliver(copy)),
      onAllgather: (lane, parts) =>
        this.later(
          parts.map((part) => this.mangled(part, this.tap.fate())),
          (copies) => this.outer!.onAllgather(lane, copies),
        ),
      onError: (error: BaashError) => this.later(error, (same) => this.outer!.onError(same)),
    };
  }

  private later<T>(what: T, hand: (what: T) => void): void {
    this.clock.schedule(this.clock.now(), () => hand(what));
  }

  private deliver(messages: readonly Message[]): void {
    for (const { from, bytes } of messages) this.tap.onReceive(from, bytes);
    this.outer!.onMessages({
      count: messages.length,
      from: (i) => messages[i].from,
      bytes: (i) => messages[i].bytes,
    });
    // Views are valid only during the call: whoever keeps one finds out.
    for (const { bytes } of messages) bytes.fill(0xdd);
  }

  send(to: number, bytes: Uint8Array): void {
    this.tap.onSend(bytes);
    this.inner.send(to, bytes);
  }
  sendMany(to: readonly number[], bytes: Uint8Array): void {
    this.tap.onSend(bytes);
    this.inner.sendMany(to, bytes);
  }
  allgather(lane: number, bytes: Uint8Array, bytesMax: number, deadlineMs: number): void {
    this.tap.onSend(bytes);
    this.inner.allgather(lane, bytes, bytesMax, deadlineMs);
  }
  barrier(deadlineMs?: number): Promise<void> {
    return this.inner.barrier(deadlineMs);
  }
  allreduce(values: Float64Array, operation: ReduceOperation, deadlineMs?: number) {
    return this.inner.allreduce(values, operation, deadlineMs);
  }
  lanePoisoned(lane: number): boolean {
    return this.inner.lanePoisoned(lane);
  }
  regroup(options: RegroupOptions): Promise<void> {
    return this.inner.regroup(options);
  }
  counters(): Record<string, number> {
    return this.inner.counters();
  }
  close(deadlineMs?: number): Promise<boolean> {
    return this.inner.close(deadlineMs);
  }
  abort(code: number): void {
    this.inner.abort(code);
  }

  private copyOf(batch: Messages): Message[] {
    return Array.from({ length: batch.count }, (_, i) => {
      const fate = this.tap.fate();
      const message = { from: batch.from(i), bytes: this.mangled(batch.bytes(i), fate) };
      if (fate.againMs !== undefined) {
        const copy = { from: message.from, bytes: batch.bytes(i).slice() };
        this.clock.schedule(this.clock.now() + fate.againMs, () => this.deliver([copy]));
      }
      return message;
    });
  }

  private mangled(bytes: Uint8Array, { flippedBit }: Fate): Uint8Array {
    const copy = bytes.slice();
    if (flippedBit !== undefined && copy.length > 0) {
      copy[(flippedBit >>> 3) % copy.length] ^= 1 << (flippedBit & 7);
    }
    return copy;
  }
}

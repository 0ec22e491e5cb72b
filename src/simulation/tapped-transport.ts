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
  SpawnOptions,
  Transport,
  TransportHandler,
} from "../transport/transport.ts";

export interface Tap {
  /** Bytes that leave this rank, by message or collective. */
  onSend(bytes: Uint8Array): void;
  /** It contributes to a collective of its lanes. */
  onCollective(): void;
  /** A message that the process is about to handle. */
  onReceive(from: number, bytes: Uint8Array): void;
  /** False: the way from there to here is cut, while the other direction may work. */
  hears(from: number): boolean;
  /** What becomes of one message. */
  fate(): Fate;
}

export interface Fate {
  /** It comes once more, so many ms later. */
  readonly againMs?: number | undefined;
  /** This bit is flipped, modulo its length. */
  readonly flippedBit?: number | undefined;
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
  get spawned(): boolean {
    return this.inner.spawned;
  }
  get processes(): readonly number[] {
    return this.inner.processes;
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

  /** What goes on after a wait goes on once the process is awake. */
  private awake<T>(promise: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      promise.then(
        (value) => this.later(value, resolve),
        (error) => this.later(error, reject),
      );
    });
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
    this.tap.onCollective();
    this.inner.allgather(lane, bytes, bytesMax, deadlineMs);
  }
  barrier(deadlineMs?: number): Promise<void> {
    return this.awake(this.inner.barrier(deadlineMs));
  }
  allreduce(values: Float64Array, operation: ReduceOperation, deadlineMs?: number) {
    return this.awake(this.inner.allreduce(values, operation, deadlineMs));
  }
  lanePoisoned(lane: number): boolean {
    return this.inner.lanePoisoned(lane);
  }
  regroup(options: RegroupOptions): Promise<void> {
    return this.awake(this.inner.regroup(options));
  }
  async spawn(options: SpawnOptions): Promise<readonly number[]> {
    return await this.awake(this.inner.spawn(options));
  }
  forget(process: number): void {
    this.inner.forget(process);
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
    const messages: Message[] = [];
    for (let i = 0; i < batch.count; i++) {
      const from = batch.from(i);
      if (!this.tap.hears(from)) continue;
      const fate = this.tap.fate();
      messages.push({ from, bytes: this.mangled(batch.bytes(i), fate) });
      if (fate.againMs === undefined) continue;
      const copy = { from, bytes: new Uint8Array(batch.bytes(i)) };
      this.clock.schedule(this.clock.now() + fate.againMs, () => this.deliver([copy]));
    }
    return messages;
  }

  private mangled(bytes: Uint8Array, { flippedBit }: Fate): Uint8Array {
    const copy = new Uint8Array(bytes);
    if (flippedBit !== undefined && copy.length > 0) {
      copy[(flippedBit >>> 3) % copy.length] ^= 1 << (flippedBit & 7);
    }
    return copy;
  }
}

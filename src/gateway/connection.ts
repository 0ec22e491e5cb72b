/**
 * One client at the intake: its stream of bytes as frames, its receipts on the way out, and when its
 * socket is not read. Main thread. Bounded: unfinished frames by the frame limit, receipts by
 * the transactions in flight, and both by not reading more while they are high.
 */
import type { Socket } from "bun";
import { writeU32 } from "../base/bytes.ts";
import {
  encodeFrame,
  FRAME,
  FrameAssembler,
  FrameSender,
  type LevelName,
} from "../ledger/intake-frames.ts";
import { INTAKE_IN_FLIGHT_MAX, INTAKE_UNSENT_BYTES_MAX } from "../limits.ts";
import type { Waiter } from "./pending.ts";

/** How long a client may take to read its goodbye. */
const GOODBYE_S = 5;

/** Receipts of one request that leave together. */
interface Receipts {
  indexes: number[];
  receipts: number[];
  details: number[];
}

/** What keeps a socket from being read. */
export type Hold = "in-flight" | "unsent" | "queue" | "buffer";

export class Connection {
  readonly frames = new FrameAssembler();
  inFlight = 0;
  closed = false;
  private readonly socket: Socket<Connection | undefined>;
  private readonly holds = new Set<Hold>();
  private readonly receipts = new Map<number, Receipts>();
  private readonly sender = new FrameSender();
  private closing = false;

  constructor(socket: Socket<Connection | undefined>) {
    this.socket = socket;
  }

  get held(): boolean {
    return this.holds.size > 0;
  }

  /** Is it cut short while others wait? Then it is closed after a while (see `timeout`). */
  get midFrame(): boolean {
    return this.frames.held > 0;
  }

  hold(reason: Hold): void {
    if (this.holds.size === 0 && !this.closed) this.socket.pause();
    this.holds.add(reason);
  }

  /** When no hold is left the socket is read again, and frames that wait in memory are due. */
  release(reason: Hold): void {
    if (!this.holds.delete(reason) || this.holds.size > 0 || this.closed) return;
    this.socket.resume();
  }

  /** Seconds until the socket's `timeout` handler is called; 0 for never. */
  timeout(seconds: number): void {
    if (!this.closed) this.socket.timeout(seconds);
  }

  waiter(request: number, index: number, level: LevelName): Waiter {
    return { tell: this.tell, request, index, level };
  }

  /** Collects a receipt; `flush` sends what was collected. A field, so that identity marks us. */
  readonly tell = (waiter: Waiter, receipt: number, detail: number, last: boolean): void => {
    if (last) this.inFlight--;
    if (this.closed) return;
    let collected = this.receipts.get(waiter.request);
    if (collected === undefined) {
      this.receipts.set(waiter.request, (collected = { indexes: [], receipts: [], details: [] }));
    }
    collected.indexes.push(waiter.index);
    collected.receipts.push(receipt);
    collected.details.push(detail);
  };

  /** Sends the collected receipts and what else waits. May end a hold. */
  flush(lastRound: number): void {
    for (const [request, { indexes, receipts, details }] of this.receipts) {
      const places = new Uint8Array(4 * indexes.length);
      for (const [i, index] of indexes.entries()) writeU32(places, 4 * i, index);
      const kinds = Uint8Array.from(receipts);
      const more = Uint8Array.from(details);
      this.send(encodeFrame([FRAME.RECEIPTS, request, places, kinds, more, lastRound]));
    }
    this.receipts.clear();
    this.drain();
    if (this.inFlight <= INTAKE_IN_FLIGHT_MAX / 2) this.release("in-flight");
  }

  /** Leaves with the next `flush` or `drain`. */
  send(frame: Uint8Array): void {
    if (this.closed || this.closing) return;
    this.sender.push(frame);
    if (this.sender.bytes > INTAKE_UNSENT_BYTES_MAX) this.hold("unsent");
  }

  /** Writes what the socket takes. May end a hold. */
  drain(): void {
    if (this.closed) return;
    this.sender.drain(this.socket);
    if (this.closing && this.sender.bytes === 0) this.socket.end();
    if (this.sender.bytes <= INTAKE_UNSENT_BYTES_MAX / 2) this.release("unsent");
  }

  /** Says why, then closes once that has left. */
  goodbye(code: string, sentence: string): void {
    this.send(encodeFrame([FRAME.GOODBYE, code, sentence]));
    if (this.closing || this.closed) return;
    this.closing = true;
    this.socket.timeout(GOODBYE_S);
    this.drain();
  }

  /** Of a client that does not even read its goodbye. */
  terminate(): void {
    if (!this.closed) this.socket.terminate();
  }

  get isClosing(): boolean {
    return this.closing || this.closed;
  }
}

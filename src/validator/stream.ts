/**
 * Frames over a stream that hands bytes over as they come and takes them as it can. A frame is read
 * piece by piece: no length is believed before its bytes are there.
 */
import { readU32 } from "../base/bytes.ts";
import { FRAME_BYTES_MAX, LENGTH_BYTES } from "./wire.ts";

export class FrameReader {
  private pieces: Uint8Array[] = [];
  private held = 0;

  /** Bytes of a frame that is not whole yet. */
  get heldBytes(): number {
    return this.held;
  }

  push(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    // Bun's are Buffers into memory that it uses again: their `slice` is a view.
    this.pieces.push(new Uint8Array(bytes));
    this.held += bytes.length;
  }

  /** The body of the next frame; undefined: not whole yet; "too-large": hang up. */
  next(): Uint8Array | "too-large" | undefined {
    if (this.held < LENGTH_BYTES) return undefined;
    const length = readU32(this.head(LENGTH_BYTES), 0);
    if (length > FRAME_BYTES_MAX) return "too-large";
    if (this.held < LENGTH_BYTES + length) return undefined;
    const whole = this.head(LENGTH_BYTES + length);
    const rest = this.pieces[0].subarray(LENGTH_BYTES + length);
    this.pieces[0] = rest;
    if (rest.length === 0) this.pieces.shift();
    this.held -= LENGTH_BYTES + length;
    return whole.subarray(LENGTH_BYTES, LENGTH_BYTES + length);
  }

  /** The first piece, joined with the next ones until it has `count` bytes. */
  private head(count: number): Uint8Array {
    let [first] = this.pieces;
    if (first.length >= count) return first;
    let taken = 0;
    let length = 0;
    while (length < count) length += this.pieces[taken++].length;
    first = new Uint8Array(Buffer.concat(this.pieces.slice(0, taken)));
    this.pieces.splice(0, taken, first);
    return first;
  }
}

/** What the socket of Bun is asked for. */
export interface Sink {
  /** How many bytes were taken; -1 when it is closed. */
  write(bytes: Uint8Array): number;
}

export class FrameWriter {
  private readonly sink: Sink;
  private readonly queue: Uint8Array[] = [];

  constructor(sink: Sink) {
    this.sink = sink;
  }

  get waiting(): boolean {
    return this.queue.length > 0;
  }

  send(frame: Uint8Array): void {
    this.queue.push(frame);
    if (this.queue.length === 1) this.drain();
  }

  /** The socket takes bytes again. */
  drain(): void {
    while (this.queue.length > 0) {
      const [frame] = this.queue;
      const taken = this.sink.write(frame);
      if (taken < 0) {
        this.queue.length = 0;
        return;
      }
      if (taken < frame.length) {
        this.queue[0] = frame.subarray(taken);
        return;
      }
      this.queue.shift();
    }
  }
}

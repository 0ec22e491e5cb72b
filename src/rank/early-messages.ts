/**
 * Messages that are authentic in no epoch known here: perhaps in the next one, whose SEAL their
 * sender has seen before us. The newest are kept, as an evicted rank may go on talking for long, and
 * of one sender no more than its share.
 */
const COUNT_MAX = 4096;
const BYTES_MAX = 32 << 20;
/** Of one sender: one that floods does not push out what the others say. */
const SHARE = 0.25;

export interface EarlyMessage {
  readonly from: number;
  readonly bytes: Uint8Array;
}

export class EarlyMessages {
  private messages: EarlyMessage[] = [];
  private bytes = 0;

  /** By sender. */
  private readonly kept = new Map<number, { count: number; bytes: number }>();

  /** Copies the message. */
  keep(from: number, bytes: Uint8Array): void {
    let own = this.kept.get(from);
    if (own === undefined) this.kept.set(from, (own = { count: 0, bytes: 0 }));
    const isFull =
      own.count + 1 > SHARE * COUNT_MAX || own.bytes + bytes.length > SHARE * BYTES_MAX;
    if (isFull) return;
    this.messages.push({ from, bytes: bytes.slice() });
    this.count(own, bytes, 1);
    while (this.messages.length > COUNT_MAX || this.bytes > BYTES_MAX) {
      const oldest = this.messages.shift()!;
      this.count(this.kept.get(oldest.from)!, oldest.bytes, -1);
    }
  }

  private count(own: { count: number; bytes: number }, bytes: Uint8Array, sign: 1 | -1): void {
    own.count += sign;
    own.bytes += sign * bytes.length;
    this.bytes += sign * bytes.length;
  }

  /** All of them, oldest first; none is kept any longer. */
  take(): readonly EarlyMessage[] {
    const { messages } = this;
    this.messages = [];
    this.kept.clear();
    this.bytes = 0;
    return messages;
  }
}

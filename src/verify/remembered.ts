/**
 * The window of transactions that the ledger remembers, so that none takes effect twice: by
 * (sender, sequence), forgotten once their last valid round is over. Slots of plain arrays are
 * used again, so memory follows the window and not the length of the log.
 */
import { equalRange } from "../base/bytes.ts";

const NONE = -1;

export class Remembered {
  count = 0;
  /** Highest forgotten sequence by sender. */
  readonly floors = new Map<number, number>();
  /** Senders whose floor moved since the last look. */
  readonly movedFloors = new Set<number>();
  private readonly bySender = new Map<number, Map<number, number>>();
  private readonly headOfRound = new Map<number, number>();
  private ids = new Uint8Array(32 * 1024);
  private senders = new Float64Array(1024);
  private sequences = new Float64Array(1024);
  private next = new Int32Array(1024);
  private freeHead = NONE;
  private used = 0;

  /** Slot of (sender, sequence), or -1. */
  find(sender: number, sequence: number): number {
    return this.bySender.get(sender)?.get(sequence) ?? NONE;
  }

  holds(slot: number, ids: Uint8Array, idOffset: number): boolean {
    return equalRange(this.ids, 32 * slot, ids, idOffset, 32);
  }

  add(
    txn: { sender: number; sequence: number; lastValidRound: number },
    id: Uint8Array,
    at: number,
  ) {
    const slot = this.takeSlot();
    for (let i = 0; i < 32; i++) this.ids[32 * slot + i] = id[at + i];
    this.senders[slot] = txn.sender;
    this.sequences[slot] = txn.sequence;
    this.next[slot] = this.headOfRound.get(txn.lastValidRound) ?? NONE;
    this.headOfRound.set(txn.lastValidRound, slot);
    let sequences = this.bySender.get(txn.sender);
    if (sequences === undefined) this.bySender.set(txn.sender, (sequences = new Map()));
    sequences.set(txn.sequence, slot);
    this.count++;
  }

  /** Forgets what was valid until `round`. To be called for each round, in order. */
  forget(round: number): void {
    let slot = this.headOfRound.get(round) ?? NONE;
    this.headOfRound.delete(round);
    while (slot !== NONE) {
      const sender = this.senders[slot];
      const sequence = this.sequences[slot];
      const sequences = this.bySender.get(sender)!;
      sequences.delete(sequence);
      if (sequences.size === 0) this.bySender.delete(sender);
      if (sequence > (this.floors.get(sender) ?? -1)) {
        this.floors.set(sender, sequence);
        this.movedFloors.add(sender);
      }
      const after = this.next[slot];
      this.next[slot] = this.freeHead;
      this.freeHead = slot;
      this.count--;
      slot = after;
    }
  }

  private takeSlot(): number {
    if (this.freeHead !== NONE) {
      const slot = this.freeHead;
      this.freeHead = this.next[slot];
      return slot;
    }
    if (this.used === this.next.length) this.grow();
    return this.used++;
  }

  private grow(): void {
    const slots = 2 * this.next.length;
    const ids = new Uint8Array(32 * slots);
    ids.set(this.ids);
    const senders = new Float64Array(slots);
    senders.set(this.senders);
    const sequences = new Float64Array(slots);
    sequences.set(this.sequences);
    const next = new Int32Array(slots);
    next.set(this.next);
    Object.assign(this, { ids, senders, sequences, next });
  }
}

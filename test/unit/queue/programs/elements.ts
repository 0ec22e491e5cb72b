/**
 * What the threads of the hammer tests agree on: the elements, told from their ids, and the shared
 * words in which each of them records what it did.
 */
import { EVENT_COUNT_WORDS, EventCount } from "../../../../src/queue/event-count.ts";

export interface HammerSetting {
  queue: SharedArrayBuffer;
  /** Words of HammerBoard. */
  board: SharedArrayBuffer;
  producers: number;
  elementsEach: number;
  /** Which producer, consumer, … this thread is. */
  index: number;
}

/** Bytes of an element's payload: of many size classes, and checked on the other side. */
export function payloadBytes(producer: number, element: number): number {
  return 8 + ((producer * 31 + element * 7) % 300);
}

/** Writes the id of an element: a third of all share their first word with others. */
export function writeId(ids: Int32Array, at: number, producer: number, element: number): void {
  ids[at] = element % 3 === 0 ? element & 0xff : Math.imul(element, 0x9e3779b1) ^ producer;
  ids[at + 1] = producer;
  ids[at + 2] = element;
  for (let i = 3; i < 8; i++) ids[at + i] = i;
}

/** Shared words: producers that are done, room to wait for, and how often each element left. */
export class HammerBoard {
  readonly room: EventCount;
  readonly #words: Int32Array;
  readonly #elementsEach: number;

  static bytes(setting: { producers: number; elementsEach: number }): number {
    return 4 * (SEEN + setting.producers * setting.elementsEach);
  }

  constructor(setting: HammerSetting) {
    this.#words = new Int32Array(setting.board);
    this.#elementsEach = setting.elementsEach;
    this.room = new EventCount(this.#words, ROOM);
  }

  /** The number of producers that are done, this one included. */
  producerDone(): number {
    return Atomics.add(this.#words, DONE, 1) + 1;
  }

  see(producer: number, element: number): void {
    Atomics.add(this.#words, SEEN + producer * this.#elementsEach + element, 1);
  }

  /** How often each element left the queue. */
  seen(): Int32Array {
    return this.#words.subarray(SEEN);
  }
}

const DONE = 0;
const ROOM = 2;
const SEEN = ROOM + EVENT_COUNT_WORDS;

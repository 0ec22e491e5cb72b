/** KeyedFifo against a model of plain arrays: every operation, in any order, with every refusal. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  type Chain,
  CLOSED,
  DUPLICATE,
  FULL,
  KeyedFifo,
  NONE,
  TOO_LARGE,
} from "../../../src/queue/keyed-fifo.ts";

const SHAPE = { slots: 12, arenaBytes: 64 * 1024, lists: 3, payloadBytesMax: 20_000 };
/** More ids than slots; every third shares its first word. */
const IDS = 20;
const OPERATIONS = [
  "push",
  "pushMany",
  "reserve",
  "commit",
  "discard",
  "split",
  "splitAll",
  "join",
  "joinFront",
  "remove",
  "tryRemove",
  "removeFrom",
  "free",
] as const;
type Operation = (typeof OPERATIONS)[number];

interface Element {
  key: number;
  slot: number;
  length: number;
  tag: number;
}

function idOf(key: number): Uint8Array {
  const id = new Uint8Array(32).fill(7);
  id[0] = key % 3 === 0 ? 255 : key;
  id[20] = key;
  return id;
}

function fill(bytes: Uint8Array, offset: number, length: number, seed: number): void {
  for (let i = 0; i < length; i++) bytes[offset + i] = seed * 31 + i;
}

/** The queue and its model, driven together. */
class Twin {
  readonly fifo = KeyedFifo.create(SHAPE);
  readonly pages = this.fifo.freePages();
  readonly lists: Element[][] = [[], [], []];
  readonly chains: Array<{ chain: Chain; elements: Element[] }> = [];
  readonly reserved: Element[] = [];
  tag = 0;

  apply(operation: Operation, a: number, b: number, length: number): void {
    const list = a % SHAPE.lists;
    const held = this.chains[a % Math.max(1, this.chains.length)];
    switch (operation) {
      case "push":
        this.push(list, b % IDS, length);
        break;
      case "pushMany":
        this.pushMany(list, b, length);
        break;
      case "reserve":
        this.reserve(length);
        break;
      case "commit":
        this.commit(list, b % IDS);
        break;
      case "discard": {
        const element = this.reserved.pop();
        if (element !== undefined) this.fifo.discard(element.slot);
        break;
      }
      case "split":
        this.split(list, b % 5);
        break;
      case "splitAll":
        this.split(list, Number.POSITIVE_INFINITY);
        break;
      case "join":
      case "joinFront": {
        if (held === undefined) break;
        this.chains.splice(this.chains.indexOf(held), 1);
        const target = b % SHAPE.lists;
        if (operation === "join") {
          this.fifo.join(target, held.chain);
          this.lists[target].push(...held.elements);
        } else {
          this.fifo.joinFront(target, held.chain);
          this.lists[target].unshift(...held.elements);
        }
        expect(held.chain).toEqual({ head: NONE, tail: NONE, count: 0 });
        break;
      }
      case "remove": {
        const index = b % Math.max(1, this.lists[list].length);
        const [element] = this.lists[list].splice(index, 1);
        if (element !== undefined) this.fifo.remove(element.slot);
        break;
      }
      case "tryRemove": {
        const key = b % IDS;
        const at = this.lists.findIndex((elements) => elements.some((e) => e.key === key));
        expect(this.fifo.tryRemove(idOf(key), 0)).toBe(at >= 0);
        if (at >= 0) this.lists[at] = this.lists[at].filter((e) => e.key !== key);
        break;
      }
      case "removeFrom": {
        if (held === undefined) break;
        const [element] = held.elements.splice(b % held.elements.length, 1);
        this.fifo.removeFrom(held.chain, element.slot);
        if (held.elements.length === 0) this.chains.splice(this.chains.indexOf(held), 1);
        break;
      }
      case "free": {
        if (held === undefined) break;
        this.chains.splice(this.chains.indexOf(held), 1);
        this.fifo.free(held.chain);
        expect(held.chain.count).toBe(0);
      }
    }
  }

  live(): Element[] {
    return [...this.lists.flat(), ...this.chains.flatMap((held) => held.elements)];
  }

  /** What a push of this key and length may answer; FULL only for want of slots or pages. */
  expectAnswer(answer: number, key: number | undefined, length: number): void {
    const duplicate = this.live().some((element) => element.key === key);
    if (length > SHAPE.payloadBytesMax) expect([TOO_LARGE, DUPLICATE]).toContain(answer);
    else if (duplicate) expect(answer).toBe(DUPLICATE);
    else if (answer === FULL) {
      const used = this.live().length + this.reserved.length;
      // A payload of more than half a page needs whole pages side by side.
      const contiguous = length > 2048 ? 5 * SHAPE.slots : 1;
      expect(used === SHAPE.slots || this.fifo.freePages() < contiguous).toBe(true);
    } else expect(answer).toBeGreaterThanOrEqual(0);
  }

  push(list: number, key: number, length: number): void {
    const payload = new Uint8Array(length + 3);
    const tag = ++this.tag;
    fill(payload, 3, length, tag);
    const user = { owner: list, tag, time: tag / 2 };
    const slot = this.fifo.tryPush(list, idOf(key), 0, payload, 3, length, user);
    this.expectAnswer(slot, key, length);
    if (slot >= 0) this.lists[list].push({ key, slot, length, tag });
  }

  pushMany(list: number, seed: number, length: number): void {
    const count = seed % 9;
    const step = Math.min(length, 5000) + 1;
    // An odd offset now and then: ids and payloads of any alignment.
    const skew = seed % 2;
    const ids = new Uint8Array(32 * count + 1).subarray(skew, 32 * count + skew);
    const payload = new Uint8Array(step * count);
    const spans = new Uint32Array(2 * count);
    const tags = new Int32Array(count);
    const times = new Float64Array(count);
    const keys: number[] = [];
    for (let i = 0; i < count; i++) {
      keys.push((seed + i * (1 + (seed % 7))) % IDS);
      ids.set(idOf(keys[i]), 32 * i);
      tags[i] = ++this.tag;
      times[i] = tags[i] / 2;
      spans.set([step * i + 1, step - 1], 2 * i);
      fill(payload, step * i + 1, step - 1, tags[i]);
    }
    const slots = new Int32Array(count).fill(99);
    const from = Math.min(1, count);
    const batch = { ids, payload, spans, from, count, slots, owner: list, tags, times };
    const end = this.fifo.tryPushMany(list, batch);
    for (let i = from; i < end; i++) {
      // Against the model as it stands after the elements before: a batch may repeat a key.
      this.expectAnswer(slots[i], keys[i], step - 1);
      expect(slots[i]).not.toBe(FULL);
      if (slots[i] >= 0) {
        this.lists[list].push({ key: keys[i], slot: slots[i], length: step - 1, tag: tags[i] });
      }
    }
    if (end < count) expect(slots[end]).toBe(FULL);
  }

  reserve(length: number): void {
    const slot = this.fifo.tryReserve(length);
    this.expectAnswer(slot, undefined, length);
    if (slot < 0) return;
    const tag = ++this.tag;
    fill(this.fifo.bytes, this.fifo.payloadOffset(slot), length, tag);
    this.fifo.words[4 * slot + 1] = tag;
    this.fifo.times[2 * slot] = tag / 2;
    this.reserved.push({ key: -1, slot, length, tag });
  }

  commit(list: number, key: number): void {
    const element = this.reserved.at(-1);
    if (element === undefined) return;
    const answer = this.fifo.commit(element.slot, list, idOf(key), 0);
    if (this.live().some((other) => other.key === key)) {
      expect(answer).toBe(DUPLICATE);
    } else {
      expect(answer).toBe(element.slot);
      this.reserved.pop();
      this.lists[list].push({ ...element, key });
    }
  }

  split(list: number, max: number): void {
    const chain = this.fifo.split(list, max);
    const elements = this.lists[list].splice(0, max);
    expect(chain.count).toBe(elements.length);
    expect(chain.head).toBe(elements[0]?.slot ?? NONE);
    expect(chain.tail).toBe(elements.at(-1)?.slot ?? NONE);
    if (elements.length > 0) this.chains.push({ chain, elements });
  }

  /** Every element is where the model says, with its id, payload, words and times. */
  check(): void {
    const { fifo } = this;
    for (const [list, elements] of this.lists.entries()) {
      expect(fifo.count(list)).toBe(elements.length);
      expect(fifo.headTime(list)).toBe(elements.length === 0 ? Number.NaN : elements[0].tag / 2);
      for (const element of elements) expect(fifo.placeOf(element.slot)).toBe(list);
      this.checkLinks(elements);
    }
    for (const { elements } of this.chains) {
      for (const element of elements) expect(fifo.placeOf(element.slot)).toBe(-1);
      this.checkLinks(elements);
    }
    const live = this.live();
    const used = live.length + this.reserved.length;
    expect(fifo.freeSlots()).toBe(SHAPE.slots - used);
    expect(new Set([...live, ...this.reserved].map((element) => element.slot)).size).toBe(used);
    for (let key = 0; key < IDS; key++) {
      const element = live.find((other) => other.key === key);
      expect(fifo.find(idOf(key), 0)).toBe(element?.slot ?? NONE);
    }
    for (const element of [...live, ...this.reserved]) this.checkContent(element);
  }

  checkLinks(elements: Element[]): void {
    for (const [i, element] of elements.entries()) {
      expect(this.fifo.next(element.slot)).toBe(elements[i + 1]?.slot ?? NONE);
    }
  }

  checkContent(element: Element): void {
    const { fifo } = this;
    const { slot, length, tag, key } = element;
    const offset = fifo.payloadOffset(slot);
    expect(offset % 8).toBe(0);
    expect(fifo.payloadLength(slot)).toBe(length);
    expect(fifo.words[4 * slot + 1]).toBe(tag);
    expect(fifo.times[2 * slot]).toBe(tag / 2);
    let same = true;
    for (let i = 0; i < length; i++) {
      if (fifo.bytes[offset + i] !== ((tag * 31 + i) & 255)) same = false;
    }
    expect(same).toBe(true);
    if (key >= 0) expect([...fifo.ids.slice(32 * slot, 32 * slot + 32)]).toEqual([...idOf(key)]);
  }

  /** Takes everything out: all slots and all pages are there again. */
  drain(): void {
    for (const element of this.reserved) this.fifo.discard(element.slot);
    for (const { chain } of this.chains) this.fifo.free(chain);
    for (let list = 0; list < SHAPE.lists; list++) {
      this.fifo.free(this.fifo.split(list, Number.POSITIVE_INFINITY));
    }
    expect(this.fifo.freeSlots()).toBe(SHAPE.slots);
    expect(this.fifo.freePages()).toBe(this.pages);
    const { pushes, removals } = this.fifo.counters();
    expect(pushes).toBe(removals);
  }
}

const lengths = fc.oneof(
  fc.nat(300),
  fc.nat(2100),
  fc.integer({ min: 0, max: SHAPE.payloadBytesMax + 2 }),
);
const step = fc.tuple(fc.constantFrom(...OPERATIONS), fc.nat(1000), fc.nat(1000), lengths);

describe("KeyedFifo", () => {
  test("behaves like lists of elements under every sequence of operations", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 150, size: "max" }), (steps) => {
        const twin = new Twin();
        for (const [operation, a, b, length] of steps) {
          twin.apply(operation, a, b, length);
          twin.check();
        }
        twin.drain();
      }),
      { numRuns: 60 },
    );
  }, 60_000);

  test("tells where elements are after thousands of splits and joins (run labels are swept)", () => {
    const mostly = fc.constantFrom<Operation>("push", "split", "split", "splitAll", "join", "join");
    const short = fc.tuple(mostly, fc.nat(1000), fc.nat(1000), fc.nat(64));
    fc.assert(
      fc.property(fc.array(short, { minLength: 400, maxLength: 800 }), (steps) => {
        const twin = new Twin();
        for (const [i, [operation, a, b, length]] of steps.entries()) {
          twin.apply(operation, a, b, length);
          if (i % 16 === 0) twin.check();
        }
        twin.check();
        twin.drain();
      }),
      { numRuns: 8 },
    );
  }, 60_000);

  test("refuses pushes once it is closed, and still gives out what is inside", () => {
    const twin = new Twin();
    twin.push(0, 1, 10);
    twin.reserve(10);
    twin.fifo.close();
    expect(twin.fifo.closed()).toBe(true);
    expect(twin.fifo.tryPush(0, idOf(2), 0, new Uint8Array(1), 0, 1)).toBe(CLOSED);
    expect(twin.fifo.tryReserve(1)).toBe(CLOSED);
    expect(twin.fifo.commit(twin.reserved[0].slot, 0, idOf(3), 0)).toBe(CLOSED);
    const slots = new Int32Array(1);
    const spans = new Uint32Array([0, 1]);
    const batch = { ids: idOf(2), payload: new Uint8Array(1), spans, from: 0, count: 1, slots };
    expect(twin.fifo.tryPushMany(0, batch)).toBe(0);
    expect(slots[0]).toBe(CLOSED);
    twin.apply("split", 0, 1, 0);
    twin.apply("joinFront", 0, 1, 0);
    twin.check();
    twin.drain();
  });

  test("is one queue for all who attach", () => {
    const one = KeyedFifo.create(SHAPE);
    const two = KeyedFifo.attach(one.shared);
    const slot = one.tryPush(1, idOf(4), 0, Uint8Array.of(9, 8, 7), 0, 3);
    expect(two.find(idOf(4), 0)).toBe(slot);
    expect(two.count(1)).toBe(1);
    const offset = two.payloadOffset(slot);
    expect([...two.bytes.slice(offset, offset + 3)]).toEqual([9, 8, 7]);
    two.free(two.split(1, 1));
    expect(one.find(idOf(4), 0)).toBe(NONE);
    expect(() => KeyedFifo.attach(new SharedArrayBuffer(4096))).toThrow("KeyedFifo");
  });

  test("counts what it did", () => {
    const fifo = KeyedFifo.create({ ...SHAPE, slots: 2 });
    const payload = new Uint8Array(8);
    const answers = [1, 1, 2, 3].map((key) => fifo.tryPush(0, idOf(key), 0, payload, 0, 8));
    expect(answers.slice(1)).toEqual([DUPLICATE, 1, FULL]);
    fifo.find(idOf(1), 0);
    const chain = fifo.split(0, 1);
    fifo.join(1, chain);
    fifo.free(fifo.split(1, 9));
    const wanted = { pushes: 2, refusals: 1, duplicates: 1, finds: 1, splits: 2, joins: 1 };
    expect(fifo.counters()).toEqual({ ...wanted, removals: 1 });
  });

  test("asserts the mistakes of its callers and stays usable", () => {
    const fifo = KeyedFifo.create(SHAPE);
    const slot = fifo.tryPush(0, idOf(1), 0, new Uint8Array(4), 0, 4);
    const chain = fifo.split(0, 1);
    expect(() => fifo.remove(slot)).toThrow("removeFrom");
    expect(fifo.tryRemove(idOf(1), 0)).toBe(false);
    expect(() => fifo.free({ ...chain, count: 2 })).toThrow("as long as its count");
    expect(() => fifo.discard(0)).toThrow("reserved");
    expect(() => fifo.tryPush(0, idOf(2), 0, new Uint8Array(4), 2, 3)).toThrow("payload");
    expect(() => fifo.tryPush(0, idOf(2), 1, new Uint8Array(4), 0, 3)).toThrow("32 bytes");
    expect(fifo.tryPush(0, idOf(3), 0, new Uint8Array(4), 0, 4)).toBeGreaterThanOrEqual(0);
    fifo.join(0, fifo.split(0, 1));
    const copy = fifo.split(0, 1);
    const handle = { ...copy };
    fifo.join(0, copy);
    expect(() => fifo.free(handle)).toThrow("split off");
  });

  test("touches no memory that it does not use", () => {
    const before = process.memoryUsage.rss();
    const fifo = KeyedFifo.create({
      slots: 1 << 20,
      arenaBytes: 1 << 30,
      lists: 4,
      payloadBytesMax: 1 << 18,
    });
    fifo.tryPush(0, idOf(1), 0, new Uint8Array(100), 0, 100);
    expect(process.memoryUsage.rss() - before).toBeLessThan(32 * 1024 * 1024);
  });
});

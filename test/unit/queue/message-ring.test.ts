/** MessageRing against an array of messages. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { concatBytes } from "../../../src/base/bytes.ts";
import { MessageRing } from "../../../src/queue/message-ring.ts";

describe("MessageRing", () => {
  test("behaves like an array of messages with a bound in bytes", () => {
    const part = fc.uint8Array({ maxLength: 40 });
    const push = fc.record({ parts: fc.array(part, { maxLength: 3 }), whole: fc.boolean() });
    const step = fc.oneof(push, fc.constant("pop" as const));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200, size: "max" }), (steps) => {
        const ring = MessageRing.create({ bytes: 256 });
        const model: Uint8Array[] = [];
        let used = 0;
        const room = (message: Uint8Array) => 4 + 4 * Math.ceil(message.length / 4);
        for (const next of steps) {
          if (next === "pop") {
            const message = ring.tryPop();
            const wanted = model.shift();
            expect(message === undefined ? message : [...message]).toEqual(
              wanted === undefined ? wanted : [...wanted],
            );
            if (wanted !== undefined) used -= room(wanted);
          } else {
            const message = concatBytes(next.parts);
            const fits = used + room(message) <= 256;
            expect(ring.tryPush(next.whole ? message : next.parts)).toBe(fits);
            if (fits) {
              model.push(message);
              used += room(message);
            }
          }
          expect(ring.count()).toBe(model.length);
        }
      }),
      { numRuns: 100 },
    );
  });

  test("gives out what is inside after a close, and takes nothing more", () => {
    const ring = MessageRing.create({ bytes: 64 });
    const peer = MessageRing.attach(ring.shared);
    ring.tryPush(Uint8Array.of(1, 2, 3));
    peer.close();
    expect(ring.closed()).toBe(true);
    expect(ring.tryPush(Uint8Array.of(4))).toBe(false);
    expect([...(peer.tryPop() ?? [])]).toEqual([1, 2, 3]);
    expect(peer.tryPop()).toBeUndefined();
    expect(ring.counters()).toEqual({ pushes: 1, pops: 1, refusals: 1 });
  });

  test("takes a message as long as itself, and asserts that none is longer", () => {
    const ring = MessageRing.create({ bytes: 64 });
    for (let i = 0; i < 3; i++) {
      const message = new Uint8Array(ring.messageBytesMax).fill(i + 1);
      expect(ring.tryPush(message)).toBe(true);
      expect(ring.tryPush(new Uint8Array(0))).toBe(false);
      expect(ring.tryPop()?.every((byte) => byte === i + 1)).toBe(true);
    }
    expect(() => ring.tryPush(new Uint8Array(61))).toThrow("never fits");
    expect(() => MessageRing.attach(new SharedArrayBuffer(512))).toThrow("MessageRing");
  });
});

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { concatBytes } from "../../../src/base/bytes.ts";
import {
  type Packable,
  PartsWriter,
  pack,
  scanMessagePack,
  unpackScanned,
} from "../../../src/ledger/codec.ts";
import { VERDICT } from "../../../src/ledger/verdict.ts";
import { damages } from "./samples.ts";

const LIMITS = { depthMax: 8, itemsMax: 10_000, bytesMax: 1 << 20 };

const { value: anyValue } = fc.letrec<{ value: Packable }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.maxSafeNat(),
    fc.nat(300),
    fc.string({ maxLength: 300 }),
    fc.uint8Array({ maxLength: 700 }),
    fc.array(tie("value"), { maxLength: 20 }) as fc.Arbitrary<Packable>,
  ),
}));

function write(writer: PartsWriter, value: Packable): PartsWriter {
  if (typeof value === "number") return writer.number(value);
  if (typeof value === "string") return writer.text(value);
  if (value instanceof Uint8Array) return writer.bytes(value);
  const list = value as readonly Packable[];
  writer.array(list.length);
  for (const item of list) write(writer, item);
  return writer;
}

function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return new Uint8Array(value);
  return Array.isArray(value) ? value.map(plain) : value;
}

describe("codec", () => {
  test("values come back, and the writer of parts makes the same bytes", () => {
    fc.assert(
      fc.property(anyValue, (value) => {
        const bytes = pack(value);
        expect(scanMessagePack(bytes, 0, bytes.length, { ...LIMITS, depthMax: 32 })).toBe(0);
        expect(plain(unpackScanned(bytes))).toEqual(plain(value));
        const { parts, length } = write(new PartsWriter(), value).finish();
        expect(concatBytes(parts)).toEqual(bytes);
        expect(length).toBe(bytes.length);
      }),
      { numRuns: 300 },
    );
  });

  test("sizes at the borders of each width", () => {
    for (const size of [0, 15, 16, 31, 32, 255, 256, 65_535, 65_536]) {
      for (const value of [new Uint8Array(size), "x".repeat(size), new Array(size).fill(7)]) {
        const bytes = pack(value);
        const limits = { ...LIMITS, itemsMax: 100_000 };
        // Texts above 64 KiB are none of ours.
        const wanted = typeof value === "string" && size > 65_535 ? VERDICT.BAD_SHAPE : VERDICT.OK;
        expect(scanMessagePack(bytes, 0, bytes.length, limits)).toBe(wanted);
        const { parts } = write(new PartsWriter(), value).finish();
        expect(concatBytes(parts)).toEqual(bytes);
      }
    }
  });

  test("long byte strings are parts of their own, not copies", () => {
    const block = new Uint8Array(100_000);
    const { parts } = new PartsWriter().array(2).number(1).bytes(block).finish();
    expect(parts).toContain(block);
  });

  test("what passes the scan unpacks; damage never throws", () => {
    const bytes = pack([1, [new Uint8Array(70_000), "host", [300, 2 ** 40]], new Uint8Array(3)]);
    for (const { damaged } of damages(bytes, 300)) {
      const verdict = scanMessagePack(damaged, 0, damaged.length, LIMITS);
      if (verdict === VERDICT.OK) unpackScanned(damaged);
    }
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (random) => {
        if (scanMessagePack(random, 0, random.length, LIMITS) === VERDICT.OK) unpackScanned(random);
      }),
      { numRuns: 5000 },
    );
  });

  test("lies about sizes are found without following them", () => {
    const verdictOf = (...bytes: number[]) =>
      scanMessagePack(Uint8Array.from(bytes), 0, bytes.length, LIMITS);
    expect(verdictOf()).toBe(VERDICT.TRUNCATED);
    expect(verdictOf(0xdd, 0xff, 0xff, 0xff, 0xff)).toBe(VERDICT.TRUNCATED);
    expect(verdictOf(0xc6, 0xff, 0xff, 0xff, 0xff, 1)).toBe(VERDICT.TRUNCATED);
    expect(verdictOf(0x92, 1)).toBe(VERDICT.TRUNCATED);
    expect(verdictOf(0x91, 1, 1)).toBe(VERDICT.TRAILING_BYTES);
    expect(verdictOf(...new Array(9).fill(0x91), 0x90)).toBe(VERDICT.TOO_DEEP);
    expect(verdictOf(0xcb, 0, 0, 0)).toBe(VERDICT.TRUNCATED);
    // Maps, extensions, nil, booleans, negative and 64-bit integers, float32.
    for (const type of [0x80, 0xde, 0xc7, 0xd4, 0xc0, 0xc1, 0xc2, 0xc3, 0xe0, 0xcf, 0xd3, 0xca]) {
      expect(verdictOf(type, 0, 0, 0, 0, 0, 0, 0, 0)).toBe(VERDICT.BAD_SHAPE);
    }
    const many = pack(new Array(20).fill(1));
    expect(scanMessagePack(many, 0, many.length, { ...LIMITS, itemsMax: 20 })).toBe(
      VERDICT.TOO_LARGE,
    );
    expect(scanMessagePack(many, 0, many.length, { ...LIMITS, bytesMax: 20 })).toBe(
      VERDICT.TOO_LARGE,
    );
    expect(scanMessagePack(many, 0, many.length + 1, LIMITS)).toBe(VERDICT.TRUNCATED);
  });
});

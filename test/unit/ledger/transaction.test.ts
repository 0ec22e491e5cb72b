import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { toHex } from "../../../src/base/bytes.ts";
import { kernels } from "../../../src/base/kernels.ts";
import {
  afterKey,
  amountOf,
  creationTimeOf,
  kindOf,
  lastValidRoundOf,
  nextField,
  receiverOf,
  senderOf,
  sequenceOf,
  TRANSACTION_KIND,
} from "../../../src/ledger/transaction.ts";
import { checkTransaction } from "../../../src/ledger/transaction-check.ts";
import {
  decodeTransaction,
  encodeTransaction,
  txnIDOf,
} from "../../../src/ledger/transaction-object.ts";
import { VERDICT } from "../../../src/ledger/verdict.ts";
import { TXN_BYTES_MAX } from "../../../src/limits.ts";
import { anyTransaction, CHAIN_ID, damages, filled, TIME, TRANSFER } from "./samples.ts";

describe("transaction", () => {
  test("a transfer has the bytes of the format", () => {
    const bytes = encodeTransaction(TRANSFER);
    expect(toHex(bytes)).toBe(
      "01000000" +
        "c1".repeat(16) +
        "0700000000000000" +
        "0100000000010000" +
        "e80300000000" +
        "00dc20749701" +
        "0900000000000000" +
        "fa00000000000000",
    );
    expect(toHex(txnIDOf(bytes))).toBe(
      "e236ca61071c3b6ae79b188d0f24a77e8770568f5baacee5d6420f65155dd8bf",
    );
  });

  test("what is encoded is good, reads back and is found by the readers", () => {
    fc.assert(
      fc.property(anyTransaction, fc.nat(40), (input, before) => {
        const encoded = encodeTransaction(input);
        const bytes = new Uint8Array(before + encoded.length + 3).fill(0xff);
        bytes.set(encoded, before);
        expect(checkTransaction(bytes, before, encoded.length, CHAIN_ID)).toBe(VERDICT.OK);
        expect(kindOf(bytes, before)).toBe(TRANSACTION_KIND[input.kind]);
        expect(senderOf(bytes, before)).toBe(input.senderID);
        expect(sequenceOf(bytes, before)).toBe(input.sequence);
        expect(lastValidRoundOf(bytes, before)).toBe(input.lastValidRound);
        expect(creationTimeOf(bytes, before)).toBe(input.creationTime);
        if (input.kind === "transfer") {
          expect(receiverOf(bytes, before)).toBe(input.receiverID!);
          expect(amountOf(bytes, before)).toBe(input.txnAmount!);
        }
        const read = decodeTransaction(bytes, before, encoded.length);
        if (!read.ok) throw new Error(read.where);
        const { txnID, ...rest } = read.value;
        expect(txnID).toBe(toHex(txnIDOf(encoded)));
        expect(rest).toEqual({
          receiverID: 0,
          txnAmount: 0,
          key: new Uint8Array(0),
          fields: [],
          payload: new Uint8Array(0),
          ...input,
        });
        expect(encodeTransaction(read.value)).toEqual(encoded);
      }),
      { numRuns: 200 },
    );
  });

  test("the txnID is the leaf hash of the kernels", () => {
    const bytes = encodeTransaction(TRANSFER);
    const id = new Uint8Array(32);
    kernels.leafHashes(bytes, Uint32Array.of(0, bytes.length), 1, id, 0);
    expect<Uint8Array>(id).toEqual(txnIDOf(bytes));
  });

  test("fields are walked from the end of the key to the end of the bytes", () => {
    const fields = [
      { name: filled(3, 1), value: filled(100, 2) },
      { name: filled(1, 3), value: filled(0, 0) },
    ];
    const bytes = encodeTransaction({ ...TRANSFER, kind: "insert", key: filled(9, 7), fields });
    expect(nextField(bytes, nextField(bytes, afterKey(bytes, 0)))).toBe(bytes.length);
  });

  test("every cut and every changed byte gets a verdict", () => {
    fc.assert(
      fc.property(anyTransaction, (input) => {
        for (const { what, damaged } of damages(encodeTransaction(input), 100)) {
          const verdict = checkTransaction(damaged, 0, damaged.length, CHAIN_ID);
          const read = decodeTransaction(damaged);
          // Changed content may be good content; a cut or a longer one only where the rest is opaque.
          if (verdict === VERDICT.OK) expect(read.ok).toBe(true);
          else expect(Object.values(VERDICT)).toContain(verdict);
          if (/^(cut|one)/.test(what) && input.kind !== "record") {
            expect(verdict).not.toBe(VERDICT.OK);
          }
        }
      }),
      { numRuns: 20 },
    );
  });

  test("random bytes are judged, never thrown at the caller", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 200 }),
        fc.integer({ min: 0, max: 7 }),
        (bytes, kind) => {
          if (bytes.length >= 20) bytes.set([kind, bytes[1], bytes[2] & 3, 0, ...CHAIN_ID]);
          const verdict = checkTransaction(bytes, 0, bytes.length, CHAIN_ID);
          expect(decodeTransaction(bytes).ok || verdict !== VERDICT.OK).toBe(true);
        },
      ),
    );
  });

  test("each rule has its verdict", () => {
    const good = encodeTransaction(TRANSFER);
    const verdictOf = (change: (bytes: Uint8Array) => void, base = good) => {
      const bytes = base.slice();
      change(bytes);
      return checkTransaction(bytes, 0, bytes.length, CHAIN_ID);
    };
    expect(verdictOf((b) => b.fill(0, 4, 5))).toBe(VERDICT.WRONG_CHAIN);
    expect(verdictOf((b) => b.fill(0, 0, 1))).toBe(VERDICT.UNKNOWN_KIND);
    expect(verdictOf((b) => b.fill(6, 0, 1))).toBe(VERDICT.UNKNOWN_KIND);
    expect(verdictOf((b) => b.fill(1, 1, 2))).toBe(VERDICT.BAD_KEY);
    expect(verdictOf((b) => b.fill(1, 2, 3))).toBe(VERDICT.BAD_FIELDS);
    expect(verdictOf((b) => b.fill(0, 56, 64))).toBe(VERDICT.BAD_NUMBER);
    for (const at of [20, 28, 48, 56]) {
      expect(verdictOf((b) => b.fill(0x20, at + 6, at + 7))).toBe(VERDICT.BAD_NUMBER);
      expect(verdictOf((b) => b.fill(1, at + 7, at + 8))).toBe(VERDICT.BAD_NUMBER);
    }
    expect(checkTransaction(good, 0, 63, CHAIN_ID)).toBe(VERDICT.TRUNCATED);
    expect(checkTransaction(good, 0, TXN_BYTES_MAX + 1, CHAIN_ID)).toBe(VERDICT.TOO_LARGE);
    const remove = encodeTransaction({ ...TRANSFER, kind: "delete", key: filled(4, 1) });
    expect(verdictOf((b) => b.fill(0, 1, 2), remove)).toBe(VERDICT.BAD_KEY);
    expect(verdictOf((b) => b.fill(3, 1, 2), remove)).toBe(VERDICT.TRAILING_BYTES);
    expect(verdictOf((b) => b.fill(5, 1, 2), remove)).toBe(VERDICT.TRUNCATED);
  });

  test("an input that no rank would take is refused in a sentence", () => {
    const bad = [
      { txnAmount: 0 },
      { txnAmount: 2 ** 53 },
      { receiverID: -1 },
      { senderID: 1.5 },
      { lastValidRound: 2 ** 48 },
      { creationTime: -TIME },
    ];
    for (const change of bad) {
      expect(() => encodeTransaction({ ...TRANSFER, ...change })).toThrow("cannot be encoded");
    }
    expect(() => encodeTransaction({ ...TRANSFER, kind: "insert", key: filled(1, 1) })).toThrow();
    expect(() =>
      encodeTransaction({ ...TRANSFER, kind: "record", payload: new Uint8Array(TXN_BYTES_MAX) }),
    ).toThrow("TOO_LARGE");
  });
});

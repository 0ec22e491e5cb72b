/** Acknowledgements against the log, and the table of ids behind them. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { toHex } from "../../../src/base/bytes.ts";
import { OUTCOME } from "../../../src/ledger/receipt.ts";
import { JournalCheck } from "../../../src/verify/journal.ts";
import { readLedger } from "../../../src/verify/ledger-reader.ts";
import { TxnTable } from "../../../src/verify/txn-table.ts";
import { LedgerMaker } from "../../support/make-ledger.ts";

let root = "";
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "baash-journal-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

function journal(name: string, entries: readonly (readonly [Uint8Array, number])[]): string {
  const file = join(root, name);
  writeFileSync(file, Buffer.concat(entries.flatMap(([id, level]) => [id, Uint8Array.of(level)])));
  return file;
}

const idOf = (seed: number) => Bun.SHA256.hash(String(seed)) as unknown as Uint8Array;

describe("JournalCheck", () => {
  test("acknowledged transactions of a ledger are executed once, refused, or missing", () => {
    const ledger = new LedgerMaker(join(root, "ledger"));
    const again = ledger.transfer(1, 5);
    ledger.record("QUORUM", [ledger.run([[[again, ledger.transfer(2, 5)]], [[again]], [], []])]);
    const expired = ledger.transaction({
      kind: "transfer",
      senderID: 0,
      sequence: 3,
      receiverID: 1,
      txnAmount: 1,
      lastValidRound: 1,
    });
    ledger.record("QUORUM", [ledger.run([[[expired, again]], [], [], []])]);
    const ids = ledger.executed.map(({ id }) => id);
    const ghost = idOf(99);
    const files = [
      journal("a", [...ids.map((id) => [id, 1] as const), [ghost, 1]]),
      journal("b", [...ids.map((id) => [id, 2] as const), [ghost, 2]]),
    ];
    const check = new JournalCheck(files);
    readLedger(ledger.dir, { onTransaction: (all, at, outcome) => check.see(all, at, outcome) });
    expect(check.report()).toEqual({
      files: 2,
      acknowledged: 4,
      final: 4,
      executed: 2,
      refused: 1,
      missing: 1,
      missingFinal: 1,
      doubled: 0,
      missingIds: [toHex(ghost)],
      doubledIds: [],
      notes: [],
    });
  });

  test("a second execution is doubled; an expired copy of an executed one is not", () => {
    const check = new JournalCheck([
      journal("c", [
        [idOf(1), 1],
        [idOf(2), 1],
      ]),
    ]);
    for (const outcome of [OUTCOME.OK, OUTCOME.DUPLICATE, OUTCOME.OK])
      check.see(idOf(1), 0, outcome);
    for (const outcome of [OUTCOME.WINDOW_FULL, OUTCOME.OVERDRAFT, OUTCOME.EXPIRED]) {
      check.see(idOf(2), 0, outcome);
    }
    check.see(idOf(3), 0, OUTCOME.OK);
    expect(check.report()).toMatchObject({
      executed: 1,
      doubled: 1,
      missing: 0,
      final: 0,
      doubledIds: [toHex(idOf(1))],
    });
  });

  test("names ten examples at most, and mentions an unfinished last entry", () => {
    const file = journal(
      "d",
      Array.from({ length: 30 }, (_, i) => [idOf(i), 2] as const),
    );
    writeFileSync(file, Buffer.concat([Buffer.from(new Uint8Array(5))]), { flag: "a" });
    const report = new JournalCheck([file]).report();
    expect(report).toMatchObject({ acknowledged: 30, missing: 30, missingFinal: 30 });
    expect(report.missingIds.length).toBe(10);
    expect(report.notes).toEqual([`${file} ends in 5 bytes of an unfinished entry`]);
  });

  test("refuses files that are not there or are something else", () => {
    expect(() => new JournalCheck([join(root, "nothing")])).toThrow(/cannot be read/);
    expect(() => new JournalCheck([journal("e", [[idOf(1), 7]])])).toThrow(/not a journal/);
  });
});

describe("TxnTable", () => {
  test("behaves like a Map, through growth", () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 4000 }), { maxLength: 6000, size: "max" }), (seeds) => {
        const table = new TxnTable(0);
        const model = new Map<number, number>();
        for (const seed of seeds) {
          const mark = (seed % 255) + 1;
          const place = table.add(idOf(seed), 0, mark);
          if (!model.has(seed)) model.set(seed, mark);
          if (table.mark(place) !== model.get(seed)) return false;
        }
        if (table.size !== model.size) return false;
        for (let seed = 0; seed < 100; seed++) {
          if (table.find(idOf(seed), 0) >= 0 !== model.has(seed)) return false;
        }
        return true;
      }),
      { numRuns: 20 },
    );
  });
});

/** The reader's plain state against the ledger's own, over random transactions. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { toHex } from "../../../src/base/bytes.ts";
import { OUTCOME } from "../../../src/ledger/receipt.ts";
import { readLedger } from "../../../src/verify/ledger-reader.ts";
import { LedgerMaker, type TransactionDraft } from "../../support/make-ledger.ts";

const text = (value: string) => new TextEncoder().encode(value);
let root = "";
let made = 0;

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "baash-replay-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const field = fc.record({
  name: fc.constantFrom("a", "b", "bb", "\u00e9").map(text),
  value: fc.string({ maxLength: 6 }).map(text),
});
const fields = fc.array(field, { minLength: 1, maxLength: 4 });
const key = fc.constantFrom("k", "k1", "k2", "other").map(text);
/** Few senders, sequences and rounds, so that every outcome comes about. */
const head = fc.record({
  senderID: fc.nat({ max: 3 }),
  sequence: fc.nat({ max: 12 }),
  lastValidRound: fc.oneof(fc.nat({ max: 12 }), fc.constant(100_000)),
});
const transfer = fc.record({
  receiverID: fc.nat({ max: 3 }),
  txnAmount: fc.integer({ min: 1, max: 60 }),
});
const operation = fc.oneof(
  transfer.map((more) => ({ kind: "transfer" as const, ...more })),
  fc.record({ key, fields }).map((more) => ({ kind: "insert" as const, ...more })),
  fc.record({ key, fields }).map((more) => ({ kind: "update" as const, ...more })),
  key.map((value) => ({ kind: "delete" as const, key: value })),
  key.map((value) => ({ kind: "record" as const, key: value, payload: text("x") })),
);
const draft = fc.tuple(head, operation).map(([a, b]) => ({ ...a, ...b }) as TransactionDraft);
const block = fc.array(draft, { minLength: 1, maxLength: 8 });
/** Per round, per rank: ⊥ or a list of blocks. */
const rounds = fc.array(
  fc.array(fc.option(fc.array(block, { maxLength: 2 }), { nil: undefined }), {
    minLength: 3,
    maxLength: 3,
  }),
  { minLength: 8, maxLength: 12 },
);

test("outcomes, effects and state roots agree", () => {
  const seen = new Set<number>();
  fc.assert(
    fc.property(rounds, (drafts) => {
      const ledger = new LedgerMaker(join(root, String(made++)), { ranks: 3, supply: 100 });
      for (const proposals of drafts) {
        const blocks = proposals.map((list) =>
          list?.map((txns) => {
            const encoded = txns.map((txn) => ledger.transaction(txn));
            // And one of them a second time.
            return [...encoded, encoded[0]];
          }),
        );
        ledger.record("QUORUM", [ledger.run(blocks)]);
      }
      const outcomes: number[] = [];
      const report = readLedger(ledger.dir, {
        onTransaction: (_ids, _at, outcome) => outcomes.push(outcome),
      });
      expect(report.damages).toEqual([]);
      expect(outcomes).toEqual(ledger.executed.map(({ outcome }) => outcome));
      expect(report.summary.stateRoot).toBe(toHex(ledger.state.root()));
      for (const outcome of outcomes) seen.add(outcome);
    }),
    { numRuns: 25 },
  );
  const { WINDOW_FULL, UNKNOWN_SENDER, ...reachable } = OUTCOME;
  expect([...seen].sort()).toEqual(Object.values(reachable).sort());
});

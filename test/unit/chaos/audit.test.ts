/** The checks at the end of a run: red for any one transaction that is lost, doubled or told wrongly. */
import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toHex } from "../../../src/base/bytes.ts";
import { type AuditInput, audit, type PromiseName } from "../../../src/chaos/audit.ts";
import { agreedAtRisk, readChainFacts } from "../../../src/chaos/chain-facts.ts";
import { ENTRY, type Journal, JournalWriter, readJournal } from "../../../src/chaos/journal.ts";
import { Told } from "../../../src/chaos/told.ts";
import { OUTCOME } from "../../../src/ledger/receipt.ts";
import { SUBMIT } from "../../../src/ledger/service.ts";
import { encodeSettlement } from "../../../src/ledger/settlement.ts";
import { txnIDOf } from "../../../src/ledger/transaction-object.ts";
import { LedgerMaker } from "../../support/make-ledger.ts";

const root = mkdtempSync(join(tmpdir(), "baash-audit-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

let made = 0;
let ledger: LedgerMaker;
let sent: Uint8Array[];

/** Three transactions in two rounds, then an empty round whose votes attest to their effects. */
beforeEach(() => {
  ledger = new LedgerMaker(join(root, `ledger-${made++}`));
  sent = [ledger.transfer(1, 5), ledger.transfer(2, 7)];
  ledger.record("QUORUM", [ledger.run([[sent]])]);
  sent.push(ledger.transfer(3, 9_999_999));
  ledger.record("QUORUM", [ledger.run([[[sent[2]]]])]);
  ledger.record("QUORUM", [ledger.run([[]])]);
});

type Word = readonly [type: number, detail?: number];
const AGREED: Word = [ENTRY.AGREED];
const OK: Word = [ENTRY.FINAL, OUTCOME.OK];
const OVERDRAFT: Word = [ENTRY.FINAL, OUTCOME.OVERDRAFT];
const NOW = 1_800_000_000_000;

/** A client's journal: each transaction with what was said of it. */
function journal(
  told: readonly (readonly [Uint8Array, ...Word[]])[],
  stamps: number[] = [],
): Journal {
  const path = join(root, `journal-${made++}`);
  const writer = new JournalWriter(path);
  for (const [bytes, ...words] of told) {
    const index = writer.submitted(bytes, NOW, NOW);
    for (const [type, detail = 0] of words) writer.heard(type, detail, index, NOW + 5);
  }
  const epoch = toHex(ledger.epoch);
  for (const slot of stamps) writer.read({ time: NOW, epoch, slot, round: 0 }, "");
  writer.close();
  return readJournal(path);
}

const truth = () =>
  journal(
    [
      [sent[0], AGREED, OK],
      [sent[1], OK],
      [sent[2], AGREED, OVERDRAFT],
    ],
    [0, 3],
  );

function broken(change: Partial<AuditInput> = {}): PromiseName[] {
  const report = audit({
    ledger: ledger.dir,
    journals: [truth()],
    heads: [],
    reports: [],
    losses: [],
    ended: false,
    ...change,
  });
  for (const { good, problems } of report.checks) expect(good).toBe(problems.length === 0);
  expect(report.good).toBe(report.checks.every(({ good }) => good));
  return report.checks.filter(({ good }) => !good).map(({ promise }) => promise);
}

const facts = () => ({
  who: "rank 1",
  slot: ledger.slot - 1,
  head: toHex(ledger.head),
  stateRoot: toHex(ledger.state.root()),
  balanceTotal: ledger.state.total(),
});

describe("a good run", () => {
  test("keeps every promise, and says what was looked at", () => {
    const heads = [{ who: "status.json", slot: ledger.slot - 1, head: toHex(ledger.head) }];
    expect(broken({ heads, reports: [facts()] })).toEqual([]);
    const journals = [truth()];
    ledger.seal(0);
    expect(broken({ ended: true, journals })).toEqual([]);
  });

  test("transactions that nobody was told of may be in the log or not", () => {
    const lost = ledger.transfer(50, 1);
    const journals = [journal([[sent[0]], [sent[1], AGREED], [sent[2], OVERDRAFT], [lost]])];
    expect(broken({ journals })).toEqual([]);
    const { counts, notes } = audit({
      ...{ ledger: ledger.dir, journals, heads: [], reports: [], losses: [], ended: false },
    });
    expect(counts).toMatchObject({ submitted: 4, final: 1, unknown: 3, unknownInLog: 2 });
    expect(notes.join()).toContain("3 transactions had no last word; 2 of them are in the log");
  });
});

describe("S3 and S6: told final", () => {
  test("a transaction told final that is not in the log", () => {
    const journals = [truth(), journal([[ledger.transfer(70, 1), OK]])];
    expect(broken({ journals })).toEqual(["S3"]);
  });

  test("told another outcome than the log has", () => {
    const journals = [
      journal([
        [sent[0], OK],
        [sent[1], OK],
        [sent[2], OK],
      ]),
    ];
    expect(broken({ journals })).toEqual(["S3"]);
  });

  test("told that it never ran, and it did; told two things", () => {
    const expired: Word = [ENTRY.FINAL, OUTCOME.EXPIRED];
    const rest = [[sent[1]], [sent[2]]] as const;
    expect(broken({ journals: [journal([[sent[0], expired], ...rest])] })).toEqual(["S3"]);
    expect(broken({ journals: [journal([[sent[0], OK, expired], ...rest])] })).toEqual(["S3"]);
    const refused: Word = [ENTRY.REFUSED, SUBMIT.MALFORMED];
    expect(broken({ journals: [journal([[sent[0], refused], ...rest])] })).toEqual(["S3"]);
  });

  test("what was refused for its age may have run before it was sent again", () => {
    const refused: Word = [ENTRY.REFUSED, SUBMIT.EXPIRED];
    const journals = [journal([[sent[0], refused], [sent[1]], [sent[2]]])];
    expect(broken({ journals })).toEqual([]);
  });

  test("the same transaction twice in the log is fine as a duplicate, and red if it ran twice", () => {
    ledger.record("QUORUM", [ledger.run([[[sent[0]]]])]);
    ledger.record("QUORUM", [ledger.run([[]])]);
    expect(broken()).toEqual([]);
    const told = new Told([truth()]);
    const id = txnIDOf(sent[0]);
    for (const outcome of [OUTCOME.OK, OUTCOME.DUPLICATE]) told.see(id, 0, outcome);
    expect(told.report(() => false).doubled.count).toBe(0);
    told.see(id, 0, OUTCOME.OK);
    const { doubled } = told.report(() => false);
    expect(doubled.count).toBe(1);
    expect(doubled.examples[0]).toBe(`${toHex(id)} ran 2 times`);
  });

  test("a transaction in the log that no client sent", () => {
    const journals = [
      journal([
        [sent[0], OK],
        [sent[1], OK],
      ]),
    ];
    expect(broken({ journals })).toEqual(["S6"]);
  });
});

describe("S11: told agreed", () => {
  const agreedOnly = () => [truth(), journal([[ledger.transfer(80, 1), AGREED]])];

  test("lost although R members lived, or although one of four died", () => {
    expect(broken({ journals: agreedOnly() })).toEqual(["S11"]);
    const losses = [{ at: NOW, incarnation: undefined }];
    expect(broken({ journals: agreedOnly(), losses })).toEqual(["S11"]);
  });

  test("may be lost where fewer than R of four members lived", () => {
    const losses = Array.from({ length: 3 }, () => ({ at: NOW, incarnation: undefined }));
    expect(broken({ journals: agreedOnly(), losses })).toEqual([]);
  });

  test("what was told final is not excused by that", () => {
    const losses = Array.from({ length: 4 }, () => ({ at: NOW, incarnation: undefined }));
    const journals = [truth(), journal([[ledger.transfer(80, 1), AGREED, OK]])];
    expect(broken({ journals, losses })).toEqual(["S3"]);
  });

  test("losses count for the epochs whose members they were", () => {
    const epoch = (at: number, ...members: string[]) => ({ slot: 0, hash: `${at}`, at, members });
    const epochs = [epoch(0, "a", "b", "c", "d"), epoch(10_000, "c", "d", "e", "f")];
    const lost = (at: number, ...names: string[]) =>
      names.map((incarnation) => ({ at, incarnation }));
    expect(agreedAtRisk(epochs, lost(5000, "a", "b"))(4000)).toBe(false);
    expect(agreedAtRisk(epochs, lost(5000, "a", "b", "c"))(4000)).toBe(true);
    // c died before the second epoch began and is still a member of it; d and e follow.
    const three = [...lost(9000, "c"), ...lost(20_000, "d", "e")];
    expect(agreedAtRisk(epochs, three)(20_500)).toBe(true);
    expect(agreedAtRisk(epochs, three)(4000)).toBe(false);
    // Stopped one after the other, never three at once.
    const stopped = (at: number, name: string) => ({ at, until: at + 500, incarnation: name });
    const turns = [stopped(1000, "a"), stopped(2000, "b"), stopped(3000, "c")];
    expect(agreedAtRisk(epochs, turns)(4000)).toBe(false);
    const together = [stopped(1000, "a"), stopped(1100, "b"), stopped(1200, "c")];
    expect(agreedAtRisk(epochs, together)(4000)).toBe(true);
    // Of a later epoch: no excuse for this one.
    expect(agreedAtRisk(epochs, lost(20_000, "a", "b", "c", "d"))(20_500)).toBe(false);
  });
});

describe("S1, S2, S4, S5, S7: the ledger and its ranks", () => {
  test("a head or a stamp that is not on the chain", () => {
    const heads = [{ who: "status.json", slot: 1, head: toHex(ledger.head) }];
    expect(broken({ heads })).toEqual(["S2"]);
    expect(broken({ reports: [{ ...facts(), slot: ledger.slot }] })).toEqual(["S2"]);
    const ahead = journal([[sent[0]], [sent[1]], [sent[2]]], [ledger.slot]);
    expect(broken({ journals: [ahead] })).toEqual(["S2"]);
    const first = toHex(ledger.epoch);
    ledger.change({ evict: [3] });
    // In the new epoch's first slot it is in force already.
    const late = journal([[sent[0]], [sent[1]], [sent[2]]], [ledger.slot - 2, ledger.slot - 1]);
    expect(broken({ journals: [late] })).toEqual(["S2"]);
    expect(toHex(ledger.epoch)).not.toBe(first);
  });

  test("a rank with other balances or another state root", () => {
    expect(broken({ reports: [{ ...facts(), balanceTotal: 1 }] })).toEqual(["S7"]);
    expect(broken({ reports: [{ ...facts(), stateRoot: "00" }] })).toEqual(["S7"]);
  });

  test("evidence, also such that proves nothing: here nobody lies", () => {
    writeFileSync(join(ledger.dir, "evidence", `.${"ab".repeat(8)}-1.tmp`), "");
    expect(broken()).toEqual([]);
    writeFileSync(join(ledger.dir, "evidence", "vote-1-2"), "");
    expect(broken()).toEqual(["S5"]);
  });

  test("a QUORUM record without a quorum; one that came too late is nothing", () => {
    const lone = ledger.settled(new Map([[0, ledger.propose(0, [])]]), [0]);
    ledger.put("QUORUM", encodeSettlement([lone]), { author: 0, rounds: [lone] });
    expect(broken()).toEqual(["S4"]);
    ledger = new LedgerMaker(join(root, `ledger-${made++}`));
    const late = ledger.settled(new Map([[0, ledger.propose(0, [])]]));
    ledger.record("QUORUM", [ledger.run([[]])]);
    ledger.put("QUORUM", encodeSettlement([late]), { author: 1, rounds: [late] });
    expect(broken({ journals: [] })).toEqual([]);
  });

  test("a log that was cut, and one that was not closed", () => {
    expect(broken({ ended: true })).toEqual(["END"]);
    const { hashes, epochs } = readChainFacts(ledger.dir);
    expect(hashes).toHaveLength(ledger.slot);
    expect(hashes.at(-1)).toBe(toHex(ledger.head));
    expect(epochs).toHaveLength(1);
    expect(epochs[0].members).toHaveLength(4);
    const last = join(ledger.dir, "log/000000");
    rmSync(join(last, `${String(1).padStart(10, "0")}.${hashes[0]}`));
    expect(broken()).toEqual(["S1", "S2", "S3"]);
  });
});

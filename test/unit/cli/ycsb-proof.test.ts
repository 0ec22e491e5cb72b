/** The proof at the end of a load: it is red for any one transaction that is missing or doubled. */
import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toHex } from "../../../src/base/bytes.ts";
import { type ProofInput, prove } from "../../../src/cli/ycsb/proof.ts";
import type { RankReport } from "../../../src/job/job.ts";
import { LedgerMaker } from "../../support/make-ledger.ts";

const RANKS = 4;
const root = mkdtempSync(join(tmpdir(), "baash-proof-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

let made = 0;
let ledger: LedgerMaker;
let first: Uint8Array;

/** Transactions 1 and 2 in round 1, then an empty round whose votes attest to the effects. */
beforeEach(() => {
  ledger = new LedgerMaker(join(root, `ledger-${made++}`));
  first = ledger.transfer(1, 5);
  ledger.record("QUORUM", [ledger.run([[[first, ledger.transfer(2, 7)]]])]);
  settleNothing();
});

function settleNothing(): void {
  ledger.record("QUORUM", [ledger.run([[]])]);
}

/** Where every rank says that it is, given that all executed what the maker did. */
function reports(change: Partial<RankReport> = {}): RankReport[] {
  return Array.from({ length: RANKS }, (_, rank) => ({
    rank,
    slot: ledger.slot - 1,
    head: toHex(ledger.head),
    stateRoot: toHex(ledger.state.root()),
    balanceTotal: ledger.state.total(),
    phases: [],
    counters: {},
    alerts: {},
    ...(rank === 2 ? change : {}),
  }));
}

function journal(ids: readonly Uint8Array[], level = 2): string {
  const file = join(root, `journal-${made++}`);
  writeFileSync(file, Buffer.concat(ids.flatMap((id) => [id, Uint8Array.of(level)])));
  return file;
}

const acknowledged = () => ledger.executed.map(({ id }) => id);

function proof(change: Partial<ProofInput> = {}) {
  return prove({
    ledger: ledger.dir,
    ranks: RANKS,
    reports: reports(),
    journals: [journal(acknowledged())],
    counted: ledger.executed.length,
    ...change,
  });
}

function expectRed(result: ReturnType<typeof proof>, sentence: RegExp): void {
  expect(result.verified).toBe(false);
  expect(result.problems.join("\n")).toMatch(sentence);
}

describe("green", () => {
  test("all acknowledged transactions are there once, and everybody agrees", () => {
    const { verified, problems, checked, journal: found } = proof();
    expect(problems).toEqual([]);
    expect(verified).toBe(true);
    expect(checked.join()).toContain("total conserved");
    expect(found).toMatchObject({ acknowledged: 2, executed: 2, missing: 0, doubled: 0 });
  });

  test("the same transaction handed in twice has no second effect", () => {
    ledger.record("QUORUM", [ledger.run([[[first]], [[first]]])]);
    settleNothing();
    expect(proof({ counted: 2 })).toMatchObject({ verified: true, journal: { executed: 2 } });
  });
});

describe("red", () => {
  test("any one acknowledged transaction that the log does not hold is named", () => {
    const ids = acknowledged();
    for (const left of ids.keys()) {
      // The ledger again without that one, with everything else in order.
      ledger = new LedgerMaker(join(root, `without-${made++}`));
      const transfers = [ledger.transfer(1, 5), ledger.transfer(2, 7)];
      ledger.record("QUORUM", [ledger.run([[transfers.filter((_, i) => i !== left)]])]);
      settleNothing();
      // txnIDs hold the chain's id: take the two of this chain.
      const other = new LedgerMaker(join(root, `whole-${made++}`));
      Object.assign(other, { genesis: ledger.genesis });
      other.run([[transfers]]);
      const whole = other.executed.map(({ id }) => id);
      for (const level of [1, 2]) {
        const result = proof({ journals: [journal(whole, level)], counted: 0 });
        expectRed(result, /1 acknowledged transactions are not in the log/);
        expect(result.journal?.missingIds).toEqual([toHex(whole[left])]);
      }
    }
  });

  test("any one transaction whose effect the ranks took twice", () => {
    for (const sequence of [1, 2]) {
      ledger = new LedgerMaker(join(root, `doubled-${made++}`));
      const transfers = [ledger.transfer(1, 5), ledger.transfer(2, 7)];
      ledger.record("QUORUM", [ledger.run([[transfers]])]);
      // The log says that transaction again; the ranks execute it like a new one.
      const again = new Map([[0, ledger.propose(0, [[transfers[sequence - 1]]])]]);
      const executed = new Map([[0, ledger.propose(0, [[ledger.transfer(9, 5)]])]]);
      const settled = ledger.settled(again);
      ledger.execute(executed);
      ledger.record("QUORUM", [settled]);
      const journals = [journal(acknowledged().slice(0, 2))];
      // Nobody has voted on it yet: the ranks' word differs from the log …
      expectRed(proof({ journals, counted: 2 }), /ended with stateRoot/);
      // … and once somebody has, the log contradicts itself.
      settleNothing();
      expectRed(proof({ journals, counted: 2 }), /effects/);
    }
  });

  test("journals that hold less than the load counted", () => {
    const journals = [journal(acknowledged().slice(1))];
    expectRed(proof({ journals }), /hold 1 final acknowledgements, yet the load counted 2/);
    expectRed(proof({ journals: [join(root, "gone")] }), /gone cannot be read/);
  });

  test("a rank that ended elsewhere, or did not say where", () => {
    expectRed(proof({ reports: reports({ head: "ab" }) }), /Rank 2 ended with head ab/);
    expectRed(proof({ reports: reports({ stateRoot: "ab" }) }), /Rank 2 ended with stateRoot ab/);
    expectRed(proof({ reports: reports({ slot: 1 }) }), /Rank 2 ended with slot 1/);
    expectRed(proof({ reports: reports({ balanceTotal: 1 }) }), /Rank 2 ended with balanceTotal 1/);
    expectRed(proof({ reports: reports().slice(1) }), /Only 3 of 4 ranks/);
  });

  test("a damaged byte of storage", () => {
    const tail = join(ledger.dir, "log/000000");
    const file = join(tail, readdirSync(tail).sort()[1]);
    const bytes = readFileSync(file);
    bytes[300] ^= 1;
    writeFileSync(file, bytes);
    expectRed(proof(), /log\/000000\/0000000001.*byte/);
  });
});

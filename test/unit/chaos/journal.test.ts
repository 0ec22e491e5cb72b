/** The clients' journals: everything written is read, a cut end costs only what was cut. */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ENTRY, JournalWriter, parseJournal, readJournal } from "../../../src/chaos/journal.ts";
import { STATE } from "../../../src/ledger/intake-frames.ts";
import { OUTCOME } from "../../../src/ledger/receipt.ts";
import { SUBMIT } from "../../../src/ledger/service.ts";

const root = mkdtempSync(join(tmpdir(), "baash-journal-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const path = join(root, "journal");

function write(): Buffer {
  const writer = new JournalWriter(path);
  writer.connected("/run/rank-3.sock", 9.5);
  const bytes = [Uint8Array.of(1, 2, 3), new Uint8Array(100_000).fill(7), Uint8Array.of(9)];
  const [one, two, three] = bytes.map((each, i) => writer.submitted(each, 10 + i, 20 + i));
  writer.heard(ENTRY.AGREED, 0, one, 30);
  writer.heard(ENTRY.AGREED, 0, one, 35);
  writer.heard(ENTRY.FINAL, OUTCOME.OVERDRAFT, one, 40);
  writer.heard(ENTRY.REFUSED, SUBMIT.MALFORMED, two, 50);
  writer.heard(ENTRY.UNKNOWN, STATE.PENDING, three, 60);
  writer.read({ time: 70, epoch: "ab".repeat(32), slot: 12, round: 34 }, "/run/rank-3.sock");
  writer.close();
  return readFileSync(path);
}

describe("a journal", () => {
  test("is read as it was written", () => {
    write();
    const { submissions, reads, connections, rest } = readJournal(path);
    expect(rest).toBe(0);
    expect(connections).toEqual([{ time: 9.5, path: "/run/rank-3.sock" }]);
    expect(reads).toEqual([{ time: 70, epoch: "ab".repeat(32), slot: 12, round: 34 }]);
    const [one, two, three] = submissions;
    expect(one).toMatchObject({ intended: 10, submitted: 20, agreed: 30, final: 40 });
    expect(one).toMatchObject({ outcome: OUTCOME.OVERDRAFT, unknown: -1, contradictions: [] });
    expect(two.bytes).toEqual(Buffer.alloc(100_000, 7));
    expect(two).toMatchObject({ refused: 50, status: SUBMIT.MALFORMED, final: Number.NaN });
    expect(three).toMatchObject({ unknown: STATE.PENDING, agreed: Number.NaN });
  });

  test("cut anywhere, it says less and never something else", () => {
    const whole = write();
    const { submissions } = parseJournal("whole", whole);
    const cuts = [0, 1, 15, 16, 17, 40, 60, 70, 100, 50_000, whole.length - 1, whole.length - 90];
    for (const length of cuts) {
      const cut = parseJournal("cut", whole.subarray(0, length));
      expect(cut.submissions.length).toBeLessThanOrEqual(submissions.length);
      for (const [i, { bytes, final, agreed }] of cut.submissions.entries()) {
        expect(bytes).toEqual(submissions[i].bytes);
        if (!Number.isNaN(final)) expect(final).toBe(submissions[i].final);
        if (!Number.isNaN(agreed)) expect(agreed).toBe(submissions[i].agreed);
      }
      const read = cut.rest === 0 ? length : length - cut.rest;
      expect(parseJournal("again", whole.subarray(0, read)).rest).toBe(0);
    }
  });

  test("a second last word that differs is kept, an equal one is nothing", () => {
    const writer = new JournalWriter(path);
    const index = writer.submitted(Uint8Array.of(1), 1, 1);
    for (const outcome of [OUTCOME.OK, OUTCOME.OK, OUTCOME.EXPIRED]) {
      writer.heard(ENTRY.FINAL, outcome, index, 5);
    }
    writer.close();
    const [submission] = readJournal(path).submissions;
    expect(submission).toMatchObject({ outcome: OUTCOME.OK, contradictions: [OUTCOME.EXPIRED] });
  });

  test("what is no journal is refused with its place", () => {
    writeFileSync(path, Buffer.alloc(32, 3));
    expect(() => readJournal(path)).toThrow(/journal, byte 0: an entry of type 3/);
  });
});

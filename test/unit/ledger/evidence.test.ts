/** Evidence convicts who signed it, and nobody else; both readers of it say the same. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toHex } from "../../../src/base/bytes.ts";
import {
  decodeEvidence,
  EVIDENCE_BYTES_MAX,
  type Evidence,
  encodeEvidence,
  evidenceFlaw,
  evidenceName,
} from "../../../src/ledger/evidence.ts";
import { encodeProposalHeader, readProposalHeader } from "../../../src/ledger/proposal.ts";
import { answerMessage, proposalMessage, voteMessage } from "../../../src/ledger/statements.ts";
import { readLedger } from "../../../src/verify/ledger-reader.ts";
import { LedgerMaker } from "../../support/make-ledger.ts";
import { damages, filled } from "./samples.ts";

let root = "";
let ledger: LedgerMaker;
let epochBefore: LedgerMaker["place"];

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "baash-evidence-"));
  ledger = new LedgerMaker(join(root, "ledger"), { quorum: "byzantine", difficulty: 0 });
  epochBefore = ledger.place;
  ledger.change({ evict: [0] });
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

type Of<K extends Evidence["kind"]> = Extract<Evidence, { kind: K }>;
const EFFECTS = { effectsSlot: 1, effectsDigest: filled(32, 0xef) };

function accusation(rank: number) {
  const { chainId, epoch } = ledger.place;
  return { chainId, epoch, member: ledger.members[rank] };
}

function proposal(by: { rank?: number; author?: number; round?: number; change?: object } = {}) {
  const { rank = 1, author = rank, round = 7, change = {} } = by;
  const header = readProposalHeader(ledger.propose(rank, []).header);
  const bytes = encodeProposalHeader({ ...header, round, ...change });
  return { header: bytes, signature: ledger.signAs(author)(proposalMessage(bytes)) };
}

function vote(by: { digest?: number; author?: number; place?: object; change?: object } = {}) {
  const { digest = 1, author = 1, place = {}, change = {} } = by;
  const said = { round: 7, digest: filled(32, digest), ...EFFECTS, ...change };
  const message = voteMessage({ ...ledger.place, ...place }, { rank: 1, ...said });
  return { ...said, signature: ledger.signAs(author)(message) };
}

function answer(by: { lastVoted?: number; author?: number } = {}) {
  const { lastVoted = 6, author = 1 } = by;
  const said = { lastVoted, ...EFFECTS };
  const message = answerMessage(ledger.place, { rank: 1, ...said });
  return { ...said, signature: ledger.signAs(author)(message) };
}

function proposals(change: Partial<Of<"proposals">> = {}): Evidence {
  const second = proposal({ change: { creationTime: 9 } });
  return { kind: "proposals", ...accusation(1), first: proposal(), second, ...change };
}

function votes(change: Partial<Of<"votes">> = {}): Evidence {
  return { kind: "votes", ...accusation(1), first: vote(), second: vote({ digest: 2 }), ...change };
}

function frozen(change: Partial<Of<"frozen">> = {}): Evidence {
  return { kind: "frozen", ...accusation(1), first: answer(), second: vote(), ...change };
}

/** The flaw that both find, "" when both convict. Throws where they differ. */
function judge(evidence: Evidence): string {
  const bytes = encodeEvidence(evidence);
  const read = decodeEvidence(bytes);
  if (!read.ok) throw new Error("the decoder refuses what the encoder wrote");
  const flaw = evidenceFlaw(read.value, ledger.genesis);
  const reader = verifyFile(bytes);
  if ((flaw === undefined) !== (reader.convictions.length === 1)) {
    throw new Error(`rank: ${flaw}, reader: ${JSON.stringify(reader)}`);
  }
  return flaw ?? "";
}

function verifyFile(bytes: Uint8Array) {
  const path = join(ledger.dir, "evidence", "file");
  writeFileSync(path, bytes);
  const { convictions, warnings, damages: bad } = readLedger(ledger.dir);
  rmSync(path);
  expect(bad).toEqual([]);
  expect(convictions.length + warnings.length).toBe(1);
  return { convictions, warnings };
}

describe("evidence", () => {
  test("of each kind convicts its member, and says of what", () => {
    for (const evidence of [proposals(), votes(), frozen()]) {
      expect(judge(evidence)).toBe("");
      const bytes = encodeEvidence(evidence);
      expect(bytes.length).toBeLessThan(EVIDENCE_BYTES_MAX);
      const { incarnation, host } = evidence.member;
      expect(verifyFile(bytes).convictions).toEqual([
        {
          ...{ file: "evidence/file", kind: evidence.kind, rank: 1, host, round: 7 },
          ...{ incarnation: toHex(incarnation), epoch: toHex(ledger.epoch) },
        },
      ]);
      expect(evidenceName(evidence)).toBe(`0000000007.${toHex(incarnation)}.${evidence.kind}`);
    }
  });

  test("comes back as it went", () => {
    for (const evidence of [proposals(), votes(), frozen()]) {
      const read = decodeEvidence(encodeEvidence(evidence));
      if (!read.ok) throw new Error(read.where);
      expect(encodeEvidence(read.value)).toEqual(encodeEvidence(evidence));
      expect(read.value.kind).toBe(evidence.kind);
    }
  });

  test("about another ledger or an uncertified member is none", () => {
    expect(judge(votes({ chainId: filled(16, 1) }))).toContain("another ledger");
    const { member } = accusation(1);
    expect(judge(votes({ member: { ...member, host: "x" } }))).toContain("not certified");
    expect(judge(votes({ member: ledger.members[2] }))).toContain("not signed");
  });

  test("of two proposals: one member, one epoch, one round, two headers, two signatures", () => {
    const other = (by: Parameters<typeof proposal>[0]) =>
      judge(proposals({ second: proposal(by) }));
    expect(other({})).toContain("the same");
    expect(other({ round: 8 })).toContain("two rounds");
    expect(other({ rank: 2, author: 1 })).toContain("not by the member");
    expect(other({ change: { epoch: epochBefore.epoch } })).toContain("not by the member");
    expect(other({ change: { chainId: filled(16, 1) } })).toContain("not by the member");
    expect(other({ change: { incarnation: filled(8, 1) } })).toContain("not by the member");
    expect(other({ author: 2, change: { creationTime: 9 } })).toContain("not signed");
    expect(judge(proposals({ first: { ...proposal(), signature: filled(64, 0) } }))).toContain(
      "not signed",
    );
  });

  test("of two votes: one round, another digest or other effects at the same slot", () => {
    const other = (by: Parameters<typeof vote>[0]) => judge(votes({ second: vote(by) }));
    expect(other({})).toContain("do not contradict");
    expect(other({ change: { effectsDigest: filled(32, 1) } })).toBe("");
    // Sent again after another record became final: nothing dishonest.
    const later = { effectsSlot: 2, effectsDigest: filled(32, 1) };
    expect(other({ change: later })).toContain("do not contradict");
    expect(other({ digest: 2, change: { round: 8 } })).toContain("two rounds");
    expect(other({ digest: 2, author: 2 })).toContain("not signed");
    expect(other({ digest: 2, place: epochBefore })).toContain("not signed");
    expect(judge(votes({ first: vote({ author: 2 }) }))).toContain("not signed");
  });

  test("of a vote after the freeze: a later round than the answer states", () => {
    expect(judge(frozen({ first: answer({ lastVoted: 7 }) }))).toContain("before the freeze");
    expect(judge(frozen({ first: answer({ author: 2 }) }))).toContain("not signed");
    expect(judge(frozen({ second: vote({ author: 2 }) }))).toContain("not signed");
  });

  test("changed anywhere, or of any shape, convicts nobody and throws nothing", () => {
    for (const evidence of [proposals(), votes(), frozen()]) {
      for (const { what, damaged } of damages(encodeEvidence(evidence), 60)) {
        const read = decodeEvidence(damaged);
        const flaw = read.ok ? evidenceFlaw(read.value, ledger.genesis) : "shape";
        if (flaw === undefined) throw new Error(`${evidence.kind}, ${what}: convicts`);
      }
    }
    for (const bytes of [filled(0, 0), filled(5000, 0x90), filled(40, 0xff)]) {
      expect(decodeEvidence(bytes).ok).toBe(false);
      expect(verifyFile(bytes).warnings.length).toBe(1);
    }
    expect(verifyFile(encodeEvidence(votes()).with(300, 0)).convictions).toEqual([]);
  });
});

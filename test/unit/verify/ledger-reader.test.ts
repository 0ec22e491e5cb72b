/** The independent reader against good ledgers, flipped bytes and wrong contents. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { toHex } from "../../../src/base/bytes.ts";
import { OUTCOME } from "../../../src/ledger/receipt.ts";
import type { SettledRound } from "../../../src/ledger/settlement.ts";
import { readLedger } from "../../../src/verify/ledger-reader.ts";
import type { LedgerReport } from "../../../src/verify/report.ts";
import { LedgerMaker } from "../../support/make-ledger.ts";
import { type Blocks, mine } from "../../support/make-proposal.ts";
import { bothSay, readerSays } from "../../support/two-judges.ts";

const text = (value: string) => new TextEncoder().encode(value);
let root = "";
let made = 0;

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "baash-verify-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

function newLedger(options: ConstructorParameters<typeof LedgerMaker>[1] = {}): LedgerMaker {
  return new LedgerMaker(join(root, `ledger-${made++}`), options);
}

/** Several epochs, all kinds of records and transactions, folded and unfolded, two checkpoints. */
async function fullLedger(): Promise<LedgerMaker> {
  const ledger = newLedger({ segmentRecords: 4, supply: 500 });
  const keyed = (kind: "insert" | "update", sequence: number, key: string, fields: object) =>
    ledger.transaction({
      kind,
      senderID: 7,
      sequence,
      key: text(key),
      fields: Object.entries(fields).map(([name, value]) => ({
        name: text(name),
        value: text(String(value)),
      })),
    });
  const first = ledger.transfer(1, 100, 7);
  const opaque = ledger.transaction({
    kind: "record",
    senderID: 9,
    sequence: 1,
    key: text("run-17"),
    payload: text("provenance"),
    lastValidRound: 2,
  });
  ledger.record("QUORUM", [
    ledger.run([
      [[first, ledger.transfer(2, 5000, 7)], [opaque]],
      [],
      undefined,
      [[first, keyed("insert", 1, "alice", { z: 1, a: "long value" })]],
    ]),
  ]);
  ledger.noop(1);
  const late = ledger.transfer(3, 1);
  const expired = ledger.transaction({
    kind: "transfer",
    senderID: 7,
    sequence: 90,
    receiverID: 0,
    txnAmount: 1,
    lastValidRound: ledger.round,
  });
  ledger.record(
    "STORAGE",
    [
      ledger.run([[[late, expired]], [[keyed("update", 2, "alice", { a: "2", b: "" })]]], [0, 1]),
      ledger.run([[], [[keyed("update", 3, "nobody", { a: 1 })]], [], []]),
    ],
    {},
    3,
  );
  await ledger.checkpoint();
  ledger.seal(3);
  ledger.record("QUORUM", [
    ledger.run([
      [[keyed("update", 4, "alice", { a: "3", b: "x" })]],
      [[ledger.transaction({ kind: "delete", senderID: 7, sequence: 5, key: text("alice") })]],
      [[keyed("insert", 6, "bob", { name: "b" }), ledger.transfer(1, 3)]],
    ]),
  ]);
  const newcomer = ledger.intent();
  ledger.seal(2, newcomer);
  ledger.record("QUORUM", [ledger.run([[[ledger.transfer(20, 7, 8)]], []])]);
  ledger.seal(0);
  ledger.seal(1);
  ledger.record("QUORUM", [ledger.run([[[ledger.transfer(21, 1, 8)]]])]);
  await ledger.checkpoint();
  ledger.seal(0);
  ledger.fold(0);
  ledger.fold(1);
  return ledger;
}

function firstDamage(report: LedgerReport) {
  expect(report.damages.length).toBeGreaterThan(0);
  return report.damages[0];
}

function filesOf(dir: string): string[] {
  return (readdirSync(dir, { recursive: true }) as string[])
    .filter((name) => statSync(join(dir, name)).isFile())
    .map((name) => relative(dir, join(dir, name)));
}

describe("good ledgers", () => {
  test("all kinds of records: outcomes, roots and balances agree with the writer's", async () => {
    const ledger = await fullLedger();
    const seen: { id: string; outcome: number }[] = [];
    const report = readLedger(ledger.dir, {
      onTransaction: (ids, at, outcome) => seen.push({ id: toHex(ids, at, at + 32), outcome }),
    });
    expect(report.damages).toEqual([]);
    expect([report.warnings, report.notes]).toEqual([[], []]);
    const { summary } = report;
    expect(seen).toEqual(ledger.executed.map(({ id, outcome }) => ({ id: toHex(id), outcome })));
    const outcomes = new Set(seen.map(({ outcome }) => outcome));
    for (const name of ["OK", "DUPLICATE", "OVERDRAFT", "EXPIRED", "NO_SUCH_KEY"] as const) {
      expect(outcomes.has(OUTCOME[name])).toBe(true);
    }
    expect(summary.stateRoot).toBe(toHex(ledger.state.root()));
    expect(summary.effectsDigest).toBe(toHex(ledger.state.effectsDigest));
    expect(summary.merkleRoot).toBe(toHex(ledger.tree.root()));
    expect(summary.headHash).toBe(toHex(ledger.head));
    expect(summary.totalBalance).toBe(500);
    expect(summary).toMatchObject({ slots: ledger.slot, checkpoints: 2, epochs: 4, members: [] });
    expect(summary.records).toEqual({ SEAL: 6, QUORUM: 4, NOOP: 1, STORAGE: 1, INTENT: 1 });
  });

  test("leftovers of writers and states without a head are noted, not damage", async () => {
    const { dir } = await fullLedger();
    for (const folder of ["log/000002", "segments", "checkpoints"]) {
      writeFileSync(join(dir, folder, ".00112233445566ff-3.tmp"), "torn");
    }
    const report = readLedger(dir);
    expect(report.damages).toEqual([]);
    expect(report.notes.length).toBe(3);
  });

  test("a directory without genesis is not a ledger", () => {
    expect(() => readLedger(root)).toThrow(/not a ledger/);
    expect(() => readLedger(join(root, "nothing"))).toThrow(/not a ledger/);
  });
});

describe("flipped bytes", () => {
  /** Flips a bit of every `step`-th byte of every file, one at a time. */
  function flipAll(dir: string, stepOf: (bytes: number) => number): void {
    for (const file of filesOf(dir)) {
      const path = join(dir, file);
      const good = readFileSync(path);
      for (let at = 0; at < good.length; at += stepOf(good.length)) {
        const bad = Buffer.from(good);
        bad[at] ^= 1 << (at & 7);
        writeFileSync(path, bad);
        const { damages } = readLedger(dir);
        const named = damages.some((damage) => damage.file === file);
        if (!named) throw new Error(`byte ${at} of ${file}: ${JSON.stringify(damages)}`);
      }
      writeFileSync(path, good);
    }
    expect(readLedger(dir).damages).toEqual([]);
  }

  test("any flip of any byte of a small ledger is found, and the message names the file", () => {
    const ledger = newLedger({ ranks: 1 });
    ledger.record("QUORUM", [ledger.run([[[ledger.transfer(1, 1)]]])]);
    expect(filesOf(ledger.dir).length).toBe(3);
    flipAll(ledger.dir, () => 1);
  }, 60_000);

  test("flips all over segments, checkpoints and snapshots are found", async () => {
    const { dir } = await fullLedger();
    expect(filesOf(dir).length).toBe(12);
    // Steps that share no factor with the sizes of the parts, so that they meet all of these.
    flipAll(dir, (bytes) => (bytes < 600 ? 7 : 53));
  }, 60_000);

  test("cut and grown files are found", async () => {
    const { dir } = await fullLedger();
    for (const file of filesOf(dir)) {
      const path = join(dir, file);
      const good = readFileSync(path);
      for (const bad of [good.subarray(0, -1), Buffer.concat([good, Buffer.of(0)]), Buffer.of()]) {
        writeFileSync(path, bad);
        expect(readLedger(dir).damages.map((damage) => damage.file)).toContain(file);
      }
      writeFileSync(path, good);
    }
  });
});

describe("missing and misplaced files", () => {
  function threeRecords(): LedgerMaker {
    const ledger = newLedger();
    for (let i = 1; i <= 3; i++) {
      ledger.record("QUORUM", [ledger.run([[[ledger.transfer(i, 1)]]])]);
    }
    return ledger;
  }
  const tail = (ledger: LedgerMaker) =>
    readdirSync(join(ledger.dir, "log/000000"))
      .sort()
      .map((name) => join(ledger.dir, "log/000000", name));

  test("a deleted record is named by its slot", () => {
    const ledger = threeRecords();
    rmSync(tail(ledger)[2]);
    expect(firstDamage(readLedger(ledger.dir))).toMatchObject({ code: "RECORD_MISSING", slot: 2 });
  });

  test("two swapped records are found at the first of them", () => {
    const ledger = threeRecords();
    const [, one, two] = tail(ledger);
    renameSync(one, `${one}.aside`);
    renameSync(two, one);
    renameSync(`${one}.aside`, two);
    expect(firstDamage(readLedger(ledger.dir))).toMatchObject({ code: "RECORD_SLOT", slot: 1 });
  });

  test("an empty log is damage", () => {
    const ledger = threeRecords();
    rmSync(join(ledger.dir, "log/000000"), { recursive: true });
    expect(firstDamage(readLedger(ledger.dir)).code).toBe("LOG_EMPTY");
  });

  test("a tail that is missing below a signed checkpoint is found", async () => {
    const ledger = threeRecords();
    await ledger.checkpoint();
    rmSync(tail(ledger)[3]);
    expect(firstDamage(readLedger(ledger.dir))).toMatchObject({ code: "TAIL_MISSING", slot: 3 });
  });

  test("a missing segment and a missing snapshot are found", async () => {
    const ledger = await fullLedger();
    const copy = `${ledger.dir}-copy`;
    cpSync(ledger.dir, copy, { recursive: true });
    rmSync(join(copy, "segments/000000"));
    expect(firstDamage(readLedger(copy)).code).toBe("SEGMENT_MISSING");
    for (const name of readdirSync(join(ledger.dir, "checkpoints"))) {
      if (name.endsWith(".state")) rmSync(join(ledger.dir, "checkpoints", name));
    }
    expect(firstDamage(readLedger(ledger.dir)).code).toBe("SNAPSHOT_MISSING");
  });
});

type Say = (dir: string) => { letters: string; codes: string[] };

/** The code of what is wrong with the only record after slot 0: "damage", or a "warning". */
function onlyFinding(ledger: LedgerMaker, say: Say = bothSay): string {
  const { letters, codes } = say(ledger.dir);
  expect(letters).toMatch(/^c[ns]$/);
  return `${letters.endsWith("s") ? "damage" : "warning"} ${codes}`;
}

describe("intact records with wrong contents", () => {
  /** One round of four ranks that each propose one transfer, changed before it is signed. */
  function changed(
    change: (rounds: SettledRound[], ledger: LedgerMaker) => void,
    say?: Say,
  ): string {
    const ledger = newLedger();
    const blocks: Blocks[] = [0, 1, 2, 3].map((rank) => [[ledger.transfer(rank, 1)]]);
    const round = ledger.run(blocks);
    ledger.record("QUORUM", [round], { rounds: (rounds) => change(rounds, ledger) });
    return onlyFinding(ledger, say);
  }
  const votes = (rounds: SettledRound[]) => rounds[0].votes[0];

  test("too few votes, too few yes, a voter twice, a stranger's vote", () => {
    expect(changed((rounds) => votes(rounds).voters.fill(1))).toBe("warning VOTES_FEW");
    expect(changed((rounds) => votes(rounds).voters.fill(3))).toBe("warning YES_FEW");
    const twice = changed(([{ votes: list }]) =>
      list.push({ ...list[0], voters: Uint8Array.of(1) }),
    );
    expect(twice).toBe("warning VOTE_TWICE");
    expect(changed((rounds) => votes(rounds).voters.fill(0x1f))).toBe("warning PAYLOAD_SHAPE");
  });

  test("an answer about a hash that is not there; a proposal left out that won", () => {
    const answer = (value: number) => changed((rounds) => votes(rounds).answers.fill(value, 1, 2));
    expect(answer(2 | (1 << 2))).toBe("warning HASH_MISSING");
    expect(answer(3)).toBe("warning ANSWER");
    expect(answer(1 << 2)).toBe("warning ANSWER");
    expect(changed((rounds) => rounds[0].proposals.splice(1, 1))).toBe("warning HASH_MISSING");
    const calledLost = changed(([round]) => {
      round.proposals.splice(1, 1);
      round.lost.push({ rank: 1, proposalHash: new Uint8Array(32) });
    });
    expect(calledLost).toBe("warning NOT_LOST");
  });

  test("votes whose effects are not the log's", () => {
    // The ranks compare effects while they run (consensus/), not when they read the log.
    const code = changed((rounds) => {
      votes(rounds).effectsDigest = new Uint8Array(32).fill(1);
    }, readerSays);
    expect(code).toBe("damage EFFECTS");
  });

  test("proposals out of order, of another round, and with wrong totals", () => {
    expect(changed(([round]) => round.proposals.reverse())).toBe("warning PROPOSAL_ORDER");
    expect(changed(([{ proposals }]) => header(proposals, 80, 9))).toBe("damage PROPOSAL");
    expect(changed(([{ proposals }]) => header(proposals, 16, 9))).toBe("damage PROPOSAL");
    const anchor = changed(([{ proposals }]) => header(proposals, 48, 0xff), readerSays);
    expect(anchor).toBe("damage PROPOSAL");
    expect(changed(([{ proposals }]) => header(proposals, 112, 2))).toBe("damage PROPOSAL_TOTALS");
    expect(changed(([{ proposals }]) => header(proposals, 120, 2))).toBe("damage PROPOSAL_TOTALS");
    function header(proposals: SettledRound["proposals"], at: number, value: number) {
      proposals[0].header = proposals[0].header.slice();
      proposals[0].header[at] ^= value;
    }
  });

  test("blocks with a changed transaction, an unsolved puzzle, another place", () => {
    const block = (change: (bytes: Uint8Array, ledger: LedgerMaker) => void, say?: Say) =>
      changed(([{ proposals }], ledger) => {
        proposals[0].blocks = proposals[0].blocks.map((bytes) => bytes.slice());
        change(proposals[0].blocks[0], ledger);
      }, say);
    expect(block((bytes) => bytes.fill(2, bytes.length - 8, bytes.length - 7))).toBe(
      "damage BLOCK_MERKLE",
    );
    expect(block((bytes) => bytes.fill(0xff, 3 + 80, 3 + 81))).toBe("damage BLOCK_ROUND");
    expect(block((bytes) => bytes.fill(7, 3 + 92, 3 + 93))).toBe("damage BLOCK_INDEX");
    expect(block((bytes) => bytes.fill(0, 3 + 116, 3 + 117))).toBe("damage BLOCK_DIFFICULTY");
    expect(block((bytes) => bytes.fill(0x93, 0, 1))).toBe("damage BLOCK_FRAME");
    // A rank that replays takes anchors from those that voted, who have checked them.
    const stale = block((bytes, ledger) => {
      bytes.fill(0xee, 3 + 48, 3 + 80);
      mine(bytes, ledger.genesis.difficulty);
    }, readerSays);
    expect(stale).toBe("damage BLOCK_ANCHOR");
    const doubled = changed(([{ proposals }]) => {
      proposals[1].blocks = proposals[0].blocks;
    });
    expect(doubled).toBe("damage BLOCK_ROUND");
  });

  test("a forged signature, a wrong height, nonsense in the header, a false puzzle", () => {
    const field = (
      change: Parameters<LedgerMaker["record"]>[2],
      kind: "QUORUM" | "STORAGE" = "QUORUM",
    ) => {
      const ledger = newLedger();
      ledger.record(kind, [ledger.run([[[ledger.transfer(1, 1)]]])], change);
      return onlyFinding(ledger);
    };
    const rounds = (firstRound: number, lastRound: number) =>
      field({ fields: (f) => Object.assign(f, { firstRound, lastRound }) });
    expect(field({ sign: () => new Uint8Array(64).fill(9) })).toBe("warning RECORD_SIGNATURE");
    expect(field({ fields: (f) => (f.heightBefore = 5) })).toBe("warning HEIGHT");
    expect(rounds(2, 2)).toBe("warning ROUNDS");
    expect(rounds(1, 2)).toBe("warning ROUNDS");
    expect(rounds(3, 1)).toBe("warning ROUNDS");
    expect(field({ fields: (f) => (f.puzzleBits = 1) }, "STORAGE")).toBe("warning STORAGE_PUZZLE");
    expect(field({ fields: (f) => (f.puzzleBits = 1) })).toBe("warning STORAGE_PUZZLE");
    expect(field({ fields: (f) => (f.authorRank = 1) })).toBe("warning AUTHOR");
    expect(field({ fields: (f) => (f.epoch = new Uint8Array(32).fill(1)) })).toBe("warning EPOCH");
    expect(field({ fields: (f) => (f.chainId = new Uint8Array(16)) })).toBe("warning CHAIN_ID");
    expect(field({ fields: (f) => (f.kind = "?" as "NOOP") })).toBe("warning RECORD_KIND");
    expect(field({ fields: (f) => (f.creationTime = 2 ** 54) })).toBe("warning RECORD_NUMBER");
    // Where it lies and where it says that it belongs are two things: nobody can go on.
    expect(field({ fields: (f) => (f.slot = 7) })).toBe("damage RECORD_SLOT");
    expect(field({ fields: (f) => (f.prevHash = new Uint8Array(32)) })).toBe("damage PREV_HASH");
  });

  test("slot 0 is the SEAL that begins this ledger, or nobody goes on", () => {
    const ledger = newLedger();
    const tail = join(ledger.dir, "log/000000");
    const [name] = readdirSync(tail);
    cpSync(join(newLedger().dir, "log/000000", name), join(tail, name));
    expect(bothSay(ledger.dir)).toMatchObject({ letters: "s", codes: ["FIRST_RECORD"] });
  });

  test("a signed checkpoint with a wrong state root or size", async () => {
    for (const [change, code] of [
      [{ stateRoot: new Uint8Array(32) }, "STATE_ROOT"],
      [{ size: 5 }, "HEAD_SIZE"],
    ] as const) {
      const ledger = newLedger();
      ledger.record("QUORUM", [ledger.run([[[ledger.transfer(1, 1)]]])]);
      await ledger.checkpoint(change);
      expect(firstDamage(readLedger(ledger.dir)).code).toBe(code);
    }
  });
});

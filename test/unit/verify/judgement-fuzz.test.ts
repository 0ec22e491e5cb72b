/**
 * The two judges on records that nobody would write: payloads of every kind, changed at random in
 * their structure or in their bytes, under good checksums and signatures.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { concatBytes } from "../../../src/base/bytes.ts";
import type { Chain } from "../../../src/ledger/chain.ts";
import { type Packable, pack, unpackScanned } from "../../../src/ledger/codec.ts";
import { QUORUMS, type Quorum } from "../../../src/ledger/genesis.ts";
import { encodeRecord, type RecordKind } from "../../../src/ledger/record.ts";
import { readNext } from "../../../src/ledger/replay.ts";
import {
  encodeIntent,
  encodeNoop,
  encodeSeal,
  encodeSettlement,
  type PayloadParts,
} from "../../../src/ledger/settlement.ts";
import { readGenesis } from "../../../src/verify/genesis-reader.ts";
import { LogJudge } from "../../../src/verify/judgement.ts";
import { NotValid } from "../../../src/verify/not-valid.ts";
import { readRecord } from "../../../src/verify/record-reader.ts";
import { LedgerMaker } from "../../support/make-ledger.ts";
import { ranksSay, recordsOf } from "../../support/two-judges.ts";
import { damages } from "../ledger/samples.ts";

/** Of each payload: what the two judges would differ in came up within a hundred. */
const CHANGES = 250;
let root = "";
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "baash-judges-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** Small and repeatable. */
function randomOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** Changes one place of a value somewhere below; answers the value itself where it is replaced. */
function changed(value: Packable, random: (below: number) => number): Packable {
  if (Array.isArray(value)) {
    const list = [...(value as Packable[])];
    const at = random(list.length + 1);
    switch (random(8)) {
      case 0:
        list.splice(at, 1);
        break;
      case 1:
        list.splice(at, 0, list[random(list.length)] ?? 0);
        break;
      case 2:
        list.reverse();
        break;
      default:
        if (at < list.length) list[at] = changed(list[at], random);
    }
    return list;
  }
  if (value instanceof Uint8Array) {
    const bytes = value.slice();
    if (bytes.length === 0 || random(4) === 0) return bytes.subarray(1);
    const at = random(bytes.length);
    bytes[at] = random(2) === 0 ? random(8) : bytes[at] ^ (1 << random(8));
    return bytes;
  }
  if (typeof value === "number") {
    return [0, 1, value + 1, Math.max(0, value - 1), 2 ** 53, 0.5, "x", [value]][random(8)];
  }
  return ["", "another", 7][random(3)];
}

/** A ledger of four with an INTENT at its head, seen by both. */
class Judges {
  readonly ledger: LedgerMaker;
  readonly chain: Chain;
  readonly reader: LogJudge;

  constructor(quorum: Quorum) {
    const ledger = new LedgerMaker(join(root, quorum), { ranks: 4, quorum });
    this.ledger = ledger;
    ledger.record("QUORUM", [ledger.run([[[ledger.transfer(1, 1)]]])]);
    ledger.memberIntent(1, [1]);
    this.chain = ranksSay(ledger.dir).chain;
    this.reader = new LogJudge(readGenesis(ledger.dir)!);
    let prevHash: Uint8Array = new Uint8Array(32);
    for (const [slot, bytes] of recordsOf(ledger.dir).entries()) {
      const record = readRecord(bytes, { file: "", base: 0, slot }, prevHash);
      this.reader.advance(record, this.reader.judge(record));
      prevHash = record.hash;
    }
  }

  /** True when the record counts; throws where the judges disagree. */
  agree(bytes: Uint8Array, what: string): boolean {
    const next = readNext(this.chain, bytes);
    if (!next.ok) throw new Error(`${what}: a record with good checksums stops the ranks`);
    const record = readRecord(
      bytes,
      { file: "", base: 0, slot: this.ledger.slot },
      this.ledger.head,
    );
    const ruling = this.reader.judge(record);
    const counts = next.value.record !== undefined;
    if (counts === !(ruling instanceof NotValid)) return counts;
    throw new Error(`${what}: ranks ${counts ? "count" : "refuse"} it, reader: ${String(ruling)}`);
  }
}

test.each(QUORUMS)(
  "payloads of any shape are judged alike, %s",
  (quorum) => {
    const judges = new Judges(quorum);
    const { ledger } = judges;
    const { chainId } = ledger.genesis;
    const proposals = new Map(
      [0, 1].map((rank) => [rank, ledger.propose(rank, [[ledger.transfer(2, 1)]])]),
    );
    const round = ledger.settled(proposals, [0, 1, 2]);
    round.lost.push({ rank: 2, proposalHash: new Uint8Array(32).fill(3) });
    const few = { ...ledger.settled(proposals, [1]), effectsAbove: new Uint8Array(32) };
    const members = ledger.successors({ evict: [3] }).map(({ member }) => member);
    const answers = quorum === "majority" ? [0, 1] : [0, 1, 2];
    const seal = ledger.signSeal({ members, rounds: [round], answers }, [2, 2, 2]);
    const lonely = { members, rounds: [few], answers: [1] };
    const rounds = encodeSettlement([round]);
    const payloads: [RecordKind, PayloadParts, number][] = [
      ["QUORUM", rounds, 1],
      ["STORAGE", rounds, 1],
      ["SEAL", encodeSeal(seal), 1],
      // Above the author's own INTENT, where a minority may.
      ["SEAL", encodeSeal(quorum === "majority" ? lonely : seal), 1],
      ["INTENT", encodeIntent({ member: ledger.members[1], answered: [1, 2], deadlineMs: 5 }), 0],
      ["NOOP", encodeNoop(), 0],
    ];
    const record = (kind: RecordKind, payload: Uint8Array, rounds: number) =>
      concatBytes(
        encodeRecord(
          {
            kind,
            puzzleBits: kind === "STORAGE" ? ledger.genesis.storageDifficulty : 0,
            slot: ledger.slot,
            chainId,
            prevHash: ledger.head,
            epoch: ledger.epoch,
            firstRound: ledger.round + 1,
            lastRound: ledger.round + rounds,
            authorRank: 1,
            authorIncarnation: ledger.members[1].incarnation,
            creationTime: 1,
            heightBefore: ledger.height,
          },
          { parts: [payload], length: payload.length },
          ledger.signAs(1),
        ).parts,
      );
    for (const [kind, { parts }, rounds] of payloads) {
      const honest = concatBytes(parts);
      const random = randomOf(honest.length);
      expect(judges.agree(record(kind, honest, rounds), kind)).toBe(true);
      let counted = 0;
      for (let i = 0; i < CHANGES; i++) {
        let value = unpackScanned(honest) as Packable;
        for (let times = random(3); times >= 0; times--) value = changed(value, random);
        const what = `${kind}, change ${i}`;
        if (judges.agree(record(kind, pack(value), rounds), what)) counted++;
      }
      // Both kinds of answers come about, or the test says nothing.
      if (kind !== "NOOP") expect(counted).toBeGreaterThan(0);
      expect(counted).toBeLessThan(CHANGES);
      for (const { what, damaged } of damages(honest, 40)) {
        judges.agree(record(kind, damaged, rounds), `${kind}, ${what}`);
      }
    }
  },
  60_000,
);

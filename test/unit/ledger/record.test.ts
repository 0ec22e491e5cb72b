import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import fc from "fast-check";
import { Packr } from "msgpackr";
import { concatBytes, toHex, writeU16, writeU32 } from "../../../src/base/bytes.ts";
import { kernels } from "../../../src/base/kernels.ts";
import { sha256 } from "../../../src/base/sha256.ts";
import { hasLeadingZeros } from "../../../src/ledger/block.ts";
import { generateSigningKey, signMessage } from "../../../src/ledger/keys.ts";
import {
  checkRecordBytes,
  decodeRecord,
  decodeRecordHeader,
  embeddedAuthorKey,
  encodeRecord,
  RECORD_KIND,
  type RecordFields,
  recordHash,
  recordPuzzleMessage,
  verifyRecord,
} from "../../../src/ledger/record.ts";
import {
  countVoters,
  encodeIntent,
  encodeNoop,
  encodeSeal,
  encodeSettlement,
  type PayloadParts,
} from "../../../src/ledger/settlement.ts";
import { VERDICT, type Verdict } from "../../../src/ledger/verdict.ts";
import { CHAIN_ID, damages, filled, member, settledRound, TIME } from "./samples.ts";

const FIELDS: RecordFields = {
  kind: "QUORUM",
  puzzleBits: 0,
  slot: 6,
  chainId: CHAIN_ID,
  prevHash: filled(32, 0x66),
  epoch: filled(32, 0xe0),
  firstRound: 42,
  lastRound: 43,
  authorRank: 2,
  authorIncarnation: filled(8, 3),
  creationTime: TIME,
  heightBefore: 1000,
};
const NO_ROUNDS = { firstRound: 42, lastRound: 41 };
const ROUNDS = [settledRound(42), settledRound(43)];
const KEY = generateSigningKey();
const sign = (message: Uint8Array) => signMessage(KEY.privateKey, message);

function encode(change: Partial<RecordFields>, payload: PayloadParts): Uint8Array {
  const record = encodeRecord({ ...FIELDS, ...change }, payload, sign);
  const bytes = concatBytes(record.parts);
  expect(bytes.length).toBe(record.length);
  expect(recordHash(bytes)).toEqual(record.hash);
  return bytes;
}

function verdictOf(read: { ok: boolean; verdict?: Verdict }): Verdict {
  return read.ok ? VERDICT.OK : (read.verdict as Verdict);
}

const SEAL = {
  members: [member(0), member(1), { ...member(2), publicKey: KEY.publicKey }],
  rounds: ROUNDS,
  answers: [0, 2, 3],
};
/** As byzantine epochs have them. */
const SIGNED_ROUNDS = ROUNDS.map((round) => ({
  ...round,
  votes: round.votes.map((group) => ({
    ...group,
    signatures: filled(64 * countVoters(group.voters), 0x51),
  })),
}));
const SIGNED_SEAL = {
  ...SEAL,
  rounds: SIGNED_ROUNDS,
  signedAnswers: SEAL.answers.map((rank) => ({
    lastVoted: 40 + rank,
    effectsSlot: 5,
    effectsDigest: filled(32, 0xef),
    signature: filled(64, rank),
  })),
};
const RESTART = { ...SEAL, rounds: ROUNDS, answers: [], restartSignature: filled(64, 0x77) };
const INTENT = {
  member: { ...member(2), publicKey: KEY.publicKey },
  answered: [1],
  deadlineMs: 3000,
};

const EACH_KIND: [Partial<RecordFields>, PayloadParts, object][] = [
  [{ kind: "QUORUM" }, encodeSettlement(ROUNDS), { rounds: ROUNDS }],
  [{ kind: "STORAGE", puzzleBits: 10 }, encodeSettlement(ROUNDS), { rounds: ROUNDS }],
  [{ kind: "SEAL" }, encodeSeal(SEAL), { seal: SEAL }],
  [{ kind: "QUORUM" }, encodeSettlement(SIGNED_ROUNDS), { rounds: SIGNED_ROUNDS }],
  [{ kind: "SEAL" }, encodeSeal(SIGNED_SEAL), { seal: SIGNED_SEAL }],
  [{ kind: "SEAL" }, encodeSeal(RESTART), { seal: RESTART }],
  [{ kind: "INTENT", ...NO_ROUNDS }, encodeIntent(INTENT), { intent: INTENT }],
  [{ kind: "NOOP", ...NO_ROUNDS }, encodeNoop(), {}],
];

/** Byte strings as plain arrays of the same type, whatever view msgpackr made. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return new Uint8Array(value);
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, plain(part)]));
}

describe("record", () => {
  test("a NOOP has the bytes of the format", () => {
    const record = encodeRecord({ ...FIELDS, kind: "NOOP", ...NO_ROUNDS }, encodeNoop(), () =>
      filled(64, 0x51),
    );
    expect(toHex(concatBytes(record.parts))).toBe(
      "4241415348524543" +
        "0100" +
        "05" +
        "00" +
        "01000000" +
        "46afd5c0" +
        "5a61e6e7" +
        "0600000000000000" +
        "c1".repeat(16) +
        "66".repeat(32) +
        "e0".repeat(32) +
        "2a0000000000" +
        "290000000000" +
        "02000000" +
        "03".repeat(8) +
        "00dc207497010000" +
        "9e076ceaf246b6003d9c2680a2b4cf0bffd069805902b0b5edeebf49039fe4bd" +
        "e803000000000000" +
        "0000000000000000" +
        "51".repeat(64) +
        "90",
    );
  });

  test("every kind comes back as it went", () => {
    for (const [change, payload, body] of EACH_KIND) {
      const bytes = encode(change, payload);
      const read = decodeRecord(bytes, 4, {
        chainId: CHAIN_ID,
        slot: 6,
        prevHash: FIELDS.prevHash,
        storageDifficulty: 10,
        publicKey: KEY.publicKey,
      });
      if (!read.ok) throw new Error(read.where);
      expect(read.value.header).toMatchObject({ ...FIELDS, ...change });
      expect(read.value.hash).toEqual(sha256(bytes.subarray(0, 256)));
      expect(plain(read.value.body)).toEqual(plain({ kind: change.kind, ...body }));
      expect(checkRecordBytes(bytes)).toBe(VERDICT.OK);
    }
  });

  test("the payload is msgpackr's own bytes, in arrays", () => {
    const [{ proposals, lost, votes, round }] = ROUNDS;
    const value = [
      [
        round,
        proposals.map(({ rank, header, blocks }) => [rank, header, blocks]),
        lost.map(({ rank, proposalHash }) => [rank, proposalHash]),
        votes.map((vote) => [vote.answers, vote.effectsSlot, vote.effectsDigest, vote.voters]),
      ],
    ];
    const payload = concatBytes(encodeSettlement([ROUNDS[0]]).parts);
    expect(payload).toEqual(new Uint8Array(new Packr({ useRecords: false }).pack(value)));
  });

  test("blocks are parts of the payload, not copies", () => {
    const block = ROUNDS[0].proposals[2].blocks[0];
    const large = structuredClone(ROUNDS[0]);
    large.proposals[2].blocks = [new Uint8Array(10_000)];
    const { parts } = encodeSettlement([large]);
    expect(parts).toContain(large.proposals[2].blocks[0]);
    expect(block.length).toBeLessThan(10_000);
  });

  test("a STORAGE record carries a solved puzzle of its own bits", () => {
    const bytes = encode({ kind: "STORAGE", puzzleBits: 10 }, encodeSettlement(ROUNDS));
    expect(hasLeadingZeros(sha256(recordPuzzleMessage(bytes)), 0, 10)).toBe(true);
    const claim = { storageDifficulty: 9 };
    expect(checkRecordBytes(bytes, 0, bytes.length, claim)).toBe(VERDICT.WRONG_DIFFICULTY);
    const unsolved = resealed(bytes, (copy) => {
      do {
        copy[184]++;
      } while (hasLeadingZeros(sha256(recordPuzzleMessage(copy)), 0, 10));
    });
    const asked = { storageDifficulty: 10 };
    expect(checkRecordBytes(unsolved, 0, bytes.length, asked)).toBe(VERDICT.PUZZLE_UNSOLVED);
  });

  test("every cut and every changed byte is found", () => {
    for (const [change, payload] of EACH_KIND) {
      const bytes = encode(change, payload);
      for (const { what, damaged } of damages(bytes, 300)) {
        const found = { what, verdict: checkRecordBytes(damaged) };
        expect(found).not.toEqual({ what, verdict: VERDICT.OK });
        expect(decodeRecord(damaged, 4).ok).toBe(false);
      }
    }
  });

  test("a payload of any shape under good checksums gets a verdict", () => {
    for (const [change, payload] of EACH_KIND) {
      const honest = concatBytes(payload.parts);
      for (const { damaged } of damages(honest, 250)) {
        const bytes = encode(
          { ...change, puzzleBits: 0 },
          { parts: [damaged], length: damaged.length },
        );
        expect(typeof decodeRecord(bytes, 4).ok).toBe("boolean");
      }
    }
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 60 }),
        fc.constantFrom(...(Object.keys(RECORD_KIND) as (keyof typeof RECORD_KIND)[])),
        (random, kind) => {
          const bytes = encode({ kind }, { parts: [random], length: random.length });
          expect(typeof decodeRecord(bytes, 4).ok).toBe("boolean");
        },
      ),
      { numRuns: 200 },
    );
  });

  test("each rule has its verdict", () => {
    const bytes = encode({}, encodeSettlement(ROUNDS));
    const judge = (expected: object) => checkRecordBytes(bytes, 0, bytes.length, expected);
    expect(judge({ chainId: filled(16, 1) })).toBe(VERDICT.WRONG_CHAIN);
    expect(judge({ slot: 7 })).toBe(VERDICT.WRONG_SLOT);
    expect(judge({ prevHash: filled(32, 1) })).toBe(VERDICT.WRONG_PARENT);
    expect(judge({ publicKey: generateSigningKey().publicKey })).toBe(VERDICT.BAD_SIGNATURE);
    expect(judge({ publicKey: new Uint8Array(3) })).toBe(VERDICT.BAD_SIGNATURE);
    expect(verdictOf(decodeRecordHeader(filled(300, 0)))).toBe(VERDICT.NOT_A_RECORD);
    // A version from the future is told apart from damage: its checksum is right.
    const newer = resealed(bytes, (copy) => writeU16(copy, 8, 2));
    expect(checkRecordBytes(newer)).toBe(VERDICT.UNKNOWN_VERSION);
    const kind = resealed(bytes, (copy) => copy.fill(6, 10, 11));
    expect(checkRecordBytes(kind)).toBe(VERDICT.UNKNOWN_KIND);
    const wide = resealed(bytes, (copy) => copy.fill(0xff, 24, 32));
    expect(checkRecordBytes(wide)).toBe(VERDICT.BAD_NUMBER);
    const huge = resealed(bytes, (copy) => writeU32(copy, 12, 0xffff_ffff));
    expect(verdictOf(decodeRecordHeader(huge))).toBe(VERDICT.TOO_LARGE);
    expect(checkRecordBytes(huge)).toBe(VERDICT.TRUNCATED);
    // Damage is told before anything that an intact record says.
    expect(checkRecordBytes(kind.with(300, kind[300] ^ 1))).toBe(VERDICT.BAD_CHECKSUM);
    const rounds = encode({ lastRound: 44 }, encodeSettlement(ROUNDS));
    expect(verdictOf(decodeRecord(rounds, 4))).toBe(VERDICT.WRONG_ROUND);
    const before = encode({ firstRound: 41, lastRound: 42 }, encodeSettlement(ROUNDS));
    expect(verdictOf(decodeRecord(before, 4))).toBe(VERDICT.WRONG_ROUND);
    const backwards = encode({ firstRound: 42, lastRound: 40 }, encodeNoop());
    expect(checkRecordBytes(backwards)).toBe(VERDICT.WRONG_ROUND);
  });

  test("the key of a SEAL or INTENT author lies in the payload", () => {
    for (const [change, payload] of EACH_KIND) {
      const bytes = encode(change, payload);
      const read = decodeRecord(bytes, 4);
      if (!read.ok) throw new Error(read.where);
      const key = embeddedAuthorKey(read.value);
      const isHere = change.kind === "SEAL" || change.kind === "INTENT";
      expect(key === undefined).toBe(!isHere);
      if (key !== undefined) expect(verifyRecord(bytes, key)).toBe(true);
    }
  });

  test("the payload's hash is that of its bytes, however it is cut into parts", () => {
    const whole = concatBytes(encodeSettlement(ROUNDS).parts);
    const parts = [whole.subarray(0, 100), whole.subarray(100, 101), whole.subarray(101)];
    const bytes = encode({}, { parts, length: whole.length });
    expect(bytes).toEqual(encode({}, encodeSettlement(ROUNDS)));
    expect(toHex(bytes, 144, 176)).toBe(createHash("sha256").update(whole).digest("hex"));
  });
});

/** A record with a changed header and the checksum that fits it. */
function resealed(bytes: Uint8Array, change: (copy: Uint8Array) => void): Uint8Array {
  const copy = bytes.slice();
  change(copy);
  writeU32(copy, 20, 0);
  writeU32(copy, 20, kernels.crc32c(copy, 0, 256, 0));
  return copy;
}

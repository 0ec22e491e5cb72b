/** Every decoder of bytes from outside, with samples of what it takes. */
import { concatBytes, writeU32 } from "../../../src/base/bytes.ts";
import { parsePlan } from "../../../src/chaos/plan.ts";
import { parseRankConfig } from "../../../src/config.ts";
import type { Vote } from "../../../src/consensus/effects.ts";
import { voteDigest } from "../../../src/consensus/vote.ts";
import { createBlockLocation, locateBlock } from "../../../src/ledger/block.ts";
import { decodeEvidence, encodeEvidence } from "../../../src/ledger/evidence.ts";
import { createGenesis, parseGenesis } from "../../../src/ledger/genesis.ts";
import * as intake from "../../../src/ledger/intake-frames.ts";
import { generateSigningKey, signMessage, verifySignature } from "../../../src/ledger/keys.ts";
import {
  decodeProposal,
  encodeProposalParts,
  readProposalHeader,
} from "../../../src/ledger/proposal.ts";
import { decodeRecord, decodeRecordHeader, encodeRecord } from "../../../src/ledger/record.ts";
import {
  encodeIntent,
  encodeNoop,
  encodeSeal,
  encodeSettlement,
  type PayloadParts,
} from "../../../src/ledger/settlement.ts";
import {
  decodeIntent,
  decodeNoop,
  decodeSeal,
  decodeSettlement,
} from "../../../src/ledger/settlement-decoding.ts";
import { State } from "../../../src/ledger/state.ts";
import { decodeTransaction } from "../../../src/ledger/transaction-object.ts";
import { VERDICT } from "../../../src/ledger/verdict.ts";
import * as envelope from "../../../src/rank/envelope.ts";
import * as membership from "../../../src/rank/membership-messages.ts";
import { decodeCard, drawIdentity } from "../../../src/rank/roster.ts";
import { decodeHead, encodeHead } from "../../../src/storage/checkpoint-head.ts";
import { LedgerPaths } from "../../../src/storage/paths.ts";
import { SegmentBuilder, SegmentReader } from "../../../src/storage/segments.ts";
import { SimulatedDisk } from "../../../src/storage/simulated-disk.ts";
import { parseStatus } from "../../../src/supervisor/job-status.ts";
import { parseLastWords } from "../../../src/supervisor/last-words.ts";
import { FrameReader } from "../../../src/validator/stream.ts";
import * as wire from "../../../src/validator/wire.ts";
import { parsePropertyFile } from "../../../src/workload/properties.ts";
import {
  CHAIN_ID,
  filled,
  makeBlock,
  member,
  proposalHeader,
  settledRound,
  TIME,
  transfers,
} from "../ledger/samples.ts";

export interface Decoder {
  readonly name: string;
  samples(): readonly Uint8Array[] | Promise<readonly Uint8Array[]>;
  /** True: taken. False, or a coded error: refused. */
  read(bytes: Uint8Array): boolean | Promise<boolean>;
  /** Its bytes carry a checksum: nothing else than what was written may be taken. */
  readonly isSealed?: boolean;
  /** An error that is a refusal though it is not coded. */
  refuses?(error: unknown): boolean;
  readonly rounds?: number;
}

const MEMBERS = 4;
const KEY = generateSigningKey();
const text = (written: string) => new TextEncoder().encode(written);
const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

const FIELDS = {
  ...{ puzzleBits: 0, slot: 6, chainId: CHAIN_ID, prevHash: filled(32, 0x66) },
  ...{ epoch: filled(32, 0xe0), authorRank: 2, authorIncarnation: filled(8, 3) },
  ...{ creationTime: TIME, heightBefore: 1000 },
};
const ROUNDS = [settledRound(42), settledRound(43)];
const SEAL = { members: [member(0), member(1)], rounds: ROUNDS, answers: [0, 2, 3] };
const INTENT = { member: member(0), answered: [0, 1], deadlineMs: 5000 };
const wholeOf = ({ parts }: PayloadParts) => concatBytes([...parts]);

function record(kind: "QUORUM" | "SEAL" | "NOOP" | "INTENT", payload: PayloadParts): Uint8Array {
  const rounds = kind === "NOOP" || kind === "INTENT" ? [42, 41] : [42, 43];
  const fields = { ...FIELDS, kind, firstRound: rounds[0], lastRound: rounds[1] };
  const sign = (message: Uint8Array) => signMessage(KEY.privateKey, message);
  return concatBytes([...encodeRecord(fields, payload, sign).parts]);
}

const RECORDS = [
  record("QUORUM", encodeSettlement(ROUNDS)),
  record("SEAL", encodeSeal(SEAL)),
  record("INTENT", encodeIntent(INTENT)),
  record("NOOP", encodeNoop()),
];

const BLOCK = makeBlock(transfers(4));
const PROPOSAL = encodeProposalParts(proposalHeader([BLOCK]), [BLOCK]);

const HASH = "ab".repeat(32);
function vote(round: number, answers: number[]): Vote {
  const hashes = answers.map((answer) => (answer === 0 ? "" : HASH));
  const bytes = Uint8Array.from(answers);
  const digest = voteDigest(round, bytes, hashes);
  const effects = { effectsSlot: 7, effectsDigest: "cd".repeat(32) };
  return { round, rank: 2, answers: bytes, digest, ...effects, hashes };
}
const ANSWER = {
  ...{ rank: 2, headSlot: 9, lastVoted: 12, votes: [vote(11, [2, 0, 1, 2])] },
  ...{ effectsSlot: 9, effectsDigest: "ef".repeat(32) },
};

const { genesis: GENESIS, bytes: GENESIS_BYTES } = createGenesis(
  {
    ...{ created: TIME, nonce: filled(16, 1), difficulty: 1, storageDifficulty: 3 },
    ...{ blockTransactionsMax: 64, supply: 1000, quorum: "byzantine" },
  },
  KEY,
);

const HEAD_KEY = {
  chainId: CHAIN_ID,
  publicKey: KEY.publicKey,
  sign: (message: Uint8Array) => signMessage(KEY.privateKey, message),
  verify: (message: Uint8Array, signature: Uint8Array) =>
    verifySignature(KEY.publicKey, message, signature),
};

/** A message as it is, and a decoder that answers undefined to what it refuses. */
function message(
  name: string,
  samples: readonly Uint8Array[],
  read: (bytes: Uint8Array) => unknown,
): Decoder {
  return {
    name: `message: ${name}`,
    samples: () => samples,
    read: (bytes) => read(bytes) !== undefined,
  };
}

const MESSAGES: readonly Decoder[] = [
  message(
    "vote",
    [vote(3, [1, 2, 0, 1])].flatMap((one) => [
      envelope.encodeVote(one, true),
      envelope.encodeVote(one, false),
    ]),
    (bytes) => envelope.decodeVote(bytes, MEMBERS),
  ),
  message(
    "pull",
    [
      envelope.encodePull({
        round: 9,
        vote: true,
        force: false,
        bodies: [{ rank: 1, hash: HASH }],
      }),
    ],
    (bytes) => envelope.decodePull(bytes, MEMBERS),
  ),
  message(
    "decided",
    [
      envelope.encodeDecided({
        ...{ slot: 7, hash: HASH, kind: "QUORUM", firstRound: 3, lastRound: 4, orderDigest: HASH },
      }),
    ],
    (bytes) => envelope.decodeDecided(bytes),
  ),
  message("status", [envelope.encodeStatus({ kind: "bye", json: "{}" })], (bytes) =>
    envelope.decodeStatus(bytes),
  ),
  message(
    "accusation",
    [membership.encodeAccusation({ rank: 1, certain: true, withdrawn: false })],
    (bytes) => membership.decodeAccusation(bytes, MEMBERS),
  ),
  message(
    "pull of a SEAL",
    [membership.encodeSealPull({ evict: [1, 3], admit: ["0011223344556677"], lastRound: 12 })],
    (bytes) => membership.decodeSealPull(bytes, MEMBERS),
  ),
  message("answer to a SEAL", [membership.encodeSealAnswer(ANSWER)], (bytes) =>
    membership.decodeSealAnswer(bytes, MEMBERS),
  ),
  message(
    "welcome",
    [
      membership.encodeWelcome({
        ...{ slot: 5, epoch: filled(32, 1), box: filled(80, 2), cards: [filled(100, 3)] },
      }),
    ],
    (bytes) => membership.decodeWelcome(bytes),
  ),
];

const CARD = drawIdentity({
  ...{ incarnation: filled(8, 1), process: 2, host: "n1", mark: { pid: 7, startTicks: 9 } },
  ...{ chainId: GENESIS.chainId, ledgerKey: KEY.privateKey },
});

const STATEMENT = {
  kind: "proposals" as const,
  ...{ chainId: GENESIS.chainId, epoch: filled(32, 0xe0), member: member(3) },
};
const signedProposal = (round: number) => ({
  header: proposalHeader([], 3, round),
  signature: filled(64, round),
});

const ok = ({ ok: isGood }: { ok: boolean }) => isGood;

/** A segment of the records as a file. */
function segment(): Uint8Array {
  const builder = new SegmentBuilder(0, 0);
  for (const [slot, bytes] of RECORDS.entries())
    builder.add({ prevHash: filled(32, slot), hash: filled(32, slot + 1), bytes });
  return concatBytes([builder.header, ...RECORDS, ...builder.finish()]);
}

async function readSegment(bytes: Uint8Array): Promise<boolean> {
  const disk = new SimulatedDisk({ random: () => 0 });
  const host = disk.host("a");
  const paths = new LedgerPaths("/ledger");
  await host.makeDirectory("/ledger");
  await host.makeDirectory(paths.segments);
  await host.writeExclusive(paths.segment(0), [bytes]);
  const reader = new SegmentReader(host, paths);
  const index = await reader.open(0);
  for await (const { slot } of reader.records(index!)) if (slot > RECORDS.length) return false;
  return true;
}

/** Frames in pieces, as a socket hands them over. */
function* piecesOf(bytes: Uint8Array): Generator<Uint8Array> {
  const step = 1 + (bytes.length % 7);
  for (let at = 0; at < bytes.length; at += step) yield bytes.subarray(at, at + step);
}

const INTAKE_FRAME = intake.encodeFrame([1, 7, filled(20, 3), "text", [1, 2]]);
const WIRE_FRAME = wire.encodeFrame([3, "certify", [wire.packMember(member(1))]]);

function framed(body: Uint8Array): Uint8Array {
  const length = new Uint8Array(4);
  writeU32(length, 0, body.length);
  return concatBytes([length, body]);
}

const STATUS = JSON.stringify({
  ...{ state: "running", slot: 4, members: [{ process: 0, host: "n1" }] },
  events: [{ at: 1, kind: "absolved", text: "it was heard" }],
});

export const DECODERS: readonly Decoder[] = [
  {
    name: "record",
    isSealed: true,
    samples: () => RECORDS,
    read: (bytes) => ok(decodeRecord(bytes, MEMBERS)),
  },
  {
    name: "record header",
    samples: () => RECORDS.map((bytes) => bytes.slice(0, 256)),
    read: (bytes) => ok(decodeRecordHeader(bytes)),
  },
  {
    name: "settlement of a record",
    samples: () => [wholeOf(encodeSettlement(ROUNDS))],
    read: (bytes) => ok(decodeSettlement(bytes, MEMBERS)),
  },
  {
    name: "SEAL",
    samples: () => [wholeOf(encodeSeal(SEAL))],
    read: (bytes) => ok(decodeSeal(bytes, MEMBERS)),
  },
  {
    name: "INTENT",
    samples: () => [wholeOf(encodeIntent(INTENT))],
    read: (bytes) => ok(decodeIntent(bytes, MEMBERS)),
  },
  {
    name: "NOOP",
    samples: () => [wholeOf(encodeNoop())],
    read: (bytes) => ok(decodeNoop(bytes)),
  },
  {
    name: "block",
    samples: () => [BLOCK],
    read: (bytes) => locateBlock(bytes, 0, bytes.length, createBlockLocation()) === VERDICT.OK,
  },
  {
    name: "transaction",
    samples: () => transfers(2),
    read: (bytes) => ok(decodeTransaction(bytes)),
  },
  {
    name: "proposal",
    samples: () => [wholeOf(PROPOSAL)],
    read: (bytes) => {
      const proposal = decodeProposal(bytes);
      if (proposal.ok) readProposalHeader(proposal.value.headerBytes);
      return proposal.ok;
    },
  },
  ...MESSAGES,
  {
    name: "card",
    samples: () => [CARD.cardBytes],
    read: (bytes) =>
      typeof decodeCard(bytes, { chainId: GENESIS.chainId, genesis: GENESIS }) !== "string",
  },
  {
    name: "evidence",
    samples: () => [
      encodeEvidence({ ...STATEMENT, first: signedProposal(4), second: signedProposal(5) }),
    ],
    read: (bytes) => ok(decodeEvidence(bytes)),
  },
  { name: "segment", isSealed: true, samples: () => [segment()], read: readSegment },
  {
    name: "head of a checkpoint",
    isSealed: true,
    samples: async () => [
      await encodeHead(
        {
          ...{ slot: 4, size: 9, root: filled(32, 1), recordHash: filled(32, 2) },
          ...{ stateRoot: filled(32, 3), snapshot: filled(32, 4) },
        },
        HEAD_KEY,
      ),
    ],
    read: async (bytes) => typeof (await decodeHead(bytes, HEAD_KEY)) !== "string",
  },
  {
    name: "snapshot of a checkpoint",
    isSealed: true,
    samples: () => {
      const state = new State({ supply: 12_345 });
      state.endRound(1);
      return [concatBytes([...state.snapshot()])];
    },
    read: (bytes) => State.restore(bytes) !== undefined,
  },
  {
    name: "genesis",
    isSealed: true,
    samples: () => [GENESIS_BYTES],
    read: (bytes) => parseGenesis(bytes, "genesis") !== undefined,
  },
  {
    name: "flags of a rank",
    samples: () => [text("/ledger\n8192\n500"), text("/scratch/l\n1\n1000")],
    read: (bytes) => {
      const [ledger, checkpointRecords, pollMs] = textOf(bytes).split("\n");
      return parseRankConfig({ ledger, checkpointRecords, pollMs }, {}) !== undefined;
    },
  },
  {
    name: "property file of a workload",
    samples: () => [text("recordcount=1000\n# note\nreadproportion = 0.5\n")],
    read: (bytes) => parsePropertyFile({ name: "file", text: textOf(bytes) }) !== undefined,
  },
  {
    name: "plan of faults",
    samples: () => [text(JSON.stringify({ version: 1, ranks: 4, seconds: 10, events: [] }))],
    read: (bytes) => {
      let value: unknown;
      try {
        value = JSON.parse(textOf(bytes));
      } catch {
        return false;
      }
      return parsePlan(value, "plan") !== undefined;
    },
  },
  {
    name: "frame of a client",
    samples: () => [INTAKE_FRAME.subarray(4)],
    read: (bytes) => typeof intake.decodeFrame(bytes) !== "string",
  },
  {
    name: "frames of a client, in pieces",
    samples: () => [concatBytes([INTAKE_FRAME, INTAKE_FRAME, framed(filled(3, 0x90))])],
    read: (bytes) => {
      const assembler = new intake.FrameAssembler();
      let frames = 0;
      for (const piece of piecesOf(bytes)) {
        assembler.push(piece);
        for (let body = assembler.next(); body !== undefined; body = assembler.next()) {
          if (typeof body === "number") return false;
          intake.decodeFrame(body);
          frames++;
        }
      }
      return frames > 0;
    },
  },
  {
    name: "fields in a frame of a client",
    samples: () => [intake.packFields([{ name: filled(3, 97), value: filled(9, 1) }])],
    read: (bytes) => intake.findFields(bytes) !== undefined,
  },
  {
    name: "transactions in a frame of a client",
    samples: () => [intake.packTransactions(transfers(3))],
    read: (bytes) => intake.findTransactions(bytes) !== undefined,
  },
  {
    name: "frame of the validator",
    samples: () => [WIRE_FRAME.subarray(4)],
    read: (bytes) => {
      const fields = wire.decodeFrame(bytes);
      if (fields !== undefined) wire.unpackMembers(fields[2]);
      return fields !== undefined;
    },
  },
  {
    name: "frames of the validator, in pieces",
    samples: () => [concatBytes([WIRE_FRAME, WIRE_FRAME])],
    read: (bytes) => {
      const reader = new FrameReader();
      let frames = 0;
      for (const piece of piecesOf(bytes)) {
        reader.push(piece);
        for (let body = reader.next(); body !== undefined; body = reader.next()) {
          if (body === "too-large") return false;
          wire.decodeFrame(body);
          frames++;
        }
      }
      return frames > 0;
    },
  },
  {
    name: "status file of a job",
    samples: () => [text(STATUS)],
    read: (bytes) => parseStatus(textOf(bytes)) !== undefined,
  },
  {
    name: "last words of a rank",
    samples: () => [text("baash: process 3 (pid 71) ends with code 70")],
    read: (bytes) => parseLastWords(textOf(bytes)) !== undefined,
  },
];

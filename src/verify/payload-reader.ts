/**
 * Unpacks a record's payload and checks its shape, so that the checks of its meaning read plain
 * typed values. Byte strings stay views of the record: nothing is copied.
 */
import { Unpackr } from "msgpackr";
import { ADVICE_REPORT, fail } from "./damage.ts";
import { isBytes } from "./epoch-reader.ts";
import { PROPOSAL, RECORD } from "./layout.ts";
import type { RecordView } from "./record-reader.ts";

export interface ProposalEntry {
  rank: number;
  header: Uint8Array;
  blocks: Uint8Array[];
}

export interface VoteGroup {
  answers: Uint8Array;
  effectsSlot: number;
  effectsDigest: Uint8Array;
  voters: number[];
}

export interface RoundEntry {
  round: number;
  proposals: ProposalEntry[];
  lost: { rank: number; hash: Uint8Array }[];
  votes: VoteGroup[];
}

const unpackr = new Unpackr({ useRecords: false, int64AsType: "number" });

export function unpackPayload(record: RecordView): unknown[] {
  let value: unknown;
  try {
    value = unpackr.unpack(record.bytes.subarray(RECORD.headerBytes));
  } catch (error) {
    return bad(record, `the payload is not msgpack (${(error as Error).message})`);
  }
  return Array.isArray(value) ? value : bad(record, "the payload is not a list");
}

/** The list of settled rounds of a QUORUM or STORAGE record, or of a SEAL's settlement. */
export function readRounds(record: RecordView, value: unknown, members: number): RoundEntry[] {
  return list(record, value, "the settlement").map((entry) => {
    const fields = list(record, entry, "a round");
    if (fields.length !== 4 && fields.length !== 5)
      bad(record, "a round without four or five parts");
    const round = count(record, fields[0], "the number of a round");
    return {
      round,
      proposals: list(record, fields[1], "the proposals").map((p) => readProposal(record, p)),
      lost: list(record, fields[2], "the lost hashes").map((pair) => {
        const [rank, hash] = list(record, pair, "a lost hash", 2);
        if (!isBytes(hash, 32)) return bad(record, "a lost hash does not have 32 bytes");
        return { rank: count(record, rank, "a lost hash's rank"), hash };
      }),
      votes: list(record, fields[3], "the votes").map((v) => readVotes(record, v, members)),
    };
  });
}

function readProposal(record: RecordView, value: unknown): ProposalEntry {
  const [rank, header, blocks] = list(record, value, "a proposal", 3);
  if (!isBytes(header, PROPOSAL.bytes)) return bad(record, "a proposal's header has a wrong size");
  const messages = list(record, blocks, "a proposal's blocks");
  for (const block of messages) {
    if (!(block instanceof Uint8Array)) bad(record, "a block is not a byte string");
  }
  return {
    rank: count(record, rank, "a proposal's rank"),
    header,
    blocks: messages as Uint8Array[],
  };
}

function readVotes(record: RecordView, value: unknown, members: number): VoteGroup {
  const [answers, effectsSlot, effectsDigest, bitmap] = list(record, value, "a group of votes", 4);
  if (!isBytes(answers, members)) return bad(record, `a vote does not answer ${members} members`);
  if (!isBytes(effectsDigest, 32)) return bad(record, "a vote has no digest of effects");
  if (!isBytes(bitmap, Math.ceil(members / 8))) return bad(record, "a bitmap of voters is off");
  const voters: number[] = [];
  for (let bit = 0; bit < 8 * bitmap.length; bit++) {
    if (((bitmap[bit >>> 3] >>> (bit & 7)) & 1) === 0) continue;
    if (bit >= members) bad(record, `a vote by rank ${bit}, which is no member`);
    voters.push(bit);
  }
  return { answers, effectsSlot: count(record, effectsSlot, "a slot"), effectsDigest, voters };
}

function list(record: RecordView, value: unknown, what: string, length?: number): unknown[] {
  if (!Array.isArray(value)) return bad(record, `${what}: not a list`);
  if (length !== undefined && value.length !== length) {
    bad(record, `${what}: a list of ${value.length} instead of ${length}`);
  }
  return value;
}

function count(record: RecordView, value: unknown, what: string): number {
  if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number;
  return bad(record, `${what} is ${String(value)}`);
}

function bad(record: RecordView, what: string): never {
  return fail(record.origin, {
    code: "PAYLOAD_SHAPE",
    offset: RECORD.headerBytes,
    what,
    advice: ADVICE_REPORT,
  });
}

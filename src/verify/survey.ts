/**
 * A quick look at a ledger directory: every record's place, checksums and header, the members that
 * SEALs install, sizes. No votes, no blocks, no execution, no signatures: that is `readLedger`.
 */
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { readU64, toHex } from "../base/bytes.ts";
import { Damage } from "./damage.ts";
import { KIND, KIND_NAMES, RECORD } from "./layout.ts";
import { unpackPayload } from "./payload-reader.ts";
import { type RecordView, readRecord } from "./record-reader.ts";
import { RecordSource } from "./record-source.ts";

export interface EpochSurvey {
  slot: number;
  hash: string;
  /** Empty: a clean stop. */
  members: { rank: number; incarnation: string; host: string }[];
}

export interface Survey {
  head:
    | { slot: number; hash: string; kind: string; creationTime: number; settledRound: number }
    | undefined;
  records: Record<string, number>;
  epochs: EpochSurvey[];
  checkpoints: number;
  files: { segments: number; segmentBytes: number; tailRecords: number; tailBytes: number };
  notes: string[];
  /** The first damage met; the survey ends there. */
  damage?: string;
}

export function surveyLedger(dir: string, chainId: Uint8Array): Survey {
  const survey: Survey = {
    head: undefined,
    records: {},
    epochs: [],
    checkpoints: countHeads(dir),
    files: { segments: 0, segmentBytes: 0, tailRecords: 0, tailBytes: 0 },
    notes: [],
  };
  const { files, records } = survey;
  let prevHash: Uint8Array = new Uint8Array(32);
  let settledRound = 0;
  let lastFile = "";
  try {
    const source = new RecordSource(dir);
    survey.notes = source.notes;
    for (const found of source.records(() => toHex(prevHash))) {
      const { file, offset: base, slot } = found;
      const record = readRecord(found.bytes, { file, base, slot }, { chainId, prevHash });
      prevHash = record.hash;
      if (file.startsWith("log/")) {
        files.tailRecords++;
        files.tailBytes += found.bytes.length;
      } else if (file !== lastFile) {
        files.segments++;
        files.segmentBytes += statSync(join(dir, file)).size;
      }
      lastFile = file;
      settledRound = Math.max(settledRound, record.lastRound);
      const kind = KIND_NAMES[record.kind];
      records[kind] = (records[kind] ?? 0) + 1;
      if (record.kind === KIND.seal) survey.epochs.push(epochOf(record));
      const creationTime = readU64(found.bytes, RECORD.at.creationTime);
      survey.head = { slot, hash: toHex(prevHash), kind, creationTime, settledRound };
    }
  } catch (error) {
    if (!(error instanceof Damage)) throw error;
    survey.damage = error.message;
  }
  return survey;
}

function epochOf(record: RecordView): EpochSurvey {
  const [list] = unpackPayload(record);
  const members = Array.isArray(list) ? (list as [number, Uint8Array, Uint8Array, string][]) : [];
  return {
    slot: record.slot,
    hash: toHex(record.hash),
    members: members.map(([rank, incarnation, , host]) => ({
      rank,
      incarnation: toHex(incarnation),
      host,
    })),
  };
}

function countHeads(dir: string): number {
  const folder = join(dir, "checkpoints");
  if (!existsSync(folder)) return 0;
  return readdirSync(folder).filter((name) => name.endsWith(".head")).length;
}

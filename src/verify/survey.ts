/**
 * A quick look at a ledger directory: every record's place and checksums, whether it counts, the
 * members that SEALs install, sizes. No blocks, no execution: that is `readLedger`.
 */
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { readU64, toHex } from "../base/bytes.ts";
import { Damage } from "./damage.ts";
import type { Member } from "./epoch-reader.ts";
import { readGenesis } from "./genesis-reader.ts";
import { LogJudge } from "./judgement.ts";
import { KIND, KIND_NAMES, RECORD } from "./layout.ts";
import { NotValid, type Warning, warningOf } from "./not-valid.ts";
import { readRecord } from "./record-reader.ts";
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
  /** By kind; what does not count is a NOOP. */
  records: Record<string, number>;
  epochs: EpochSurvey[];
  checkpoints: number;
  files: { segments: number; segmentBytes: number; tailRecords: number; tailBytes: number };
  /** Records that do not count. */
  warnings: Warning[];
  notes: string[];
  /** The first damage met; the survey ends there. */
  damage?: string;
}

/** `dir` is a ledger: its genesis was read before. */
export function surveyLedger(dir: string): Survey {
  const survey: Survey = {
    head: undefined,
    records: {},
    epochs: [],
    checkpoints: countHeads(dir),
    files: { segments: 0, segmentBytes: 0, tailRecords: 0, tailBytes: 0 },
    warnings: [],
    notes: [],
  };
  try {
    const genesis = readGenesis(dir);
    if (genesis !== undefined) surveyRecords(dir, new LogJudge(genesis), survey);
  } catch (error) {
    if (!(error instanceof Damage)) throw error;
    survey.damage = error.message;
  }
  return survey;
}

function surveyRecords(dir: string, judge: LogJudge, survey: Survey): void {
  const { files, records } = survey;
  let prevHash: Uint8Array = new Uint8Array(32);
  let lastFile = "";
  const source = new RecordSource(dir);
  survey.notes = source.notes;
  for (const found of source.records(() => toHex(prevHash))) {
    const { file, offset: base, slot } = found;
    const record = readRecord(found.bytes, { file, base, slot }, prevHash);
    const ruling = judge.judge(record);
    judge.advance(record, ruling);
    prevHash = record.hash;
    const hash = toHex(prevHash);
    if (file.startsWith("log/")) {
      files.tailRecords++;
      files.tailBytes += found.bytes.length;
    } else if (file !== lastFile) {
      files.segments++;
      files.segmentBytes += statSync(join(dir, file)).size;
    }
    lastFile = file;
    const counts = !(ruling instanceof NotValid);
    if (!counts) survey.warnings.push(warningOf(record.origin, ruling));
    else if (ruling.installs !== undefined) {
      survey.epochs.push({ slot, hash, members: ruling.installs.map(brief) });
    }
    const kind = KIND_NAMES[counts ? record.kind : KIND.noop];
    records[kind] = (records[kind] ?? 0) + 1;
    const creationTime = readU64(found.bytes, RECORD.at.creationTime);
    survey.head = { slot, hash, kind, creationTime, settledRound: judge.settled };
  }
}

function brief({ rank, incarnation, host }: Member) {
  return { rank, incarnation, host };
}

function countHeads(dir: string): number {
  const folder = join(dir, "checkpoints");
  if (!existsSync(folder)) return 0;
  return readdirSync(folder).filter((name) => name.endsWith(".head")).length;
}

/**
 * Every name inside a ledger directory. No other file of storage/ puts a path together.
 * Pure functions; README.md shows the tree.
 */
import { assert } from "../base/assert.ts";
import { toHex } from "../base/bytes.ts";

const SLOT_DIGITS = 10;
const SEGMENT_DIGITS = 6;
const TEMP_NAME = /^\.([0-9a-f]{16})-(\d+)\.tmp$/;
const RECORD_NAME = /^(\d{10,})\.([0-9a-f]{64})$/;
const SEGMENT_NAME = /^\d{6,}$/;
const FOLDED_NAME = /^\.folded-(\d{6,})\.[0-9a-f]{16}-\d+$/;
const HEAD_NAME = /^(\d{10,})\.head$/;
const STATE_NAME = /^(\d{10,})\.state$/;
const RESERVE_NAME = /^([0-9a-f]{16})-\d+$/;

/** Directories that a ledger consists of, in the order in which they are made. */
export const LEDGER_DIRECTORIES = [
  "log",
  "segments",
  "checkpoints",
  "tiles",
  "evidence",
  "quarantine",
] as const;

export type LedgerDirectory = (typeof LEDGER_DIRECTORIES)[number];

export const GENESIS_NAME = "genesis";
/** Made by the first writer that can: a ledger without it is whole. */
export const RESERVE_DIRECTORY = "reserve";

export class LedgerPaths {
  readonly root: string;
  readonly genesis: string;
  readonly log: string;
  readonly segments: string;
  readonly checkpoints: string;
  readonly evidence: string;
  readonly quarantine: string;
  readonly reserve: string;

  constructor(root: string) {
    this.root = root;
    this.genesis = `${root}/${GENESIS_NAME}`;
    this.log = this.directory("log");
    this.segments = this.directory("segments");
    this.checkpoints = this.directory("checkpoints");
    this.evidence = this.directory("evidence");
    this.quarantine = this.directory("quarantine");
    this.reserve = `${root}/${RESERVE_DIRECTORY}`;
  }

  directory(name: LedgerDirectory): string {
    return `${this.root}/${name}`;
  }

  /** The tail's directory of a segment: one record a file. */
  tail(segment: number): string {
    return `${this.log}/${segmentName(segment)}`;
  }

  record(segment: number, slot: number, prevHash: Uint8Array): string {
    return `${this.tail(segment)}/${recordName(slot, prevHash)}`;
  }

  /** Where a tail directory goes once its segment is folded; deleted from there. */
  folded(segment: number, unique: string): string {
    return `${this.log}/.folded-${segmentName(segment)}.${unique}`;
  }

  /** The folded segment: one immutable file. */
  segment(segment: number): string {
    return `${this.segments}/${segmentName(segment)}`;
  }

  head(slot: number): string {
    return `${this.checkpoints}/${headName(slot)}`;
  }

  state(slot: number): string {
    return `${this.checkpoints}/${stateName(slot)}`;
  }

  /** One piece of the room that a process holds for membership records. */
  reservePiece(incarnation: string, piece: number): string {
    return `${this.reserve}/${incarnation}-${piece}`;
  }

  quarantined(name: string, unique: string): string {
    return `${this.quarantine}/${name}.${unique}`;
  }
}

export function segmentName(segment: number): string {
  return String(segment).padStart(SEGMENT_DIGITS, "0");
}

export function recordName(slot: number, prevHash: Uint8Array): string {
  assert(prevHash.length === 32, "a record is named by the full hash of its parent");
  return `${slotName(slot)}.${toHex(prevHash)}`;
}

export function headName(slot: number): string {
  return `${slotName(slot)}.head`;
}

export function stateName(slot: number): string {
  return `${slotName(slot)}.state`;
}

/** `unique` = incarnation and counter, never used twice: nobody else ever makes this name. */
export function tempName(unique: string): string {
  return `.${unique}.tmp`;
}

function slotName(slot: number): string {
  return String(slot).padStart(SLOT_DIGITS, "0");
}

export function parseRecordName(name: string): { slot: number; prevHash: string } | undefined {
  const match = RECORD_NAME.exec(name);
  return match ? { slot: Number(match[1]), prevHash: match[2] } : undefined;
}

export function parseTempName(name: string): { incarnation: string } | undefined {
  const match = TEMP_NAME.exec(name);
  return match ? { incarnation: match[1] } : undefined;
}

export function parseReserveName(name: string): { incarnation: string } | undefined {
  const match = RESERVE_NAME.exec(name);
  return match ? { incarnation: match[1] } : undefined;
}

export function parseSegmentName(name: string): number | undefined {
  return SEGMENT_NAME.test(name) ? Number(name) : undefined;
}

export function parseFoldedName(name: string): number | undefined {
  const match = FOLDED_NAME.exec(name);
  return match ? Number(match[1]) : undefined;
}

export function parseHeadName(name: string): number | undefined {
  const match = HEAD_NAME.exec(name);
  return match ? Number(match[1]) : undefined;
}

export function parseStateName(name: string): number | undefined {
  const match = STATE_NAME.exec(name);
  return match ? Number(match[1]) : undefined;
}

/**
 * Writes the control file of native/storage-faults.c: which calls of the ranks on the ledger directory
 * are delayed or fail from now on. Ranks map the file, so that a change is felt at their next call.
 */
import { closeSync, existsSync, openSync, readSync, writeSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { readU32, writeU32 } from "../base/bytes.ts";
import { configurationError } from "../base/errors.ts";

/** Built by scripts/build-native. */
export const STORAGE_FAULTS_LIBRARY = join(import.meta.dir, "../../native/build/storage-faults.so");

/** Offsets of struct control and struct rule in storage-faults.c. */
const AT = { version: 8, ruleCount: 12, attached: 16, untrapped: 20, prefixBytes: 24, prefix: 32 };
const RULE = { calls: 0, error: 4, rate: 8, delayMs: 12, target: 16, pidCount: 20, hits: 24 };
const BELOW = { at: 32, bytes: 224 };
const PIDS = { at: 256, most: 64 };
const MAGIC = "BAASHSF1";
const HEADER_BYTES = 512;
const RULE_BYTES = 512;
const RULES_MAX = 8;
const PREFIX_BYTES_MAX = 479;
const MILLION = 1_000_000;

/** Bits of `enum call`. */
const CALLS = {
  open: 1,
  create: 2,
  write: 4,
  fsync: 8,
  link: 16,
  rename: 32,
  unlink: 64,
  mkdir: 128,
  list: 256,
  stat: 512,
} as const;
export type CallName = keyof typeof CALLS;
export const CALL_NAMES = Object.keys(CALLS) as CallName[];

const TARGETS = { any: 0, files: 1, directories: 2 } as const;

/** One way to fail. */
export interface StorageRule {
  readonly calls: readonly CallName[];
  /** Name of an errno; without it a call is only delayed. */
  readonly error?: keyof typeof constants.errno;
  /** Share of the calls, 1 by default. */
  readonly rate?: number;
  readonly delayMs?: number;
  readonly on?: keyof typeof TARGETS;
  /** Path below the ledger directory, "/log"; without it all of it. */
  readonly below?: string;
  /** Process ids; without them every rank. */
  readonly pids?: readonly number[];
}

export class StorageControl {
  readonly path: string;
  private readonly file: number;
  private version = 0;
  private count = 0;
  /** Strikes of rules that are no longer there. */
  private pastHits = 0;

  /**
   * `ledger`: absolute path of the directory whose calls may fail. Throws STORAGE_PREFIX,
   * STORAGE_LIBRARY (exit 78).
   */
  constructor(path: string, ledger: string) {
    if (!existsSync(STORAGE_FAULTS_LIBRARY)) {
      throw configurationError(
        "STORAGE_LIBRARY",
        `Storage cannot be made to fail without ${STORAGE_FAULTS_LIBRARY}: scripts/build-native makes it, with a C compiler, on Linux.`,
      );
    }
    const prefix = Buffer.from(ledger);
    if (prefix.length > PREFIX_BYTES_MAX) {
      throw configurationError(
        "STORAGE_PREFIX",
        `The ledger's path has ${prefix.length} bytes, storage faults take ${PREFIX_BYTES_MAX}: choose a shorter one.`,
      );
    }
    const bytes = new Uint8Array(HEADER_BYTES + RULES_MAX * RULE_BYTES);
    bytes.set(Buffer.from(MAGIC), 0);
    writeU32(bytes, AT.prefixBytes, prefix.length);
    bytes.set(prefix, AT.prefix);
    this.path = path;
    this.file = openSync(path, "w+", 0o600);
    writeSync(this.file, bytes, 0, bytes.length, 0);
  }

  /** What ranks need in their environment to come under the rules. */
  get environment(): Record<string, string> {
    return { LD_PRELOAD: STORAGE_FAULTS_LIBRARY, BAASH_STORAGE_FAULTS: this.path };
  }

  /** Processes that have looked at the file, and those of them whose opens pass unseen. */
  get attached(): { processes: number; untrapped: number } {
    return { processes: this.number(AT.attached), untrapped: this.number(AT.untrapped) };
  }

  /** Calls that a rule has delayed or failed since the start. */
  get hits(): number {
    return this.pastHits + this.currentHits();
  }

  /** Puts these rules in the place of those before; none: everything works again. */
  apply(rules: readonly StorageRule[]): void {
    if (rules.length > RULES_MAX) {
      throw configurationError("STORAGE_RULES", `${rules.length} rules, of at most ${RULES_MAX}`);
    }
    this.pastHits += this.currentHits();
    const bytes = new Uint8Array(RULES_MAX * RULE_BYTES);
    for (const [i, rule] of rules.entries()) encodeRule(rule, bytes, i * RULE_BYTES);
    // Odd while the rules are of two moments; ranks wait for the even number.
    this.set(AT.version, ++this.version);
    writeSync(this.file, bytes, 0, bytes.length, HEADER_BYTES);
    this.set(AT.ruleCount, rules.length);
    this.set(AT.version, ++this.version);
    this.count = rules.length;
  }

  close(): void {
    this.apply([]);
    closeSync(this.file);
  }

  private currentHits(): number {
    let hits = 0;
    for (let i = 0; i < this.count; i++) {
      hits += this.number(HEADER_BYTES + i * RULE_BYTES + RULE.hits);
    }
    return hits;
  }

  private number(at: number): number {
    const bytes = new Uint8Array(4);
    readSync(this.file, bytes, 0, 4, at);
    return readU32(bytes, 0);
  }

  private set(at: number, value: number): void {
    const bytes = new Uint8Array(4);
    writeU32(bytes, 0, value);
    writeSync(this.file, bytes, 0, 4, at);
  }
}

function encodeRule(rule: StorageRule, bytes: Uint8Array, at: number): void {
  const { calls, error, rate = 1, delayMs = 0, on = "any", below = "", pids = [] } = rule;
  if (pids.length > PIDS.most) {
    throw configurationError("STORAGE_RULES", `${pids.length} processes, of at most ${PIDS.most}`);
  }
  let mask = 0;
  for (const call of calls) mask |= CALLS[call];
  writeU32(bytes, at + RULE.calls, mask);
  writeU32(bytes, at + RULE.error, error === undefined ? 0 : constants.errno[error]);
  writeU32(bytes, at + RULE.rate, Math.round(rate * MILLION));
  writeU32(bytes, at + RULE.delayMs, delayMs);
  writeU32(bytes, at + RULE.target, TARGETS[on]);
  writeU32(bytes, at + RULE.pidCount, pids.length);
  bytes.set(Buffer.from(below).subarray(0, BELOW.bytes - 1), at + BELOW.at);
  for (const [i, pid] of pids.entries()) writeU32(bytes, at + PIDS.at + 4 * i, pid);
}

/**
 * Everything a rank asks of the ledger directory, behind one object: the real rank runs it in the
 * writer-worker (through comlink: control only, block bytes stay in shared memory), the simulator
 * inline over the simulated disk. Same methods, same code.
 */
import { createPrivateKey } from "node:crypto";
import { toHex } from "../base/bytes.ts";
import { BaashError, errorCode } from "../base/errors.ts";
import { parseGenesis } from "../ledger/genesis.ts";
import { signMessage, verifySignature } from "../ledger/keys.ts";
import type { RecordKind } from "../ledger/record.ts";
import type { Member } from "../ledger/settlement.ts";
import { SEGMENT_RECORDS } from "../limits.ts";
import type { Certifiable } from "./certifiable.ts";
import type { CheckpointHead } from "./checkpoint-head.ts";
import { Checkpoints } from "./checkpoints.ts";
import { cleanTemps } from "./cleaning.ts";
import { type FileOps, isSystemError } from "./file-ops.ts";
import { finishFolding, fold } from "./folding.ts";
import type { StorageNotice } from "./healer.ts";
import { type Call, HealthWatch, type StorageHealth } from "./health.ts";
import {
  type AppendResult,
  type BlockSource,
  LedgerWriter,
  newWriterCounters,
  type RecordDraft,
  type WriterCounters,
} from "./ledger-writer.ts";
import { type LedgerParts, openParts } from "./open-ledger.ts";
import { judgeRecordFile as judge } from "./record-judge.ts";
import { recover } from "./recovery.ts";
import type { KnownRecord } from "./repair.ts";
import type { Reserve } from "./reserve.ts";
import { type Scrubbed, scrub } from "./scrub.ts";
import type { Place } from "./shared-log.ts";
import { readError, writeError } from "./storage-errors.ts";

export interface OpenOptions {
  readonly directory: string;
  /** 16 hex digits, drawn at process start. */
  readonly incarnation: string;
  /** Genesis of a new ledger; without it the ledger must exist. */
  readonly genesis?: Uint8Array;
  /** Accept a file system that forgets (tmpfs). */
  readonly force?: boolean;
  /** Room held for membership records on a full disk; `reserveBytesFor(ranks)`. 0 holds none. */
  readonly reserveBytes?: number;
  /** Directories with copies of this ledger, of the same layout: damage is repaired from them. */
  readonly mirrors?: readonly string[];
  /** A record that was final once, as a supervisor or a former life of this process knows it. */
  readonly known?: { readonly slot: number; readonly hash: Uint8Array };
}

export interface Opened {
  readonly genesis: Uint8Array;
  readonly created: boolean;
  /** "ext", "gpfs", … */
  readonly fileSystem: string;
}

/** A private key as DER (PKCS8), so that it can cross to a worker. */
export interface AuthorKeys {
  readonly rank: number;
  readonly incarnation: Uint8Array;
  readonly memberKey: Uint8Array;
  /** The ledger key, of ranks that write checkpoints. */
  readonly ledgerKey?: Uint8Array;
}

export interface SnapshotDraft {
  readonly slot: number;
  readonly recordHash: Uint8Array;
  readonly stateRoot: Uint8Array;
  /** Final blocks, and the RFC 9162 head over their chain hashes. */
  readonly size: number;
  readonly root: Uint8Array;
  readonly payload: readonly Uint8Array[];
}

export interface RecoveredHead {
  readonly slot: number;
  readonly records: number;
  readonly fromSlot: number;
  readonly warnings: readonly string[];
}

/** Errors are coded: README.md, "What a caller may do", and `reactionTo` of storage-errors.ts. */
export interface LedgerStorage {
  open(options: OpenOptions): Promise<Opened>;
  /** Hands over the newest usable snapshot (false: not usable), then every record after it. */
  recover(
    onSnapshot: (head: CheckpointHead, payload: Uint8Array) => boolean | Promise<boolean>,
    onRecord: (bytes: Uint8Array) => void | Promise<void>,
  ): Promise<RecoveredHead>;
  writeAs(keys: AuthorKeys): Promise<void>;
  append(draft: RecordDraft): Promise<AppendResult>;
  /** The record after `prevHash`, durable before it is answered. */
  child(slot: number, prevHash: Uint8Array): Promise<Uint8Array | undefined>;
  /** Writes a signed head and snapshot, and prunes older ones. */
  checkpoint(draft: SnapshotDraft): Promise<void>;
  /** Folds segment `segment`, whose first record's parent is `prevHash`. */
  fold(segment: number, prevHash: Uint8Array): Promise<boolean>;
  /**
   * Removes temporary files and reserves of processes that are gone: of incarnations (hex) that are
   * not in `alive`, and older than the record of `seal` or an hour. `nowMs`: since 1970.
   */
  clean(alive: readonly string[], nowMs: number, seal?: Place): Promise<number>;
  counters(): Promise<WriterCounters>;
  /** Another host announced this record as final: settles what STORAGE_UNKNOWN left open. */
  announced(slot: number, hash: Uint8Array): Promise<void>;
  /** The bytes of a record, from memory or from a file that is intact here; for a peer's repair. */
  recordBytes(slot: number, hash: Uint8Array): Promise<Uint8Array | undefined>;
  /** Puts a peer's bytes where a record is damaged; false when they are not that record. */
  repair(record: KnownRecord, bytes: Uint8Array): Promise<boolean>;
  /** Reads old records again and repairs what it can; the rest is answered. */
  scrub(fromSlot: number, count: number): Promise<Scrubbed>;
  /** Keeps a dead letter: `name` and a hash make the file's name. Answers the path. */
  quarantine(name: string, bytes: Uint8Array): Promise<string>;
  /** Keeps a proof. Answers the path. */
  storeEvidence(name: string, bytes: Uint8Array): Promise<string>;
  health(): Promise<StorageHealth>;
  /** Where a storage validator holds the ledger key: its certificates for these members. */
  certify?(members: readonly Certifiable[]): Promise<readonly Member[]>;
  /** The same: its signature under a newcomer's SEAL (`restartMessage`). */
  signRestart?(
    epoch: Uint8Array,
    parent: Uint8Array,
    members: readonly Member[],
  ): Promise<Uint8Array>;
  /** Gives back what is held in reserve: nothing is written after it. */
  close(): Promise<void>;
}

const READ: Call = { access: "read" };
const WRITE: Call = { access: "write" };
const LONG_READ: Call = { access: "read", isLong: true };
const LONG_WRITE: Call = { access: "write", isLong: true };

export class StorageService implements LedgerStorage {
  private readonly ops: FileOps;
  private readonly now: () => number;
  private readonly blocks: BlockSource;
  private readonly onNotice: (notice: StorageNotice) => void;
  private readonly segmentRecords: number;
  private readonly healthWatch: HealthWatch;
  private readonly writerCounters = newWriterCounters();
  private ledger: LedgerParts | undefined;
  private writer: LedgerWriter | undefined;
  private checkpoints: Checkpoints | undefined;
  /** The directory could not be reached: what is there now has to be looked at first. */
  private wasGone = false;

  constructor(options: {
    ops: FileOps;
    now: () => number;
    blocks: BlockSource;
    /** Told what was repaired, and which checkpoints could not be used. */
    onNotice?: (notice: StorageNotice) => void;
    /** Part of the format; tests use small ones. */
    segmentRecords?: number;
  }) {
    this.ops = options.ops;
    this.now = options.now;
    this.blocks = options.blocks;
    this.onNotice = options.onNotice ?? (() => {});
    this.segmentRecords = options.segmentRecords ?? SEGMENT_RECORDS;
    this.healthWatch = new HealthWatch(options.now);
  }

  open(options: OpenOptions): Promise<Opened> {
    return this.coded(LONG_WRITE, options.directory, async () => {
      const { ops, now, onNotice, segmentRecords } = this;
      const world = { ops, judge, now, onNotice, segmentRecords };
      const { ledger, opened } = await openParts(world, options);
      this.ledger = ledger;
      return opened;
    });
  }

  recover(
    onSnapshot: (head: CheckpointHead, payload: Uint8Array) => boolean | Promise<boolean>,
    onRecord: (bytes: Uint8Array) => void | Promise<void>,
  ): Promise<RecoveredHead> {
    const { log, context, healer, known } = this.parts;
    // Repairs are made on the way: what was handed over once is not handed over again.
    return this.coded(LONG_READ, context.paths.root, async () => {
      const checkpoints = new Checkpoints(context, this.headKey(undefined));
      const { slot, records, fromSlot, warnings } = await recover({
        log,
        checkpoints,
        onSnapshot,
        onRecord: (bytes) => onRecord(bytes),
        heal: (damage) => healer.heal(damage),
        ...(known && { known }),
      });
      for (const message of warnings) {
        this.onNotice({ code: "STORAGE_CHECKPOINT_UNUSED", message, data: {} });
      }
      return { slot, records, fromSlot, warnings };
    });
  }

  async writeAs(keys: AuthorKeys): Promise<void> {
    const { context, genesis: bytes, log, headWatch, reserve, cache } = this.parts;
    const genesis = parseGenesis(bytes, "genesis");
    this.writer = new LedgerWriter({
      ...{ log, headWatch, reserve, cache },
      counters: this.writerCounters,
      author: {
        chainId: genesis.chainId,
        rank: keys.rank,
        incarnation: keys.incarnation,
        privateKey: privateKeyOf(keys.memberKey),
        storageDifficulty: genesis.storageDifficulty,
      },
      blocks: this.blocks,
      now: this.now,
    });
    if (keys.ledgerKey !== undefined)
      this.checkpoints = new Checkpoints(context, this.headKey(keys.ledgerKey));
    await reserve.become(toHex(keys.incarnation));
    await reserve.make();
  }

  append(draft: RecordDraft): Promise<AppendResult> {
    const writer = opened(this.writer);
    return this.run(WRITE, async () => {
      const result = await writer.append(draft);
      const { reserve } = this.parts;
      if (!reserve.isWhole) this.restore(reserve);
      return result;
    });
  }

  /** A record that its author has signed, whole: judged by the caller. */
  appendWhole(
    bytes: Uint8Array,
    place: { slot: number; prevHash: Uint8Array; kind: RecordKind },
  ): Promise<AppendResult> {
    const writer = opened(this.writer);
    return this.run(WRITE, async () => await writer.appendWhole(bytes, place));
  }

  child(slot: number, prevHash: Uint8Array): Promise<Uint8Array | undefined> {
    const writer = opened(this.writer);
    return this.run(READ, async () => await writer.child(slot, prevHash));
  }

  checkpoint(draft: SnapshotDraft): Promise<void> {
    const checkpoints = opened(this.checkpoints);
    return this.run(LONG_WRITE, async () => {
      const result = await checkpoints.write(draft);
      if (result.outcome === "unknown") throw result.error;
    });
  }

  fold(segment: number, prevHash: Uint8Array): Promise<boolean> {
    const { log } = this.parts;
    return this.run(LONG_WRITE, async () => {
      await finishFolding(log);
      const result = await fold(log, { segment, prevHash });
      if (result.outcome === "unknown") throw result.error;
      return result.outcome === "folded";
    });
  }

  clean(alive: readonly string[], nowMs: number, seal?: Place): Promise<number> {
    const { context } = this.parts;
    const all = new Set([...alive, context.publisher.incarnation]);
    return this.run(LONG_WRITE, async () => {
      const options = { alive: all, nowMs, ...(seal && { seal }) };
      return (await cleanTemps(context, options)).length;
    });
  }

  async counters(): Promise<WriterCounters> {
    return { ...this.writerCounters };
  }

  async announced(slot: number, hash: Uint8Array): Promise<void> {
    this.parts.log.noteAnnounced({ slot, hash });
  }

  async recordBytes(slot: number, hash: Uint8Array): Promise<Uint8Array | undefined> {
    const { log, cache } = this.parts;
    const kept = cache.find(slot, hash);
    if (kept !== undefined) return kept;
    try {
      return await this.coded(READ, `slot ${slot}`, () => log.readRecord(slot, hash));
    } catch (error) {
      // What cannot be read here cannot help a peer; a bug of ours is not hidden.
      if (error instanceof BaashError) return undefined;
      throw error;
    }
  }

  repair(record: KnownRecord, bytes: Uint8Array): Promise<boolean> {
    const { healer } = this.parts;
    return this.run(WRITE, async () => {
      return (await healer.put(record, bytes, "a peer")).outcome !== "refused";
    });
  }

  scrub(fromSlot: number, count: number): Promise<Scrubbed> {
    const { log, healer } = this.parts;
    return this.run(LONG_READ, async () => await scrub(log, healer, { fromSlot, count }));
  }

  quarantine(name: string, bytes: Uint8Array): Promise<string> {
    const { deadLetters } = this.parts;
    return this.run(WRITE, async () => await deadLetters.keep(name, bytes));
  }

  storeEvidence(name: string, bytes: Uint8Array): Promise<string> {
    const { evidence } = this.parts;
    return this.run(WRITE, async () => await evidence.keep(name, bytes));
  }

  async health(): Promise<StorageHealth> {
    return this.healthWatch.health();
  }

  async close(): Promise<void> {
    await this.ledger?.reserve.drop();
  }

  /** Room there may be again: looked for after the answer to whoever appended. */
  private restore(reserve: Reserve): void {
    const restored = this.ops.pause().then(() => reserve.restore(this.now()));
    restored.catch((error) => {
      const message = `The reserve could not be made again: ${String(error)}`;
      this.onNotice({ code: "STORAGE_RESERVE", message, data: {} });
    });
  }

  /** One call of the rank: after an outage looks first, repairs what is damaged, codes its errors. */
  private run<T>(kind: Call, call: () => Promise<T>): Promise<T> {
    const { context, genesis, headWatch, healer } = this.parts;
    return this.coded(kind, context.paths.root, async () => {
      if (this.wasGone) {
        await headWatch.meetAgain(genesis);
        this.wasGone = false;
      }
      for (;;) {
        try {
          return await call();
        } catch (error) {
          if (!(await healer.heal(error))) throw await healer.named(error);
        }
      }
    });
  }

  private coded<T>(kind: Call, root: string, call: () => Promise<T>): Promise<T> {
    return this.healthWatch.follow(kind, async () => {
      try {
        return await call();
      } catch (error) {
        const coded = isSystemError(error) ? codedError(kind, root, error) : error;
        if (errorCode(coded) === "STORAGE_GONE") this.wasGone = true;
        throw coded;
      }
    });
  }

  private get parts(): LedgerParts {
    return opened(this.ledger);
  }

  private headKey(ledgerKey: Uint8Array | undefined) {
    const { chainId, ledgerKey: publicKey } = parseGenesis(this.parts.genesis, "genesis");
    const privateKey = ledgerKey && privateKeyOf(ledgerKey);
    return {
      chainId,
      publicKey,
      verify: (text: Uint8Array, signature: Uint8Array) =>
        verifySignature(publicKey, text, signature),
      ...(privateKey && { sign: (text: Uint8Array) => signMessage(privateKey, text) }),
    };
  }
}

function codedError({ access }: Call, root: string, error: unknown): BaashError {
  const { path } = error as { path?: unknown };
  const where = typeof path === "string" ? path : root;
  return access === "write" ? writeError(where, error) : readError(where, error);
}

function privateKeyOf(der: Uint8Array) {
  return createPrivateKey({ key: Buffer.from(der), format: "der", type: "pkcs8" });
}

function opened<T>(part: T | undefined): T {
  if (part === undefined) {
    throw new BaashError("STORAGE_NOT_OPEN", "the ledger directory is used before it was opened");
  }
  return part;
}

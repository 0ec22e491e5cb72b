/**
 * Everything a rank asks of the ledger directory, behind one object: the real rank runs it in the
 * writer-worker (through comlink: control only, block bytes stay in shared memory), the simulator
 * inline over the simulated disk. Same methods, same code.
 */
import { createPrivateKey } from "node:crypto";
import { BaashError, EXIT } from "../base/errors.ts";
import { parseGenesis } from "../ledger/genesis.ts";
import { signMessage, verifySignature } from "../ledger/keys.ts";
import { checkRecordBytes, recordHash } from "../ledger/record.ts";
import { VERDICT, verdictName } from "../ledger/verdict.ts";
import type { CheckpointHead } from "./checkpoint-head.ts";
import { Checkpoints } from "./checkpoints.ts";
import type { FileOps } from "./file-ops.ts";
import { finishFolding, fold } from "./folding.ts";
import { adoptLedger, createLedger, openLedger } from "./ledger-directory.ts";
import {
  type AppendResult,
  type BlockSource,
  LedgerWriter,
  type RecordDraft,
  type WriterCounters,
} from "./ledger-writer.ts";
import { probe } from "./probe.ts";
import { cleanTemps, recover } from "./recovery.ts";
import { SharedLog } from "./shared-log.ts";
import { type StorageContext, storageContext } from "./storage-context.ts";

export interface OpenOptions {
  readonly directory: string;
  /** 16 hex digits, drawn at process start. */
  readonly incarnation: string;
  /** Genesis of a new ledger; without it the ledger must exist. */
  readonly genesis?: Uint8Array;
  /** Accept a file system that forgets (tmpfs). */
  readonly force?: boolean;
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
  /** Removes temporary files of processes that are gone. */
  clean(alive: readonly string[], nowMs: number): Promise<number>;
  counters(): Promise<WriterCounters>;
}

/** The storage's own look at a record: is it intact, and is it what its name says. */
function judge(bytes: Uint8Array, place: { slot: number; prevHash: Uint8Array }) {
  const verdict = checkRecordBytes(bytes, 0, bytes.length, place);
  if (verdict === VERDICT.OK) return { intact: true as const, hash: recordHash(bytes) };
  if (verdict === VERDICT.UNKNOWN_VERSION) {
    throw new BaashError(
      "RECORD_VERSION",
      `The record of slot ${place.slot} has a version that this program does not know. Use the program that wrote it, or a newer one.`,
      { exitCode: EXIT.configuration, data: { slot: place.slot } },
    );
  }
  return { intact: false as const, byte: 0, reason: verdictName(verdict) };
}

export class StorageService implements LedgerStorage {
  private readonly ops: FileOps;
  private readonly now: () => number;
  private readonly blocks: BlockSource;
  private context: StorageContext | undefined;
  private log: SharedLog | undefined;
  private writer: LedgerWriter | undefined;
  private checkpoints: Checkpoints | undefined;
  private genesis: Uint8Array | undefined;

  constructor(options: { ops: FileOps; now: () => number; blocks: BlockSource }) {
    this.ops = options.ops;
    this.now = options.now;
    this.blocks = options.blocks;
  }

  async open(options: OpenOptions): Promise<Opened> {
    const { directory, incarnation, force = false } = options;
    this.context = storageContext({ ops: this.ops, root: directory, incarnation, judge });
    const { publisher } = this.context;
    let created = false;
    if (options.genesis !== undefined) {
      const made = await createLedger(publisher, directory, options.genesis, { force });
      created = made.created;
      this.genesis = made.genesis;
    } else {
      this.genesis = await openLedger(this.ops, directory);
    }
    if (!created) await adoptLedger(this.ops, directory);
    const fileSystem = await probe(publisher, directory, { force });
    this.log = new SharedLog(this.context);
    return { genesis: this.genesis, created, fileSystem: fileSystem.type };
  }

  async recover(
    onSnapshot: (head: CheckpointHead, payload: Uint8Array) => boolean | Promise<boolean>,
    onRecord: (bytes: Uint8Array) => void | Promise<void>,
  ): Promise<RecoveredHead> {
    const log = opened(this.log);
    const checkpoints = new Checkpoints(opened(this.context), this.headKey(undefined));
    const { slot, records, fromSlot, warnings } = await recover({
      log,
      checkpoints,
      onSnapshot,
      onRecord: (bytes) => onRecord(bytes),
    });
    return { slot, records, fromSlot, warnings };
  }

  async writeAs(keys: AuthorKeys): Promise<void> {
    const genesis = parseGenesis(opened(this.genesis), "genesis");
    this.writer = new LedgerWriter({
      log: opened(this.log),
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
      this.checkpoints = new Checkpoints(opened(this.context), this.headKey(keys.ledgerKey));
  }

  append(draft: RecordDraft): Promise<AppendResult> {
    return opened(this.writer).append(draft);
  }

  child(slot: number, prevHash: Uint8Array): Promise<Uint8Array | undefined> {
    return opened(this.writer).child(slot, prevHash);
  }

  async checkpoint(draft: SnapshotDraft): Promise<void> {
    const result = await opened(this.checkpoints).write(draft);
    if (result.outcome === "unknown") throw result.error;
  }

  async fold(segment: number, prevHash: Uint8Array): Promise<boolean> {
    await finishFolding(opened(this.log));
    const result = await fold(opened(this.log), { segment, prevHash });
    if (result.outcome === "unknown") throw result.error;
    return result.outcome === "folded";
  }

  async clean(alive: readonly string[], nowMs: number): Promise<number> {
    return (await cleanTemps(opened(this.context), { alive: new Set(alive), nowMs })).length;
  }

  async counters(): Promise<WriterCounters> {
    return { ...opened(this.writer).counters };
  }

  private headKey(ledgerKey: Uint8Array | undefined) {
    const { chainId, ledgerKey: publicKey } = parseGenesis(opened(this.genesis), "genesis");
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

function privateKeyOf(der: Uint8Array) {
  return createPrivateKey({ key: Buffer.from(der), format: "der", type: "pkcs8" });
}

function opened<T>(part: T | undefined): T {
  if (part === undefined) {
    throw new BaashError("STORAGE_NOT_OPEN", "the ledger directory is used before it was opened");
  }
  return part;
}

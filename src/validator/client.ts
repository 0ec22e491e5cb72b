/**
 * The storage of a rank whose ledger has a validator: reads the directory, which it may not write, and
 * hands every record over, complete and signed, to be judged and linked. The same port as
 * StorageService; runs in the writer worker.
 */
import { createPrivateKey } from "node:crypto";
import { resolve } from "node:path";
import { equalBytes } from "../base/bytes.ts";
import { BaashError, configurationError, EXIT } from "../base/errors.ts";
import { type Genesis, parseGenesis } from "../ledger/genesis.ts";
import { verifySignature } from "../ledger/keys.ts";
import { recordHash } from "../ledger/record.ts";
import type { Member } from "../ledger/settlement.ts";
import type { Certifiable } from "../storage/certifiable.ts";
import type { CheckpointHead } from "../storage/checkpoint-head.ts";
import { Checkpoints } from "../storage/checkpoints.ts";
import type { FileOps } from "../storage/file-ops.ts";
import { HealthWatch, type StorageHealth } from "../storage/health.ts";
import { openLedger } from "../storage/ledger-directory.ts";
import {
  type AppendResult,
  type Author,
  type BlockSource,
  encodeDraft,
  newWriterCounters,
  type RecordDraft,
  type WriterCounters,
} from "../storage/ledger-writer.ts";
import { judgeRecordFile } from "../storage/record-judge.ts";
import { recover } from "../storage/recovery.ts";
import type { KnownRecord } from "../storage/repair.ts";
import type { Scrubbed } from "../storage/scrub.ts";
import { SharedLog } from "../storage/shared-log.ts";
import { storageContext } from "../storage/storage-context.ts";
import type {
  AuthorKeys,
  LedgerStorage,
  Opened,
  OpenOptions,
  RecoveredHead,
} from "../storage/storage-service.ts";
import { ValidatorConnection } from "./connection.ts";
import { ReadOnlyOps } from "./read-only-ops.ts";
import { isBytes, isCount, packCertifiable, packMember, WIRE_VERSION } from "./wire.ts";

interface OpenedParts {
  readonly genesis: Genesis;
  readonly log: SharedLog;
  readonly checkpoints: Checkpoints;
}

export class ValidatedStorage implements LedgerStorage {
  private readonly ops: FileOps;
  private readonly blocks: BlockSource;
  private readonly now: () => number;
  private readonly connection: ValidatorConnection;
  private readonly healthWatch: HealthWatch;
  private readonly writerCounters = newWriterCounters();
  private parts: OpenedParts | undefined;
  private author: Author | undefined;

  /** `path`: of the validator's socket. */
  constructor(options: { path: string; ops: FileOps; blocks: BlockSource; now: () => number }) {
    this.ops = new ReadOnlyOps(options.ops);
    this.blocks = options.blocks;
    this.now = options.now;
    this.connection = new ValidatorConnection(options.path);
    this.healthWatch = new HealthWatch(options.now);
  }

  async open({ directory, incarnation, genesis: made }: OpenOptions): Promise<Opened> {
    if (made !== undefined)
      throw configurationError("VALIDATED_LEDGER", "the validator makes its ledger itself");
    const root = resolve(directory);
    const [chainId] = await this.connection.ask("hello", WIRE_VERSION);
    const bytes = await openLedger(this.ops, root);
    const genesis = parseGenesis(bytes, `${root}/genesis`);
    if (!(chainId instanceof Uint8Array) || !equalBytes(chainId, genesis.chainId)) {
      throw configurationError(
        "VALIDATOR_FOREIGN",
        `The validator writes another ledger than ${root}: name the directory that it was started with.`,
        { root },
      );
    }
    const context = storageContext({ ops: this.ops, root, incarnation, judge: judgeRecordFile });
    const key = {
      chainId: genesis.chainId,
      publicKey: genesis.ledgerKey,
      verify: (text: Uint8Array, signature: Uint8Array) =>
        verifySignature(genesis.ledgerKey, text, signature),
    };
    const log = new SharedLog(context);
    this.parts = { genesis, log, checkpoints: new Checkpoints(context, key) };
    const { type } = await this.ops.fileSystem(root);
    return { genesis: bytes, created: false, fileSystem: type };
  }

  async recover(
    onSnapshot: (head: CheckpointHead, payload: Uint8Array) => boolean | Promise<boolean>,
    onRecord: (bytes: Uint8Array) => void | Promise<void>,
  ): Promise<RecoveredHead> {
    const { log, checkpoints } = this.opened;
    // The newest may be linked and not durable yet: it is handed over once the validator says so.
    let newest: Uint8Array | undefined;
    const head = await recover({
      ...{ log, checkpoints, onSnapshot },
      onRecord: async (bytes) => {
        if (newest !== undefined) await onRecord(newest);
        newest = bytes;
      },
    });
    if (newest !== undefined) {
      const { slot } = head;
      const prevHash = newest.slice(48, 80);
      if ((await this.finalHash(slot, prevHash)) === undefined)
        throw new BaashError("STORAGE_UNKNOWN", `slot ${slot} is not final yet: start again`);
      await onRecord(newest);
    }
    const { slot, records, fromSlot, warnings } = head;
    return { slot, records, fromSlot, warnings };
  }

  async writeAs({ rank, incarnation, memberKey }: AuthorKeys): Promise<void> {
    const { chainId, storageDifficulty } = this.opened.genesis;
    const key = Buffer.from(memberKey);
    const privateKey = createPrivateKey({ key, format: "der", type: "pkcs8" });
    this.author = { chainId, rank, incarnation, privateKey, storageDifficulty };
  }

  async append(draft: RecordDraft): Promise<AppendResult> {
    const { author } = this;
    if (author === undefined) throw notOpen();
    const started = this.now();
    const record = encodeDraft(author, this.blocks, draft);
    const [won, hash] = await this.connection.ask("append", Buffer.concat(record.parts));
    this.writerCounters.appendMs += this.now() - started;
    if (!isBytes(hash, 32)) throw malformed();
    if (won === 1) {
      this.writerCounters.records++;
      this.writerCounters.bytes += record.length;
      return { won: true, hash: record.hash, bytes: record.length };
    }
    this.writerCounters.lostRaces++;
    return { won: false, winner: await this.read(draft.slot, draft.prevHash, hash.slice()) };
  }

  /** The validator tells its hash once it is durable; the bytes are read, and must have that hash. */
  async child(slot: number, prevHash: Uint8Array): Promise<Uint8Array | undefined> {
    const hash = await this.finalHash(slot, prevHash);
    if (hash === undefined) return undefined;
    if (hash !== "old") return await this.read(slot, prevHash, hash);
    return await this.opened.log.child({ slot, prevHash });
  }

  /** "old": final for so long that the validator does not know it by heart. */
  private async finalHash(
    slot: number,
    prevHash: Uint8Array,
  ): Promise<Uint8Array | "old" | undefined> {
    const [hash] = await this.connection.ask("child", slot, prevHash);
    if (hash === undefined) return undefined;
    if (hash === 1) return "old";
    if (!isBytes(hash, 32)) throw malformed();
    return hash.slice();
  }

  private async read(slot: number, prevHash: Uint8Array, hash: Uint8Array): Promise<Uint8Array> {
    const bytes = await this.opened.log.child({ slot, prevHash }).catch(() => undefined);
    if (bytes !== undefined && equalBytes(recordHash(bytes), hash)) return bytes;
    // Not visible here yet, or damaged on this host.
    const [sent] = await this.connection.ask("bytes", slot, hash);
    if (sent instanceof Uint8Array && equalBytes(recordHash(sent), hash)) return sent.slice();
    throw new BaashError("STORAGE_GONE", `slot ${slot} is final and cannot be read here`);
  }

  async certify(members: readonly Certifiable[]): Promise<readonly Member[]> {
    const [list] = await this.connection.ask("certify", members.map(packCertifiable));
    if (!Array.isArray(list) || list.length !== members.length) throw malformed();
    return members.map(({ rank, incarnation, publicKey, host }, i) => {
      if (!isBytes(list[i], 64)) throw malformed();
      return { rank, incarnation, publicKey, host, certificate: list[i].slice() };
    });
  }

  async signRestart(
    epoch: Uint8Array,
    parent: Uint8Array,
    members: readonly Member[],
  ): Promise<Uint8Array> {
    const list = members.map(packMember);
    const [signature] = await this.connection.ask("restart", epoch, parent, list);
    if (!isBytes(signature, 64)) throw malformed();
    return signature.slice();
  }

  /** The validator writes its own, of its own chain. */
  async checkpoint(): Promise<void> {}
  async fold(): Promise<boolean> {
    return false;
  }
  async clean(): Promise<number> {
    return 0;
  }
  async announced(): Promise<void> {}
  async scrub(): Promise<Scrubbed> {
    return { nextSlot: 0, checked: 0, repaired: 0, damaged: [] };
  }

  async counters(): Promise<WriterCounters> {
    return { ...this.writerCounters };
  }

  async recordBytes(slot: number, hash: Uint8Array): Promise<Uint8Array | undefined> {
    return await this.opened.log.readRecord(slot, hash).catch(() => undefined);
  }

  async repair({ slot, prevHash, hash }: KnownRecord, bytes: Uint8Array): Promise<boolean> {
    const [done] = await this.connection.ask("repair", slot, prevHash, hash, bytes);
    return isCount(done) && done === 1;
  }

  async quarantine(name: string, bytes: Uint8Array): Promise<string> {
    return String((await this.connection.ask("quarantine", name, bytes))[0]);
  }

  async storeEvidence(name: string, bytes: Uint8Array): Promise<string> {
    return String((await this.connection.ask("evidence", name, bytes))[0]);
  }

  async health(): Promise<StorageHealth> {
    return this.healthWatch.health();
  }

  async close(): Promise<void> {
    this.connection.close();
  }

  private get opened(): OpenedParts {
    if (this.parts === undefined) throw notOpen();
    return this.parts;
  }
}

function notOpen(): BaashError {
  return new BaashError("STORAGE_NOT_OPEN", "the ledger directory is used before it was opened");
}

function malformed(): BaashError {
  const message =
    "The storage validator answered what this program does not know: is it of another version?";
  return new BaashError("VALIDATOR_ANSWER", message, { exitCode: EXIT.software });
}

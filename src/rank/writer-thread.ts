/**
 * The main thread's side of the writer-worker: the LedgerStorage port through comlink. Some 120 µs
 * a call, beside a sync of a millisecond; bytes of blocks never cross. Whether storage answers is
 * judged on this side: a call to a mount that hangs takes the worker with it.
 */
import * as Comlink from "comlink";
import { BaashError, type ExitCode } from "../base/errors.ts";
import type { Member } from "../ledger/settlement.ts";
import type { BlockQueue } from "../queue/block-queue.ts";
import type { Certifiable } from "../storage/certifiable.ts";
import type { CheckpointHead } from "../storage/checkpoint-head.ts";
import type { StorageNotice } from "../storage/healer.ts";
import { type Call, HealthWatch, type StorageHealth } from "../storage/health.ts";
import type { AppendResult, RecordDraft, WriterCounters } from "../storage/ledger-writer.ts";
import type { KnownRecord } from "../storage/repair.ts";
import type { Scrubbed } from "../storage/scrub.ts";
import type { Place } from "../storage/shared-log.ts";
import type {
  AuthorKeys,
  LedgerStorage,
  Opened,
  OpenOptions,
  RecoveredHead,
  SnapshotDraft,
} from "../storage/storage-service.ts";

/** A disk that hangs must not keep a rank from ending. */
const CLOSE_MS = 1000;

const READ: Call = { access: "read" };
const WRITE: Call = { access: "write" };
const LONG_READ: Call = { access: "read", isLong: true };
const LONG_WRITE: Call = { access: "write", isLong: true };

interface WriterWorker {
  attach(
    incoming: SharedArrayBuffer,
    onNotice: (notice: StorageNotice) => void,
    sync: boolean,
    validator?: string,
  ): void;
  call(method: string, args: unknown[]): unknown;
  recover(
    onSnapshot: (head: CheckpointHead, payload: Uint8Array) => boolean | Promise<boolean>,
    onRecord: (bytes: Uint8Array) => void | Promise<void>,
  ): Promise<RecoveredHead>;
}

/** Turns what the worker carried into the coded error that it was. */
function uncarry(error: unknown): never {
  const text = error instanceof Error ? error.message : String(error);
  let fields: {
    code: string;
    message: string;
    exitCode?: ExitCode;
    data?: Record<string, unknown>;
  };
  try {
    fields = JSON.parse(text);
  } catch {
    throw error;
  }
  const { code, message, exitCode, data } = fields;
  throw new BaashError(code, message, { ...(exitCode && { exitCode }), ...(data && { data }) });
}

export class WriterThread implements LedgerStorage {
  private readonly worker: Worker;
  private readonly remote: Comlink.Remote<WriterWorker>;
  private readonly ready: Promise<void>;
  private readonly healthWatch = new HealthWatch(() => performance.now());

  /**
   * `onNotice` hears what storage repaired, and the like: a person should know. `validator`: the
   * socket of the process that alone writes the ledger, where there is one. `sync: false`: nothing
   * is synced (NodeFileOps).
   */
  constructor(
    incoming: BlockQueue,
    onFailure: (error: unknown) => void,
    onNotice: (notice: StorageNotice) => void = () => {},
    { validator, sync = true }: { validator?: string | undefined; sync?: boolean } = {},
  ) {
    const url = new URL("../../workers/writer-worker.ts", import.meta.url);
    this.worker = new Worker(url, { name: "writer-worker" });
    this.worker.onerror = (event) =>
      onFailure(new BaashError("WORKER_DIED", `The writer-worker died: ${event.message}`));
    this.remote = Comlink.wrap<WriterWorker>(this.worker);
    this.ready = this.remote.attach(incoming.shared, Comlink.proxy(onNotice), sync, validator);
  }

  private call<T>(kind: Call, method: keyof LedgerStorage, ...args: unknown[]): Promise<T> {
    return this.healthWatch.follow(kind, () => this.ask(method, ...args));
  }

  open(options: OpenOptions): Promise<Opened> {
    return this.call(LONG_WRITE, "open", options);
  }

  recover(
    onSnapshot: (head: CheckpointHead, payload: Uint8Array) => boolean | Promise<boolean>,
    onRecord: (bytes: Uint8Array) => void | Promise<void>,
  ): Promise<RecoveredHead> {
    return this.healthWatch.follow(LONG_READ, async () => {
      await this.ready;
      try {
        return await this.remote.recover(Comlink.proxy(onSnapshot), Comlink.proxy(onRecord));
      } catch (error) {
        return uncarry(error);
      }
    });
  }

  writeAs(keys: AuthorKeys): Promise<void> {
    return this.call(LONG_WRITE, "writeAs", keys);
  }
  append(draft: RecordDraft): Promise<AppendResult> {
    return this.call(WRITE, "append", draft);
  }
  child(slot: number, prevHash: Uint8Array): Promise<Uint8Array | undefined> {
    return this.call(READ, "child", slot, prevHash);
  }
  checkpoint(draft: SnapshotDraft): Promise<void> {
    return this.call(LONG_WRITE, "checkpoint", draft);
  }
  fold(segment: number, prevHash: Uint8Array): Promise<boolean> {
    return this.call(LONG_WRITE, "fold", segment, prevHash);
  }
  clean(alive: readonly string[], nowMs: number, seal?: Place): Promise<number> {
    return this.call(LONG_WRITE, "clean", alive, nowMs, seal);
  }
  counters(): Promise<WriterCounters> {
    return this.ask("counters");
  }
  announced(slot: number, hash: Uint8Array): Promise<void> {
    return this.ask("announced", slot, hash);
  }
  recordBytes(slot: number, hash: Uint8Array): Promise<Uint8Array | undefined> {
    return this.call(READ, "recordBytes", slot, hash);
  }
  repair(record: KnownRecord, bytes: Uint8Array): Promise<boolean> {
    return this.call(LONG_WRITE, "repair", record, bytes);
  }
  scrub(fromSlot: number, count: number): Promise<Scrubbed> {
    return this.call(LONG_READ, "scrub", fromSlot, count);
  }
  quarantine(name: string, bytes: Uint8Array): Promise<string> {
    return this.call(WRITE, "quarantine", name, bytes);
  }
  storeEvidence(name: string, bytes: Uint8Array): Promise<string> {
    return this.call(WRITE, "storeEvidence", name, bytes);
  }

  /** Where there is a validator: it holds the ledger key. */
  certify(members: readonly Certifiable[]): Promise<readonly Member[]> {
    return this.call(WRITE, "certify", members);
  }
  signRestart(
    epoch: Uint8Array,
    parent: Uint8Array,
    members: readonly Member[],
  ): Promise<Uint8Array> {
    return this.call(WRITE, "signRestart", epoch, parent, members);
  }

  async health(): Promise<StorageHealth> {
    return this.healthWatch.health();
  }

  /** Gives back what is held in reserve, if that goes quickly, and ends the worker. Never rejects. */
  async close(): Promise<void> {
    const timeout = new Promise<void>((resolve) => setTimeout(resolve, CLOSE_MS).unref());
    await Promise.race([this.ask("close").catch(() => {}), timeout]);
    this.remote[Comlink.releaseProxy]();
    this.worker.terminate();
  }

  /** A call that touches no file: it says nothing about storage. */
  private async ask<T>(method: keyof LedgerStorage, ...args: unknown[]): Promise<T> {
    await this.ready;
    try {
      return (await this.remote.call(method, args)) as T;
    } catch (error) {
      return uncarry(error);
    }
  }
}

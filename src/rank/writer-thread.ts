/**
 * The main thread's side of the writer-worker: the LedgerStorage port through comlink. Some 120 µs
 * a call, beside a sync of a millisecond; bytes of blocks never cross.
 */
import * as Comlink from "comlink";
import { BaashError, type ExitCode } from "../base/errors.ts";
import type { BlockQueue } from "../queue/block-queue.ts";
import type { CheckpointHead } from "../storage/checkpoint-head.ts";
import type { AppendResult, RecordDraft, WriterCounters } from "../storage/ledger-writer.ts";
import type {
  AuthorKeys,
  LedgerStorage,
  Opened,
  OpenOptions,
  RecoveredHead,
  SnapshotDraft,
} from "../storage/storage-service.ts";

interface WriterWorker {
  attach(incoming: SharedArrayBuffer): void;
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

  constructor(incoming: BlockQueue, onFailure: (error: unknown) => void) {
    const url = new URL("../../workers/writer-worker.ts", import.meta.url);
    this.worker = new Worker(url, { name: "writer-worker" });
    this.worker.onerror = (event) =>
      onFailure(new BaashError("WORKER_DIED", `The writer-worker died: ${event.message}`));
    this.remote = Comlink.wrap<WriterWorker>(this.worker);
    this.ready = this.remote.attach(incoming.shared);
  }

  private async call<T>(method: keyof LedgerStorage, ...args: unknown[]): Promise<T> {
    await this.ready;
    try {
      return (await this.remote.call(method, args)) as T;
    } catch (error) {
      return uncarry(error);
    }
  }

  open(options: OpenOptions): Promise<Opened> {
    return this.call("open", options);
  }

  async recover(
    onSnapshot: (head: CheckpointHead, payload: Uint8Array) => boolean | Promise<boolean>,
    onRecord: (bytes: Uint8Array) => void | Promise<void>,
  ): Promise<RecoveredHead> {
    await this.ready;
    try {
      return await this.remote.recover(Comlink.proxy(onSnapshot), Comlink.proxy(onRecord));
    } catch (error) {
      return uncarry(error);
    }
  }

  writeAs(keys: AuthorKeys): Promise<void> {
    return this.call("writeAs", keys);
  }
  append(draft: RecordDraft): Promise<AppendResult> {
    return this.call("append", draft);
  }
  child(slot: number, prevHash: Uint8Array): Promise<Uint8Array | undefined> {
    return this.call("child", slot, prevHash);
  }
  checkpoint(draft: SnapshotDraft): Promise<void> {
    return this.call("checkpoint", draft);
  }
  fold(segment: number, prevHash: Uint8Array): Promise<boolean> {
    return this.call("fold", segment, prevHash);
  }
  clean(alive: readonly string[], nowMs: number): Promise<number> {
    return this.call("clean", alive, nowMs);
  }
  counters(): Promise<WriterCounters> {
    return this.call("counters");
  }

  close(): void {
    this.remote[Comlink.releaseProxy]();
    this.worker.terminate();
  }
}

/**
 * The only thread of a rank that touches the ledger directory. File-system calls are synchronous
 * here: a hard mount that hangs stops this thread and nothing else. Driven through comlink; the
 * bytes of blocks are read from the incoming queue in shared memory.
 */
import * as Comlink from "comlink";
import { errorCode } from "../src/base/errors.ts";
import { BlockQueue } from "../src/queue/block-queue.ts";
import type { StorageNotice } from "../src/storage/healer.ts";
import { NodeFileOps } from "../src/storage/node-file-ops.ts";
import { StorageService } from "../src/storage/storage-service.ts";
import { ValidatedStorage } from "../src/validator/client.ts";

/** comlink keeps no error classes: code, exit code and data travel as fields of the message. */
function carry(error: unknown): never {
  const { message, exitCode, data } = error as {
    message?: string;
    exitCode?: number;
    data?: unknown;
  };
  const fields = { code: errorCode(error), message: message ?? String(error), exitCode, data };
  throw new Error(JSON.stringify(fields));
}

let service: StorageService | ValidatedStorage | undefined;

Comlink.expose({
  /**
   * `sync`: see NodeFileOps. `validator`: the socket of the process that alone writes the ledger,
   * where there is one.
   */
  attach(
    incomingShared: SharedArrayBuffer,
    onNotice: (notice: StorageNotice) => void,
    sync: boolean,
    validator?: string,
  ): void {
    const incoming = BlockQueue.attach(incomingShared);
    const blocks = {
      block(slot: number): Uint8Array {
        const at = incoming.messageOffset(slot);
        return incoming.fifo.bytes.subarray(at, at + incoming.messageLength(slot));
      },
    };
    const world = { ops: new NodeFileOps({ sync }), now: () => performance.now(), blocks };
    service =
      validator === undefined
        ? new StorageService({ ...world, onNotice })
        : new ValidatedStorage({ ...world, path: validator });
  },
  async call(method: string, args: unknown[]): Promise<unknown> {
    try {
      const target = service as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>;
      return await target[method](...args);
    } catch (error) {
      carry(error);
    }
  },
  async recover(
    onSnapshot: Parameters<StorageService["recover"]>[0],
    onRecord: Parameters<StorageService["recover"]>[1],
  ): Promise<unknown> {
    try {
      return await service!.recover(onSnapshot, onRecord);
    } catch (error) {
      carry(error);
    }
  },
});

/**
 * Where nothing follows the head, is the head itself still there? A directory that is not mounted,
 * was wiped or brought back from an older copy looks like the end of the log to who asks for the next
 * record alone. Costs one look where a read finds nothing, and nothing on the way of an append.
 */
import { equalBytes } from "../base/bytes.ts";
import { readFileIfAny } from "./file-ops.ts";
import type { SharedLog } from "./shared-log.ts";
import { goneError, rolledBackError } from "./storage-errors.ts";

/** NFS shows an old directory for up to a minute (acdirmax); after three it is the truth. */
const PATIENCE_MS = 180_000;

export class HeadWatch {
  private readonly log: SharedLog;
  private readonly now: () => number;
  private missingSince: number | undefined;

  constructor(log: SharedLog, now: () => number) {
    this.log = log;
    this.now = now;
  }

  /** Throws STORAGE_GONE while the newest record seen is not there, STORAGE_ROLLED_BACK in the end. */
  async check(): Promise<void> {
    const { ops, paths } = this.log.context;
    const seen = this.log.newestSeen;
    if (seen !== undefined && (await this.isThere(seen))) {
      this.missingSince = undefined;
      return;
    }
    if ((await ops.status(paths.genesis)) === undefined) {
      this.missingSince = undefined;
      throw goneError(paths.root, new Error("its genesis is not there"));
    }
    if (seen === undefined) return;
    this.missingSince ??= this.now();
    const reason = `the record of slot ${seen.slot}, which this rank has seen, is not there`;
    if (this.now() - this.missingSince >= PATIENCE_MS) throw rolledBackError(paths.root, reason);
    throw goneError(paths.root, new Error(reason));
  }

  /** After an outage: is it the same ledger, and does it still hold what it held? */
  async meetAgain(genesis: Uint8Array): Promise<void> {
    const { ops, paths } = this.log.context;
    this.log.forgetDirectories();
    const found = await readFileIfAny(ops, paths.genesis);
    if (found === undefined) throw goneError(paths.root, new Error("its genesis is not there"));
    if (!equalBytes(found, genesis)) {
      throw rolledBackError(paths.root, "another ledger lies in its place");
    }
    await this.check();
  }

  private async isThere(seen: { slot: number; prevHash: Uint8Array }): Promise<boolean> {
    const { ops, paths, segments } = this.log.context;
    const segment = this.log.segmentOf(seen.slot);
    const status = await ops.status(paths.record(segment, seen.slot, seen.prevHash));
    if (status !== undefined) return true;
    const index = await segments.open(segment);
    return index?.isChildOf(seen.slot, seen.prevHash) ?? false;
  }
}

/**
 * Room held back for the day on which the disk is full: a few files of incompressible bytes, synced,
 * so that their blocks are there. When a SEAL, an INTENT or a NOOP finds no room, pieces are given up
 * until it fits, the smallest first; so members can still be evicted, a newcomer refuted and the
 * ledger closed while clients wait for space. Made again when there is room. Runs in the writer worker.
 *
 * It is a margin, not a promise: another user of the disk may take what is given up.
 */
import { errorCode } from "../base/errors.ts";
import { Random } from "../base/random.ts";
import { isSystemError, readDirectoryIfAny } from "./file-ops.ts";
import { parseReserveName } from "./paths.ts";
import type { StorageContext } from "./storage-context.ts";

const KiB = 1024;
const MiB = 1024 * KiB;

/** A SEAL of a thousand members takes 256 KiB, before the rounds that it settles. */
const RESERVE_BYTES_MIN = 256 * KiB;
const RESERVE_BYTES_MAX = 4 * MiB;
/** Of all ranks of a job together: what a site would notice. */
const JOB_RESERVE_BYTES_MAX = 64 * MiB;

/** Sixteenths of the whole: an INTENT or a NOOP takes the first piece and leaves the others. */
const PIECES = [1, 3, 12] as const;
/** It is made again only where so many times its size are free: records go first. */
const ROOM_FACTOR = 8;
/** Between two looks whether there is room again. */
const RETRY_MS = 60_000;
/** Larger than the window in which compressing file systems look for repetitions. */
const NOISE_BYTES = 256 * KiB;

/** What each of `ranks` processes should hold. */
export function reserveBytesFor(ranks: number): number {
  const share = Math.floor(JOB_RESERVE_BYTES_MAX / Math.max(1, ranks));
  return Math.max(RESERVE_BYTES_MIN, Math.min(RESERVE_BYTES_MAX, share));
}

export class Reserve {
  private readonly context: StorageContext;
  private readonly pieceBytes: readonly number[];
  private readonly held = new Set<number>();
  private nextTryMs = Number.NEGATIVE_INFINITY;

  /** Bytes of 0 hold nothing. */
  constructor(context: StorageContext, bytes: number) {
    this.context = context;
    this.pieceBytes = bytes === 0 ? [] : PIECES.map((part) => Math.floor((bytes * part) / 16));
  }

  /** Bytes that are held now. */
  get bytes(): number {
    let sum = 0;
    for (const piece of this.held) sum += this.pieceBytes[piece];
    return sum;
  }

  get isWhole(): boolean {
    return this.held.size === this.pieceBytes.length;
  }

  /** Makes what is missing, the smallest piece first. A disk that has no room is not an error. */
  async make(): Promise<void> {
    const { ops, paths, publisher } = this.context;
    for (const [piece, bytes] of this.pieceBytes.entries()) {
      const path = paths.reservePiece(publisher.incarnation, piece);
      try {
        if ((await ops.status(path))?.bytes === bytes) {
          this.held.add(piece);
          continue;
        }
        this.held.delete(piece);
        await this.write(path, bytes);
        this.held.add(piece);
      } catch (error) {
        if (!isSystemError(error)) throw error;
        await this.remove(path);
        return;
      }
    }
  }

  /** Makes it again after it was used, once there is much room: asked after every append. */
  async restore(nowMs: number): Promise<void> {
    if (this.isWhole || nowMs < this.nextTryMs) return;
    this.nextTryMs = nowMs + RETRY_MS;
    const { ops, paths } = this.context;
    const whole = this.pieceBytes.reduce((sum, bytes) => sum + bytes, 0);
    try {
      if ((await ops.fileSystem(paths.root)).freeBytes < ROOM_FACTOR * whole) return;
    } catch (error) {
      if (isSystemError(error)) return;
      throw error;
    }
    await this.make();
  }

  /** Gives a piece up, the smallest, or one of a dead process where this one has none. */
  async release(): Promise<boolean> {
    const { ops, paths, publisher } = this.context;
    const own = Math.min(...this.held);
    const path = Number.isFinite(own)
      ? paths.reservePiece(publisher.incarnation, own)
      : await this.oldest();
    if (path === undefined) return false;
    this.held.delete(own);
    try {
      await ops.unlink(path);
      // Blocks are free for others to take once the unlink is in the journal.
      await ops.syncDirectory(paths.reserve);
    } catch (error) {
      if (!isSystemError(error)) throw error;
      return errorCode(error) === "ENOENT" ? await this.release() : false;
    }
    return true;
  }

  /** The process is somebody new from now on: others must not take its room for a dead one's. */
  async become(incarnation: string): Promise<void> {
    const { ops, paths, publisher } = this.context;
    const before = publisher.incarnation;
    publisher.become(incarnation);
    if (before === incarnation) return;
    for (const piece of [...this.held]) {
      try {
        const from = paths.reservePiece(before, piece);
        await ops.rename(from, paths.reservePiece(incarnation, piece));
      } catch (error) {
        if (!isSystemError(error)) throw error;
        this.held.delete(piece);
      }
    }
  }

  /** At a clean end: a ledger at rest holds no room. */
  async drop(): Promise<void> {
    const { paths, publisher } = this.context;
    for (const piece of [...this.held]) {
      this.held.delete(piece);
      await this.remove(paths.reservePiece(publisher.incarnation, piece));
    }
  }

  private async write(path: string, bytes: number): Promise<void> {
    const { ops, paths, publisher } = this.context;
    try {
      await ops.makeDirectory(paths.reserve);
    } catch (error) {
      if (errorCode(error) !== "EEXIST") throw error;
    }
    await this.remove(path);
    const noise = new Uint8Array(Math.min(bytes, NOISE_BYTES));
    new Random(Number.parseInt(publisher.incarnation.slice(0, 13), 16)).fill(noise);
    const parts: Uint8Array[] = [];
    for (let left = bytes; left > 0; left -= noise.length) parts.push(noise.subarray(0, left));
    await ops.writeExclusive(path, parts);
  }

  private async remove(path: string): Promise<void> {
    try {
      await this.context.ops.unlink(path);
    } catch (error) {
      if (!isSystemError(error)) throw error;
    }
  }

  /** Of another process, which loses a margin if it is alive, and nothing if it is not. */
  private async oldest(): Promise<string | undefined> {
    const { ops, paths } = this.context;
    let oldest: { path: string; modifiedMs: number } | undefined;
    try {
      for (const name of await readDirectoryIfAny(ops, paths.reserve)) {
        if (parseReserveName(name) === undefined) continue;
        const path = `${paths.reserve}/${name}`;
        const status = await ops.status(path);
        if (status === undefined) continue;
        const { modifiedMs } = status;
        if (oldest === undefined || modifiedMs < oldest.modifiedMs) oldest = { path, modifiedMs };
      }
    } catch (error) {
      if (!isSystemError(error)) throw error;
    }
    return oldest?.path;
  }
}

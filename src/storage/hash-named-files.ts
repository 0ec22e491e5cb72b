/**
 * Files that are kept for people and courts: evidence of contradicting statements, and blocks that
 * nobody will include (dead letters). Published once, exclusively, under a name that ends in the
 * SHA-256 of their bytes, so that many ranks may keep the same thing and one file comes of it; never
 * changed, never deleted. What one process may leave is bounded: a flood of bad blocks must not
 * fill the disk. Writer worker.
 */
import { assert } from "../base/assert.ts";
import { toHex } from "../base/bytes.ts";
import { BaashError, EXIT } from "../base/errors.ts";
import { sha256 } from "../base/sha256.ts";
import { isSystemError } from "./file-ops.ts";
import type { StorageContext } from "./storage-context.ts";
import { damagedError, writeError } from "./storage-errors.ts";

/** Of one process in one directory; a person looks into it long before. */
const BOUNDS = { filesMax: 4096, bytesMax: 256 * 1024 * 1024 };

export class HashNamedFiles {
  private readonly context: StorageContext;
  private readonly directory: string;
  private readonly bounds: typeof BOUNDS;
  private files = 0;
  private bytes = 0;

  constructor(context: StorageContext, directory: string, bounds = BOUNDS) {
    this.context = context;
    this.directory = directory;
    this.bounds = bounds;
  }

  /**
   * Keeps `bytes` as `<name>.<sha256>` and answers the path. `name`: small letters, digits, dots and
   * dashes, at most 64. Throws STORAGE_KEPT_ENOUGH beyond the bounds, and what publishing throws.
   */
  async keep(name: string, bytes: Uint8Array): Promise<string> {
    assert(/^[a-z0-9][a-z0-9.-]{0,63}$/.test(name), "a kept file has a plain name");
    const { publisher } = this.context;
    const fullName = `${name}.${toHex(sha256(bytes))}`;
    const path = `${this.directory}/${fullName}`;
    const { filesMax, bytesMax } = this.bounds;
    if (this.files >= filesMax || this.bytes + bytes.length > bytesMax) {
      throw new BaashError(
        "STORAGE_KEPT_ENOUGH",
        `${path} is not kept: this process has put ${this.files} files there. Look at them first.`,
        { data: { path }, exitCode: EXIT.io },
      );
    }
    try {
      const { directory } = this;
      const published = await publisher.publish({ directory, name: fullName, content: [bytes] });
      if (published.outcome === "unknown") throw published.error;
      if (published.outcome === "lost") throw damagedError(path, 0, "its name says other bytes");
    } catch (error) {
      throw isSystemError(error) ? writeError(path, error) : error;
    }
    this.files++;
    this.bytes += bytes.length;
    return path;
  }
}

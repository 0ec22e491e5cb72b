/**
 * Reads a growing file line by line, from where it ends when the following begins. The launcher
 * writes into a file and not into a pipe, so that it outlives its supervisor.
 */
import { closeSync, openSync, readSync } from "node:fs";

const CHUNK_BYTES = 64 * 1024;
/** A line without an end is given out in pieces. */
const LINE_MAX = 1024 * 1024;

export class FileFollower {
  private readonly file: number;
  private readonly onLine: (line: string) => void;
  private readonly chunk = Buffer.alloc(CHUNK_BYTES);
  private readonly decoder = new TextDecoder();
  private offset: number;
  private rest = "";

  /** `from`: bytes that are not read. */
  constructor(path: string, from: number, onLine: (line: string) => void) {
    this.file = openSync(path, "r");
    this.offset = from;
    this.onLine = onLine;
  }

  /** Gives out the lines that were completed since. */
  poll(): void {
    for (;;) {
      const length = this.read();
      if (length === 0) return;
      this.offset += length;
      this.take(this.decoder.decode(this.chunk.subarray(0, length), { stream: true }));
    }
  }

  /** The writer is gone: its last line may have no end. */
  flush(): void {
    this.poll();
    const { rest } = this;
    this.rest = "";
    if (rest !== "") this.onLine(rest);
  }

  close(): void {
    closeSync(this.file);
  }

  private read(): number {
    try {
      return readSync(this.file, this.chunk, 0, CHUNK_BYTES, this.offset);
    } catch {
      // Its file system is away: the next look may see more.
      return 0;
    }
  }

  private take(text: string): void {
    const lines = (this.rest + text).split("\n");
    this.rest = lines.pop()!;
    for (const line of lines) this.onLine(line);
    if (this.rest.length > LINE_MAX) {
      this.onLine(this.rest);
      this.rest = "";
    }
  }
}

/**
 * Logs of a rank: JSON lines to a file or to stderr, one object a line, with the rank's own fields
 * in each. Thin set-up of LogTape; callers ask `logger("consensus")` and log. Never blocks: a file
 * that does not take lines fast enough (a hanging file system) loses lines, and says how many.
 */
import { createWriteStream } from "node:fs";
import {
  configureSync,
  disposeSync,
  getJsonLinesFormatter,
  getLogger,
  isLogLevel,
  type Logger,
  type LogLevel,
  type LogRecord,
} from "@logtape/logtape";
import { usageError } from "./errors.ts";

export type { Logger, LogLevel };

export interface LogOptions {
  level: LogLevel;
  /** Appended to; stderr when absent. */
  file?: string;
  /** In every line: rank, incarnation, chain id, … */
  fields?: Readonly<Record<string, unknown>>;
}

/** Lines that wait for the file: about four thousand, then they are dropped. */
const WAITING_BYTES_MAX = 1024 * 1024;

const ROOT = "baash";
const format = getJsonLinesFormatter({ properties: "flatten" });

/** A logger of one part of the system. Works before `startLog`; its lines then go nowhere. */
export function logger(part: string): Logger {
  return getLogger([ROOT, part]);
}

/** Throws LOG_LEVEL (exit 2) for an unknown word. */
export function parseLevel(word: string): LogLevel {
  const level = word.toLowerCase();
  if (isLogLevel(level)) return level;
  throw usageError(
    "LOG_LEVEL",
    `log level ${word} is unknown; use trace, debug, info, warning, error or fatal`,
  );
}

/** Sets logging up for this thread; a second call replaces the first. Answers how to end it. */
export function startLog(options: LogOptions): { close(): Promise<void> } {
  const out =
    options.file === undefined ? undefined : createWriteStream(options.file, { flags: "a" });
  let dropped = 0;
  let broken = false;
  let closed = false;
  out?.on("error", (error) => {
    if (!broken)
      process.stderr.write(`baash: log ${options.file}: ${error.message}; it is off now\n`);
    broken = true;
  });
  const sink = (record: LogRecord) => {
    if (closed) return;
    const properties = { ...options.fields, ...record.properties };
    if (dropped > 0) Object.assign(properties, { droppedLines: dropped });
    const line = format({ ...record, properties });
    if (out === undefined) {
      process.stderr.write(line);
    } else if (broken || out.writableLength > WAITING_BYTES_MAX) {
      dropped++;
      return;
    } else {
      out.write(line);
    }
    dropped = 0;
  };
  configureSync({
    reset: true,
    sinks: { lines: sink },
    loggers: [
      { category: ROOT, sinks: ["lines"], lowestLevel: options.level },
      { category: ["logtape", "meta"], sinks: ["lines"], lowestLevel: "warning" },
    ],
  });
  return {
    async close() {
      closed = true;
      disposeSync();
      if (out === undefined || broken) return;
      await new Promise<void>((resolve) => out.end(resolve));
    },
  };
}

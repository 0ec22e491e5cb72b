/** What single operations take on this machine: hashing, storage, messages of MPI. */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  closeSync,
  fsyncSync,
  linkSync,
  mkdtempSync,
  openSync,
  rmSync,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { BaashError, EXIT } from "../../base/errors.ts";
import { kernels } from "../../base/kernels.ts";
import { BLOCK_HEADER_BYTES } from "../../ledger/block.ts";
import { launchCommand, launchEnvironment } from "../../supervisor/launch.ts";
import { readLines } from "../ycsb/launch.ts";

const median = (values: number[]) => values.sort((a, b) => a - b)[values.length >>> 1];

/** Microseconds of one hash of a block's puzzle. */
export function measureHash(): number {
  const header = new Uint8Array(randomBytes(BLOCK_HEADER_BYTES));
  const tries = 200_000;
  const search = () => {
    const started = performance.now();
    // 64 zero bits are never found: all tries are used up.
    kernels.searchPuzzle(header, 0, header.length, BLOCK_HEADER_BYTES - 8, 64, 0, tries);
    return (1000 * (performance.now() - started)) / tries;
  };
  search();
  return median(Array.from({ length: 5 }, search));
}

export interface StorageCosts {
  readonly appendMs: number;
  readonly readMs: number;
  readonly bandwidthBytesPerS: number;
}

const SMALL_RECORD = 512;
const LARGE_RECORD = 8 << 20;

/** Publishes files as the log does, in a directory of its own under `parent`. */
export function measureStorage(parent: string): StorageCosts {
  const directory = mkdtempSync(join(parent, "baash-calibrate-"));
  try {
    const small = Array.from({ length: 60 }, (_, i) => publish(directory, `s${i}`, SMALL_RECORD));
    const large = Array.from({ length: 5 }, (_, i) => publish(directory, `l${i}`, LARGE_RECORD));
    const reads = Array.from({ length: 200 }, () => look(join(directory, "s-none")));
    const appendMs = median(small.slice(10));
    const moving = Math.max(median(large) - appendMs, 0.1);
    return { appendMs, readMs: median(reads), bandwidthBytesPerS: (1000 * LARGE_RECORD) / moving };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Write, sync, link, sync of the directory: milliseconds. */
function publish(directory: string, name: string, bytes: number): number {
  const content = randomBytes(bytes);
  const temporary = join(directory, `${name}.tmp`);
  const started = performance.now();
  const file = openSync(temporary, "wx");
  writeSync(file, content);
  fsyncSync(file);
  closeSync(file);
  linkSync(temporary, join(directory, name));
  const parent = openSync(directory, "r");
  fsyncSync(parent);
  closeSync(parent);
  const took = performance.now() - started;
  unlinkSync(temporary);
  return took;
}

function look(path: string): number {
  const started = performance.now();
  statSync(path, { throwIfNoEntry: false });
  return performance.now() - started;
}

export interface MessageCosts {
  /** Of each side of a small message, in a burst. */
  readonly messageUs: number;
  readonly byteNs: number;
  readonly latencyUs: number;
  readonly bandwidthBytesPerS: number;
}

/** Two ranks under mpirun. Throws CALIBRATION_FAILED (69). */
export async function measureMessages(): Promise<MessageCosts> {
  const launch = { ranks: 2 };
  const [program, ...args] = [
    ...launchCommand(launch),
    process.execPath,
    join(import.meta.dir, "ranks.ts"),
  ];
  const child = spawn(program, args, {
    env: launchEnvironment(launch),
    stdio: ["ignore", "pipe", "inherit"],
  });
  let line = "";
  const read = readLines(child.stdout, (text) => {
    if (text.startsWith("{")) line = text;
  });
  const code = await new Promise((resolve) => child.once("exit", resolve));
  await read;
  if (code !== 0 || line === "") {
    const message = `Two ranks could not talk over MPI (code ${code}): try scripts/test mpi.`;
    throw new BaashError("CALIBRATION_FAILED", message, { exitCode: EXIT.unavailable });
  }
  const { roundTripMs, smallMs, largeMs, largeBytes } = JSON.parse(line) as Record<string, number>;
  // A burst has both sides busy at once, each on a core: what one message takes, each of them takes.
  const perByteMs = Math.max(largeMs - smallMs, 1e-6) / largeBytes;
  return {
    messageUs: 1000 * smallMs,
    byteNs: 1e6 * perByteMs,
    latencyUs: Math.max(500 * roundTripMs - 2000 * smallMs, 0.5),
    bandwidthBytesPerS: 1000 / perByteMs,
  };
}

/**
 * The files of one `baash run`:
 *
 *     supervisor.json   whose directory it is: process, host, since when
 *     status.json       what the ranks say of the job; one of them writes it
 *     job.out, job.err  what the launcher and the ranks wrote to stdout and stderr
 *     log/              each rank's log
 *     s/                the sockets for clients, rank-<n>.sock; a short name, for paths are short
 */
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { BaashError, configurationError, EXIT, errorCode } from "../base/errors.ts";
import { hostCount } from "./launch.ts";
import { startOf } from "./processes.ts";

/** sun_path of sockaddr_un, with its end. */
const SOCKET_PATH_BYTES = 108;

export interface RunDirectory {
  readonly path: string;
  /** Made for this run, by a name of its own. */
  readonly isFresh: boolean;
  readonly status: string;
  readonly out: string;
  readonly err: string;
  readonly log: string;
  readonly sockets: string;
}

/**
 * Throws RUN_DIRECTORY (exit 78): cannot be made, or its path is too long for the sockets of `ranks`
 * ranks; RUN_DIRECTORY_IN_USE (exit 75).
 */
export function openRunDirectory(given: string | undefined, ranks: number): RunDirectory {
  const path = given === undefined ? freshDirectory() : resolve(given);
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    const directory = {
      path,
      isFresh: given === undefined,
      status: join(path, "status.json"),
      out: join(path, "job.out"),
      err: join(path, "job.err"),
      log: join(path, "log"),
      sockets: join(path, "s"),
    };
    checkLength(directory.sockets, ranks);
    claim(join(path, "supervisor.json"), path);
    for (const file of [directory.out, directory.err]) closeSync(openSync(file, "a", 0o600));
    return directory;
  } catch (cause) {
    if (cause instanceof BaashError) throw cause;
    throw configurationError(
      "RUN_DIRECTORY",
      `The files of this run cannot be made in ${path} (${errorCode(cause)}): check its permissions and its space, or name another directory with --run-dir.`,
    );
  }
}

/** Below XDG_RUNTIME_DIR where the job is on this host alone: other hosts may not have it. */
function freshDirectory(): string {
  const { XDG_RUNTIME_DIR: own } = process.env;
  const isUsable =
    own !== undefined &&
    hostCount(process.env) === 1 &&
    statSync(own, { throwIfNoEntry: false })?.isDirectory();
  const parent = isUsable ? own : tmpdir();
  try {
    return mkdtempSync(join(parent, "baash-run-"));
  } catch (cause) {
    throw configurationError(
      "RUN_DIRECTORY",
      `No directory for the files of this run can be made in ${parent} (${errorCode(cause)}): name one with --run-dir, or set TMPDIR.`,
    );
  }
}

function checkLength(sockets: string, ranks: number): void {
  const longest = join(sockets, `rank-${ranks - 1}.sock`);
  if (Buffer.byteLength(longest) < SOCKET_PATH_BYTES) return;
  throw configurationError(
    "RUN_DIRECTORY",
    `The run directory's path is too long for sockets (${longest} has ${Buffer.byteLength(longest)} bytes, ${SOCKET_PATH_BYTES - 1} are possible): name a shorter one with --run-dir.`,
  );
}

/** Two supervisors in one directory would take each other's status for their own. */
function claim(file: string, directory: string): void {
  const holder = readHolder(file);
  const isOurs = holder?.host === hostname();
  if (isOurs && holder.started !== undefined && startOf(holder.pid) === holder.started) {
    throw new BaashError(
      "RUN_DIRECTORY_IN_USE",
      `The run directory ${directory} is in use by process ${holder.pid} since ${holder.since}: end that one, or name another directory with --run-dir.`,
      { exitCode: EXIT.busy },
    );
  }
  const own = {
    pid: process.pid,
    host: hostname(),
    started: startOf(process.pid),
    since: new Date().toISOString(),
  };
  writeFileSync(file, `${JSON.stringify(own)}\n`, { mode: 0o600 });
}

interface Holder {
  readonly pid: number;
  readonly host: string;
  readonly started: string | undefined;
  readonly since: string;
}

/** Undefined where there is none, or nothing that makes sense. */
function readHolder(file: string): Holder | undefined {
  try {
    const { pid, host, started, since } = JSON.parse(readFileSync(file, "utf8"));
    return { pid: Number(pid), host: String(host), started, since: String(since) };
  } catch {
    return undefined;
  }
}

/** At the end: what was made for a run that went well is of no use any more. */
export function leaveRunDirectory(directory: RunDirectory, wentWell: boolean): void {
  if (directory.isFresh && wentWell) rmSync(directory.path, { recursive: true, force: true });
  else rmSync(join(directory.path, "supervisor.json"), { force: true });
}

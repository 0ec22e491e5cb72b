/**
 * From a directory to the parts that work on it: makes or opens the ledger, asks the file system for
 * its promises, and puts log, reserve, repair and kept files together. Writer worker.
 */
import { errorCode } from "../base/errors.ts";
import { Copies } from "./copies.ts";
import type { FileOps, FileSystem } from "./file-ops.ts";
import { HashNamedFiles } from "./hash-named-files.ts";
import { HeadWatch } from "./head-watch.ts";
import { Healer, type StorageNotice } from "./healer.ts";
import { adoptLedger, createLedger, openLedger } from "./ledger-directory.ts";
import { probe } from "./probe.ts";
import { RecordCache } from "./record-cache.ts";
import { Reserve, reserveBytesFor } from "./reserve.ts";
import { SharedLog } from "./shared-log.ts";
import { type Judge, type StorageContext, storageContext } from "./storage-context.ts";
import type { Opened, OpenOptions } from "./storage-service.ts";

export interface LedgerParts {
  readonly context: StorageContext;
  readonly genesis: Uint8Array;
  readonly log: SharedLog;
  readonly headWatch: HeadWatch;
  readonly reserve: Reserve;
  readonly cache: RecordCache;
  readonly healer: Healer;
  readonly deadLetters: HashNamedFiles;
  readonly evidence: HashNamedFiles;
  readonly known: OpenOptions["known"];
}

export interface World {
  readonly ops: FileOps;
  readonly judge: Judge;
  readonly segmentRecords: number;
  now(): number;
  onNotice(notice: StorageNotice): void;
}

export async function openParts(
  world: World,
  options: OpenOptions,
): Promise<{ ledger: LedgerParts; opened: Opened }> {
  const { directory, incarnation, force = false } = options;
  const { now, onNotice, ...basis } = world;
  const context = storageContext({ ...basis, root: directory, incarnation });
  const { ops, publisher, paths } = context;
  let created = false;
  let genesis: Uint8Array;
  if (options.genesis !== undefined) {
    ({ created, genesis } = await createLedger(publisher, directory, options.genesis, { force }));
  } else {
    genesis = await openLedger(ops, directory);
  }
  if (!created) await adoptLedger(ops, directory);
  const reserve = new Reserve(context, options.reserveBytes ?? reserveBytesFor(1));
  const fileSystem = await probeOrRelease(context, reserve, force);
  const log = new SharedLog(context);
  const cache = new RecordCache();
  const copies = new Copies(context, cache, options.mirrors ?? []);
  const ledger = {
    ...{ context, genesis, log, reserve, cache },
    headWatch: new HeadWatch(log, now),
    healer: new Healer(log, copies, onNotice),
    deadLetters: new HashNamedFiles(context, paths.quarantine),
    evidence: new HashNamedFiles(context, paths.evidence),
    known: options.known,
  };
  return { ledger, opened: { genesis, created, fileSystem: fileSystem.type } };
}

/** The probe writes: on a full disk it takes a piece of what a dead process held in reserve. */
async function probeOrRelease(
  { publisher, paths }: StorageContext,
  reserve: Reserve,
  force: boolean,
): Promise<FileSystem> {
  try {
    return await probe(publisher, paths.root, { force });
  } catch (error) {
    if (errorCode(error) !== "STORAGE_FULL" || !(await reserve.release())) throw error;
    return await probe(publisher, paths.root, { force });
  }
}

/**
 * Litter: temporary files of writers that crashed, and room that dead processes held in reserve. Runs
 * in the writer worker, after a SEAL: then who is alive is known.
 */
import { readDirectoryIfAny, unlinkIfAny } from "./file-ops.ts";
import { parseReserveName, parseSegmentName, parseTempName } from "./paths.ts";
import type { Place } from "./shared-log.ts";
import type { StorageContext } from "./storage-context.ts";

const HOUR_MS = 3_600_000;

/**
 * Removes what nobody will finish or use: of an incarnation that is not alive, and older than the
 * SEAL in force or than an hour. Ages are compared by the file system's own clock where
 * the SEAL is still in the tail. A wrong guess costs the other writer a retry, never a record: its
 * link fails with ENOENT and it writes again under a new name. Returns what was removed.
 */
export async function cleanTemps(
  context: StorageContext,
  options: { alive: ReadonlySet<string>; nowMs: number; seal?: Place },
): Promise<string[]> {
  const { ops, paths } = context;
  let before = options.nowMs - HOUR_MS;
  if (options.seal !== undefined) {
    const segment = Math.floor(options.seal.slot / context.segmentRecords);
    const { slot, prevHash } = options.seal;
    const seal = await ops.status(paths.record(segment, slot, prevHash));
    if (seal !== undefined) before = Math.max(before, seal.modifiedMs);
  }
  const directories = [
    ...[paths.root, paths.segments, paths.checkpoints],
    ...[paths.evidence, paths.quarantine, paths.reserve],
  ];
  for (const name of await readDirectoryIfAny(ops, paths.log)) {
    if (parseSegmentName(name) !== undefined) directories.push(`${paths.log}/${name}`);
  }
  const removed: string[] = [];
  for (const directory of directories) {
    for (const name of await readDirectoryIfAny(ops, directory)) {
      const owner =
        parseTempName(name) ?? (directory === paths.reserve ? parseReserveName(name) : undefined);
      if (owner === undefined || options.alive.has(owner.incarnation)) continue;
      const path = `${directory}/${name}`;
      const status = await ops.status(path);
      if (status === undefined || status.modifiedMs >= before) continue;
      await unlinkIfAny(ops, path);
      removed.push(path);
    }
  }
  return removed;
}

/**
 * Where a run keeps its things: the ledger, its key, and the files of the run (journals, result).
 * All is looked at before anything is made, and what is temporary goes when it is no longer needed.
 */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { BaashError, configurationError, EXIT, errorCode, usageError } from "../../base/errors.ts";
import { parseGenesis } from "../../ledger/genesis.ts";
import { ledgerKeyPath, loadLedgerKey } from "../../ledger/ledger-key.ts";
import { NodeFileOps } from "../../storage/node-file-ops.ts";
import { preflight } from "../../storage/preflight.ts";
import { isVolatile } from "../../storage/probe.ts";
import type { LoadPlan } from "./options.ts";

/** On Linux the place for temporary files that outlive a restart: a disk. */
const DISK = "/var/tmp";

export interface Places {
  readonly ledger: string;
  /** Undefined: the usual place. */
  readonly ledgerKey: string | undefined;
  /** Directory of this run's own files; every host of the job sees it. */
  readonly run: string;
  /** The ledger is in the run's directory and goes with it. */
  readonly temporary: boolean;
}

/** Throws configuration errors (exit 78); nothing has been made then. */
export async function preparePlaces(plan: LoadPlan): Promise<Places> {
  if (plan.ledger === undefined) return temporaryPlaces(plan);
  const ops = new NodeFileOps();
  const unique = `${randomBytes(8).toString("hex")}-0`;
  const { isLedger, genesis } = await preflight(ops, plan.ledger, { unique, force: plan.force });
  if (isLedger && plan.fresh) {
    throw usageError(
      "NOT_FRESH",
      `--fresh: ${plan.ledger} holds a ledger already. Name another directory, or leave --fresh out to go on with it.`,
    );
  }
  if (genesis !== undefined) {
    const { chainId, ledgerKey } = parseGenesis(genesis, `${plan.ledger}/genesis`);
    loadLedgerKey(plan.ledgerKey ?? ledgerKeyPath(chainId, process.env), ledgerKey);
  }
  return {
    ledger: plan.ledger,
    ledgerKey: plan.ledgerKey,
    // Beside the ledger, on the file system that all hosts share.
    run: makeRun(`${plan.ledger}.run-`),
    temporary: false,
  };
}

async function temporaryPlaces(plan: LoadPlan): Promise<Places> {
  const run = makeRun(join(await findDisk(plan.force), "baash-"));
  const ledgerKey = plan.ledgerKey ?? join(run, "ledger-key.pem");
  return { ledger: join(run, "ledger"), ledgerKey, run, temporary: true };
}

/** TMPDIR (or /tmp), unless it is memory. */
export async function findDisk(force: boolean): Promise<string> {
  const ops = new NodeFileOps();
  for (const path of [tmpdir(), DISK]) {
    const isDirectory = statSync(path, { throwIfNoEntry: false })?.isDirectory();
    if (isDirectory && (force || !isVolatile(await ops.fileSystem(path)))) return path;
  }
  throw configurationError(
    "NO_DISK",
    `Neither ${tmpdir()} nor ${DISK} is on a disk: name a directory that is with --ledger or TMPDIR, or accept memory with --force.`,
  );
}

function makeRun(prefix: string): string {
  const parent = dirname(prefix);
  // The parent of a ledger that is yet to be made may be missing, too.
  const existing = nearestDirectory(parent);
  const path = existing === parent ? prefix : join(existing, "baash-run-");
  try {
    return mkdtempSync(path);
  } catch (cause) {
    throw new BaashError(
      "RUN_DIRECTORY",
      `The files of this run cannot be made in ${dirname(path)} (${errorCode(cause)}): check its permissions and its space.`,
      { exitCode: EXIT.configuration, cause },
    );
  }
}

function nearestDirectory(path: string): string {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory()
    ? path
    : nearestDirectory(dirname(path));
}

/** Removes what the run made for itself, and the ledger with it where that is temporary. */
export function removeRun(places: Places): void {
  rmSync(places.run, { recursive: true, force: true });
}

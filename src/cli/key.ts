/** `baash key`: where the ledger key of a ledger is expected, and whether it is there and fits. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { toHex } from "../base/bytes.ts";
import { BaashError, configurationError, EXIT, errorCode } from "../base/errors.ts";
import { describe, print, printJson } from "./output.ts";
import { EXIT_HELP } from "./run.ts";

const HELP = `
The ledger key lets members in and signs checkpoints. It is made with the ledger and lies outside of
its directory, readable by its owner only. Every rank needs it; losing it means that no rank can
ever join again, so keep a copy in a safe place.

Examples:
  baash key /scratch/project/ledger
  baash key ledger --ledger-key /secure/ledger.pem      # check another file
  cp "$(baash key ledger --path)" /secure/ledger.pem
${EXIT_HELP}`;

export function keyCommand(): Command {
  return new Command("key")
    .description("say where the ledger key is expected, and whether it is there and fits")
    .argument("<dir>", "directory of the ledger")
    .option("--ledger-key <file>", "look at this file instead of the usual place")
    .option("--path", "print the path alone")
    .option("--json", "print as JSON")
    .addHelpText("after", HELP)
    .action(key);
}

async function key(
  dir: string,
  options: { json?: boolean; path?: boolean; ledgerKey?: string },
): Promise<void> {
  const { ledgerKeyPath, loadLedgerKey } = await import("../ledger/ledger-key.ts");
  const genesis = await readGenesisFile(dir);
  const path = options.ledgerKey ?? ledgerKeyPath(genesis.chainId, process.env);
  if (options.path) return print(path);
  let problem: BaashError | undefined;
  try {
    loadLedgerKey(path, genesis.ledgerKey);
  } catch (error) {
    if (!(error instanceof BaashError)) throw error;
    problem = error;
  }
  if (problem !== undefined) process.exitCode = EXIT.failed;
  const facts = {
    chainId: toHex(genesis.chainId),
    publicKey: toHex(genesis.ledgerKey),
    path,
    usable: problem === undefined,
  };
  if (options.json) {
    await printJson({ ...facts, ...(problem && { code: problem.code, problem: problem.message }) });
    return;
  }
  await print(
    describe([
      ["chain", facts.chainId],
      ["public key", facts.publicKey],
      ["expected at", path],
      ["usable", problem === undefined ? "yes" : `no: ${problem.message}`],
    ]),
  );
}

/** Genesis of the ledger at `dir`. Throws NOT_A_LEDGER, or what is wrong with the file. */
export async function readGenesisFile(dir: string) {
  const { parseGenesis } = await import("../ledger/genesis.ts");
  const path = join(dir, "genesis");
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    const code = errorCode(error);
    if (code === "ENOENT" || code === "ENOTDIR") {
      const message = `${dir} is not a ledger: it holds no file named genesis; give its directory`;
      throw configurationError("NOT_A_LEDGER", message, { dir });
    }
    const message = `${path} cannot be read (${code}); check its permissions`;
    throw new BaashError("GENESIS_UNREADABLE", message, { exitCode: EXIT.io, cause: error });
  }
  return parseGenesis(bytes, path);
}

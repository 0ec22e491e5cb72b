/**
 * The ledger key on disk: PKCS8 PEM in a file of mode 0600 outside the ledger directory. Who can read
 * it may let members in. Read and written by commands and at a rank's start, never later.
 */
import { createPrivateKey, type KeyObject } from "node:crypto";
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { equalBytes, toHex } from "../base/bytes.ts";
import { BaashError, configurationError, EXIT, errorCode } from "../base/errors.ts";
import { rawPublicKey } from "./keys.ts";

/** Where a ledger's key lies unless --ledger-key says otherwise. */
export function ledgerKeyPath(
  chainId: Uint8Array,
  environment: Readonly<Record<string, string | undefined>>,
): string {
  const base = environment.XDG_CONFIG_HOME || join(homedir(), ".config");
  return join(base, "baash", "keys", `${toHex(chainId)}.pem`);
}

/** Creates the file, synced, mode 0600; never overwrites one. */
export function createLedgerKeyFile(path: string, privateKey: KeyObject): void {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw unwritable(path, cause);
  }
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  let file: number;
  try {
    file = openSync(path, flags, 0o600);
  } catch (cause) {
    if (errorCode(cause) === "EEXIST") throw keyExists(path, cause);
    throw unwritable(path, cause);
  }
  try {
    writeFileSync(file, privateKey.export({ format: "pem", type: "pkcs8" }));
    fsyncSync(file);
  } catch (cause) {
    // Half a key would block the next attempt and open nothing.
    unlinkSync(path);
    throw unwritable(path, cause);
  } finally {
    closeSync(file);
  }
}

/** Loads the key and checks that nobody else can read it and that it is the key of this ledger. */
export function loadLedgerKey(path: string, ledgerKey: Uint8Array): KeyObject {
  const pem = readGuarded(path);
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch (cause) {
    throw new BaashError(
      "LEDGER_KEY_DAMAGED",
      `${path} holds no private key in PEM: restore it from a copy, or name another file with --ledger-key.`,
      { data: { path }, exitCode: EXIT.configuration, cause },
    );
  }
  if (key.asymmetricKeyType !== "ed25519" || !equalBytes(rawPublicKey(key), ledgerKey)) {
    throw configurationError(
      "LEDGER_KEY_FOREIGN",
      `${path} holds the key of another ledger: name the one of this ledger (${toHex(ledgerKey, 0, 8)}…) with --ledger-key.`,
      { path },
    );
  }
  return key;
}

function readGuarded(path: string): string {
  let file: number;
  try {
    file = openSync(path, constants.O_RDONLY);
  } catch (cause) {
    const why =
      errorCode(cause) === "ENOENT" ? "is not there" : `cannot be read (${errorCode(cause)})`;
    throw new BaashError(
      "LEDGER_KEY_MISSING",
      `The ledger key ${path} ${why}: copy it from where the ledger was created, or name it with --ledger-key.`,
      { data: { path }, exitCode: EXIT.configuration, cause },
    );
  }
  try {
    // Of the open file, not of the name: what is checked is what is read.
    const { mode } = fstatSync(file);
    if ((mode & 0o077) !== 0) {
      throw configurationError(
        "LEDGER_KEY_EXPOSED",
        `Others may read the ledger key ${path} (mode ${(mode & 0o777).toString(8)}): run \`chmod 600 ${path}\`, and consider who has read it.`,
        { path, mode: mode & 0o777 },
      );
    }
    return readFileSync(file, "utf8");
  } finally {
    closeSync(file);
  }
}

function keyExists(path: string, cause: unknown): BaashError {
  return new BaashError(
    "LEDGER_KEY_EXISTS",
    `There is a ledger key at ${path} already: it is never overwritten; move it away or name another file with --ledger-key.`,
    { data: { path }, exitCode: EXIT.configuration, cause },
  );
}

function unwritable(path: string, cause: unknown): BaashError {
  return new BaashError(
    "LEDGER_KEY_UNWRITABLE",
    `The ledger key ${path} cannot be written (${errorCode(cause)}): check the directory and its space, or name another file with --ledger-key.`,
    { data: { path }, exitCode: EXIT.io, cause },
  );
}

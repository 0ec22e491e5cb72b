/**
 * Genesis: the one file that says what a ledger is. Three parts: JSON with fixed keys in a fixed
 * order, the SHA-256 of its bytes, and the ledger key's signature of that hash. The hash is the
 * parent of block 1; its first 16 bytes are the chain id. Read once, at start.
 */
import { equalBytes, fromHex, toHex } from "../base/bytes.ts";
import { BaashError, configurationError, EXIT } from "../base/errors.ts";
import { sha256 } from "../base/sha256.ts";
import { BLOCK_TXNS_MAX, PUZZLE_BITS_MAX } from "../limits.ts";
import { type KeyPair, PUBLIC_KEY_BYTES, signMessage, verifySignature } from "./keys.ts";
import { CHAIN_ID_BYTES } from "./transaction.ts";

export const GENESIS_FORMAT = "baash-ledger";
export const GENESIS_VERSION = 1;
/** A genesis has half a kilobyte: a reader stops here. */
export const GENESIS_BYTES_MAX = 64 * 1024;

const NONCE_BYTES = 16;
const SIGNATURE_CONTEXT = new TextEncoder().encode("baash genesis\n");

/** What wins: more than half, or so many that a third of liars does not matter (judge.ts). */
export const QUORUMS = ["majority", "byzantine"] as const;
export type Quorum = (typeof QUORUMS)[number];

/** What the founder chooses. */
export interface GenesisOptions {
  /** ms since 1970. */
  created: number;
  /** 16 random bytes: two ledgers made alike in one millisecond still differ. */
  nonce: Uint8Array;
  /** Leading zero bits of a block's puzzle. */
  difficulty: number;
  /** Leading zero bits of a STORAGE record's puzzle. */
  storageDifficulty: number;
  blockTransactionsMax: number;
  /** Balance of account 0 at the start. */
  supply: number;
  /** "majority" unless told otherwise. */
  quorum?: Quorum;
}

export interface Genesis extends GenesisOptions {
  readonly version: number;
  readonly quorum: Quorum;
  readonly admission: "ledger-key";
  /** Raw Ed25519 public key. */
  readonly ledgerKey: Uint8Array;
  readonly chainId: Uint8Array;
  /** SHA-256 of the JSON part: the parent of block 1. */
  readonly chainHash: Uint8Array;
}

/** The bytes of the file `genesis`, and what `parseGenesis` reads from them. */
export function createGenesis(
  options: GenesisOptions,
  ledgerKey: KeyPair,
): { genesis: Genesis; bytes: Uint8Array } {
  const json = {
    format: GENESIS_FORMAT,
    version: GENESIS_VERSION,
    created: options.created,
    nonce: toHex(options.nonce),
    quorum: options.quorum ?? "majority",
    difficulty: options.difficulty,
    storageDifficulty: options.storageDifficulty,
    blockTransactionsMax: options.blockTransactionsMax,
    supply: options.supply,
    ledgerKey: toHex(ledgerKey.publicKey),
    admission: "ledger-key",
  };
  const text = `${JSON.stringify(json, null, 2)}\n`;
  const hash = sha256(new TextEncoder().encode(text));
  const signature = signMessage(ledgerKey.privateKey, signedMessage(hash));
  const whole = `${text}sha256 ${toHex(hash)}\ned25519 ${toHex(signature)}\n`;
  const bytes = new TextEncoder().encode(whole);
  return { genesis: parseGenesis(bytes, "the new genesis"), bytes };
}

function signedMessage(hash: Uint8Array): Uint8Array {
  const message = new Uint8Array(SIGNATURE_CONTEXT.length + hash.length);
  message.set(SIGNATURE_CONTEXT);
  message.set(hash, SIGNATURE_CONTEXT.length);
  return message;
}

const SEALED_FORM = /^([\s\S]*\n)sha256 ([0-9a-f]{64})\ned25519 ([0-9a-f]{128})\n$/;

/**
 * Reads and checks the file's bytes; `path` is for the sentences. Throws GENESIS_FOREIGN (another
 * program's file), GENESIS_VERSION_NEWER or _OLDER, GENESIS_DAMAGED, GENESIS_FORGED (signature) or
 * GENESIS_INVALID (a value that no ledger can have).
 */
export function parseGenesis(bytes: Uint8Array, path: string): Genesis {
  const text = new TextDecoder().decode(bytes.subarray(0, GENESIS_BYTES_MAX + 1));
  const sealed = bytes.length <= GENESIS_BYTES_MAX ? SEALED_FORM.exec(text) : null;
  if (sealed === null) throw unsealed(text, path);
  const [, jsonText, hashText, signatureText] = sealed;
  const jsonBytes = new TextEncoder().encode(jsonText);
  const hash = sha256(jsonBytes);
  // The bytes must be those that were read: decoding replaces what is not UTF-8.
  const intact = equalBytes(jsonBytes, bytes.subarray(0, jsonBytes.length));
  if (!intact || toHex(hash) !== hashText) throw damaged(path, "its SHA-256 does not match");
  const json = parseJson(jsonText, path);
  const { version, ledgerKey } = json;
  if (json.format !== GENESIS_FORMAT) throw foreign(path);
  if (version !== GENESIS_VERSION) throw otherVersion(version, path);
  const genesis = readValues(json, hash, path);
  const message = signedMessage(hash);
  if (!verifySignature(genesis.ledgerKey, message, fromHex(signatureText))) {
    throw new BaashError(
      "GENESIS_FORGED",
      `${path} is not signed by the ledger key that it names: somebody changed it; restore it from a copy.`,
      { data: { path, ledgerKey }, exitCode: EXIT.configuration },
    );
  }
  return genesis;
}

function parseJson(text: string, path: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw foreign(path);
  }
  if (value === null || typeof value !== "object" || Array.isArray(value)) throw foreign(path);
  return value as Record<string, unknown>;
}

function readValues(json: Record<string, unknown>, hash: Uint8Array, path: string): Genesis {
  const quorum = QUORUMS.find((known) => known === json.quorum);
  if (quorum === undefined) throw invalid(path, "quorum", 'must be "majority" or "byzantine"');
  if (json.admission !== "ledger-key") throw invalid(path, "admission", 'must be "ledger-key"');
  return {
    version: GENESIS_VERSION,
    created: integer(json, "created", 0, Number.MAX_SAFE_INTEGER, path),
    nonce: hex(json, "nonce", NONCE_BYTES, path),
    quorum,
    difficulty: integer(json, "difficulty", 0, PUZZLE_BITS_MAX, path),
    storageDifficulty: integer(json, "storageDifficulty", 0, PUZZLE_BITS_MAX, path),
    blockTransactionsMax: integer(json, "blockTransactionsMax", 1, BLOCK_TXNS_MAX, path),
    supply: integer(json, "supply", 0, Number.MAX_SAFE_INTEGER, path),
    ledgerKey: hex(json, "ledgerKey", PUBLIC_KEY_BYTES, path),
    admission: "ledger-key",
    chainId: hash.slice(0, CHAIN_ID_BYTES),
    chainHash: hash,
  };
}

function integer(
  json: Record<string, unknown>,
  name: string,
  least: number,
  most: number,
  path: string,
): number {
  const value = json[name];
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= least && value <= most) {
    return value;
  }
  throw invalid(path, name, `must be an integer from ${least} to ${most}`);
}

function hex(json: Record<string, unknown>, name: string, length: number, path: string) {
  const value = json[name];
  if (typeof value === "string" && /^[0-9a-f]*$/.test(value) && value.length === 2 * length) {
    return fromHex(value);
  }
  throw invalid(path, name, `must be ${length} bytes in hex`);
}

/** Without its last two lines a file may still tell whose it is. */
function unsealed(text: string, path: string): BaashError {
  if (!text.includes(`"${GENESIS_FORMAT}"`)) return foreign(path);
  const version = /"version":\s*(\d+)/.exec(text)?.[1];
  if (version !== undefined && Number(version) !== GENESIS_VERSION) {
    return otherVersion(Number(version), path);
  }
  return damaged(path, "it is cut short or has been edited");
}

function damaged(path: string, how: string): BaashError {
  return configurationError(
    "GENESIS_DAMAGED",
    `${path} is damaged: ${how}. Restore it from a copy; every rank of this ledger has the same bytes.`,
    { path },
  );
}

function foreign(path: string): BaashError {
  return configurationError(
    "GENESIS_FOREIGN",
    `${path} is not the genesis of a BAASH ledger: point --ledger at a ledger, or create one with \`baash init\` in an empty directory.`,
    { path },
  );
}

function otherVersion(version: unknown, path: string): BaashError {
  const older = typeof version === "number" && version < GENESIS_VERSION;
  return configurationError(
    older ? "GENESIS_VERSION_OLDER" : "GENESIS_VERSION_NEWER",
    `${path} has format version ${String(version)}, this program reads version ${GENESIS_VERSION}: use ${older ? "the older" : "a newer"} BAASH that fits the ledger.`,
    { path, version },
  );
}

function invalid(path: string, name: string, must: string): BaashError {
  return configurationError(
    "GENESIS_INVALID",
    `"${name}" in ${path} ${must}: create the ledger again with a value that fits.`,
    { path, name },
  );
}

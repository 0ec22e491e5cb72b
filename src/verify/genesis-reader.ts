/**
 * Reads and checks the file `genesis`: JSON in one exact spelling, a line with its SHA-256, a line
 * with the ledger key's signature. Every byte of the file is pinned by one of the three.
 */
import { createPublicKey, type KeyObject, verify } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fromHex, toHex } from "../base/bytes.ts";
import { Damage } from "./damage.ts";

export interface Genesis {
  created: number;
  quorum: "majority" | "byzantine";
  difficulty: number;
  storageDifficulty: number;
  blockTransactionsMax: number;
  supply: number;
  ledgerKey: KeyObject;
  /** SHA-256 of the JSON part: parent of height 1. */
  hash: Uint8Array;
  chainId: Uint8Array;
}

const TAIL = /^sha256 ([0-9a-f]{64})\ned25519 ([0-9a-f]{128})\n$/;

/** A raw Ed25519 public key as node:crypto wants it. */
export function publicKeyOf(raw: Uint8Array): KeyObject {
  const x = Buffer.from(raw).toString("base64url");
  return createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
}

export function sha256(...parts: (Uint8Array | string)[]): Uint8Array {
  if (parts.length === 1) return Bun.SHA256.hash(parts[0]) as unknown as Uint8Array;
  const hash = new Bun.SHA256();
  for (const part of parts) hash.update(part);
  return hash.digest() as unknown as Uint8Array;
}

/** False for anything odd: keys and signatures come from files. */
export function isSignedBy(
  key: Uint8Array | KeyObject,
  message: Uint8Array,
  signature: Uint8Array,
): boolean {
  try {
    const imported = key instanceof Uint8Array ? publicKeyOf(key) : key;
    return verify(null, message, imported, signature);
  } catch {
    return false;
  }
}

/** Undefined when `dir` holds no file `genesis`: then it is not a ledger at all. */
export function readGenesis(dir: string): Genesis | undefined {
  const path = join(dir, "genesis");
  if (!existsSync(path)) return undefined;
  return parseGenesis(readFileSync(path));
}

export function parseGenesis(bytes: Uint8Array): Genesis {
  const bad = (code: string, offset: number, what: string, expected?: string, found?: string) =>
    new Damage({
      code,
      file: "genesis",
      offset,
      what,
      ...(expected === undefined ? {} : { expected }),
      ...(found === undefined ? {} : { found }),
    });
  const text = Buffer.from(bytes).toString("latin1");
  const split = text.lastIndexOf("}\n") + 2;
  const tail = TAIL.exec(text.slice(split));
  if (split < 3 || tail === null) {
    throw bad(
      "GENESIS_SHAPE",
      Math.max(0, split),
      "no sha256 and ed25519 lines after the JSON part",
    );
  }
  const json = bytes.subarray(0, split);
  const hash = sha256(json);
  if (toHex(hash) !== tail[1]) {
    throw bad("GENESIS_HASH", 0, "the JSON part does not have its hash", tail[1], toHex(hash));
  }
  const fields = readFields(text.slice(0, split));
  if (typeof fields === "string") throw bad("GENESIS_FIELDS", 0, fields);
  const ledgerKey = publicKeyOf(fromHex(fields.ledgerKey));
  const signed = Buffer.concat([Buffer.from("baash genesis\n"), hash]);
  if (!verify(null, signed, ledgerKey, fromHex(tail[2]))) {
    throw bad("GENESIS_SIGNATURE", split + 72, "the ledger key did not sign this genesis");
  }
  return { ...fields, ledgerKey, hash, chainId: hash.slice(0, 16) };
}

function readFields(json: string) {
  let value: Record<string, unknown>;
  try {
    value = JSON.parse(json);
  } catch {
    return "the first part is not JSON";
  }
  const numbers = ["created", "difficulty", "storageDifficulty", "blockTransactionsMax", "supply"];
  for (const name of numbers) {
    const number = value[name];
    if (!Number.isSafeInteger(number) || (number as number) < 0) return `${name} is not a number`;
  }
  if (value.format !== "baash-ledger") return `format ${value.format} is not baash-ledger`;
  if (value.version !== 1) return `version ${value.version} is not known; use a newer baash`;
  if (value.quorum !== "majority" && value.quorum !== "byzantine") {
    return `quorum ${value.quorum} is not known to this version`;
  }
  if (value.admission !== "ledger-key") return `admission ${value.admission} is not known`;
  if (!/^[0-9a-f]{64}$/.test(String(value.ledgerKey))) return "ledgerKey is not 64 hex digits";
  return value as {
    created: number;
    quorum: "majority" | "byzantine";
    difficulty: number;
    storageDifficulty: number;
    blockTransactionsMax: number;
    supply: number;
    ledgerKey: string;
  };
}

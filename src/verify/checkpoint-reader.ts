/**
 * Checks checkpoints: the signed head (a C2SP note) in its one spelling, and that the snapshot file
 * it names has the stated SHA-256. Roots are compared when the walk reaches the head's slot.
 */
import { verify } from "node:crypto";
import { closeSync, existsSync, openSync, readdirSync, readFileSync, readSync } from "node:fs";
import { join } from "node:path";
import { readU16, readU64, toHex } from "../base/bytes.ts";
import { errorCode } from "../base/errors.ts";
import {
  HEAD_ORIGIN_PREFIX,
  HEAD_SIGNATURE_PREFIX,
  NOTE_KEY_ED25519,
  SNAPSHOT_HEADER,
  SNAPSHOT_HEADER_BYTES,
  SNAPSHOT_MAGIC,
  SNAPSHOT_VERSION,
} from "../storage/format.ts";
import { ADVICE_REPORT, Damage, type DamageFacts } from "./damage.ts";
import { type Genesis, sha256 } from "./genesis-reader.ts";

export interface HeadFile {
  file: string;
  slot: number;
  size: number;
  /** As hex. */
  root: string;
  recordHash: string;
  stateRoot: string;
  snapshot: string;
}

const FOLDER = "checkpoints";
const NAME = /^(\d{10,})\.(head|state)$/;
const LEFTOVER_NAME = /^\.[0-9a-f]{16}-\d+\.tmp$/;
const BODY =
  /^([^\n]+)\n(0|[1-9]\d*)\n([A-Za-z0-9+/]{43}=)\nslot (0|[1-9]\d*)\nrecord ([0-9a-f]{64})\nstate ([0-9a-f]{64})\nsnapshot ([0-9a-f]{64})\n$/;
const PIECE_BYTES = 4 * 1024 * 1024;

/** The good heads, oldest first; what is damaged goes to `damages`. */
export function readHeads(
  dir: string,
  genesis: Genesis,
  damages: DamageFacts[],
  notes: string[],
): HeadFile[] {
  const heads: HeadFile[] = [];
  if (!existsSync(join(dir, FOLDER))) return heads;
  const names = readdirSync(join(dir, FOLDER)).sort();
  for (const name of names) {
    const file = `${FOLDER}/${name}`;
    const match = NAME.exec(name);
    if (match === null) {
      const leftover = LEFTOVER_NAME.test(name);
      notes.push(
        leftover ? `${file} is a leftover of a writer` : `${file} is not read: foreign name`,
      );
      continue;
    }
    if (match[2] === "state") {
      const head = name.replace(/state$/, "head");
      // A checkpoint in the making or half pruned: no rank uses a state without its head.
      if (!names.includes(head)) notes.push(`${file} has no signed head: nobody reads it`);
      continue;
    }
    try {
      const head = readHead(dir, file, genesis);
      if (head === undefined) continue;
      if (head.slot !== Number(match[1])) {
        throw damage(file, "HEAD_SLOT", "it states another slot than its name", {
          expected: match[1],
          found: String(head.slot),
        });
      }
      heads.push(head);
      checkSnapshot(dir, head);
    } catch (error) {
      if (!(error instanceof Damage)) throw error;
      damages.push(error.facts);
    }
  }
  return heads;
}

/** Undefined when a running rank pruned it between listing and reading. */
function readHead(dir: string, file: string, genesis: Genesis): HeadFile | undefined {
  const bytes = readIfAny(join(dir, file));
  if (bytes === undefined) return undefined;
  const note = bytes.toString("utf8");
  const end = note.indexOf("\n\n") + 1;
  const match = BODY.exec(note.slice(0, end));
  // Decoding replaces what is not UTF-8, so compare with what was read.
  if (match === null || !Buffer.from(note).equals(bytes)) {
    throw damage(file, "HEAD_SHAPE", "it is not the text of a checkpoint");
  }
  const origin = HEAD_ORIGIN_PREFIX + toHex(genesis.chainId);
  if (match[1] !== origin) {
    throw damage(file, "HEAD_ORIGIN", "another ledger's checkpoint", {
      expected: origin,
      found: match[1],
    });
  }
  const raw = genesis.ledgerKey.export({ format: "jwk" }).x ?? "";
  const type = Uint8Array.of(NOTE_KEY_ED25519);
  const keyId = sha256(`${origin}\n`, type, Buffer.from(raw, "base64url")).subarray(0, 4);
  const line = note.slice(end + 1);
  const prefix = `${HEAD_SIGNATURE_PREFIX}${origin} `;
  const signed = Buffer.from(line.slice(prefix.length, -1), "base64");
  const offset = Buffer.byteLength(note.slice(0, end + 1));
  if (line !== `${prefix}${signed.toString("base64")}\n` || signed.length !== 68) {
    throw damage(file, "HEAD_SIGNATURE", "its signature line is malformed", { offset });
  }
  const text = Buffer.from(note.slice(0, end));
  const ours = signed.subarray(0, 4).equals(keyId);
  if (!ours || !verify(null, text, genesis.ledgerKey, signed.subarray(4))) {
    throw damage(file, "HEAD_SIGNATURE", "the ledger key did not sign this checkpoint", { offset });
  }
  return {
    file,
    slot: Number(match[4]),
    size: Number(match[2]),
    root: Buffer.from(match[3], "base64").toString("hex"),
    recordHash: match[5],
    stateRoot: match[6],
    snapshot: match[7],
  };
}

function checkSnapshot(dir: string, head: HeadFile): void {
  const file = head.file.replace(/head$/, "state");
  let fd: number;
  try {
    fd = openSync(join(dir, file), "r");
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw error;
    if (!existsSync(join(dir, head.file))) return;
    throw damage(file, "SNAPSHOT_MISSING", "the snapshot of a signed checkpoint is missing");
  }
  const hash = new Bun.SHA256();
  const header = new Uint8Array(SNAPSHOT_HEADER_BYTES);
  let length = 0;
  try {
    const piece = new Uint8Array(PIECE_BYTES);
    for (let got = 0; (got = readSync(fd, piece, 0, piece.length, null)) > 0; length += got) {
      if (length === 0) header.set(piece.subarray(0, Math.min(got, SNAPSHOT_HEADER_BYTES)));
      hash.update(piece.subarray(0, got));
    }
  } finally {
    closeSync(fd);
  }
  const found = hash.digest("hex");
  if (found !== head.snapshot) {
    throw damage(file, "SNAPSHOT_HASH", "the snapshot does not have the SHA-256 of its head", {
      expected: head.snapshot,
      found,
    });
  }
  const at = SNAPSHOT_HEADER;
  const magic = Buffer.from(header.subarray(0, 8)).toString("latin1");
  const fits =
    magic === SNAPSHOT_MAGIC &&
    readU16(header, at.version) === SNAPSHOT_VERSION &&
    readU64(header, at.slot) === head.slot &&
    readU64(header, at.payloadBytes) === length - SNAPSHOT_HEADER_BYTES;
  if (!fits) {
    const what = "the snapshot's header does not fit it though the ledger key vouches for it";
    throw damage(file, "SNAPSHOT_HEADER", what, { advice: ADVICE_REPORT });
  }
}

/** What the reader computed at the head's slot. */
export interface OwnHead {
  size: number;
  root: Uint8Array;
  stateRoot: Uint8Array;
  recordHash: Uint8Array;
}

/** Throws at the first line of the head that says something else. */
export function checkHead(head: HeadFile, own: OwnHead): void {
  const lines: [string, string, string, string][] = [
    ["HEAD_RECORD", "hash of the record", toHex(own.recordHash), head.recordHash],
    ["HEAD_SIZE", "number of blocks", String(own.size), String(head.size)],
    ["HEAD_ROOT", "Merkle root over the blocks", toHex(own.root), head.root],
    ["STATE_ROOT", "state root", toHex(own.stateRoot), head.stateRoot],
  ];
  for (const [code, name, expected, found] of lines) {
    if (expected === found) continue;
    const what = `the signed ${name} at slot ${head.slot} is not what the log gives`;
    throw damage(head.file, code, what, { expected, found, advice: ADVICE_REPORT });
  }
}

function readIfAny(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

function damage(
  file: string,
  code: string,
  what: string,
  more: { offset?: number; expected?: string; found?: string; advice?: string } = {},
): Damage {
  return new Damage({ code, file, what, offset: 0, ...more });
}

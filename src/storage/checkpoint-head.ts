/**
 * A signed head: a C2SP signed note whose body is a tlog-checkpoint (origin, size, root) with
 * four extension lines. Any tool for such notes can check it. README.md shows one.
 */
import { equalBytes, fromHex, toHex } from "../base/bytes.ts";
import { sha256 } from "../base/sha256.ts";
import { HEAD_ORIGIN_PREFIX, HEAD_SIGNATURE_PREFIX, NOTE_KEY_ED25519 } from "./format.ts";

export interface CheckpointHead {
  /** The record up to which this head counts. */
  readonly slot: number;
  /** Final blocks = leaves of the Merkle tree. */
  readonly size: number;
  readonly root: Uint8Array;
  readonly recordHash: Uint8Array;
  readonly stateRoot: Uint8Array;
  /** SHA-256 of the whole snapshot file. */
  readonly snapshot: Uint8Array;
}

/** The ledger key, as far as this process has it: who cannot sign can still verify. */
export interface HeadKey {
  readonly chainId: Uint8Array;
  /** Raw Ed25519, 32 bytes. */
  readonly publicKey: Uint8Array;
  readonly sign?: (text: Uint8Array) => Uint8Array | Promise<Uint8Array>;
  readonly verify: (text: Uint8Array, signature: Uint8Array) => boolean | Promise<boolean>;
}

const BODY =
  /^([^\n]+)\n(0|[1-9]\d*)\n([A-Za-z0-9+/]{43}=)\nslot (0|[1-9]\d*)\nrecord ([0-9a-f]{64})\nstate ([0-9a-f]{64})\nsnapshot ([0-9a-f]{64})\n$/;

export async function encodeHead(head: CheckpointHead, key: HeadKey): Promise<Uint8Array> {
  const origin = originOf(key);
  const body =
    `${origin}\n${head.size}\n${Buffer.from(head.root).toString("base64")}\n` +
    `slot ${head.slot}\nrecord ${toHex(head.recordHash)}\nstate ${toHex(head.stateRoot)}\n` +
    `snapshot ${toHex(head.snapshot)}\n`;
  const text = new TextEncoder().encode(body);
  if (key.sign === undefined) throw new TypeError("a head is signed with the ledger key");
  const signature = Buffer.concat([keyId(key), await key.sign(text)]).toString("base64");
  return new TextEncoder().encode(`${body}\n${HEAD_SIGNATURE_PREFIX}${origin} ${signature}\n`);
}

/** The head if every byte is as `encodeHead` writes it and the signature holds; else the reason. */
export async function decodeHead(
  bytes: Uint8Array,
  key: HeadKey,
): Promise<CheckpointHead | string> {
  const note = new TextDecoder().decode(bytes);
  const end = note.indexOf("\n\n");
  if (end < 0) return "it is not a signed note";
  const text = note.slice(0, end + 1);
  const match = BODY.exec(text);
  if (match === null) return "its text is not a head";
  const origin = originOf(key);
  if (match[1] !== origin) return `it belongs to ${match[1]}`;
  const prefix = `${HEAD_SIGNATURE_PREFIX}${origin} `;
  const line = note.slice(end + 2);
  if (!line.startsWith(prefix) || !line.endsWith("\n"))
    return "it has no signature of the ledger key";
  const encoded = line.slice(prefix.length, -1);
  const signature = Buffer.from(encoded, "base64");
  // Base64 has more than one spelling of the same bytes: accept only ours.
  if (signature.length !== 68 || signature.toString("base64") !== encoded) {
    return "its signature is malformed";
  }
  if (!equalBytes(signature.subarray(0, 4), keyId(key))) return "another key signed it";
  const verified = await key.verify(new TextEncoder().encode(text), signature.subarray(4));
  if (!verified) return "its signature does not hold";
  return {
    slot: Number(match[4]),
    size: Number(match[2]),
    root: Uint8Array.from(Buffer.from(match[3], "base64")),
    recordHash: fromHex(match[5]),
    stateRoot: fromHex(match[6]),
    snapshot: fromHex(match[7]),
  };
}

function originOf(key: HeadKey): string {
  return HEAD_ORIGIN_PREFIX + toHex(key.chainId);
}

function keyId(key: HeadKey): Uint8Array {
  const name = new TextEncoder().encode(`${originOf(key)}\n`);
  return sha256(name, Uint8Array.of(NOTE_KEY_ED25519), key.publicKey).subarray(0, 4);
}

/**
 * Keys: Ed25519 for the ledger and its members, X25519 boxes for the session key of an epoch. Keys
 * travel raw (32 bytes); node:crypto wants them in DER. Verification answers false for anything odd
 * and never throws: its input comes from outside.
 */
import {
  createCipheriv,
  createDecipheriv,
  createPublicKey,
  diffieHellman,
  sign as ed25519Sign,
  verify as ed25519Verify,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
} from "node:crypto";
import { concatBytes, writeU32 } from "../base/bytes.ts";
import { BaashError } from "../base/errors.ts";
import type { Member } from "./settlement.ts";

export const PUBLIC_KEY_BYTES = 32;
export const SIGNATURE_BYTES = 64;

/** Everything of an SPKI before the raw key (RFC 8410). */
const ED25519_SPKI = Buffer.from("302a300506032b6570032100", "hex");
const X25519_SPKI = Buffer.from("302a300506032b656e032100", "hex");

export interface KeyPair {
  readonly privateKey: KeyObject;
  /** Raw, 32 bytes. */
  readonly publicKey: Uint8Array;
}

function generate(type: "ed25519" | "x25519"): KeyPair {
  const pair = type === "ed25519" ? generateKeyPairSync("ed25519") : generateKeyPairSync("x25519");
  return { privateKey: pair.privateKey, publicKey: rawPublicKey(pair.publicKey) };
}

/** A key for signing: of a ledger, or of a member for one incarnation. */
export function generateSigningKey(): KeyPair {
  return generate("ed25519");
}

/** A key that others can wrap secrets for. */
export function generateBoxKey(): KeyPair {
  return generate("x25519");
}

/** The raw 32 bytes of a public key, or of the public half of a private one. */
export function rawPublicKey(key: KeyObject): Uint8Array {
  const publicKey = key.type === "private" ? createPublicKey(key) : key;
  return new Uint8Array(publicKey.export({ format: "der", type: "spki" })).slice(-PUBLIC_KEY_BYTES);
}

function importRaw(prefix: Uint8Array, raw: Uint8Array): KeyObject | undefined {
  if (raw.length !== PUBLIC_KEY_BYTES) return undefined;
  try {
    const key = Buffer.from(concatBytes([prefix, raw]));
    return createPublicKey({ key, format: "der", type: "spki" });
  } catch {
    return undefined;
  }
}

export function importSigningKey(raw: Uint8Array): KeyObject | undefined {
  return importRaw(ED25519_SPKI, raw);
}

export function signMessage(privateKey: KeyObject, message: Uint8Array): Uint8Array {
  return new Uint8Array(ed25519Sign(null, message, privateKey));
}

/** `publicKey` raw, or imported beforehand where many signatures of one key are verified. */
export function verifySignature(
  publicKey: Uint8Array | KeyObject,
  message: Uint8Array,
  signature: Uint8Array,
): boolean {
  if (signature.length !== SIGNATURE_BYTES) return false;
  const key = publicKey instanceof Uint8Array ? importSigningKey(publicKey) : publicKey;
  if (key === undefined) return false;
  try {
    return ed25519Verify(null, message, key, signature);
  } catch {
    return false;
  }
}

const MEMBER_CONTEXT = new TextEncoder().encode("baash member\n");

/** What the ledger key signs to let a member in. */
export function certificateMessage(
  chainId: Uint8Array,
  member: Omit<Member, "certificate">,
): Uint8Array {
  const rank = new Uint8Array(4);
  writeU32(rank, 0, member.rank);
  const host = new TextEncoder().encode(member.host);
  return concatBytes([MEMBER_CONTEXT, chainId, member.incarnation, member.publicKey, rank, host]);
}

export function certifyMember(
  ledgerKey: KeyObject,
  chainId: Uint8Array,
  member: Omit<Member, "certificate">,
): Member {
  return { ...member, certificate: signMessage(ledgerKey, certificateMessage(chainId, member)) };
}

/** `ledgerKey` is the public key of genesis. */
export function verifyMember(
  ledgerKey: Uint8Array | KeyObject,
  chainId: Uint8Array,
  member: Member,
): boolean {
  return verifySignature(ledgerKey, certificateMessage(chainId, member), member.certificate);
}

const BOX_CONTEXT = "baash session key";
const TAG_BYTES = 16;
/** The key of a box is used once, so its nonce may be constant. */
const BOX_NONCE = new Uint8Array(12);

function boxKey(
  privateKey: KeyObject,
  other: KeyObject,
  ephemeral: Uint8Array,
  recipient: Uint8Array,
): Uint8Array {
  const shared = diffieHellman({ privateKey, publicKey: other });
  const salt = concatBytes([ephemeral, recipient]);
  return new Uint8Array(hkdfSync("sha256", shared, salt, BOX_CONTEXT, 32));
}

/**
 * A secret that only the owner of `recipient` (raw X25519) can open: ephemeral key, tag, ciphertext.
 * `context`, for instance the epoch, must be the same at both ends. Throws BOX_KEY_INVALID.
 */
export function wrapKey(
  recipient: Uint8Array,
  secret: Uint8Array,
  context: Uint8Array = new Uint8Array(0),
): Uint8Array {
  const other = importRaw(X25519_SPKI, recipient);
  if (other === undefined) throw invalidBoxKey();
  const ephemeral = generateBoxKey();
  let key: Uint8Array;
  try {
    key = boxKey(ephemeral.privateKey, other, ephemeral.publicKey, recipient);
  } catch (cause) {
    // A point of low order: it would give everybody the same secret.
    throw invalidBoxKey(cause);
  }
  const cipher = createCipheriv("aes-256-gcm", key, BOX_NONCE).setAAD(context);
  const sealed = concatBytes([cipher.update(secret), cipher.final()]);
  return concatBytes([ephemeral.publicKey, cipher.getAuthTag(), sealed]);
}

function invalidBoxKey(cause?: unknown): BaashError {
  return new BaashError(
    "BOX_KEY_INVALID",
    "A member's box key is not a usable X25519 key: its message is damaged or forged; drop it and ask again.",
    { cause },
  );
}

/** Undefined if the box is damaged, of another context, or for somebody else. */
export function unwrapKey(
  recipient: KeyPair,
  box: Uint8Array,
  context: Uint8Array = new Uint8Array(0),
): Uint8Array | undefined {
  if (box.length < PUBLIC_KEY_BYTES + TAG_BYTES) return undefined;
  const ephemeral = box.slice(0, PUBLIC_KEY_BYTES);
  const other = importRaw(X25519_SPKI, ephemeral);
  if (other === undefined) return undefined;
  try {
    const key = boxKey(recipient.privateKey, other, ephemeral, recipient.publicKey);
    const cipher = createDecipheriv("aes-256-gcm", key, BOX_NONCE).setAAD(context);
    cipher.setAuthTag(box.subarray(PUBLIC_KEY_BYTES, PUBLIC_KEY_BYTES + TAG_BYTES));
    const opened = cipher.update(box.subarray(PUBLIC_KEY_BYTES + TAG_BYTES));
    return new Uint8Array(concatBytes([opened, cipher.final()]));
  } catch {
    return undefined;
  }
}

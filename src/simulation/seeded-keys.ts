/** Keys from a seeded generator, so that two runs of one seed write the same bytes. */
import { createPrivateKey } from "node:crypto";
import type { Random } from "../base/random.ts";
import { type KeyPair, rawPublicKey } from "../ledger/keys.ts";

/** PKCS8 of RFC 8410 up to the 32 bytes of the key. */
const PREFIXES = {
  ed25519: Buffer.from("302e020100300506032b657004220420", "hex"),
  x25519: Buffer.from("302e020100300506032b656e04220420", "hex"),
};

export function seededKey(type: "ed25519" | "x25519", random: Random): KeyPair {
  const raw = new Uint8Array(32);
  random.fill(raw);
  const key = Buffer.concat([PREFIXES[type], raw]);
  const privateKey = createPrivateKey({ key, format: "der", type: "pkcs8" });
  return { privateKey, publicKey: rawPublicKey(privateKey) };
}

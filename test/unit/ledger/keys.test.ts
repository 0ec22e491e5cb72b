import { afterAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fromHex } from "../../../src/base/bytes.ts";
import { errorCode } from "../../../src/base/errors.ts";
import {
  certifyMember,
  generateBoxKey,
  generateSigningKey,
  rawPublicKey,
  signMessage,
  unwrapKey,
  verifyMember,
  verifySignature,
  wrapKey,
} from "../../../src/ledger/keys.ts";
import {
  createLedgerKeyFile,
  ledgerKeyPath,
  loadLedgerKey,
} from "../../../src/ledger/ledger-key.ts";
import { CHAIN_ID, damages, filled, member } from "./samples.ts";

const directory = mkdtempSync(join(tmpdir(), "baash-keys-"));
afterAll(() => rmSync(directory, { recursive: true }));

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return errorCode(error);
  }
  return "OK";
}

describe("signatures", () => {
  test("a vector of RFC 8032", () => {
    const publicKey = fromHex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
    const signature = fromHex(
      "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    );
    expect(verifySignature(publicKey, Uint8Array.of(0x72), signature)).toBe(true);
    expect(verifySignature(publicKey, Uint8Array.of(0x73), signature)).toBe(false);
  });

  test("what is not a key or not a signature is false, never a throw", () => {
    const { privateKey, publicKey } = generateSigningKey();
    const message = filled(100, 1);
    const signature = signMessage(privateKey, message);
    expect(verifySignature(publicKey, message, signature)).toBe(true);
    for (const { damaged } of damages(signature)) {
      expect(verifySignature(publicKey, message, damaged)).toBe(false);
    }
    for (const { damaged } of damages(publicKey)) {
      expect(verifySignature(damaged, message, signature)).toBe(false);
    }
  });
});

describe("certificates", () => {
  const ledger = generateSigningKey();
  const { certificate: _, ...newcomer } = member(2);
  const admitted = certifyMember(ledger.privateKey, CHAIN_ID, newcomer);

  test("cover every part of a member, and the chain", () => {
    expect(verifyMember(ledger.publicKey, CHAIN_ID, admitted)).toBe(true);
    const changes = [
      { rank: 3 },
      { incarnation: filled(8, 9) },
      { publicKey: filled(32, 9) },
      { host: "elsewhere" },
      { certificate: filled(64, 9) },
      { certificate: new Uint8Array(0) },
    ];
    for (const change of changes) {
      expect(verifyMember(ledger.publicKey, CHAIN_ID, { ...admitted, ...change })).toBe(false);
    }
    expect(verifyMember(ledger.publicKey, filled(16, 1), admitted)).toBe(false);
    expect(verifyMember(generateSigningKey().publicKey, CHAIN_ID, admitted)).toBe(false);
  });
});

describe("boxes", () => {
  const recipient = generateBoxKey();
  const secret = filled(32, 7);
  const epoch = filled(32, 1);

  test("open for the recipient, in their context, undamaged", () => {
    const box = wrapKey(recipient.publicKey, secret, epoch);
    expect(unwrapKey(recipient, box, epoch)).toEqual(secret);
    expect(unwrapKey(recipient, box, filled(32, 2))).toBeUndefined();
    expect(unwrapKey(generateBoxKey(), box, epoch)).toBeUndefined();
    for (const { damaged } of damages(box, 20)) {
      expect(unwrapKey(recipient, damaged, epoch)).toBeUndefined();
    }
  });

  test("two boxes of one secret differ", () => {
    expect(wrapKey(recipient.publicKey, secret)).not.toEqual(wrapKey(recipient.publicKey, secret));
  });

  test("a key that is none is an error with a code", () => {
    expect(codeOf(() => wrapKey(filled(31, 1), secret))).toBe("BOX_KEY_INVALID");
    // A point of low order would give everybody the same secret.
    expect(codeOf(() => wrapKey(filled(32, 0), secret))).toBe("BOX_KEY_INVALID");
  });
});

describe("the ledger key's file", () => {
  const { privateKey, publicKey } = generateSigningKey();
  const path = join(directory, "deep", "er", "key.pem");

  test("is created once, for its owner alone, and loads", () => {
    createLedgerKeyFile(path, privateKey);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(rawPublicKey(loadLedgerKey(path, publicKey))).toEqual(publicKey);
    expect(codeOf(() => createLedgerKeyFile(path, privateKey))).toBe("LEDGER_KEY_EXISTS");
  });

  test("is refused when it is missing, foreign, damaged or open to others", () => {
    createLedgerKeyFile(join(directory, "a.pem"), privateKey);
    const load = (name: string, key = publicKey) =>
      codeOf(() => loadLedgerKey(join(directory, name), key));
    expect(load("none.pem")).toBe("LEDGER_KEY_MISSING");
    expect(load("a.pem", generateSigningKey().publicKey)).toBe("LEDGER_KEY_FOREIGN");
    writeFileSync(join(directory, "b.pem"), "nonsense", { mode: 0o600 });
    expect(load("b.pem")).toBe("LEDGER_KEY_DAMAGED");
    const box = generateBoxKey().privateKey.export({ format: "pem", type: "pkcs8" });
    writeFileSync(join(directory, "c.pem"), box, { mode: 0o600 });
    expect(load("c.pem")).toBe("LEDGER_KEY_FOREIGN");
    chmodSync(join(directory, "a.pem"), 0o640);
    expect(load("a.pem")).toBe("LEDGER_KEY_EXPOSED");
    expect(codeOf(() => createLedgerKeyFile("/dev/null/key.pem", privateKey))).not.toBe("OK");
  });

  test("lies below the user's configuration, named by the chain", () => {
    const name = `${"c1".repeat(16)}.pem`;
    expect(ledgerKeyPath(CHAIN_ID, { XDG_CONFIG_HOME: "/x" })).toBe(`/x/baash/keys/${name}`);
    expect(ledgerKeyPath(CHAIN_ID, {})).toEndWith(`/.config/baash/keys/${name}`);
  });
});

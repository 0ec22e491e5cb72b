import { describe, expect, test } from "bun:test";
import { toHex } from "../../../src/base/bytes.ts";
import { BaashError } from "../../../src/base/errors.ts";
import { sha256 } from "../../../src/base/sha256.ts";
import { createGenesis, parseGenesis } from "../../../src/ledger/genesis.ts";
import { generateSigningKey, type KeyPair, signMessage } from "../../../src/ledger/keys.ts";
import { filled, TIME } from "./samples.ts";

const KEY = generateSigningKey();
const OPTIONS = {
  created: TIME,
  nonce: filled(16, 0xab),
  difficulty: 8,
  storageDifficulty: 16,
  blockTransactionsMax: 4096,
  supply: 1_000_000,
};

/** The error of reading these bytes, with the sentence checked for its parts. */
function refusal(bytes: Uint8Array | string): string {
  const input = typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes;
  try {
    parseGenesis(input, "/ledger/genesis");
  } catch (error) {
    if (!(error instanceof BaashError)) throw error;
    expect(error.message).toContain("/ledger/genesis");
    expect(error.message).toMatch(/: .*\.$/);
    return error.code;
  }
  return "OK";
}

/** A well-sealed genesis of any JSON. */
function sealed(json: string, key: KeyPair = KEY): string {
  const hash = sha256(new TextEncoder().encode(json));
  const message = new Uint8Array([...new TextEncoder().encode("baash genesis\n"), ...hash]);
  const signature = signMessage(key.privateKey, message);
  return `${json}sha256 ${toHex(hash)}\ned25519 ${toHex(signature)}\n`;
}

const { genesis, bytes } = createGenesis(OPTIONS, KEY);
const TEXT = new TextDecoder().decode(bytes);
const JSON_PART = TEXT.slice(0, TEXT.indexOf("}\n") + 2);

describe("genesis", () => {
  test("the file has the three parts of the format", () => {
    expect(JSON_PART).toBe(
      `{
  "format": "baash-ledger",
  "version": 1,
  "created": ${TIME},
  "nonce": "${"ab".repeat(16)}",
  "quorum": "majority",
  "difficulty": 8,
  "storageDifficulty": 16,
  "blockTransactionsMax": 4096,
  "supply": 1000000,
  "ledgerKey": "${toHex(KEY.publicKey)}",
  "admission": "ledger-key"
}
`,
    );
    const hash = sha256(new TextEncoder().encode(JSON_PART));
    expect(TEXT.slice(JSON_PART.length)).toStartWith(`sha256 ${toHex(hash)}\ned25519 `);
    expect(genesis.chainHash).toEqual(hash);
    expect(genesis.chainId).toEqual(hash.slice(0, 16));
    expect(genesis).toMatchObject({ ...OPTIONS, ledgerKey: KEY.publicKey, quorum: "majority" });
    expect(TEXT).toBe(sealed(JSON_PART));
  });

  test("every cut and every changed byte is refused with a sentence", () => {
    for (let length = 0; length < bytes.length; length += 3) {
      expect(refusal(bytes.slice(0, length))).toMatch(/^GENESIS_(DAMAGED|FOREIGN|VERSION_NEWER)$/);
    }
    for (let at = 0; at < bytes.length; at++) {
      for (const change of [1, 0x80]) {
        const damaged = bytes.slice();
        damaged[at] ^= change;
        expect(refusal(damaged)).toMatch(
          /^GENESIS_(DAMAGED|FOREIGN|FORGED|VERSION_NEWER|VERSION_OLDER)$/,
        );
      }
    }
  });

  test("other files, other versions, bad values and forgeries are told apart", () => {
    expect(refusal("")).toBe("GENESIS_FOREIGN");
    expect(refusal("hello")).toBe("GENESIS_FOREIGN");
    expect(refusal(sealed("[]\n"))).toBe("GENESIS_FOREIGN");
    expect(refusal(sealed('{"format":"other"}\n'))).toBe("GENESIS_FOREIGN");
    expect(refusal("x".repeat(100_000))).toBe("GENESIS_FOREIGN");
    const with_ = (from: string, to: string) => sealed(JSON_PART.replace(from, to));
    expect(refusal(with_('"version": 1', '"version": 2'))).toBe("GENESIS_VERSION_NEWER");
    expect(refusal(with_('"version": 1', '"version": 0'))).toBe("GENESIS_VERSION_OLDER");
    expect(refusal(with_('"difficulty": 8', '"difficulty": 41'))).toBe("GENESIS_INVALID");
    expect(refusal(with_('"difficulty": 8', '"difficulty": "8"'))).toBe("GENESIS_INVALID");
    expect(refusal(with_("majority", "unanimity"))).toBe("GENESIS_INVALID");
    expect(refusal(with_("ledger-key", "anybody"))).toBe("GENESIS_INVALID");
    expect(refusal(with_("abab", "ABAB"))).toBe("GENESIS_INVALID");
    expect(refusal(sealed(JSON_PART, generateSigningKey()))).toBe("GENESIS_FORGED");
    expect(refusal(with_('"supply": 1000000', '"supply": 2000000'))).toBe("OK");
  });

  test("a founder's bad value is refused before anything is written", () => {
    expect(() => createGenesis({ ...OPTIONS, blockTransactionsMax: 0 }, KEY)).toThrow(
      "blockTransactionsMax",
    );
  });

  test("a byzantine quorum is chosen at the start", () => {
    const made = createGenesis({ ...OPTIONS, quorum: "byzantine" }, KEY);
    expect(made.genesis.quorum).toBe("byzantine");
    expect(new TextDecoder().decode(made.bytes)).toContain(`"quorum": "byzantine"`);
    expect(parseGenesis(made.bytes, "/ledger/genesis")).toEqual(made.genesis);
  });

  test("two ledgers made alike differ by their nonce", () => {
    const other = createGenesis({ ...OPTIONS, nonce: filled(16, 1) }, KEY);
    expect(other.genesis.chainId).not.toEqual(genesis.chainId);
  });
});

/** The `baash` command as a user meets it: exit codes, streams, JSON. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EXIT } from "../../../src/base/errors.ts";
import { createLedgerKeyFile, ledgerKeyPath } from "../../../src/ledger/ledger-key.ts";
import { LedgerMaker } from "../../support/make-ledger.ts";

const CLI = join(import.meta.dir, "../../../src/cli.ts");
let root = "";
let ledger: LedgerMaker;

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "baash-cli-"));
  ledger = new LedgerMaker(join(root, "ledger"));
  ledger.record("QUORUM", [ledger.run([[[ledger.transfer(1, 1)]], [], [], []])]);
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

function baash(...args: string[]) {
  const { exitCode, stdout, stderr } = Bun.spawnSync(["bun", CLI, ...args], {
    env: { ...process.env, XDG_CONFIG_HOME: root, NO_COLOR: "1" },
  });
  return { exitCode, stdout: stdout.toString(), stderr: stderr.toString() };
}

describe("baash", () => {
  test("--version and --help go to stdout with exit 0", () => {
    expect(baash("--version")).toMatchObject({ exitCode: EXIT.ok, stderr: "" });
    for (const args of [
      ["--help"],
      ["run", "--help"],
      ["verify", "--help"],
      ["info", "--help"],
      ["key", "--help"],
    ]) {
      const { exitCode, stdout } = baash(...args);
      expect(exitCode).toBe(EXIT.ok);
      expect(stdout).toContain("Examples:");
      expect(stdout).toContain("Exit codes:");
    }
  });

  test("a wrong command line is one sentence on stderr and exit 2", () => {
    for (const args of [["bogus"], ["verify"], ["verify", ledger.dir, "--bogus"]]) {
      const { exitCode, stdout, stderr } = baash(...args);
      expect(exitCode).toBe(EXIT.usage);
      expect(stdout).toBe("");
      expect(stderr).toMatch(/^baash: .*; see baash( verify)? --help\n$/);
    }
  });

  test("verify: 0 for a good ledger, 1 for a damaged one, 78 for no ledger", () => {
    const good = baash("verify", ledger.dir, "--json");
    expect(good.exitCode).toBe(EXIT.ok);
    expect(JSON.parse(good.stdout)).toMatchObject({ good: true, summary: { transactions: 1 } });
    expect(baash("verify", ledger.dir).stdout).toContain(`good: ${ledger.dir} is intact`);
    const none = baash("verify", root);
    expect(none).toMatchObject({ exitCode: EXIT.configuration, stdout: "" });
    expect(none.stderr).toMatch(/^baash: .* is not a ledger/);

    const name = readdirSync(join(ledger.dir, "log/000000")).sort()[1];
    const file = join(ledger.dir, "log/000000", name);
    const bytes = readFileSync(file);
    const bad = Buffer.from(bytes);
    bad[300] ^= 1;
    writeFileSync(file, bad);
    const damaged = baash("verify", ledger.dir);
    expect(damaged.exitCode).toBe(EXIT.failed);
    expect(damaged.stdout).toContain(`damage: log/000000/${name}, byte 256 (slot 1)`);
    const info = baash("info", ledger.dir, "--json");
    expect(info.exitCode).toBe(EXIT.failed);
    expect(info.stderr).toContain(name);
    writeFileSync(file, bytes);
  });

  test("verify --journal: 1 when something acknowledged is missing", () => {
    const file = join(root, "journal");
    writeFileSync(file, Buffer.concat([ledger.executed[0].id, Uint8Array.of(2)]));
    expect(baash("verify", ledger.dir, "--journal", file).exitCode).toBe(EXIT.ok);
    writeFileSync(file, Buffer.alloc(33, 1));
    const { exitCode, stdout } = baash("verify", ledger.dir, "--journal", file);
    expect(exitCode).toBe(EXIT.failed);
    expect(stdout).toContain(`missing: ${"01".repeat(32)}`);
    expect(baash("verify", ledger.dir, "--journal", join(root, "no")).exitCode).toBe(EXIT.io);
  });

  test("info: head, members and sizes", () => {
    const { exitCode, stdout } = baash("info", ledger.dir, "--json");
    expect(exitCode).toBe(EXIT.ok);
    const facts = JSON.parse(stdout);
    expect(facts.head).toMatchObject({ slot: 1, kind: "QUORUM", settledRound: 1 });
    expect(facts.epochs[0].members.length).toBe(4);
    expect(facts.files.tailRecords).toBe(2);
    expect(baash("info", ledger.dir).stdout).toContain("rank 3  host-3");
  });

  test("key: 1 while the key is missing, 0 once it lies where it is expected", () => {
    const missing = baash("key", ledger.dir, "--json");
    expect(missing.exitCode).toBe(EXIT.failed);
    expect(JSON.parse(missing.stdout)).toMatchObject({ usable: false, code: "LEDGER_KEY_MISSING" });
    const path = ledgerKeyPath(ledger.genesis.chainId, { XDG_CONFIG_HOME: root });
    expect(baash("key", ledger.dir, "--path").stdout).toBe(`${path}\n`);
    createLedgerKeyFile(path, ledger.ledgerKey.privateKey);
    expect(baash("key", ledger.dir).exitCode).toBe(EXIT.ok);
  });
});

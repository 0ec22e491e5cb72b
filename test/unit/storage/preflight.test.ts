/** The look at where a ledger is to be: what it refuses, and that it leaves nothing behind. */
import { describe, expect, test } from "bun:test";
import { preflight } from "../../../src/storage/preflight.ts";
import { SimulatedDisk } from "../../../src/storage/simulated-disk.ts";
import {
  codeOf,
  genesisFile,
  newDisk,
  newIncarnation,
  newLedgerDisk,
  ROOT,
} from "../../support/simulated-ledger.ts";

async function look(disk: SimulatedDisk, root: string, options: { force?: boolean } = {}) {
  const before = disk.files();
  const unique = `${newIncarnation()}-0`;
  const result = preflight(disk.host("a"), root, { unique, ...options });
  await result.catch(() => {});
  disk.fault = undefined;
  expect(disk.files()).toEqual(before);
  return result;
}

describe("preflight", () => {
  test("a ledger, an empty directory, and a path that is yet to be made", async () => {
    const disk = await newLedgerDisk(1);
    expect(await look(disk, ROOT)).toEqual({
      isLedger: true,
      genesis: genesisFile(),
      fileSystem: "ext",
    });
    await disk.host("a").makeDirectory("/empty");
    for (const root of ["/empty", "/empty/deep/ledger", "/new"]) {
      expect(await look(disk, root)).toMatchObject({ isLedger: false, fileSystem: "ext" });
    }
  });

  test("foreign directories, files, and paths below files", async () => {
    const disk = newDisk(1);
    const host = disk.host("a");
    await host.makeDirectory("/foreign");
    await host.writeExclusive("/foreign/thesis.tex", [new Uint8Array(3)]);
    expect(await codeOf(look(disk, "/foreign"))).toBe("NOT_A_LEDGER");
    expect(await codeOf(look(disk, "/foreign/thesis.tex"))).toBe("PREFLIGHT_NO_DIRECTORY");
    expect(await codeOf(look(disk, "/foreign/thesis.tex/a/b"))).toBe("PREFLIGHT_NO_DIRECTORY");
  });

  test("what cannot be written, whatever the reason", async () => {
    for (const code of ["EROFS", "EACCES", "EDQUOT", "ENOSPC"]) {
      const disk = newDisk(1);
      disk.fault = ({ step }) => (step === "makeDirectory" ? { code } : undefined);
      const refused = look(disk, "/a/ledger");
      expect(await codeOf(refused)).toBe("PREFLIGHT_UNWRITABLE");
      await expect(refused).rejects.toThrow(code);
    }
  });

  test("memory, unless it is wanted", async () => {
    const disk = new SimulatedDisk({ random: () => 0, type: "tmpfs" });
    expect(await codeOf(look(disk, "/a/ledger"))).toBe("PROBE_VOLATILE");
    expect(await look(disk, "/a/ledger", { force: true })).toMatchObject({ fileSystem: "tmpfs" });
  });

  test("a ledger of another version", async () => {
    const disk = newDisk(1);
    await disk.host("a").makeDirectory(ROOT);
    await disk.host("a").writeExclusive(`${ROOT}/genesis`, [genesisFile({ version: 0 })]);
    expect(await codeOf(look(disk, ROOT))).toBe("STORAGE_VERSION");
  });
});

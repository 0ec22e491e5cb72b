/** Making and opening ledgers, the probe, and bit rot in genesis and segments. */
import { describe, expect, test } from "bun:test";
import { fold } from "../../../src/storage/folding.ts";
import {
  adoptLedger,
  checkGenesisFile,
  createLedger,
  inspectDirectory,
  openLedger,
} from "../../../src/storage/ledger-directory.ts";
import { leaveMark, lookForMark, probe, removeMark } from "../../../src/storage/probe.ts";
import { Publisher } from "../../../src/storage/publisher.ts";
import {
  type DiskFault,
  type DiskStep,
  SimulatedDisk,
} from "../../../src/storage/simulated-disk.ts";
import {
  codeOf,
  genesisFile,
  grow,
  newDisk,
  newIncarnation,
  newLedgerDisk,
  openLog,
  ROOT,
  replay,
} from "../../support/simulated-ledger.ts";
import { ZERO_HASH } from "../../support/toy-record.ts";

function publisherOn(disk: SimulatedDisk, host = "a"): Publisher {
  return new Publisher(disk.host(host), newIncarnation());
}

describe("genesis", () => {
  test("of many that make a ledger at once one does, and all get its genesis", async () => {
    const disk = newDisk(3);
    const results = await Promise.all(
      Array.from({ length: 5 }, (_, i) =>
        createLedger(publisherOn(disk, `h${i}`), ROOT, genesisFile({ nonce: i })),
      ),
    );
    const winners = results.filter((result) => result.created);
    expect(winners.length).toBe(1);
    for (const { genesis } of results) expect(genesis).toEqual(winners[0].genesis);
  });

  test("crashed at every step: made again, or there and durable", async () => {
    const quiet = newDisk(0);
    await createLedger(publisherOn(quiet), ROOT, genesisFile());
    for (let at = 0; at < quiet.steps; at++) {
      for (let seed = 0; seed < 8; seed++) {
        const disk = newDisk(seed + 10 * at);
        disk.fault = ({ number }) => (number === at ? { crash: "power" } : undefined);
        const made = createLedger(publisherOn(disk), ROOT, genesisFile({ nonce: 1 }));
        await Promise.race([made, disk.powerLost()]);
        disk.fault = undefined;
        await createLedger(publisherOn(disk, "b"), ROOT, genesisFile({ nonce: 2 }));
        disk.losePower();
        await openLedger(disk.host("c"), ROOT);
        const log = openLog(disk.host("c"));
        await grow(log, 2);
        disk.losePower();
        expect((await replay(openLog(disk.host("d")))).payloads.length).toBe(2);
      }
    }
  });

  test("what a maker that failed or died left behind is durable before it is built on", async () => {
    const quiet = newDisk(0);
    await createLedger(publisherOn(quiet), ROOT, genesisFile());
    const faults: DiskFault[] = [
      { code: "EIO" },
      { code: "EIO", happens: true },
      { crash: "host" },
    ];
    for (let at = 0; at < quiet.steps; at++) {
      for (const fault of faults) {
        for (let seed = 0; seed < 4; seed++) {
          const disk = newDisk(seed + 10 * at);
          const died = new Promise<void>((resolve) => {
            disk.onCrash = () => resolve();
          });
          disk.fault = ({ number }) => (number === at ? fault : undefined);
          const made = createLedger(publisherOn(disk), ROOT, genesisFile({ nonce: 1 }));
          await Promise.race([made.catch(() => {}), died]);
          disk.fault = undefined;
          const { created } = await createLedger(
            publisherOn(disk, "b"),
            ROOT,
            genesisFile({ nonce: 2 }),
          );
          if (!created) await adoptLedger(disk.host("b"), ROOT);
          disk.losePower();
          await openLedger(disk.host("c"), ROOT);
        }
      }
    }
  });

  test("a foreign directory is refused with exit 78 and left as it was", async () => {
    const disk = newDisk(1);
    const host = disk.host("a");
    await host.makeDirectory(ROOT);
    await host.writeExclusive(`${ROOT}/thesis.tex`, [new Uint8Array(3)]);
    const refused = { code: "NOT_A_LEDGER", exitCode: 78 };
    await expect(createLedger(publisherOn(disk), ROOT, genesisFile())).rejects.toMatchObject(
      refused,
    );
    await expect(openLedger(host, ROOT)).rejects.toMatchObject(refused);
    expect(disk.files()).toEqual([`${ROOT}/thesis.tex`]);
  });

  test("opening makes nothing, and misses what is missing", async () => {
    const disk = newDisk(1);
    expect(await inspectDirectory(disk.host("a"), ROOT)).toBe("absent");
    expect(await codeOf(openLedger(disk.host("a"), ROOT))).toBe("NO_LEDGER");
    expect(disk.files()).toEqual([]);
    const ledger = await newLedgerDisk(1);
    await ledger.host("a").removeDirectory(`${ROOT}/log`);
    expect(await codeOf(openLedger(ledger.host("a"), ROOT))).toBe("STORAGE_ROLLED_BACK");
  });

  test("a lost genesis over a log that is there is not made anew", async () => {
    const disk = await newLedgerDisk(1);
    await grow(openLog(disk.host("a")), 1);
    await disk.host("a").unlink(`${ROOT}/genesis`);
    const again = createLedger(publisherOn(disk), ROOT, genesisFile());
    expect(await codeOf(again)).toBe("STORAGE_ROLLED_BACK");
  });

  test("other versions are refused, any flipped bit of the JSON or its digest is noticed", () => {
    for (const version of [0, 2]) {
      expect(() => checkGenesisFile(genesisFile({ version }), "g")).toThrow("format version");
    }
    const good = genesisFile();
    const end = new TextDecoder().decode(good).indexOf("ed25519");
    for (let byte = 0; byte < end; byte++) {
      const bad = good.slice();
      bad[byte] ^= 1 << (byte % 8);
      expect(() => checkGenesisFile(bad, "g")).toThrow(/damaged/);
    }
  });
});

describe("probe", () => {
  async function probeWith(fault: (step: DiskStep) => DiskFault | undefined, type = "ext") {
    const disk = new SimulatedDisk({ random: () => 0, type });
    await disk.host("a").makeDirectory(ROOT);
    disk.fault = fault;
    const code = await codeOf(probe(publisherOn(disk), ROOT));
    disk.fault = undefined;
    expect(disk.files()).toEqual([]);
    return code;
  }

  test("accepts what keeps its promises, refuses what does not, leaves nothing behind", async () => {
    expect(await probeWith(() => undefined)).toBe("no error");
    expect(await probeWith(() => undefined, "tmpfs")).toBe("PROBE_VOLATILE");
    const failing = (wanted: string, code: string) => (step: DiskStep) =>
      step.step === wanted ? { code } : undefined;
    expect(await probeWith(failing("create", "EROFS"))).toBe("PROBE_READ_ONLY");
    expect(await probeWith(failing("create", "EACCES"))).toBe("PROBE_READ_ONLY");
    expect(await probeWith(failing("link", "EOPNOTSUPP"))).toBe("PROBE_BROKEN_PROMISE");
    expect(await probeWith(failing("syncDirectory", "EINVAL"))).toBe("PROBE_BROKEN_PROMISE");
    // What may pass is not a broken promise: the job may be started again.
    expect(await probeWith(failing("syncFile", "EIO"))).toBe("STORAGE_IO");
    expect(await probeWith(failing("write", "ENOSPC"))).toBe("STORAGE_FULL");
    expect(await probeWith(failing("create", "ESTALE"))).toBe("STORAGE_GONE");
  });

  test("a link that is not exclusive is refused", async () => {
    const disk = newDisk(1);
    const host = disk.host("a");
    await host.makeDirectory(ROOT);
    const plain = host.link.bind(host);
    host.link = async (from, to) => {
      await host.unlink(to).catch(() => {});
      await plain(from, to);
    };
    const refused = probe(new Publisher(host, newIncarnation()), ROOT);
    expect(await codeOf(refused)).toBe("PROBE_BROKEN_PROMISE");
  });

  test("a file and a missing directory are refused, tmpfs is taken with force", async () => {
    const disk = new SimulatedDisk({ random: () => 0, type: "tmpfs" });
    await disk.host("a").makeDirectory(ROOT);
    await disk.host("a").writeExclusive("/file", []);
    expect(await codeOf(probe(publisherOn(disk), "/file"))).toBe("PROBE_NOT_A_DIRECTORY");
    expect(await codeOf(probe(publisherOn(disk), "/none"))).toBe("PROBE_ABSENT");
    expect((await probe(publisherOn(disk), ROOT, { force: true })).type).toBe("tmpfs");
  });

  test("a second host looks for the mark of the first", async () => {
    const disk = await newLedgerDisk(1);
    const name = await leaveMark(publisherOn(disk), ROOT);
    await lookForMark(disk.host("b"), ROOT, name);
    await removeMark(disk.host("a"), ROOT, name);
    expect(await codeOf(lookForMark(disk.host("b"), ROOT, name))).toBe("PROBE_NOT_SHARED");
  });
});

test("any flipped bit of a segment is noticed before use", async () => {
  const disk = await newLedgerDisk(1);
  const log = openLog(disk.host("a"));
  await grow(log, 5);
  await fold(log, { segment: 0, prevHash: ZERO_HASH });
  const path = `${ROOT}/segments/000000`;
  const { length } = await disk.host("a").readFile(path);
  for (let byte = 0; byte < length; byte++) {
    disk.flipBit(path, byte, byte % 8);
    expect(await codeOf(replay(openLog(disk.host("b"))))).toBe("STORAGE_DAMAGED");
    disk.flipBit(path, byte, byte % 8);
  }
  expect((await replay(openLog(disk.host("b")))).payloads.length).toBe(5);
});

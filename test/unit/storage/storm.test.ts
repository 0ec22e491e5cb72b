/**
 * A storm on the simulated disk: several hosts append, adopt and fold at once while writes fail,
 * hosts die and power goes. Whatever anybody called final must be the same for all and stay.
 * One seed is one run: a failure names it.
 */
import { expect, test } from "bun:test";
import { BaashError } from "../../../src/base/errors.ts";
import { Random } from "../../../src/base/random.ts";
import { finishFolding, fold } from "../../../src/storage/folding.ts";
import { type DiskFault, randomFaults } from "../../../src/storage/simulated-disk.ts";
import { newLedgerDisk, openLog, replay, SEGMENT_RECORDS } from "../../support/simulated-ledger.ts";
import { payloadOf, toyRecord, ZERO_HASH } from "../../support/toy-record.ts";

const HOSTS = ["a", "b", "c"];
const SLOTS = 20;
const STORMS = 60;

test("what was final once is final for all, through crashes, power loss and folds", async () => {
  let crashes = 0;
  for (let seed = 1; seed <= STORMS; seed++) {
    try {
      crashes += await storm(seed);
    } catch (error) {
      throw new Error(`storm ${seed}: ${String(error)}`, { cause: error });
    }
  }
  expect(crashes).toBeGreaterThan(STORMS);
}, 60_000);

async function storm(seed: number): Promise<number> {
  const disk = await newLedgerDisk(seed);
  const random = new Random(seed, 7);
  const chance = () => random.nextFloat();
  const final = new Map<number, string>();
  let crashes = 0;
  let finish: () => void = () => {};
  let fail: (error: unknown) => void = () => {};
  const finished = new Promise<void>((resolve, reject) => {
    finish = resolve;
    fail = reject;
  });

  const noteFinal = (slot: number, payload: string) => {
    expect(final.get(slot) ?? payload).toBe(payload);
    final.set(slot, payload);
  };

  /** One life of one host: recover, then take part until the log is long enough. */
  const live = async (host: string): Promise<void> => {
    const log = openLog(disk.host(host));
    await finishFolding(log);
    const { recovered, payloads } = await replay(log);
    payloads.forEach((payload, slot) => {
      noteFinal(slot, payload);
    });
    let { hash } = recovered;
    const firsts = new Map<number, Uint8Array>([[0, ZERO_HASH]]);
    for (let slot = recovered.slot + 1; slot < SLOTS; slot++) {
      if (slot % SEGMENT_RECORDS === 0) firsts.set(slot / SEGMENT_RECORDS, hash);
      const record = toyRecord(slot, hash, `${host} ${crashes} ${slot}`);
      const result = await log.append(record);
      if (result.outcome === "unknown") throw result.error;
      if (result.outcome === "won") {
        noteFinal(slot, payloadOf((await log.child(record))!));
        hash = record.hash;
      } else {
        const adopted = await log.adopt({ slot, prevHash: hash });
        // Void, or taken back by a loss of power that killed us as well: look from the start.
        if (adopted === undefined) throw new BaashError("STORAGE_UNKNOWN", "it went");
        noteFinal(slot, payloadOf(adopted.bytes));
        hash = adopted.hash;
      }
      const segment = Math.floor(slot / SEGMENT_RECORDS) - 1;
      const first = firsts.get(segment);
      if (first !== undefined && chance() < 0.3) await fold(log, { segment, prevHash: first });
    }
    finish();
  };

  const coded = new Set(["STORAGE_IO", "STORAGE_FULL", "STORAGE_UNKNOWN", "EIO", "ENOSPC"]);
  const start = (host: string): void => {
    live(host).catch((error) => {
      // A coded error ends this life of the host, as it would end a rank.
      if (!coded.has((error as { code?: string }).code ?? "")) return fail(error);
      start(host);
    });
  };

  const faults = randomFaults(chance, { eio: 0.02, enospc: 0.01 });
  disk.fault = (step): DiskFault | undefined => {
    const happens = chance() < 0.5;
    const roll = chance();
    if (roll < 0.003) {
      crashes++;
      return { crash: "power", happens };
    }
    if (roll < 0.01) {
      crashes++;
      return { crash: "host", happens };
    }
    return faults(step);
  };
  disk.onCrash = (host) => {
    if (HOSTS.includes(host)) start(host);
  };
  HOSTS.forEach(start);
  await finished;
  disk.fault = undefined;
  disk.onCrash = undefined;
  disk.losePower();
  const { payloads } = await replay(openLog(disk.host("z")));
  expect(payloads.length).toBe(SLOTS);
  for (const [slot, payload] of final) expect(payloads[slot]).toBe(payload);
  return crashes;
}

/** A disk that takes ten seconds a step: turns overlap, races are lost, and nothing comes of it. */
import { expect, test } from "bun:test";
import { Random } from "../../../src/base/random.ts";
import { VirtualClock } from "../../../src/simulation/virtual-clock.ts";
import { SimulatedDisk } from "../../../src/storage/simulated-disk.ts";
import { ServiceWriter } from "../../support/service-ledger.ts";

const SLOW_MS = 10_000;
const RECORDS = 6;
const HOSTS = ["a", "b", "c"];

/** All time passes at once: whatever the disk delays, the clock runs on to it. */
function newWorld(seed: number) {
  const clock = new VirtualClock();
  const random = new Random(seed);
  const disk = new SimulatedDisk({
    random: () => random.nextFloat(),
    clock: {
      now: () => clock.now(),
      schedule: (delayMs, action) => clock.after(delayMs, action),
    },
  });
  const run = async <T>(work: Promise<T>): Promise<T> => {
    let isDone = false;
    const ended = work.finally(() => {
      isDone = true;
    });
    ended.catch(() => {});
    // Nothing is due before the first promises have gone on.
    while (!isDone) {
      await clock.run(clock.now() + 100_000, () => isDone);
      await new Promise((resolve) => setImmediate(resolve));
    }
    return await ended;
  };
  return { clock, random, disk, run };
}

test("three writers by turn, each step late by up to ten seconds: one chain, the same for all", async () => {
  let races = 0;
  for (let seed = 0; seed < 12; seed++) {
    const { clock, random, disk, run } = newWorld(seed);
    const start = (host: string) =>
      ServiceWriter.start(disk.host(host), { now: () => clock.now() });
    const writers: ServiceWriter[] = [];
    for (const host of HOSTS) writers.push(await run(start(host)));
    disk.fault = ({ step }) => ({
      delayMs: ["syncFile", "syncDirectory", "write"].includes(step)
        ? random.nextFloat() * SLOW_MS
        : random.nextFloat(),
    });
    const work = writers.map(async (writer, place) => {
      while (writer.slot + 1 < RECORDS) {
        // Who steps in for another waits by its place, and reads first; the disk is slower than that.
        await new Promise<void>((resolve) => clock.after(500 * place, resolve));
        await writer.follow();
        if (writer.slot + 1 >= RECORDS) return;
        if (!(await writer.append()).won) await writer.follow();
      }
    });
    await run(Promise.all(work));
    for (const writer of writers) {
      races += (await writer.service.counters()).lostRaces;
      expect(writer.hashes.slice(0, RECORDS)).toEqual(writers[0].hashes.slice(0, RECORDS));
    }
    expect(disk.files().filter((path) => path.endsWith(".tmp"))).toEqual([]);
    disk.fault = undefined;
    disk.losePower();
    const next = await run(start("z"));
    expect(next.hashes.slice(0, RECORDS)).toEqual(writers[0].hashes.slice(0, RECORDS));
  }
  expect(races).toBeGreaterThan(12);
}, 30_000);

test("a call that does not come back shows, and is forgotten when it does", async () => {
  const { clock, disk, run } = newWorld(1);
  const writer = await run(ServiceWriter.start(disk.host("a"), { now: () => clock.now() }));
  await run(writer.append());
  disk.fault = ({ step }) => (step === "syncFile" ? { delayMs: 60_000 } : undefined);
  const hanging = writer.append();
  const at = clock.now();
  await clock.run(at + 9_000, () => false);
  expect((await writer.service.health()).available).toBe(true);
  await clock.run(at + 25_000, () => false);
  const health = await writer.service.health();
  expect(health).toMatchObject({ available: false, lastError: { code: "STORAGE_HANGS" } });
  expect(health.sinceMs).toBeGreaterThan(20_000);
  expect((await run(hanging)).won).toBe(true);
  expect((await writer.service.health()).available).toBe(true);
});

/** The log on a real directory: racing processes, a folder among them, and what is left behind. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fold } from "../../src/storage/folding.ts";
import { createLedger } from "../../src/storage/ledger-directory.ts";
import { NodeFileOps } from "../../src/storage/node-file-ops.ts";
import { Publisher } from "../../src/storage/publisher.ts";
import { walk } from "../../src/storage/recovery.ts";
import { genesisFile, openLog, replay } from "../support/simulated-ledger.ts";
import { payloadOf, ZERO_HASH } from "../support/toy-record.ts";

const SLOTS = 40;
const SEGMENT_RECORDS = 8;
const PROCESSES = 4;
const ops = new NodeFileOps();
let directory = "";

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "baash-race-"));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

async function newLedger(name: string): Promise<string> {
  const root = join(directory, name);
  const publisher = new Publisher(ops, "00000000000000aa");
  await createLedger(publisher, root, genesisFile(), { force: true });
  return root;
}

function startAppender(root: string, number: number) {
  const incarnation = (number + 1).toString(16).padStart(16, "0");
  const script = join(import.meta.dir, "../support/appender.ts");
  const args = [root, incarnation, String(SLOTS), String(SEGMENT_RECORDS)];
  return Bun.spawn([process.execPath, script, ...args], { stdout: "pipe", stderr: "inherit" });
}

test("racing processes: each slot has one winner, and all of them one chain", async () => {
  const root = await newLedger("race");
  const processes = Array.from({ length: PROCESSES }, (_, i) => startAppender(root, i));
  // A reader folds behind them, as soon as a segment is full.
  const folder = openLog(ops, root, SEGMENT_RECORDS);
  let folded = 0;
  const allDone = Promise.all(processes.map((child) => child.exited));
  let running = true;
  void allDone.then(() => {
    running = false;
  });
  while (running) {
    const segment = folded;
    const first = await hashBefore(root, segment * SEGMENT_RECORDS);
    if (first !== undefined) {
      const result = await fold(folder, { segment, prevHash: first });
      if (result.outcome === "folded") folded++;
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(await allDone).toEqual(processes.map(() => 0));
  const won: number[][] = [];
  for (const child of processes) won.push(JSON.parse(await new Response(child.stdout).text()));
  const slots = won.flat().sort((a, b) => a - b);
  expect(slots).toEqual(Array.from({ length: SLOTS }, (_, slot) => slot));
  const { payloads, recovered } = await replay(openLog(ops, root, SEGMENT_RECORDS));
  expect(recovered.slot).toBe(SLOTS - 1);
  for (const [process, mine] of won.entries()) {
    const name = (process + 1).toString(16).padStart(16, "0");
    for (const slot of mine) expect(payloads[slot]).toBe(`${name} ${slot}`);
  }
}, 60_000);

/** The parent's hash of a slot, as far as the chain goes. */
async function hashBefore(root: string, slot: number): Promise<Uint8Array | undefined> {
  let hash: Uint8Array = ZERO_HASH;
  let reached = 0;
  const log = openLog(ops, root, SEGMENT_RECORDS);
  if (slot === 0) return hash;
  for await (const record of walk(log, { slot: 0, prevHash: ZERO_HASH })) {
    hash = record.hash;
    reached = record.slot + 1;
    if (reached === slot) return hash;
  }
  return undefined;
}

test("killed appenders leave a chain and temporary files, nothing else", async () => {
  const root = await newLedger("kill");
  const victim = startAppender(root, 0);
  const log = openLog(ops, root, SEGMENT_RECORDS);
  const place = { slot: 5, prevHash: undefined as Uint8Array | undefined };
  while (place.prevHash === undefined) {
    place.prevHash = await hashBefore(root, place.slot);
    await new Promise((resolve) => setImmediate(resolve));
  }
  victim.kill("SIGKILL");
  await victim.exited;
  const { payloads, recovered } = await replay(log);
  expect(recovered.slot).toBeGreaterThanOrEqual(4);
  payloads.forEach((payload, slot) => {
    expect(payload).toBe(`0000000000000001 ${slot}`);
  });
  const next = startAppender(root, 1);
  expect(await next.exited).toBe(0);
  const after = await replay(openLog(ops, root, SEGMENT_RECORDS));
  expect(after.recovered.slot).toBe(SLOTS - 1);
  expect(after.payloads.slice(0, payloads.length)).toEqual(payloads);
}, 60_000);

test("blocks in shared memory are written as they are", async () => {
  const root = await newLedger("shared");
  const shared = new Uint8Array(new SharedArrayBuffer(1 << 20));
  for (let i = 0; i < shared.length; i++) shared[i] = i * 7;
  const log = openLog(ops, root);
  const { toyRecord } = await import("../support/toy-record.ts");
  const record = toyRecord(0, ZERO_HASH, shared);
  expect((await log.append(record)).outcome).toBe("won");
  const found = await openLog(ops, root).adopt({ slot: 0, prevHash: ZERO_HASH });
  expect(found?.hash).toEqual(record.hash);
  expect(payloadOf(found!.bytes).length).toBeGreaterThan(0);
});

/** The driver through a client's connection: a real socket, a ledger in memory behind it. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LedgerClient } from "../../../src/client/client.ts";
import { Intake } from "../../../src/gateway/intake.ts";
import {
  JOURNAL_ENTRY_BYTES,
  JOURNAL_LEVEL,
} from "../../../src/workload/acknowledgement-journal.ts";
import { ClientService } from "../../../src/workload/client-service.ts";
import { LoadDriver, type LoadDriverOptions } from "../../../src/workload/driver.ts";
import { createWorkload, driverSettings } from "../../../src/workload/driver-settings.ts";
import { Measurements, MergedResult } from "../../../src/workload/measurements.ts";
import { Sender } from "../../../src/workload/operation.ts";
import { mergeProperties } from "../../../src/workload/properties.ts";
import { buildWorkloadConfig, type WorkloadConfig } from "../../../src/workload/workload-config.ts";
import { MemoryService } from "../../support/memory-service.ts";

let root = "";
let memory: MemoryService;
let intake: Intake;
let client: LedgerClient;
let service: ClientService;
const lost: Error[] = [];
const sender = new Sender(crypto.getRandomValues(new Uint8Array(6)));

async function start(slots?: number): Promise<void> {
  memory = new MemoryService(slots === undefined ? {} : { slots });
  intake = new Intake({ path: join(root, "intake.sock"), service: memory });
  client = await LedgerClient.connect(intake.path, { reconnectMs: 0 });
  service = new ClientService(client, (error) => lost.push(error));
}

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), "baash-client-"));
  lost.length = 0;
  await start();
});
afterEach(() => {
  client.close();
  intake.close();
  rmSync(root, { recursive: true, force: true });
});

function configure(...assignments: string[]): WorkloadConfig {
  return buildWorkloadConfig(mergeProperties([], assignments), () => "");
}

async function driver(
  config: WorkloadConfig,
  phase: "load" | "run",
  extra: Partial<LoadDriverOptions> = {},
): Promise<LoadDriver> {
  const treasury = await service.balance(0);
  return new LoadDriver(service, {
    ...driverSettings(config, { rank: 0, ranks: 1, prepares: phase === "load" }),
    workload: createWorkload({ config, phase, rank: 0, ranks: 1, sender, treasury }),
    measurements: new Measurements({ interval: "intended", latencyForEachError: false }),
    phase,
    ...extra,
  });
}

async function drive(...args: Parameters<typeof driver>): Promise<MergedResult> {
  return MergedResult.of([await (await driver(...args)).run()]);
}

const MIX = [
  "recordcount=200",
  "fieldlength=20",
  "readproportion=0.3",
  "updateproportion=0.2",
  "insertproportion=0.1",
  "scanproportion=0.1",
  "maxscanlength=20",
  "readmodifywriteproportion=0.3",
];

describe("a workload through a client", () => {
  test("operations of all kinds are answered, reads apart, writes at both levels", async () => {
    const config = configure(...MIX, "operationcount=1000", "dataintegrity=true");
    const loaded = await drive(config, "load");
    expect(loaded.results).toEqual({ INSERT: { OK: 200 } });
    expect(memory.state.size().records).toBe(200);
    const { counters, results, histograms } = await drive(config, "run");
    expect(counters.operations).toBe(1000);
    for (const outcomes of Object.values(results)) expect(Object.keys(outcomes)).toEqual(["OK"]);
    const count = (name: string) => results[name].OK;
    const modified = count("READ-MODIFY-WRITE");
    expect(counters.transactions).toBe(count("UPDATE") + count("INSERT") + modified);
    expect(counters.reads).toBe(count("READ") + count("SCAN"));
    expect(count("READ")).toBeGreaterThan(modified);
    for (const level of ["agreed", "final"]) {
      const histogram = histograms.get(`READ-MODIFY-WRITE|${level}|intended`);
      expect(histogram?.totalCount).toBe(modified);
    }
  });

  test("the journal holds what was acknowledged, at both levels", async () => {
    const config = configure(...MIX, "operationcount=300");
    const entries: Uint8Array[] = [];
    const journal = (bytes: Uint8Array) => void entries.push(bytes.slice());
    const { counters } = await drive(config, "load", { journal });
    const bytes = Buffer.concat(entries);
    const levels: Record<number, Set<string>> = { 1: new Set(), 2: new Set() };
    for (let at = 0; at < bytes.length; at += JOURNAL_ENTRY_BYTES) {
      levels[bytes[at + 32]].add(bytes.toString("hex", at, at + 32));
    }
    expect(levels[JOURNAL_LEVEL.AGREED].size).toBe(counters.transactions);
    expect(levels[JOURNAL_LEVEL.FINAL]).toEqual(levels[JOURNAL_LEVEL.AGREED]);
  });

  test("a window larger than the rank's queue costs retries, no transaction", async () => {
    client.close();
    intake.close();
    await start(16);
    const config = configure("recordcount=500", "fieldcount=1", "baash.window=400");
    const { results } = await drive(config, "load");
    expect(results).toEqual({ INSERT: { OK: 500 } });
    expect((await client.stats()).retried).toBeGreaterThan(0);
  });

  test("transfers start from what account 0 holds, and conserve it", async () => {
    const config = configure("workload=transfers", "baash.accounts=50", "operationcount=500");
    await drive(config, "load");
    expect(memory.balance(7)).toBe(1_000_000 / 50);
    const { counters } = await drive(config, "run");
    expect(counters.operations).toBe(500);
    expect(memory.state.total()).toBe(1_000_000);
  });

  test("what is still open when the connection is lost for good is reported", async () => {
    const config = configure(...MIX, "operationcount=100");
    memory.isAutomatic = false;
    const load = await driver(config, "load");
    const running = load.run();
    while (memory.submitted === 0) await client.stats();
    intake.close();
    while (lost.length === 0) await new Promise((resolve) => setImmediate(resolve));
    load.abandon();
    const { results } = await running;
    expect(results).toEqual({ INSERT: { UNANSWERED: load.progress().done } });
  });
});

import { describe, expect, test } from "bun:test";
import { OUTCOME } from "../../../src/ledger/receipt.ts";
import { SUBMIT, type TransactionBatch } from "../../../src/ledger/service.ts";
import {
  JOURNAL_ENTRY_BYTES,
  JOURNAL_LEVEL,
} from "../../../src/workload/acknowledgement-journal.ts";
import { LoadDriver, type LoadDriverOptions } from "../../../src/workload/driver.ts";
import { createWorkload, driverSettings } from "../../../src/workload/driver-settings.ts";
import { Measurements, MergedResult } from "../../../src/workload/measurements.ts";
import { Sender } from "../../../src/workload/operation.ts";
import { mergeProperties } from "../../../src/workload/properties.ts";
import { buildWorkloadConfig, type WorkloadConfig } from "../../../src/workload/workload-config.ts";
import { MemoryLedger, VirtualClock } from "./memory-ledger.ts";

function configure(...assignments: string[]): WorkloadConfig {
  return buildWorkloadConfig(mergeProperties([], assignments), () => "");
}

/** One for all: as for the phases of a rank. */
const sender = new Sender(crypto.getRandomValues(new Uint8Array(6)));

function build(
  config: WorkloadConfig,
  ledger: MemoryLedger,
  phase: "load" | "run",
  extra: Partial<LoadDriverOptions> = {},
) {
  const measurements = new Measurements({
    interval: config["measurement.interval"],
    latencyForEachError: config.reportlatencyforeacherror,
  });
  const driver = new LoadDriver(ledger, {
    ...driverSettings(config, { rank: 0, ranks: 1, prepares: phase === "load" }),
    workload: createWorkload({
      config,
      phase,
      rank: 0,
      ranks: 1,
      sender,
      treasury: ledger.balance(0),
    }),
    measurements,
    phase,
    clock: new VirtualClock(ledger),
    ...extra,
  });
  return { driver, measurements };
}

async function drive(
  config: WorkloadConfig,
  ledger: MemoryLedger,
  phase: "load" | "run",
  extra: Partial<LoadDriverOptions> = {},
) {
  return MergedResult.of([await build(config, ledger, phase, extra).driver.run()]);
}

describe("load phase", () => {
  test("inserts each record once, through a queue that keeps filling up", async () => {
    const ledger = new MemoryLedger(64);
    ledger.perRound = 10;
    const config = configure(
      "recordcount=500",
      "insertstart=100",
      "fieldcount=3",
      "fieldlength=20",
    );
    const result = await drive(config, ledger, "load");
    expect(ledger.records.size).toBe(400);
    expect(ledger.refused).toBeGreaterThan(0);
    expect(result.counters.refusals).toBe(ledger.refused);
    // Back-pressure repeats bytes: nothing was accepted twice.
    expect(ledger.accepted).toBe(400);
    expect(result.results).toEqual({ INSERT: { OK: 400 } });
    expect(result.counters.transactions).toBe(400);
    for (const record of ledger.records.values()) {
      expect(Array.from(record.keys())).toEqual(["field0", "field1", "field2"]);
      for (const value of record.values()) expect(value.length).toBe(20);
    }
  });

  test("ranks share the records without gap or overlap", async () => {
    const config = configure("recordcount=101", "insertorder=ordered", "fieldlength=4");
    const ledger = new MemoryLedger();
    for (let rank = 0; rank < 3; rank++) {
      const workload = createWorkload({
        config,
        phase: "load",
        rank,
        ranks: 3,
        sender,
        treasury: 0,
      });
      await drive(config, ledger, "load", { workload });
    }
    expect(ledger.records.size).toBe(101);
    expect(ledger.records.has("user100")).toBe(true);
    expect(ledger.accepted).toBe(101);
  });
});

describe("run phase", () => {
  async function loaded(config: WorkloadConfig): Promise<MemoryLedger> {
    const ledger = new MemoryLedger();
    await drive(config, ledger, "load");
    return ledger;
  }

  test("operations come in their proportions and all are answered", async () => {
    const config = configure(
      "recordcount=200",
      "operationcount=5000",
      "requestdistribution=zipfian",
      "dataintegrity=true",
      "maxscanlength=5",
      "readproportion=0.3",
      "updateproportion=0.3",
      "insertproportion=0.1",
      "scanproportion=0.1",
      "readmodifywriteproportion=0.2",
    );
    const ledger = await loaded(config);
    const { counters, results, histograms } = await drive(config, ledger, "run");
    expect(counters.operations).toBe(5000);
    expect(results.UPDATE.OK / 5000).toBeCloseTo(0.3, 1);
    expect(results.INSERT.OK / 5000).toBeCloseTo(0.1, 1);
    expect(results.SCAN.OK / 5000).toBeCloseTo(0.1, 1);
    // Reads of their own and those of the read-modify-writes; data was right each time.
    expect(results.READ.OK / 5000).toBeCloseTo(0.5, 1);
    for (const counted of Object.values(results)) expect(Object.keys(counted)).toEqual(["OK"]);
    expect(counters.transactions).toBe(
      results.UPDATE.OK + results.INSERT.OK + results["READ-MODIFY-WRITE"].OK,
    );
    expect(ledger.records.size).toBe(200 + results.INSERT.OK);
    expect(histograms.get("UPDATE|agreed|intended")?.totalCount).toBe(results.UPDATE.OK);
    expect(histograms.get("UPDATE|final|intended")?.totalCount).toBe(results.UPDATE.OK);
  });

  test.each(["uniform", "latest", "hotspot", "sequential", "exponential"])(
    "requests spread as %s ask for records that exist only",
    async (distribution) => {
      const config = configure(
        "recordcount=100",
        "operationcount=2000",
        "fieldlength=8",
        "readproportion=0.8",
        "updateproportion=0.1",
        "insertproportion=0.1",
        `requestdistribution=${distribution}`,
      );
      const { results } = await drive(config, await loaded(config), "run");
      expect(results.READ.NOT_FOUND).toBeUndefined();
      expect(results.UPDATE.NO_SUCH_KEY).toBeUndefined();
      expect(results.INSERT.OK).toBeGreaterThan(100);
    },
  );

  test("what a read finds wrong, a missing record and a missing key are failures by name", async () => {
    const config = configure(
      "recordcount=50",
      "operationcount=1000",
      "dataintegrity=true",
      "readproportion=0.5",
      "updateproportion=0.5",
      "requestdistribution=sequential",
      "reportlatencyforeacherror=true",
    );
    const ledger = await loaded(config);
    const names = Array.from(ledger.records.keys());
    ledger.records.delete(names[0]);
    for (const value of ledger.records.get(names[1])?.values() ?? []) value[3] ^= 1;
    const { results, histograms, counters } = await drive(config, ledger, "run");
    expect(results.READ.NOT_FOUND).toBeGreaterThan(0);
    expect(results.READ.UNEXPECTED_STATE).toBeGreaterThan(0);
    expect(results.UPDATE.NO_SUCH_KEY).toBeGreaterThan(0);
    expect(counters.operations).toBe(1000);
    expect(counters.transactions).toBe(results.UPDATE.OK);
    expect(histograms.get("UPDATE|NO_SUCH_KEY|intended")?.totalCount).toBe(
      results.UPDATE.NO_SUCH_KEY,
    );
  });

  test("expired transactions are made anew until they are in time", async () => {
    const config = configure(
      "recordcount=10",
      "operationcount=300",
      "readproportion=0",
      "updateproportion=1",
      "baash.validityrounds=3",
    );
    const ledger = await loaded(config);
    // 300 wait, 20 a round are taken: most wait longer than three rounds.
    ledger.perRound = 20;
    const chunks: Uint8Array[] = [];
    const result = await drive(config, ledger, "run", {
      journal: (entries) => chunks.push(entries.slice()),
    });
    expect(result.counters.retries).toBeGreaterThan(0);
    expect(result.results).toEqual({ UPDATE: { OK: 300 } });
    // Final entries of the journal: each was executed, and none is an expired one.
    const finals = new Set<string>();
    for (const entry of entriesOf(chunks)) {
      if (entry.level === JOURNAL_LEVEL.FINAL) finals.add(entry.id);
    }
    expect(finals.size).toBe(300);
    for (const id of finals) expect(ledger.outcomes.get(id)).toBe(OUTCOME.OK);
  });

  test("the journal holds each acknowledgement at both levels", async () => {
    const config = configure("recordcount=64", "fieldlength=4");
    const ledger = new MemoryLedger();
    const chunks: Uint8Array[] = [];
    await drive(config, ledger, "load", { journal: (entries) => chunks.push(entries.slice()) });
    const entries = entriesOf(chunks);
    for (const level of Object.values(JOURNAL_LEVEL)) {
      const ids = entries.filter((entry) => entry.level === level).map((entry) => entry.id);
      expect(new Set(ids)).toEqual(ledger.executed);
    }
  });

  test.each([
    [SUBMIT.MALFORMED, "MALFORMED"],
    [SUBMIT.WRONG_CHAIN, "WRONG_CHAIN"],
    [SUBMIT.SETTLED, "OVERDRAFT"],
  ])("a refusal at intake with status %d is a failure called %s", async (status, name) => {
    const config = configure("recordcount=40", "fieldlength=4");
    const ledger = new MemoryLedger();
    ledger.lookup = () => OUTCOME.OVERDRAFT;
    refuseEvery(ledger, 4, status);
    const { results, counters } = await drive(config, ledger, "load");
    expect(results).toEqual({ INSERT: { OK: 30, [name]: 10 } });
    expect(counters.operations).toBe(40);
  });

  test("what is too late at intake is made anew, and a stopping rank ends the phase", async () => {
    const config = configure("recordcount=40", "fieldlength=4");
    const late = new MemoryLedger();
    refuseEvery(late, 4, SUBMIT.EXPIRED);
    const { results, counters } = await drive(config, late, "load");
    expect(results).toEqual({ INSERT: { OK: 40 } });
    expect(counters.retries).toBeGreaterThan(9);
    const stopping = new MemoryLedger();
    refuseEvery(stopping, 1, SUBMIT.STOPPING);
    const ended = await drive(configure("recordcount=5000", "fieldlength=4"), stopping, "load");
    expect(Object.keys(ended.results.INSERT)).toEqual(["STOPPING"]);
    expect(ended.counters.operations).toBeLessThan(5000);
  });

  test("no more transactions wait for the acknowledgement than the window allows", async () => {
    for (const ack of ["agreed", "final"]) {
      const config = configure(
        "recordcount=10",
        "operationcount=400",
        "readproportion=0",
        "updateproportion=1",
        "threadcount=7",
        `baash.ack=${ack}`,
      );
      const ledger = await loaded(config);
      const { driver } = build(config, ledger, "run");
      let most = 0;
      const submit = ledger.submit.bind(ledger);
      ledger.submit = (...given) => {
        most = Math.max(most, driver.progress().outstanding);
        return submit(...given);
      };
      const result = await driver.run();
      expect(most).toBe(7);
      expect(result.counters.operations).toBe(400);
    }
  });
});

describe("schedule", () => {
  const updates = ["recordcount=10", "readproportion=0", "updateproportion=1"];

  test("the rate is kept", async () => {
    const config = configure(...updates, "operationcount=500", "target=1000");
    const ledger = new MemoryLedger();
    await drive(config, ledger, "load");
    const result = await drive(config, ledger, "run");
    expect(result.durationMs).toBeGreaterThan(498);
    expect(result.durationMs).toBeLessThan(510);
  });

  test("a stall is charged to every operation that should have started in it", async () => {
    const config = configure(...updates, "operationcount=1000", "target=1000", "threadcount=1");
    const ledger = new MemoryLedger();
    await drive(config, ledger, "load");
    const clock = new VirtualClock(ledger);
    clock.stall = [clock.time + 200, clock.time + 700];
    const { driver } = build(config, ledger, "run", { clock });
    const result = MergedResult.of([await driver.run()]);
    const latencies = result.histogram("UPDATE", "final", "intended");
    // One outstanding operation at a time met the stall, yet half of all waited because of it.
    expect(latencies?.getValueAtPercentile(90)).toBeGreaterThan(300_000);
    expect(latencies?.getValueAtPercentile(60)).toBeGreaterThan(50_000);
    expect(latencies?.maxValue).toBeGreaterThan(450_000);
  });

  test("measurement.interval=both tells latency from creation apart", async () => {
    const config = configure(
      ...updates,
      "operationcount=1000",
      "target=1000",
      "threadcount=1",
      "measurement.interval=both",
    );
    const ledger = new MemoryLedger();
    await drive(config, ledger, "load");
    const clock = new VirtualClock(ledger);
    clock.stall = [clock.time + 200, clock.time + 700];
    const result = MergedResult.of([await build(config, ledger, "run", { clock }).driver.run()]);
    expect(result.histogram("UPDATE", "final", "op")?.getValueAtPercentile(90)).toBeLessThan(5000);
    const intended = result.histogram("UPDATE", "final", "intended");
    expect(intended?.getValueAtPercentile(90)).toBeGreaterThan(300_000);
  });

  test("the time limit ends a phase without end, and a stop does", async () => {
    const config = configure(...updates, "operationcount=0", "maxexecutiontime=0.5", "target=2000");
    const ledger = new MemoryLedger();
    await drive(config, ledger, "load");
    const limited = await drive(config, ledger, "run");
    expect(limited.counters.operations).toBeGreaterThan(990);
    expect(limited.counters.operations).toBeLessThan(1010);
    const { driver } = build(config, ledger, "run", { timeLimitMs: 0 });
    const running = driver.run();
    while (driver.progress().done < 100) await Promise.resolve();
    driver.stop();
    const stopped = await running;
    expect(stopped.counters.operations).toBe(stopped.counters.transactions);
  });

  test("abandoning counts what is unanswered", async () => {
    const config = configure(...updates, "operationcount=50");
    const ledger = new MemoryLedger();
    await drive(config, ledger, "load");
    ledger.perRound = 0;
    const { driver } = build(config, ledger, "run");
    const running = driver.run();
    while (driver.progress().outstanding < 50) await Promise.resolve();
    driver.abandon();
    const result = await running;
    expect(result.results).toEqual({ UPDATE: { UNANSWERED: 50 } });
  });
});

describe("transfers", () => {
  test("the supply is spread, then moved about, and never changes", async () => {
    const config = configure(
      "workload=transfers",
      "baash.accounts=20",
      "baash.supply=2000",
      "baash.amount=90",
      "operationcount=1000",
    );
    const ledger = new MemoryLedger();
    ledger.balances.set(0, 2000);
    const load = await drive(config, ledger, "load");
    expect(load.results).toEqual({ TRANSFER: { OK: 19 } });
    expect(Array.from(ledger.balances.values())).toEqual(Array.from({ length: 20 }, () => 100));
    const result = await drive(config, ledger, "run");
    const { OK, OVERDRAFT } = result.results.TRANSFER;
    expect(OK + OVERDRAFT).toBe(1000);
    expect(OVERDRAFT).toBeGreaterThan(0);
    expect(result.failures("TRANSFER")).toBe(OVERDRAFT);
    const balances = Array.from(ledger.balances.values());
    expect(balances.reduce((sum, balance) => sum + balance, 0)).toBe(2000);
    expect(Math.min(...balances)).toBeGreaterThanOrEqual(0);
  });

  test("an account is paid from by one rank only, and all operations are shared out", () => {
    const config = configure("workload=transfers", "baash.accounts=5", "operationcount=100");
    const operation = { kind: 0, subject: 0, object: 0, amount: 0 };
    let total = 0;
    for (let rank = 0; rank < 7; rank++) {
      const workload = createWorkload({
        config,
        phase: "run",
        rank,
        ranks: 7,
        sender,
        treasury: 0,
      });
      total += workload.operations;
      for (let i = 0; i < workload.operations; i++) {
        workload.choose(operation);
        expect(operation.subject % 7).toBe(rank);
        expect(operation.object).not.toBe(operation.subject);
        expect(operation.object).toBeLessThan(5);
      }
    }
    expect(total).toBe(100);
  });
});

/** Gives every n-th transaction that comes this status instead of taking it. */
function refuseEvery(ledger: MemoryLedger, n: number, status: number): void {
  const submit = ledger.submit.bind(ledger);
  let seen = 0;
  ledger.submit = (owner, batch, from, statuses) => {
    for (let i = from; i < batch.count; i++) {
      if (++seen % n === 0) statuses[i] = status;
      else if (submit(owner, { ...viewOf(batch), count: i + 1 }, i, statuses) === i) return i;
    }
    return batch.count;
  };
}

/** The parts of a batch as an object that can be spread: its own may be getters. */
function viewOf({ bytes, spans, tags, times }: TransactionBatch) {
  return { bytes, spans, tags, times };
}

function entriesOf(chunks: Uint8Array[]): { id: string; level: number }[] {
  const bytes = Buffer.concat(chunks);
  expect(bytes.length % JOURNAL_ENTRY_BYTES).toBe(0);
  return Array.from({ length: bytes.length / JOURNAL_ENTRY_BYTES }, (_, i) => {
    const entry = bytes.subarray(i * JOURNAL_ENTRY_BYTES, (i + 1) * JOURNAL_ENTRY_BYTES);
    return { id: entry.toString("hex", 0, 32), level: entry[32] };
  });
}

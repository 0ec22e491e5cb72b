/** status.json and the metrics: what stands in them, and that a reader never sees half of it. */
import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { metricsText } from "../../../src/job/metrics-text.ts";
import { type JobStatus, StatusFile } from "../../../src/job/status-file.ts";

const directory = mkdtempSync(join(tmpdir(), "baash-status-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const FLUSH_MS = 30_000;

const member = (rank: number, suspected: boolean) => ({
  ...{ rank, process: 10 + rank, pid: 100 + rank, host: `node "${rank}"\\x` },
  ...{ incarnation: "00ff00ff00ff00ff", suspected, lastHeardMs: 250 * rank },
});

const STATUS: JobStatus = {
  ...{ at: 1_767_225_600_500, pid: 4711, process: 10, rank: 0, ranks: 3, state: "running" },
  chainId: "ab".repeat(16),
  epoch: { hash: "cd".repeat(32), slot: 40, number: 2 },
  members: [member(0, false), member(1, true), member(2, false)],
  ...{ slot: 57, settledRound: 81, head: "ef".repeat(32), unsettledRounds: 4 },
  storage: { available: false, synced: true, lastError: "ENOSPC" },
  events: [
    {
      ...{ at: 1_767_225_600_000, kind: "suspected", rank: 1, checkpoint: "C1" },
      text: "rank 1 on b was silent for 1002 ms",
    },
  ],
  counters: { rounds: 85, "transport.sendsDropped": 3, "intake.p99Ms": 1.5 },
};

describe("the files", () => {
  test("hold what was handed over, and nothing else is left in the directory", async () => {
    const home = join(directory, "both");
    mkdirSync(home);
    const paths = { status: join(home, "status.json"), metrics: join(home, "baash.prom") };
    const file = new StatusFile(paths);
    file.write(STATUS);
    expect(await file.flush(FLUSH_MS)).toBe(true);
    expect(JSON.parse(readFileSync(paths.status, "utf8"))).toEqual(STATUS);
    expect(readFileSync(paths.metrics, "utf8")).toBe(metricsText(STATUS));
    expect(readdirSync(home).sort()).toEqual(["baash.prom", "status.json"]);
  });

  test("a reader sees one status or another, whole, and at the end the last one", async () => {
    const path = join(directory, "busy.json");
    const file = new StatusFile({ status: path });
    const events = Array.from({ length: 100 }, () => STATUS.events[0]);
    const seen = new Set<number>();
    const last = 300;
    for (let slot = 0; slot <= last; slot++) {
      file.write({ ...STATUS, slot, events });
      if (existsSync(path)) seen.add(JSON.parse(readFileSync(path, "utf8")).slot);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await file.flush(FLUSH_MS)).toBe(true);
    expect(JSON.parse(readFileSync(path, "utf8")).slot).toBe(last);
    expect(seen.size).toBeGreaterThan(1);
    const order = [...seen];
    expect(order).toEqual(order.toSorted((a, b) => a - b));
  });

  test("a directory that is not there stops nobody, and once it is there all is well", async () => {
    const home = join(directory, "later");
    const file = new StatusFile({ status: join(home, "status.json") });
    file.write(STATUS);
    expect(await file.flush(FLUSH_MS)).toBe(false);
    mkdirSync(home);
    file.write({ ...STATUS, slot: 58 });
    expect(await file.flush(FLUSH_MS)).toBe(true);
    expect(readdirSync(home)).toEqual(["status.json"]);
  });

  test("a file system that hangs is waited for no longer than said", async () => {
    const path = join(directory, "hung.json");
    const temporary = join(directory, `.hung.json.${hostname()}-${process.pid}.tmp`);
    expect(Bun.spawnSync(["mkfifo", temporary]).exitCode).toBe(0); // no reader: a write hangs
    const file = new StatusFile({ status: path });
    file.write(STATUS);
    expect(await file.flush(20)).toBe(false);
    file.write({ ...STATUS, slot: 58 });
    // It comes back to life, and what came last gets written.
    const reader = Bun.spawn(["cat", temporary], { stdout: "ignore" });
    expect(await file.flush(FLUSH_MS)).toBe(true);
    await reader.exited;
    expect(JSON.parse(readFileSync(path, "utf8")).slot).toBe(58);
  });

  test("without paths nothing is written", async () => {
    const file = new StatusFile({});
    file.write(STATUS);
    expect(await file.flush(0)).toBe(true);
  });
});

describe("metrics", () => {
  /** Metric with labels to value; what the collector would refuse is thrown. */
  function parse(text: string): Map<string, number> {
    const samples = new Map<string, number>();
    const types = new Map<string, string>();
    expect(text).toEndWith("\n");
    for (const line of text.trimEnd().split("\n")) {
      const type = /^# TYPE ([a-z_:][a-z0-9_:]*) (gauge|untyped)$/.exec(line);
      if (type !== null && types.has(type[1])) throw new Error(`${type[1]} stands twice`);
      if (type !== null) types.set(type[1], type[2]);
      if (line.startsWith("#")) continue;
      const label = String.raw`[a-z_]+="(?:[^"\\\n]|\\["\\n])*"`;
      const sample = new RegExp(
        String.raw`^([a-z_:][a-z0-9_:]*)(\{${label}(?:,${label})*\})? (\S+)$`,
      ).exec(line);
      if (sample === null || !types.has(sample[1])) throw new Error(`not a sample: ${line}`);
      const name = sample[1] + (sample[2] ?? "");
      if (samples.has(name)) throw new Error(`${name} stands twice`);
      samples.set(name, Number(sample[3].replace("Inf", "Infinity")));
    }
    return samples;
  }

  test("tell the status, in seconds, labels escaped", () => {
    const samples = parse(metricsText(STATUS));
    expect(samples.get("baash_status_time_seconds")).toBe(1_767_225_600.5);
    expect(samples.get('baash_state{state="running"}')).toBe(1);
    expect(samples.get('baash_state{state="failed"}')).toBe(0);
    expect(samples.get("baash_ranks")).toBe(3);
    expect(samples.get("baash_suspected_ranks")).toBe(1);
    const labels = String.raw`{rank="1",process="11",host="node \"1\"\\x"}`;
    expect(samples.get(`baash_member_suspected${labels}`)).toBe(1);
    expect(samples.get(`baash_member_silence_seconds${labels}`)).toBe(0.25);
    expect(samples.get("baash_slot")).toBe(57);
    expect(samples.get("baash_epoch_number")).toBe(2);
    expect(samples.get("baash_unsettled_rounds")).toBe(4);
    expect(samples.get("baash_storage_available")).toBe(0);
    expect(samples.has("baash_exit_code")).toBe(false);
  });

  test("carry the counters by their names, each once", () => {
    const counters = { ...STATUS.counters, slot: 5, aB: 1, "a.b": 2, bad: Number.NaN, all: 1 / 0 };
    const samples = parse(metricsText({ ...STATUS, counters }));
    expect(samples.get("baash_process_transport_sends_dropped")).toBe(3);
    expect(samples.get("baash_process_intake_p99_ms")).toBe(1.5);
    expect(samples.get("baash_process_slot")).toBe(5);
    expect(samples.get("baash_process_a_b")).toBe(1);
    expect(samples.get("baash_process_bad")).toBeNaN();
    expect(samples.get("baash_process_all")).toBe(Number.POSITIVE_INFINITY);
  });

  test("say how a failed process ends", () => {
    const reason = { code: "STORAGE", message: "full", exitCode: 74 };
    const samples = parse(metricsText({ ...STATUS, state: "failed", reason }));
    expect(samples.get('baash_state{state="failed"}')).toBe(1);
    expect(samples.get("baash_exit_code")).toBe(74);
  });
});

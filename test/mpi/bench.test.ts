/** scripts/bench as a user runs it: real ranks, a real ceiling, files, and the comparison of them. */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { EXIT } from "../../src/base/errors.ts";
import type { BenchResult } from "../../src/cli/bench/result.ts";
import { findDisk } from "../../src/cli/ycsb/places.ts";

const PROGRAM = join(import.meta.dir, "../../src/cli/bench.ts");
const TIMEOUT_MS = 90_000;
const root = mkdtempSync(join(await findDisk(false), "baash-bench-"));
const temporary = join(root, "tmp");
mkdirSync(temporary);
afterAll(() => rmSync(root, { recursive: true, force: true }));

async function bench(...args: string[]) {
  const child = Bun.spawn([process.execPath, PROGRAM, ...args], {
    cwd: root,
    env: { ...process.env, TMPDIR: temporary },
    ...{ stdin: "ignore", stdout: "pipe", stderr: "pipe", timeout: TIMEOUT_MS },
  });
  const [stdout, stderr, exitCode] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { stdout, stderr, exitCode };
}

describe("a benchmark", () => {
  test(
    "of one point has its figures beside the ceiling, a table, a file, a chart",
    async () => {
      const args = ["values", "--quick", "--at", "16", "--records", "100", "-n", "2"];
      const files = ["--out", "b.json", "--svg", "b.svg"];
      const { stdout, stderr, exitCode } = await bench(...args, ...files, "--breakdown");
      expect(stderr).toContain("bench: values: value 16; run 1 of 1");
      expect(exitCode).toBe(EXIT.ok);
      expect(stdout).toMatch(/^ratio +0\.\d+$/m);
      expect(stdout).toMatch(/^main thread, execution +[\d.]+ +\d+ %$/m);
      expect(stdout).toContain("every ledger verified");
      expect(readFileSync(join(root, "b.svg"), "utf8")).toContain("throughput against value size");
      const result = JSON.parse(readFileSync(join(root, "b.json"), "utf8")) as BenchResult;
      expect(result).toMatchObject({ version: 1, verified: true, facts: { runs: 1, quick: true } });
      const [{ parameters, metrics }] = result.suites[0].points;
      expect(parameters).toMatchObject({ ranks: 2, valueBytes: 16, seconds: 1, warmup: 0.5 });
      const figure = (name: string) => metrics[name].median;
      expect(figure("throughput")).toBeGreaterThan(0);
      expect(figure("ratio")).toBeCloseTo(figure("throughput") / figure("ceiling"));
      expect(figure("finalP50Ms")).toBeGreaterThan(figure("agreedP50Ms"));
      expect(figure("memoryMiB")).toBeGreaterThan(10);
      expect(readdirSync(temporary)).toEqual([]);

      const same = await bench("compare", "b.json", "b.json", "--fail-if", "throughput<0%");
      expect(same.exitCode).toBe(EXIT.ok);
      expect(same.stdout).toMatch(/^values +value 16 +throughput .* 0\.0 %$/m);
      const met = await bench("compare", "b.json", "b.json", "--fail-if", "throughput>=0%");
      expect(met.exitCode).toBe(EXIT.failed);
      expect(met.stderr).toContain("throughput>=0%: values, value 16");
      const unreadable = await bench("compare", "b.json", "b.json", "--fail-if", "fast");
      expect(unreadable.exitCode).toBe(EXIT.usage);
    },
    TIMEOUT_MS,
  );

  test(
    "of a ledger's life times its start, recovery and replay, and verifies it",
    async () => {
      const { stdout, stderr, exitCode } = await bench(
        ...["ledger", "--quick", "--at", "500", "-n", "2", "--json"],
      );
      if (exitCode !== EXIT.ok) throw new Error(`exit ${exitCode}:\n${stderr}`);
      const { suites, verified } = JSON.parse(stdout) as BenchResult;
      expect(verified).toBe(true);
      const { metrics } = suites[0].points[0];
      for (const name of ["startMs", "replayMs", "verifyMs", "verifyRate", "ledgerMiB"])
        expect(metrics[name].median).toBeGreaterThan(0);
      // The dead are waited for.
      expect(metrics.recoverMs.median).toBeGreaterThan(5000);
      expect(readdirSync(temporary)).toEqual([]);
    },
    TIMEOUT_MS,
  );
});

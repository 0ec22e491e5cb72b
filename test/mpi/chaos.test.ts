/** scripts/chaos as a user runs it: a real job, a rank that is killed, every promise checked. */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { EXIT } from "../../src/base/errors.ts";
import { findDisk } from "../../src/cli/ycsb/places.ts";
import { CHAOS_TIMEOUT_MS, runChaos } from "./run-chaos.ts";

const root = mkdtempSync(join(await findDisk(false), "baash-c-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

describe("four ranks under load, one of them killed", () => {
  test(
    "the three go on: nothing final is lost, nothing doubled; nothing is left behind",
    async () => {
      const flags = ["--ranks", "4", "--kill", "1", "--at", "3", "--seconds", "8", "--rate", "100"];
      const { stdout, stderr, exitCode, temporary } = await runChaos(root, [...flags, "--json"]);
      if (exitCode !== EXIT.ok) throw new Error(`exit ${exitCode}:\n${stderr}${stdout}`);
      const report = JSON.parse(stdout);
      expect(report).toMatchObject({ good: true, gone: 0 });
      expect(report.command).toBe(`scripts/chaos ${flags.join(" ")}`);
      // The load never paused, whatever became of the rank.
      const { submitted, final, refused, unknown, logged } = report.after.counts;
      expect(submitted).toBeGreaterThan(600);
      expect({ final, refused, unknown, logged }).toEqual({
        ...{ final: submitted, refused: 0, unknown: 0, logged: submitted },
      });
      // The client of the dead rank found another one.
      expect(report.connections).toBeGreaterThanOrEqual(5);
      // Installed with four members, sealed with three, closed with none.
      expect(report.after.summary.epochs).toBe(2);
      expect(report.after.summary.members).toEqual([]);
      const [incident] = report.figures.incidents;
      expect(incident.freshMs).toBeGreaterThan(0);
      expect(report.figures.before.agreed).toBeGreaterThan(0);
      const promises = report.after.checks.map(({ promise }: { promise: string }) => promise);
      expect(promises).toEqual([...["S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S11", "END"]]);
      // A line a second, the fault among them.
      expect(stderr).toMatch(/agreed\/s .* 4 ranks, epoch 1/);
      expect(stderr).toMatch(/\* SIGKILL: process \d+ \(pid \d+\)/);
      expect(stderr).toMatch(/agreed\/s .* 3 ranks, epoch 2/);
      expect(readdirSync(temporary)).toEqual([]);
    },
    CHAOS_TIMEOUT_MS,
  );
});

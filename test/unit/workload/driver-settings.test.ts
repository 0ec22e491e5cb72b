import { expect, test } from "bun:test";
import { driverSettings, driversOf } from "../../../src/workload/driver-settings.ts";
import { mergeProperties } from "../../../src/workload/properties.ts";
import { buildWorkloadConfig } from "../../../src/workload/workload-config.ts";

const configOf = (...assigned: string[]) =>
  buildWorkloadConfig(
    mergeProperties([], ["recordcount=10", "operationcount=10", ...assigned]),
    () => "",
  );

test("threads are shared out exactly, and ranks without one make no load", () => {
  for (const threads of [1, 2, 3, 4, 5, 7, 64]) {
    const config = configOf(`threadcount=${threads}`);
    const ranks = driversOf(config, 4);
    expect(ranks).toBe(Math.min(4, threads));
    const windows = Array.from(
      { length: ranks },
      (_, rank) => driverSettings(config, { rank, ranks, prepares: false }).window,
    );
    expect(windows.reduce((sum, window) => sum + window)).toBe(threads);
  }
});

test("without threads each rank has the window of its own", () => {
  const config = configOf("baash.window=100");
  expect(driversOf(config, 4)).toBe(4);
  expect(driverSettings(config, { rank: 3, ranks: 4, prepares: false }).window).toBe(100);
});

test("a target is that of the ranks that make the load", () => {
  const config = configOf("threadcount=2", "target=1000");
  const ranks = driversOf(config, 4);
  expect(driverSettings(config, { rank: 1, ranks, prepares: false }).rate).toBe(500);
  expect(driverSettings(config, { rank: 1, ranks, prepares: true }).rate).toBe(0);
});

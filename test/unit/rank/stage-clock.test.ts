/** Time belongs to the innermost stage, and to none outside of all. */
import { expect, test } from "bun:test";
import { kernels } from "../../../src/base/kernels.ts";
import { NO_STAGES, STAGES, TimedStages } from "../../../src/rank/stage-clock.ts";

test("each stage counts what is its own", () => {
  let now = 100;
  const stages = new TimedStages(() => now);
  const pass = (us: number) => {
    now += us;
  };
  pass(7);
  stages.enter("proposals");
  pass(10);
  stages.enter("building");
  pass(3);
  stages.enter("execution");
  pass(20);
  stages.leave();
  pass(1);
  stages.leave();
  pass(5);
  stages.leave();
  pass(1000);
  stages.enter("proposals");
  pass(2);
  stages.leave();
  const spent = stages.spent();
  expect(spent).toMatchObject({ proposals: 17, building: 4, execution: 20, votes: 0 });
  expect(Object.keys(spent)).toEqual([...STAGES]);
  expect(NO_STAGES.spent()).toEqual({});
});

test("a thread's time passes while it works, and not while it waits", async () => {
  const before = kernels.threadTime();
  const until = performance.now() + 20;
  while (performance.now() < until);
  const worked = kernels.threadTime();
  await Bun.sleep(60);
  const waited = kernels.threadTime() - worked;
  expect(worked - before).toBeGreaterThan(1000);
  expect(worked - before).toBeLessThan(60_000);
  expect(waited).toBeLessThan(40_000);
});

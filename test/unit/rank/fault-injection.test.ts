/** Faults on demand are what they say, and a wrong word is a sentence, not a fault. */
import { describe, expect, test } from "bun:test";
import { concerns, FaultyPool, parseFault } from "../../../src/rank/fault-injection.ts";
import type { PoolHandler, WorkerPool } from "../../../src/rank/ports.ts";

describe("BAASH_FAULT", () => {
  test("names what, when and whom", () => {
    expect(parseFault("exit@validation:after=200,process=3")).toEqual({
      action: "exit",
      after: 200,
      rate: 1,
      ms: 0,
      processes: [3, 3],
    });
    const some = parseFault("kill@validation:process=1-4");
    expect([0, 1, 4, 5].map((process) => concerns(some, process))).toEqual([
      false,
      true,
      true,
      false,
    ]);
    expect(parseFault("throw@validation:rate=0.25").rate).toBe(0.25);
  });

  test.each([
    "explode@validation",
    "exit@mining",
    "exit@validation:soon=1",
    "exit@validation:after=x",
  ])("%s is refused with a sentence", (text) => {
    expect(() => parseFault(text)).toThrow("BAASH_FAULT");
  });
});

test("from the n-th validation on it throws: the check has failed, the pool goes on", () => {
  const checked: number[] = [];
  const failed: number[] = [];
  const inner = {
    handler: undefined as unknown as PoolHandler,
    check: (ticket: number) => checked.push(ticket),
  } as unknown as WorkerPool;
  const pool = new FaultyPool(inner, parseFault("throw@validation:after=3"));
  pool.handler = {
    onBuilt: () => {},
    onChecked: () => {},
    onCheckFailed: (ticket) => failed.push(ticket),
  };
  for (let ticket = 1; ticket <= 4; ticket++) pool.check(ticket, undefined as never, 1);
  expect(checked).toEqual([1, 2]);
  expect(failed).toEqual([3, 4]);
});

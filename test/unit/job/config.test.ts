/** Flags of a rank that contradict each other. */
import { expect, test } from "bun:test";
import { EXIT } from "../../../src/base/errors.ts";
import { parseRankConfig } from "../../../src/config.ts";

test("records are synced unless somebody says otherwise, and a validator's always", () => {
  const parse = (flags: object) => parseRankConfig({ ledger: "l", ...flags }, {});
  expect(parse({}).sync).toBe(true);
  expect(parse({ sync: false }).sync).toBe(false);
  const refused = expect.objectContaining({ exitCode: EXIT.usage });
  expect(() => parse({ sync: false, validator: "v.sock" })).toThrow(refused);
});

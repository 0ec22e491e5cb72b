/** Logs as JSON lines. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { logger, parseLevel, startLog } from "../../../src/base/log.ts";

let root = "";
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "baash-log-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

test("a line is an object with level, part, message, fields; below the level nothing", async () => {
  const file = join(root, "rank.log");
  const log = startLog({ level: "info", file, fields: { rank: 3 } });
  logger("storage").info("record {slot} is linked", { slot: 17 });
  logger("storage").debug("not this one");
  await log.close();
  const lines = readFileSync(file, "utf8").trimEnd().split("\n");
  expect(lines.length).toBe(1);
  expect(JSON.parse(lines[0])).toMatchObject({
    level: "INFO",
    logger: "baash.storage",
    message: "record 17 is linked",
    rank: 3,
    slot: 17,
  });
});

test("a second start replaces the first, and appends", async () => {
  const file = join(root, "again.log");
  for (const word of ["one", "two"]) {
    const log = startLog({ level: "warning", file });
    logger("rank").warn(word);
    await log.close();
  }
  expect(readFileSync(file, "utf8").trimEnd().split("\n").length).toBe(2);
});

test("what is said after the end is lost without a word on stderr", () => {
  const program = `
    import { logger, startLog } from "${import.meta.dir}/../../../src/base/log.ts";
    const log = startLog({ level: "info", file: "${join(root, "late.log")}" });
    logger("job").info("in time");
    const closed = log.close();
    logger("job").info("late");
    await closed;
    logger("job").info("later");`;
  const { stderr, exitCode } = Bun.spawnSync([process.execPath, "-e", program]);
  expect({ exitCode, stderr: stderr.toString() }).toEqual({ exitCode: 0, stderr: "" });
  expect(readFileSync(join(root, "late.log"), "utf8").split("\n").length).toBe(2);
});

test("unknown levels are refused with the known ones", () => {
  expect(parseLevel("INFO")).toBe("info");
  expect(() => parseLevel("loud")).toThrow(/use trace, debug, info/);
});

/** The command line of ycsb-load: what beats what, and what is refused before anything is made. */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { EXIT } from "../../../src/base/errors.ts";
import { loadCommand, normalizeArguments, planLoad } from "../../../src/cli/ycsb/options.ts";
import { findDisk } from "../../../src/cli/ycsb/places.ts";
import { LedgerMaker } from "../../support/make-ledger.ts";

const PROGRAM = join(import.meta.dir, "../../../src/cli/ycsb-load.ts");
const root = mkdtempSync(join(await findDisk(false), "baash-options-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

async function plan(...args: string[]) {
  const program = loadCommand()
    .exitOverride()
    .action(() => {});
  program.parse(normalizeArguments(args), { from: "user" });
  return planLoad(program.args[0], program.opts());
}

function file(name: string, text: string): string {
  const path = join(root, name);
  writeFileSync(path, text);
  return path;
}

describe("what is asked for", () => {
  test("nothing: workload a, 100,000 operations on 4 ranks, load then run, a fresh ledger", async () => {
    const { phase, workload, ledger, load, output } = await plan();
    expect({ phase, ledger, load, output }).toEqual({
      phase: "all",
      ledger: undefined,
      load: "ranks",
      output: "ycsb",
    });
    expect(workload).toMatchObject({
      operationcount: 100_000,
      recordcount: 1000,
      readproportion: 0.5,
      updateproportion: 0.5,
      requestdistribution: "zipfian",
      "baash.ranks": 4,
    });
  });

  test("flags beat -p, which beats the files, of which the last wins", async () => {
    const first = file("first", "recordcount=10\noperationcount=10\nthreadcount=10\n");
    const second = file("second", "operationcount=20\nthreadcount=20\n");
    const args = ["-P", first, "-P", second, "-p", "threadcount=30", "-p", "baash.ranks=2"];
    const { workload } = await plan(...args, "-threads", "40", "-target", "500", "-n", "3");
    expect(workload).toMatchObject({
      recordcount: 10,
      operationcount: 20,
      threadcount: 40,
      target: 500,
      "baash.ranks": 3,
    });
  });

  test("a bare name is a workload of ours, and keeps the counts that it ships", async () => {
    expect((await plan("-P", "workloada")).workload.operationcount).toBe(1000);
    const { workload } = await plan("-P", "transfers", "--ack", "agreed", "--difficulty", "0");
    expect(workload).toMatchObject({
      kind: "transfers",
      "baash.ranks": 2,
      "baash.blocksize": 3,
      "baash.ack": "agreed",
      "baash.difficulty": 0,
    });
  });

  test("the report's form is --output, or else the exporter's", async () => {
    expect((await plan("-p", "exporter=table")).output).toBe("table");
    expect((await plan("-p", "exporter=table", "--output", "json")).output).toBe("json");
  });
});

describe("bad input is one sentence, and nothing is made", () => {
  const env = { ...process.env, XDG_CONFIG_HOME: join(root, "config"), TMPDIR: join(root, "tmp") };
  mkdirSync(env.TMPDIR);

  function refuse(args: string[], more: Record<string, string> = {}) {
    const before = readdirSync(root, { recursive: true }).sort();
    const { exitCode, stdout, stderr } = Bun.spawnSync([process.execPath, PROGRAM, ...args], {
      env: { ...env, ...more },
    });
    expect(stdout.toString()).toBe("");
    expect(stderr.toString()).toMatch(/^baash: [^\n]+\n$/);
    expect(readdirSync(root, { recursive: true }).sort()).toEqual(before);
    return { exitCode, sentence: stderr.toString() };
  }

  test.each([
    [["frobnicate"], /load, run or nothing/],
    [["load", "more"], /too many arguments/],
    [["--bogus"], /unknown option/],
    [["run"], /run needs records .* --ledger/],
    [["-p", "recordcout=5"], /no property "recordcout"\. Did you mean recordcount\?/],
    [["-p", "recordcount=-5"], /-p recordcount=-5: .* negative/],
    [["-p", "recordcount"], /name=value/],
    [["-p", "readproportion=2"], /between 0 and 1/],
    [["-n", "0"], /^baash: -n 0: /],
    [["-target", "fast"], /-target fast: target is a number/],
    [["--load", "magic"], /choices are ranks, clients/],
    [["-P", "nowhere/workload"], /nowhere\/workload: there is no such file/],
  ])("usage %j", (args, sentence) => {
    const refused = refuse(args);
    expect(refused.exitCode).toBe(EXIT.usage);
    expect(refused.sentence).toMatch(sentence);
  });

  test("property files that are malformed, or hold what cannot be", () => {
    for (const [text, sentence] of [
      ["recordcount=5\nnonsense\n", /bad:2: "nonsense" is no property/],
      ["recordcount=5\nrecordcout=6\n", /bad:2: there is no property "recordcout"/],
      ["operationcount=many\n", /bad:1: operationcount is a number/],
      ["operationcount=-1\n", /bad:1: .* negative/],
    ] as const) {
      const { exitCode, sentence: said } = refuse(["-P", file("bad", text)]);
      expect(exitCode).toBe(EXIT.configuration);
      expect(said).toMatch(sentence);
    }
  });

  test("directories that cannot be a ledger", async () => {
    const foreign = join(root, "foreign");
    mkdirSync(foreign);
    writeFileSync(join(foreign, "thesis.tex"), "precious");
    const plain = file("plain", "");
    const old = new LedgerMaker(join(root, "old"));
    rewriteVersion(join(old.dir, "genesis"));
    for (const [dir, sentence] of [
      [foreign, /foreign is not a ledger and not empty/],
      [plain, /plain cannot be the directory of a ledger: it is a file/],
      [join(plain, "ledger"), /plain is a file/],
      // Root may write anywhere but here.
      ["/proc/baash/ledger", /cannot be made: writing in \/proc failed/],
      [old.dir, /genesis has format version 0; this program knows version 1/],
    ] as const) {
      const { exitCode, sentence: said } = refuse(["--ledger", dir]);
      expect(exitCode).toBe(EXIT.configuration);
      expect(said).toMatch(sentence);
    }
  });

  test("an existing ledger without its key, or where a fresh one is wanted", () => {
    const ledger = new LedgerMaker(join(root, "ledger"));
    const keyless = refuse(["--ledger", ledger.dir]);
    expect(keyless).toMatchObject({ exitCode: EXIT.configuration });
    expect(keyless.sentence).toMatch(/ledger key .* is not there/);
    const fresh = refuse(["--fresh", "--ledger", ledger.dir]);
    expect(fresh).toMatchObject({ exitCode: EXIT.usage });
    expect(fresh.sentence).toMatch(/holds a ledger already/);
  });

  test("no mpirun", () => {
    const { exitCode, sentence } = refuse([], { PATH: root });
    expect(exitCode).toBe(EXIT.configuration);
    expect(sentence).toMatch(/There is no mpirun on PATH, .* scripts\/setup/);
  });
});

/** A genesis of the version before the first, with a checksum that fits. */
function rewriteVersion(path: string): void {
  const text = readFileSync(path, "utf8");
  const json = text.slice(0, text.indexOf("\nsha256 ") + 1).replace('"version": 1', '"version": 0');
  const digest = new Bun.SHA256().update(json).digest("hex");
  const rest = text.slice(text.indexOf("\ned25519 ") + 1);
  writeFileSync(path, `${json}sha256 ${digest}\n${rest}`);
}

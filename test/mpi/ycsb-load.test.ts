/** ycsb-load as a user runs it: real ranks, a real directory, the proof at the end. */
import { afterAll, describe, expect, test } from "bun:test";
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { EXIT } from "../../src/base/errors.ts";
import { findDisk } from "../../src/cli/ycsb/places.ts";
import { prove } from "../../src/cli/ycsb/proof.ts";
import type { JobResult } from "../../src/job/reporter.ts";
import { launchCommand, launchEnvironment } from "../../src/supervisor/launch.ts";
import { readLedger } from "../../src/verify/ledger-reader.ts";

const SOURCE = join(import.meta.dir, "../../src");
const TIMEOUT_MS = 90_000;
const root = mkdtempSync(join(await findDisk(false), "baash-load-"));
const temporary = join(root, "tmp");
mkdirSync(temporary);
afterAll(() => rmSync(root, { recursive: true, force: true }));

const env = { ...process.env, XDG_CONFIG_HOME: join(root, "config"), TMPDIR: temporary };

function start(args: readonly string[]) {
  return Bun.spawn([process.execPath, join(SOURCE, "cli/ycsb-load.ts"), ...args], {
    cwd: root,
    env,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    timeout: TIMEOUT_MS,
  });
}

async function load(...args: string[]) {
  const child = start(args);
  const [stdout, stderr, exitCode] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { stdout, stderr, exitCode };
}

/** Runs, checks that it is green, answers the JSON. */
async function loadJson(...args: string[]) {
  const { stdout, stderr, exitCode } = await load("--output", "json", ...args);
  if (exitCode !== EXIT.ok) throw new Error(`exit ${exitCode}:\n${stderr}${stdout}`);
  const result = JSON.parse(stdout);
  expect(result).toMatchObject({ verified: true, proof: { problems: [] } });
  return result;
}

type Line = { metric: string; measurement: string; value: number };
const figure = (lines: Line[], metric: string, measurement: string) =>
  lines.find((line) => line.metric === metric && line.measurement === measurement)?.value;

const SMALL = ["-p", "recordcount=100", "-p", "operationcount=400", "-p", "fieldlength=10"];

describe("a load inside the ranks", () => {
  test(
    "ends with YCSB's lines and the proof; the files that were asked for are there, no others",
    async () => {
      const files = ["hdrhistogram.fileoutput=true", "hdrhistogram.output.path=mine-"];
      const extra = [...files, "dataintegrity=true"].flatMap((each) => ["-p", each]);
      const { stdout, stderr, exitCode } = await load("-n", "2", ...SMALL, ...extra);
      expect(stderr).toContain("load phase: 100 transactions");
      expect(stderr).toMatch(/sec: 400 operations; .*\[READ: Count=\d+/);
      expect(exitCode).toBe(EXIT.ok);
      for (const line of [
        /^\[BAASH\], Ranks, 2$/m,
        /^\[BAASH\], Payload, 10 bytes an update, 100 an insert$/m,
        /^\[BAASH\], Synced, each record/m,
        /^\[OVERALL\], RunTime\(ms\), [\d.]+$/m,
        /^\[READ\], Return=OK, \d+$/m,
        /^\[AGREED-UPDATE\], 99thPercentileLatency\(us\), \d+$/m,
        /^\[FINAL-UPDATE\], 99thPercentileLatency\(us\), \d+$/m,
      ]) {
        expect(stdout).toMatch(line);
      }
      const last = stdout.trimEnd().split("\n").at(-1);
      expect(last).toMatch(/^verified: 2 ranks .* acknowledged transactions in the log exactly/);
      expect(readFileSync(join(root, "mine-run.hlog"), "utf8")).toContain("UPDATE|final|intended");
      expect(readdirSync(temporary)).toEqual([]);
      expect(readdirSync(root).sort()).toEqual(["mine-load.hlog", "mine-run.hlog", "tmp"]);
    },
    TIMEOUT_MS,
  );

  test(
    "a second job goes on with the chain of the first, with other ranks",
    async () => {
      const ledger = join(root, "ledger");
      const first = await loadJson("load", "-n", "2", "--ledger", ledger, ...SMALL);
      expect(first.facts).toMatchObject({ created: true, ranks: 2 });
      expect(Object.keys(first.phases)).toEqual(["load"]);
      const second = await loadJson("run", "-n", "1", "--ledger", ledger, ...SMALL);
      expect(second.facts).toMatchObject({ created: false, chainId: first.facts.chainId });
      expect(figure(second.phases.run, "OVERALL", "Ranks")).toBe(1);
      expect(figure(second.phases.run, "READ", "Return=OK")).toBeGreaterThan(0);
      // Loading again puts the same records in their places.
      const third = await loadJson("load", "-n", "2", "--ledger", ledger, ...SMALL);
      expect(third.proof.ledger.storedRecords).toBe(100);
      const { summary, damages } = readLedger(ledger);
      expect(damages).toEqual([]);
      expect(summary.chainId).toBe(first.facts.chainId);
      expect(summary.transactions).toBe(third.proof.ledger.transactions);
      expect(readdirSync(root)).not.toContain(expect.stringContaining(".run-"));
    },
    TIMEOUT_MS,
  );

  test(
    "transfers conserve the total, also those that are refused",
    async () => {
      const counts = ["operationcount=300", "baash.accounts=20", "baash.supply=2000"];
      const properties = [...counts, "baash.amount=90"].flatMap((each) => ["-p", each]);
      const { proof, phases } = await loadJson("-P", "transfers", ...properties);
      expect(proof.ledger).toMatchObject({ supply: 2000, totalBalance: 2000 });
      expect(proof.checked.join()).toContain("total conserved");
      expect(figure(phases.run, "OVERALL", "Throughput(ops/sec)")).toBeGreaterThan(0);
      expect(figure(phases.run, "TRANSFER", "Return=OVERDRAFT")).toBeGreaterThan(0);
    },
    TIMEOUT_MS,
  );

  test(
    "members that may lie, and nothing synced: the report says both, and stderr warns",
    async () => {
      const odd = ["-p", "baash.quorum=byzantine", "-p", "baash.sync=false"];
      const { stdout, stderr, exitCode } = await load("-n", "2", ...SMALL, ...odd);
      expect(exitCode).toBe(EXIT.ok);
      expect(stderr).toContain("nothing is synced");
      expect(stdout).toMatch(/^\[BAASH\], Synced, no: final means linked$/m);
      expect(stdout).toMatch(/^\[BAASH\], Authentication, Ed25519 under every/m);
    },
    TIMEOUT_MS,
  );

  test(
    "a warm-up has figures of its own, and the run says what it cost",
    async () => {
      const warm = ["-p", "baash.warmup=0.5", "--breakdown", "-P", "workloadd"];
      const { phases, proof } = await loadJson("-n", "2", ...SMALL, ...warm);
      expect(Object.keys(phases)).toEqual(["load", "warmup", "run"]);
      // What the warm-up has inserted the run does not insert again.
      const inserted = (phase: string) => figure(phases[phase], "INSERT", "Return=OK") ?? 0;
      const all = inserted("load") + inserted("warmup") + inserted("run");
      expect(inserted("warmup")).toBeGreaterThan(0);
      expect(proof.ledger.storedRecords).toBe(all);
      const usage = (name: string) => figure(phases.run, "USAGE", name) ?? 0;
      const transactions = figure(phases.run, "OVERALL", "Transactions")!;
      expect(usage("Rounds")).toBeGreaterThan(0);
      expect(usage("Rounds")).toBeLessThanOrEqual(transactions);
      const main = usage("CPU-main(us/round/rank)");
      expect(usage("CPU(us/round/rank)")).toBeGreaterThan(main);
      const stages = ["proposals", "votes", "building", "execution"];
      const timed = stages.map((stage) => usage(`CPU-main-${stage}(us/round/rank)`));
      expect(Math.min(...timed)).toBeGreaterThan(0);
      expect(timed.reduce((sum, us) => sum + us, 0)).toBeLessThan(main);
      expect(usage("Messages(/round/rank)")).toBeGreaterThan(0);
    },
    TIMEOUT_MS,
  );

  test(
    "SIGTERM ends the load early; what was accepted is final, reported and verified",
    async () => {
      const endless = ["-p", "operationcount=0", "-p", "maxexecutiontime=600"];
      const child = start(["--output", "json", "-n", "2", ...SMALL, ...endless]);
      const decoder = new TextDecoder();
      let said = "";
      for await (const bytes of child.stderr) {
        said += decoder.decode(bytes);
        if (!said.includes("load phase:")) continue;
        // Once: a second one would end the job at once.
        if (!said.includes("stopping:") && child.signalCode === null) child.kill("SIGTERM");
        if (said.includes("stopping:")) break;
      }
      const result = JSON.parse(await new Response(child.stdout).text());
      expect(result).toMatchObject({ verified: true, interrupted: true });
      expect(await child.exited).toBe(EXIT.ok);
    },
    TIMEOUT_MS,
  );
});

describe("a load by client processes", () => {
  test(
    "operations of all kinds through the sockets, reads apart, journals of the clients",
    async () => {
      const mix = [
        ...["readproportion=0.3", "updateproportion=0.2", "insertproportion=0.1"],
        ...["scanproportion=0.1", "readmodifywriteproportion=0.3", "maxscanlength=5"],
      ].flatMap((each) => ["-p", each]);
      const { phases, proof, facts } = await loadJson(
        ...["--load", "clients", "-n", "2", ...SMALL, ...mix],
      );
      expect(facts.load).toBe("clients");
      const transactions = figure(phases.run, "OVERALL", "Transactions")!;
      expect(figure(phases.run, "OVERALL", "Ranks")).toBe(2);
      expect(figure(phases.run, "SCAN", "Return=OK")).toBeGreaterThan(0);
      expect(figure(phases.run, "FINAL-UPDATE", "Operations")).toBeGreaterThan(0);
      expect(figure(phases.run, "AGREED-UPDATE", "Operations")).toBeGreaterThan(0);
      expect(proof.journal.acknowledged).toBe(100 + transactions);
      expect(readdirSync(temporary)).toEqual([]);
    },
    TIMEOUT_MS,
  );
});

describe("the proof, on what a run has left", () => {
  test(
    "red for a transaction that is acknowledged and gone, or of which no journal tells",
    async () => {
      const { facts } = await loadJson("--keep", "-n", "2", ...SMALL);
      const run = join(facts.ledger, "..");
      const result = JSON.parse(readFileSync(join(run, "result.json"), "utf8")) as JobResult;
      const journals = [0, 1].map((rank) => join(run, `journals/rank-${rank}.journal`));
      const phases = result.ranks.flatMap((rank) => rank.phases) as {
        counters: { transactions: number };
      }[];
      const counted = phases.reduce((sum, { counters }) => sum + counters.transactions, 0);
      const input = { ledger: facts.ledger, ranks: 2, reports: result.ranks, journals, counted };
      expect(prove(input)).toMatchObject({ verified: true });

      const journal = readFileSync(journals[0]);
      appendFileSync(journals[0], Buffer.alloc(33, 2));
      expect(prove(input)).toMatchObject({ verified: false, journal: { missing: 1 } });
      truncateSync(journals[0], journal.length - 33);
      expect(prove(input)).toMatchObject({ verified: false, journal: { missing: 0 } });
      writeFileSync(journals[0], journal);

      // Each record of the log in turn: with it go the transactions that it settled.
      const tail = join(facts.ledger, "log/000000");
      for (const name of readdirSync(tail)) {
        const bytes = readFileSync(join(tail, name));
        rmSync(join(tail, name));
        expect(prove(input).verified).toBe(false);
        writeFileSync(join(tail, name), bytes);
      }
      expect(prove(input)).toMatchObject({ verified: true });
      rmSync(run, { recursive: true });
    },
    TIMEOUT_MS,
  );
});

describe("ranks by hand: one sentence for all of them, and nothing made", () => {
  function refuse(ranks: number, ...args: string[]) {
    const before = readdirSync(root, { recursive: true }).sort();
    const rank = [process.execPath, join(SOURCE, "rank.ts"), ...args];
    const { exitCode, stderr } = Bun.spawnSync([...launchCommand({ ranks }), ...rank], {
      env: { ...launchEnvironment({ ranks }), ...env },
      timeout: TIMEOUT_MS,
    });
    expect(stderr.toString()).toMatch(/^baash: [^\n]+\n$/);
    expect(readdirSync(root, { recursive: true }).sort()).toEqual(before);
    return { exitCode, sentence: stderr.toString() };
  }

  test.each([1, 2])(
    "%d ranks",
    (ranks) => {
      const foreign = join(root, `foreign-${ranks}`);
      mkdirSync(foreign);
      writeFileSync(join(foreign, "thesis.tex"), "precious");
      const directory = refuse(ranks, "--ledger", foreign);
      expect(directory).toMatchObject({ exitCode: EXIT.configuration });
      expect(directory.sentence).toContain("is not a ledger and not empty");
      const property = refuse(ranks, "--ledger", join(root, "new"), "-p", "recordcout=5");
      expect(property).toMatchObject({ exitCode: EXIT.usage });
      expect(property.sentence).toContain("Did you mean recordcount?");
    },
    TIMEOUT_MS,
  );
});

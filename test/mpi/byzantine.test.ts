/**
 * A byzantine ledger with real processes: its validator under one user, its ranks under another one
 * who may read the directory and write nothing in it. The users are made up by number, so this needs
 * root; without it validator and ranks run as the same user and the kernel has nothing to refuse.
 */
import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
} from "node:fs";
import { join } from "node:path";
import { EXIT } from "../../src/base/errors.ts";
import { findDisk } from "../../src/cli/ycsb/places.ts";

const CLI = join(import.meta.dir, "../../src/cli.ts");
const RANK = join(import.meta.dir, "../../src/rank.ts");
const WORKLOAD = join(import.meta.dir, "../../scripts/workloads/workloada");
const TIMEOUT_MS = 120_000;
const IS_ROOT = process.getuid!() === 0;
/** Nobody has to know them. */
const VALIDATOR = 61_001;
const RANKS = 61_002;
const STRANGER = 61_003;

const root = mkdtempSync(join(await findDisk(false), "baash-byzantine-"));
const places = {
  ledger: join(root, "ledger"),
  socket: join(root, "validator/v.sock"),
  ranks: join(root, "ranks"),
};
beforeAll(() => {
  chmodSync(root, 0o755);
  for (const [name, uid] of [
    ["ledger", VALIDATOR],
    ["validator", VALIDATOR],
    ["ranks", RANKS],
  ] as const) {
    mkdirSync(join(root, name));
    if (IS_ROOT) chownSync(join(root, name), uid, uid);
  }
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const children: Bun.Subprocess[] = [];
afterEach(async () => {
  for (const child of children.splice(0)) {
    child.kill("SIGKILL");
    await child.exited;
  }
});

/** The command as that user starts it, with a home of its own. */
function start(uid: number, home: string, command: readonly string[]) {
  const ids = [`--reuid=${uid}`, `--regid=${uid}`, "--clear-groups"];
  const child = Bun.spawn([...(IS_ROOT ? ["setpriv", ...ids] : []), ...command], {
    cwd: home,
    env: { ...process.env, HOME: home, TMPDIR: home, XDG_CONFIG_HOME: join(home, "config") },
    ...{ stdin: "ignore" as const, stdout: "pipe" as const, stderr: "pipe" as const },
  });
  children.push(child);
  return child;
}

async function startValidator() {
  const child = start(VALIDATOR, join(root, "validator"), [
    ...[process.execPath, CLI, "validator", "--ledger", places.ledger],
    ...["--socket", places.socket, "--allow-uid", String(RANKS), "--takeover-ms", "300"],
    ...["--difficulty", "0", "--storage-difficulty", "4"],
  ]);
  const reader = child.stderr.getReader();
  let said = "";
  while (!said.includes("serves users")) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`the validator does not start: ${said}`);
    said += new TextDecoder().decode(value);
  }
  reader.releaseLock();
  return child;
}

function startRanks(ranks: number, flags: readonly string[], as = RANKS) {
  const launcher = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", String(ranks)];
  return start(as, places.ranks, [
    ...[...launcher, process.execPath, RANK, "--ledger", places.ledger],
    ...["--takeover-ms", "300", ...flags],
  ]);
}

const load = (operations: number) => [
  ...[
    "--validator",
    places.socket,
    "-P",
    WORKLOAD,
    "--results",
    join(places.ranks, "results.json"),
  ],
  ...["-p", "recordcount=300", "-p", `operationcount=${operations}`],
];

async function ended(child: ReturnType<typeof start>): Promise<{ code: number; said: string }> {
  const [said, code] = await Promise.all([new Response(child.stderr).text(), child.exited]);
  return { code, said };
}

/** `baash verify`: what is in the ledger, which is good. */
function verified(): Record<string, unknown> {
  const args = ["verify", "--json", "--quiet", places.ledger];
  const { stdout, exitCode } = Bun.spawnSync([process.execPath, CLI, ...args]);
  const report = JSON.parse(stdout.toString());
  expect({ exitCode, damages: report.damages }).toEqual({ exitCode: EXIT.ok, damages: [] });
  return report.summary;
}

const records = () => {
  const folder = join(places.ledger, "log/000000");
  return existsSync(folder) ? readdirSync(folder).filter((name) => !name.startsWith(".")) : [];
};

test(
  "four ranks that may not write agree, and the validator writes what they agreed on",
  async () => {
    const validator = await startValidator();
    const { code, said } = await ended(startRanks(4, load(400)));
    expect({ code, said }).toMatchObject({ code: EXIT.ok });
    const summary = verified();
    expect(Number(summary.transactions)).toBeGreaterThan(400);
    validator.kill("SIGTERM");
    expect(await validator.exited).toBe(EXIT.ok);
    // Who needs no key has none.
    expect(existsSync(join(places.ranks, "config"))).toBe(false);
    expect(readdirSync(join(places.ledger, "evidence"))).toEqual([]);
  },
  TIMEOUT_MS,
);

test(
  "a rank that goes past the validator writes nothing",
  async () => {
    const before = records();
    // As the program does it, and as a person would.
    const { code } = await ended(startRanks(1, ["-P", WORKLOAD, "--ledger-key", "/dev/null"]));
    expect(code).not.toBe(EXIT.ok);
    const attempt = `
      import * as fs from "node:fs";
      const [ledger, record] = process.argv.slice(-2);
      const log = ledger + "/log/000000/";
      const attempts = {
        write: () => fs.writeFileSync(log + "0000000999." + "00".repeat(32), "junk"),
        link: () => fs.linkSync(log + record, log + "0000000999." + "00".repeat(32)),
        change: () => fs.writeFileSync(log + record, "junk"),
        rename: () => fs.renameSync(log + record, log + record + ".old"),
        remove: () => fs.unlinkSync(log + record),
        segment: () => fs.mkdirSync(ledger + "/log/000099"),
        genesis: () => fs.renameSync(ledger + "/genesis", ledger + "/genesis.old"),
        evidence: () => fs.writeFileSync(ledger + "/evidence/x", "junk"),
      };
      const said = {};
      for (const [name, act] of Object.entries(attempts)) {
        try { act(); said[name] = "done"; } catch (error) { said[name] = error.code; }
      }
      console.log(JSON.stringify(said));`;
    if (IS_ROOT) {
      const args = [process.execPath, "-e", attempt, places.ledger, before[0]];
      const child = start(RANKS, places.ranks, args);
      const said = JSON.parse(await new Response(child.stdout).text());
      // The kernel hides from links to others' files (protected_hardlinks) behind EPERM.
      const refusals = Object.values(said as Record<string, string>);
      expect(refusals.filter((one) => one !== "EACCES" && one !== "EPERM")).toEqual([]);
      expect(said).toMatchObject({ write: "EACCES", change: "EACCES", remove: "EACCES" });
    }
    expect(records()).toEqual(before);
    verified();
  },
  TIMEOUT_MS,
);

test(
  "ranks of a user that is not named are hung up on",
  async () => {
    await startValidator();
    if (!IS_ROOT) return;
    const home = join(root, "stranger");
    mkdirSync(home);
    chownSync(home, STRANGER, STRANGER);
    const stranger = start(STRANGER, home, [
      ...[process.execPath, RANK, "--ledger", places.ledger, "--validator", places.socket],
      ...["-P", WORKLOAD],
    ]);
    const { code, said } = await ended(stranger);
    expect(code).toBe(EXIT.unavailable);
    expect(said).toContain("does not answer");
  },
  TIMEOUT_MS,
);

test(
  "validator and ranks die in turn: each goes on when the other is back",
  async () => {
    const first = await startValidator();
    const before = records().length;
    const job = startRanks(4, load(3000));
    // In the middle of the load: what is under way is not known to be linked.
    while (records().length < before + 4 && job.exitCode === null) await Bun.sleep(20);
    first.kill("SIGKILL");
    await first.exited;
    const second = await startValidator();
    const { code, said } = await ended(job);
    expect({ code, said }).toMatchObject({ code: EXIT.ok });
    verified();

    const killed = startRanks(4, load(100_000));
    const at = records().length;
    while (records().length < at + 3 && killed.exitCode === null) await Bun.sleep(20);
    killed.kill("SIGKILL");
    await killed.exited;
    // mpirun's end takes its ranks along, but not at once: their INTENT would be refuted.
    const again = await untilFree(() => ended(startRanks(4, load(300))));
    expect(again).toMatchObject({ code: EXIT.ok });
    verified();
    second.kill("SIGTERM");
    expect(await second.exited).toBe(EXIT.ok);
  },
  2 * TIMEOUT_MS,
);

/** Tries as long as the ledger is said to be in use. */
async function untilFree(attempt: () => Promise<{ code: number; said: string }>) {
  for (let tries = 0; ; tries++) {
    const result = await attempt();
    if (result.code !== EXIT.busy || tries === 10) return result;
  }
}

/** `baash run` as a user runs it: real mpirun, real ranks, real signals, a real ledger on disk. */
import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { EXIT } from "../../src/base/errors.ts";
import { findDisk } from "../../src/cli/ycsb/places.ts";
import { LedgerClient } from "../../src/client/client.ts";
import { encodeTransaction } from "../../src/ledger/transaction-object.ts";
import { processesOf, ranksIn, signalProcess } from "../../src/supervisor/processes.ts";

const CLI = join(import.meta.dir, "../../src/cli.ts");
const TIMEOUT_MS = 60_000;
/** For one event: a crowded machine takes its time. */
const EVENT_MS = 30_000;
const root = mkdtempSync(join(await findDisk(false), "baash-run-test-"));
const env = { ...process.env, XDG_CONFIG_HOME: join(root, "config"), TMPDIR: root };
afterAll(() => rmSync(root, { recursive: true, force: true }));

type Event = { kind: string } & Record<string, unknown>;

const runs: Run[] = [];
afterEach(async () => {
  for (const run of runs.splice(0)) await run.destroy();
});

/** A supervisor under test: its events as they come. */
class Run {
  readonly directory: string;
  readonly events: Event[] = [];
  readonly exited: Promise<number>;
  /** Sessions of all launchers that it started. */
  readonly sessions: number[] = [];
  private readonly child;
  private waiting: (() => void) | undefined;
  private taken = 0;

  constructor(name: string, flags: string[], rankFlags: string[], more = {}) {
    this.directory = join(root, name);
    const args = ["run", "--json", "--run-dir", this.directory, ...flags, "--", ...rankFlags];
    this.child = Bun.spawn([process.execPath, CLI, ...args], {
      env: { ...env, ...more },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "ignore",
    });
    runs.push(this);
    const read = this.read(this.child.stdout);
    this.exited = Promise.all([this.child.exited, read]).then(([code]) => code);
  }

  private async read(stdout: ReadableStream<Uint8Array>): Promise<void> {
    let text = "";
    const decoder = new TextDecoder();
    for await (const bytes of stdout) {
      const lines = (text + decoder.decode(bytes, { stream: true })).split("\n");
      text = lines.pop()!;
      for (const line of lines) this.take(JSON.parse(line) as Event);
    }
    this.waiting?.();
  }

  private take(event: Event): void {
    expect(typeof event.at + typeof event.text).toBe("stringstring");
    if (event.kind === "started") this.sessions.push(Number(event.pid));
    this.events.push(event);
    this.waiting?.();
  }

  /** The next event of a kind; those before it are passed over. */
  async until(kind: string): Promise<Event> {
    const deadline = performance.now() + EVENT_MS;
    for (;;) {
      while (this.taken < this.events.length) {
        const event = this.events[this.taken++];
        if (event.kind === kind) return event;
      }
      const left = deadline - performance.now();
      if (left <= 0 || this.child.exitCode !== null)
        throw new Error(`no '${kind}' from the supervisor; it said ${this.said()}`);
      await new Promise<void>((resolve) => {
        this.waiting = resolve;
        setTimeout(resolve, left);
      });
    }
  }

  said(): string {
    return JSON.stringify(this.events, null, 1) + readFileSync(join(this.directory, "job.err"));
  }

  get launcher(): number {
    return this.sessions.at(-1)!;
  }

  /** Processes of the ranks; the launcher, where there is one, is the session's first. */
  get ranks(): number[] {
    return processesOf(this.launcher).filter((pid) => pid !== this.launcher);
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  /** Nothing of any of its jobs runs. */
  get left(): number[] {
    return this.sessions.flatMap(processesOf);
  }

  get socket(): string {
    return join(this.directory, "s/rank-1.sock");
  }

  /** What a test that failed may have left. */
  async destroy(): Promise<void> {
    this.child.kill("SIGKILL");
    await this.child.exited;
    for (const pid of this.left) signalProcess(pid, "SIGKILL");
  }
}

/** Those who lived in the ledger are dead here, but for one test: nobody needs long to answer. */
const flagsOf = (ledger: string, takeoverMs = 300) => [
  ...["--ledger", ledger, "--difficulty", "0", "--takeover-ms", String(takeoverMs)],
];

function transferOf(client: LedgerClient, sequence: number): Uint8Array {
  return encodeTransaction({
    kind: "transfer",
    chainId: client.facts.chainId,
    senderID: 0,
    sequence,
    lastValidRound: client.lastRound + 1000,
    creationTime: Date.now(),
    receiverID: 1,
    txnAmount: 1,
  });
}

/** `baash verify`, as a user runs it. */
function verified(ledger: string): Record<string, unknown> {
  const { stdout, exitCode } = Bun.spawnSync(
    [process.execPath, CLI, "verify", "--json", "--quiet", ledger],
    { env },
  );
  const report = JSON.parse(stdout.toString());
  expect({ exitCode, damages: report.damages }).toEqual({ exitCode: EXIT.ok, damages: [] });
  return report.summary;
}

/** A SEAL without members: whoever comes next need not wait. */
function isClosed(ledger: string): boolean {
  const { stdout } = Bun.spawnSync([process.execPath, CLI, "info", "--json", ledger], { env });
  return JSON.parse(stdout.toString()).epochs.at(-1).members.length === 0;
}

const FINAL = [{ level: "final", outcome: "OK" }];

describe("baash run", () => {
  test(
    "all ranks die: a new job goes on with the chain, clients and all; a second job is refused",
    async () => {
      const ledger = join(root, "ledger");
      const run = new Run("first", ["-n", "2"], flagsOf(ledger));
      await run.until("serves");
      const client = await connect(run);
      expect(await client.submit([transferOf(client, 1)])).toMatchObject(FINAL);

      const other = new Run("other", ["-n", "1"], flagsOf(ledger, 3000));
      const refused = await other.until("refused");
      expect(refused.why).toMatch(/^The ledger is in use by the 2 ranks that had it open on \S+/);
      expect(await other.exited).toBe(EXIT.busy);
      expect(await client.submit([transferOf(client, 2)])).toMatchObject(FINAL);

      const before = run.ranks;
      expect(before).toHaveLength(2);
      for (const pid of before) signalProcess(pid, "SIGKILL");
      expect(await run.until("died")).toMatchObject({ restartMs: 1000, exitCode: 69, deaths: 1 });
      expect(await run.until("serves")).toMatchObject({ members: 2 });
      // The same connection object: it found the new rank on the old path.
      expect(await client.submit([transferOf(client, 3)])).toMatchObject(FINAL);

      run.signal("SIGTERM");
      expect(await run.until("stopped")).toMatchObject({ isClean: true });
      expect(await run.exited).toBe(EXIT.ok);
      client.close();
      expect(run.left).toEqual([]);
      expect(isClosed(ledger)).toBe(true);
      const chainId = Buffer.from(client.facts.chainId).toString("hex");
      expect(verified(ledger)).toMatchObject({ chainId, transactions: 3 });
    },
    TIMEOUT_MS,
  );

  test(
    "the supervisor itself is killed: its guard stops the job cleanly",
    async () => {
      const ledger = join(root, "guarded");
      const run = new Run("guarded-run", ["-n", "2"], flagsOf(ledger));
      await run.until("serves");
      run.signal("SIGKILL");
      await gone(run);
      expect(isClosed(ledger)).toBe(true);
    },
    TIMEOUT_MS,
  );

  test(
    "the launcher is killed: its ranks go with it, and the job starts again",
    async () => {
      const ledger = join(root, "launcher");
      const run = new Run("launcher-run", ["-n", "2"], flagsOf(ledger));
      await run.until("serves");
      signalProcess(run.launcher, "SIGKILL");
      expect(await run.until("died")).toMatchObject({ why: "its launcher ended with SIGKILL" });
      expect(processesOf(run.sessions[0])).toEqual([]);
      // A stop between two jobs leaves the ledger as the death did.
      run.signal("SIGUSR1");
      expect(await run.until("stopped")).toMatchObject({ isClean: false, exitCode: 69 });
      expect(await run.exited).toBe(EXIT.unavailable);
      expect(run.sessions).toHaveLength(1);
    },
    TIMEOUT_MS,
  );

  test(
    "ranks that do not stop in time are ended, and nothing is left of them",
    async () => {
      const ledger = join(root, "frozen");
      const run = new Run("frozen-run", ["-n", "2", "--drain-seconds", "1"], flagsOf(ledger));
      await run.until("serves");
      for (const pid of [run.launcher, ...run.ranks]) signalProcess(pid, "SIGSTOP");
      run.signal("SIGINT");
      await run.until("ending");
      run.signal("SIGINT");
      await run.until("killing");
      expect(await run.until("stopped")).toMatchObject({ isClean: false, exitCode: 69 });
      expect(await run.exited).toBe(EXIT.unavailable);
      expect(run.left).toEqual([]);
    },
    TIMEOUT_MS,
  );

  test(
    "a stop while the ranks start: nothing was taken, nothing is left",
    async () => {
      const ledger = join(root, "early");
      const run = new Run("early-run", ["-n", "2"], flagsOf(ledger));
      await run.until("started");
      run.signal("SIGTERM");
      expect(await run.until("stopped")).toMatchObject({ isClean: true });
      expect(await run.exited).toBe(EXIT.ok);
      expect(run.left).toEqual([]);
    },
    TIMEOUT_MS,
  );

  test(
    "a rank is killed while all start: the others do not wait for it, a new job serves",
    async () => {
      const ledger = join(root, "incomplete");
      const run = new Run("incomplete-run", ["-n", "3"], flagsOf(ledger));
      await run.until("started");
      let rank: number | undefined;
      while (rank === undefined) {
        await Bun.sleep(5);
        [rank] = ranksIn(run.launcher).pids;
      }
      signalProcess(rank, "SIGKILL");
      expect(await run.until("incomplete")).toMatchObject({ processes: 1 });
      expect(await run.until("died")).toMatchObject({ deaths: 1 });
      expect(await run.until("serves")).toMatchObject({ members: 3 });
      run.signal("SIGTERM");
      expect(await run.until("stopped")).toMatchObject({ isClean: true });
      expect(await run.exited).toBe(EXIT.ok);
      expect(run.left).toEqual([]);
    },
    TIMEOUT_MS,
  );

  test(
    "ranks that cannot start: it gives up, and says why",
    async () => {
      const ledger = join(root, "crash");
      const flags = ["-n", "2", "--crash-limit", "2"];
      // No transport between the ranks: MPI_Init fails.
      const run = new Run("crash-run", flags, flagsOf(ledger), { OMPI_MCA_btl: "none" });
      expect(await run.until("gave-up")).toMatchObject({ deaths: 2 });
      expect(await run.exited).toBe(EXIT.unavailable);
      expect(run.events.map(({ kind }) => kind)).toEqual(["started", "died", "started", "gave-up"]);
    },
    TIMEOUT_MS,
  );

  test(
    "what would end the same way again is not tried again: 2 and 78, with the sentence",
    async () => {
      const foreign = join(root, "foreign");
      mkdirSync(foreign);
      writeFileSync(join(foreign, "thesis.tex"), "precious");
      const wrong = new Run("foreign-run", ["-n", "2"], flagsOf(foreign));
      const flag = new Run("flag-run", ["-n", "1"], ["--ledger", join(root, "no"), "--bogus"]);
      expect((await wrong.until("refused")).why).toContain("is not a ledger and not empty");
      expect(await wrong.exited).toBe(EXIT.configuration);
      expect((await flag.until("refused")).why).toContain("unknown option '--bogus'");
      expect(await flag.exited).toBe(EXIT.usage);
    },
    TIMEOUT_MS,
  );
});

/** The ranks listen a moment after they serve. */
async function connect(run: Run): Promise<LedgerClient> {
  const deadline = performance.now() + EVENT_MS;
  while (!existsSync(run.socket) && performance.now() < deadline) await Bun.sleep(20);
  return LedgerClient.connect(run.socket);
}

/** Resolves when no process of the run's jobs is left; it has no supervisor to tell of it. */
async function gone(run: Run): Promise<void> {
  const deadline = performance.now() + EVENT_MS;
  while (run.left.length > 0) {
    if (performance.now() > deadline) throw new Error(`still there: ${run.left.join()}`);
    await Bun.sleep(20);
  }
}

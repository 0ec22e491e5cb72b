/** What the supervisor reads and makes: files of the job, the run directory, command lines. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { EXIT } from "../../../src/base/errors.ts";
import { splitWords } from "../../../src/cli/run-job.ts";
import { StatusEvents, sentenceOf } from "../../../src/supervisor/events.ts";
import { FileFollower } from "../../../src/supervisor/file-follower.ts";
import { parseStatus, StatusFile } from "../../../src/supervisor/job-status.ts";
import { parseLastWords, SUPERVISED } from "../../../src/supervisor/last-words.ts";
import { hostCount, launchCommand, launchEnvironment } from "../../../src/supervisor/launch.ts";
import { processesOf, startOf, sweep } from "../../../src/supervisor/processes.ts";
import { leaveRunDirectory, openRunDirectory } from "../../../src/supervisor/run-directory.ts";
import { rankArguments, statusPath } from "../../../src/supervisor/supervisor.ts";

let root = "";
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "baash-sup-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

describe("the status file", () => {
  const member = (process: number) => ({ rank: process, process, host: "n1", pid: 7 });
  const suspicion = {
    at: 5,
    kind: "suspected",
    rank: 1,
    checkpoint: "C1",
    text: "rank 1 is silent",
  };

  test("is taken as it is: parts may be missing or strange, the state may not", () => {
    expect(parseStatus("")).toBeUndefined();
    expect(parseStatus('{"state":"run')).toBeUndefined();
    expect(parseStatus('{"state":"asleep"}')).toBeUndefined();
    expect(parseStatus("[]")).toBeUndefined();
    expect(parseStatus('{"state":"running"}')).toMatchObject({ members: [], events: [] });
    const strange = { state: "failed", slot: -1, settledRound: "x", members: [1], reason: {} };
    expect(parseStatus(JSON.stringify(strange))).toMatchObject({
      state: "failed",
      slot: undefined,
      settledRound: undefined,
      members: [],
      reason: undefined,
    });
  });

  test("is news once, and is forgotten before the next job", () => {
    const file = new StatusFile(join(root, "status.json"));
    expect(file.poll()).toBe(false);
    writeFileSync(file.path, '{"state":"running","slot":3}');
    expect(file.poll()).toBe(true);
    expect(file.current?.slot).toBe(3);
    expect(file.poll()).toBe(false);
    file.forget();
    expect(file.current).toBeUndefined();
    expect(file.poll()).toBe(false);
  });

  test("becomes events: serving, other members, what the monitor saw; each once", () => {
    const events = new StatusEvents();
    const view = (state: string, members: number[], seen: unknown[] = []) =>
      parseStatus(JSON.stringify({ state, members: members.map(member), events: seen }))!;
    expect(events.take(view("starting", []))).toEqual([]);
    expect(events.take(view("running", [0, 1]))).toMatchObject([{ kind: "serves", members: 2 }]);
    expect(events.take(view("running", [0, 1]))).toEqual([]);
    const [first, ...others] = events.take(view("running", [0, 1], [suspicion]));
    expect(sentenceOf(first)).toBe("rank 1 is silent");
    expect(others).toEqual([]);
    const gone = { ...suspicion, kind: "gone", text: "rank 1 has ended" };
    expect(events.take(view("running", [0], [suspicion, gone]))).toMatchObject([
      { kind: "monitor", event: gone },
      { kind: "members", processes: [0] },
    ]);
    events.reset();
    expect(events.take(view("running", [0, 2]))).toMatchObject([{ kind: "serves" }]);
  });
});

describe("following a file", () => {
  test("gives whole lines, from where it began, also over letters that come in halves", () => {
    const path = join(root, "job.err");
    writeFileSync(path, "old\n");
    const lines: string[] = [];
    const follower = new FileFollower(path, 4, (line) => lines.push(line));
    follower.poll();
    expect(lines).toEqual([]);
    const bytes = Buffer.from("zwölf\nab");
    appendFileSync(path, bytes.subarray(0, 3));
    follower.poll();
    expect(lines).toEqual([]);
    appendFileSync(path, bytes.subarray(3));
    follower.poll();
    expect(lines).toEqual(["zwölf"]);
    follower.flush();
    follower.flush();
    expect(lines).toEqual(["zwölf", "ab"]);
    appendFileSync(path, `${"x".repeat(200_000)}\n`);
    follower.poll();
    expect(lines[2]).toHaveLength(200_000);
    follower.close();
  });
});

describe("last words", () => {
  const program = `
    import { announceEnd } from "${join(import.meta.dir, "../../../src/supervisor/last-words.ts")}";
    announceEnd(process.env);
    process.exit(75);`;
  const say = (env: Record<string, string>) =>
    Bun.spawnSync([process.execPath, "-e", program], { env: { ...process.env, ...env } });

  test("are said by a rank that ends, where somebody listens", () => {
    const { stderr, exitCode } = say({ [SUPERVISED]: "1", OMPI_COMM_WORLD_RANK: "3" });
    expect(exitCode).toBe(75);
    expect(stderr.toString()).toMatch(/^baash: process 3 \(pid \d+\) ends with code 75\n$/);
    expect(parseLastWords(stderr.toString())).toBe(75);
    expect(parseLastWords(`[n1] PMIX ERROR at line 1033${stderr}`)).toBe(75);
    expect(parseLastWords("baash: process 3 says hello")).toBeUndefined();
    const alone = { ...process.env };
    delete alone[SUPERVISED];
    const { stderr: silent } = Bun.spawnSync([process.execPath, "-e", program], { env: alone });
    expect(silent.toString()).toBe("");
  });
});

describe("the run directory", () => {
  test("is taken by one supervisor at a time, and by the next when that one is gone", () => {
    const path = join(root, "run");
    const directory = openRunDirectory(path, 4);
    expect(directory).toMatchObject({ isFresh: false, status: join(path, "status.json") });
    expect(() => openRunDirectory(path, 4)).toThrow(
      expect.objectContaining({ code: "RUN_DIRECTORY_IN_USE", exitCode: EXIT.busy }),
    );
    // The same number, but another process; and a file that is no more than noise.
    const file = join(path, "supervisor.json");
    const dead = { pid: process.pid, host: hostname(), started: "1", since: "then" };
    for (const text of [JSON.stringify(dead), "}{"]) {
      writeFileSync(file, text);
      expect(openRunDirectory(path, 4).path).toBe(path);
    }
    leaveRunDirectory(directory, true);
    expect(openRunDirectory(path, 4).path).toBe(path);
  });

  test("refuses a path that is too long for sockets, and one that cannot be made", () => {
    for (const path of [join(root, "x".repeat(100)), "/proc/nowhere"]) {
      expect(() => openRunDirectory(path, 4)).toThrow(
        expect.objectContaining({ code: "RUN_DIRECTORY", exitCode: EXIT.configuration }),
      );
    }
  });
});

describe("command lines", () => {
  test("what the user has set stays", () => {
    const own = { OMPI_MCA_orte_enable_recovery: "0", OMPI_MCA_hwloc_base_binding_policy: "core" };
    const set = launchEnvironment({ ranks: 10_000, survives: true }, own);
    expect(set).toMatchObject(own);
    expect(set).toMatchObject({ OMPI_MCA_orte_abort_on_non_zero_status: "0", [SUPERVISED]: "1" });
    expect(set).toMatchObject({ OMPI_MCA_rmaps_base_oversubscribe: "1" });
    expect(launchEnvironment({ ranks: 1 }, {})).not.toHaveProperty(SUPERVISED);
  });

  test("ranks outnumber cores by the host, not by the job", () => {
    const cores = availableParallelism();
    const nodes = join(root, "nodes");
    writeFileSync(nodes, "n1\nn1\nn2\nn2\n");
    expect(hostCount({})).toBe(1);
    expect(hostCount({ SLURM_JOB_NUM_NODES: "8" })).toBe(8);
    expect(hostCount({ PBS_NODEFILE: nodes })).toBe(2);
    expect(() => hostCount({ PBS_NODEFILE: join(root, "no") })).toThrow("list of hosts");
    const crowded = (environment: Record<string, string>) =>
      "OMPI_MCA_mpi_yield_when_idle" in launchEnvironment({ ranks: 2 * cores }, environment);
    expect(crowded({})).toBe(true);
    expect(crowded({ SLURM_JOB_NUM_NODES: "2" })).toBe(false);
  });

  test("one rank needs no launcher, unless one is asked for", () => {
    expect(launchCommand({ ranks: 1 })).toEqual([]);
    expect(launchCommand({ ranks: 1, launcherArgs: ["--host", "n1"] }).slice(-2)).toEqual([
      "--host",
      "n1",
    ]);
    expect(launchCommand({ ranks: 3, survives: true })).toContain(SUPERVISED);
  });

  test("the rank's flags are completed, not replaced", () => {
    const directory = openRunDirectory(join(root, "flags"), 2);
    const { status, log, sockets } = directory;
    expect(rankArguments(["--ledger", "l"], directory)).toEqual([
      ...["--status", status, "--log", log, "--sockets", sockets],
      ...["--ledger", "l"],
    ]);
    expect(statusPath(rankArguments([], directory))).toBe(status);
    const mine = rankArguments(["--status=mine", "--sockets", "s"], directory);
    expect(mine).toEqual(["--log", log, "--status=mine", "--sockets", "s"]);
    expect(statusPath(mine)).toBe("mine");
  });

  test("launcher arguments are split as a shell would", () => {
    expect(splitWords("")).toEqual([]);
    expect(splitWords(`  --host a,b  --mca 'btl tcp' "it's" x="y z" `)).toEqual([
      ...["--host", "a,b", "--mca", "btl tcp", "it's", "x=y z"],
    ]);
    expect(() => splitWords(`--host "a`)).toThrow("a quote that does not end");
  });
});

describe("processes", () => {
  test("of a session are found by it, whatever their group, and are swept", async () => {
    // A shell with job control gives its children groups of their own, as mpirun does.
    const script = "set -m; sleep 60 & sleep 60 & echo ready; wait";
    const shell = Bun.spawn(["setsid", "bash", "-c", script], { stdout: "pipe", stderr: "ignore" });
    try {
      await shell.stdout.getReader().read();
      // setsid became the shell: it is the session.
      const all = processesOf(shell.pid);
      expect(all).toHaveLength(3);
      expect(startOf(shell.pid)).toMatch(/^\d+$/);
      expect(await sweep(shell.pid)).toBe(3);
      expect(processesOf(shell.pid)).toEqual([]);
    } finally {
      shell.kill("SIGKILL");
    }
    expect(startOf(2 ** 30)).toBeUndefined();
  });
});

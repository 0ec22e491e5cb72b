/**
 * The rules of the house that no compiler checks: which folder may import which, sizes, files that
 * nothing uses, what lies at the top. Each failure names the files; where a rule has exceptions they
 * stand here with their reason.
 */
import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, relative } from "node:path";

const ROOT = join(import.meta.dir, "..");
const FOLDERS = ["src", "workers", "native", "scripts", "test", ".ci"];

/** All files of the project by path, without what is built or installed. */
const files = new Map<string, string>();
for (const folder of FOLDERS) {
  if (!existsSync(join(ROOT, folder))) continue;
  for (const name of readdirSync(join(ROOT, folder), { recursive: true }) as string[]) {
    const path = `${folder}/${name}`;
    if (path.startsWith("native/build") || !statSync(join(ROOT, path)).isFile()) continue;
    files.set(path, readFileSync(join(ROOT, path), "utf8"));
  }
}
const sources = [...files.keys()].filter((path) => path.endsWith(".ts"));

/** Modules that a file imports, as written. */
function importsOf(path: string): string[] {
  const pattern = /(?:^|[\s;{])(?:from|import)\s*\(?\s*"([^"\n]+)"/g;
  return [...files.get(path)!.matchAll(pattern)].map((match) => match[1]);
}

/** Files that a file names: what it imports, and programs and workers that it starts. */
function referencesOf(path: string): string[] {
  const named = [...files.get(path)!.matchAll(/["'`]([^"'`\s]+)["'`]/g)].map((match) => match[1]);
  return [...importsOf(path), ...named]
    .map((name) => relative(ROOT, join(ROOT, dirname(path), name)))
    .filter((to) => files.has(to));
}

/** "src/rank", or the file itself where it lies directly in src. */
function partOf(path: string): string {
  return path.split("/").slice(0, 2).join("/");
}

describe("imports", () => {
  const bottom = ["src/limits.ts", "src/base"];
  const middle = ["consensus", "monitor", "queue", "transport", "storage"].map((n) => `src/${n}`);
  /** What a part may import, beside itself. */
  const allowed: Record<string, string[]> = {
    "src/limits.ts": ["src/base"],
    "src/base": [],
    "src/ledger": bottom,
    ...Object.fromEntries(middle.map((part) => [part, [...bottom, "src/ledger"]])),
    // Who is alive has nothing to do with what is in the ledger.
    "src/monitor": ["src/base"],
    "src/config.ts": bottom,
    // Judges and writes for ranks that may not: the other side of their storage.
    "src/validator": [...bottom, "src/ledger", "src/storage"],
    "src/rank": [...bottom, "src/ledger", ...middle, "src/config.ts", "src/validator"],
    "src/gateway": [...bottom, "src/ledger"],
    "src/client": [...bottom, "src/ledger"],
    "src/workload": [...bottom, "src/ledger", "src/client"],
    // An independent reader: of the writer it knows the constants of the format alone.
    "src/verify": [...bottom, "src/storage/format.ts"],
    "src/job": [
      ...[...bottom, "src/ledger", ...middle, "src/config.ts", "src/rank"],
      ...["src/gateway", "src/workload"],
    ],
    "src/supervisor": bottom,
    "src/simulation": [...bottom, "src/ledger", ...middle, "src/config.ts", "src/rank", "src/job"],
    "src/emulation": [
      ...[...bottom, "src/ledger", "src/consensus", "src/rank", "src/simulation/virtual-clock.ts"],
    ],
    "src/cli": [
      ...[...bottom, "src/ledger", ...middle, "src/config.ts", "src/rank", "src/job"],
      ...["src/gateway", "src/client", "src/workload", "src/verify", "src/simulation"],
      ...["src/supervisor", "src/validator", "src/emulation"],
    ],
    // Looks at the whole house from outside.
    "src/chaos": [
      ...[...bottom, "src/ledger", "src/client", "src/workload", "src/verify", "src/supervisor"],
      ...["src/cli", "src/simulation"],
    ],
    "src/cli.ts": ["src/cli"],
    "src/rank.ts": ["src/config.ts", "src/job", "src/cli", "src/supervisor"],
    workers: [...bottom, "src/ledger", "src/queue", "src/storage", "src/validator"],
  };
  const isShipped = (path: string) => path.startsWith("src/") || path.startsWith("workers/");

  test("point down only", () => {
    const wrong: string[] = [];
    for (const path of sources.filter(isShipped)) {
      const own = path.startsWith("workers/") ? "workers" : partOf(path);
      const may = allowed[own];
      if (may === undefined) wrong.push(`${path}: ${own} has no place in the order`);
      for (const name of importsOf(path).filter((each) => each.startsWith("."))) {
        const to = relative(ROOT, join(ROOT, dirname(path), name));
        const isAllowed =
          to.startsWith(`${own}/`) ||
          to === "package.json" ||
          may?.some((part) => to === part || to.startsWith(`${part}/`));
        if (!isAllowed) wrong.push(`${path} imports ${to}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  test("consensus and monitor are pure: no platform, no clock, no chance, nothing asynchronous", () => {
    const wrong: string[] = [];
    const impure =
      /\b(Date|Math\.random|performance|process\.|Bun|setTimeout|setImmediate|crypto)\b/;
    // The one that looks at processes of the system.
    const driver = "src/monitor/proc-watch.ts";
    const isPure = (path: string) => /^src\/(consensus|monitor)\//.test(path) && path !== driver;
    for (const path of sources.filter(isPure)) {
      for (const name of importsOf(path)) {
        if (!name.startsWith(".")) wrong.push(`${path} imports ${name}`);
      }
      const code = withoutComments(files.get(path)!);
      const found = impure.exec(code) ?? /\b(async|await|Promise)\b/.exec(code);
      if (found !== null) wrong.push(`${path} uses ${found[0]}`);
    }
    expect(wrong).toEqual([]);
  });

  test("only transport/mpi loads the MPI addon", () => {
    const loaders = sources.filter(
      (path) => isShipped(path) && /mpi-(openmpi|mpich|\$\{)/.test(files.get(path)!),
    );
    expect(loaders.every((path) => path.startsWith("src/transport/mpi"))).toBe(true);
    expect(loaders.length).toBeGreaterThan(0);
  });

  test("msgpackr comes in through one file of the writer and one of the reader", () => {
    const importers = sources.filter(
      (path) => isShipped(path) && importsOf(path).includes("msgpackr"),
    );
    expect(importers.sort()).toEqual(["src/ledger/codec.ts", "src/verify/payload-reader.ts"]);
  });
});

function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/(^|\s)\/\/.*$/gm, "");
}

describe("sizes", () => {
  const LINES_MAX = 600;
  /** Above this somebody asked why, and this is the answer. */
  const LINES_ASKED = 400;
  const REASONS: Record<string, string> = {
    "native/ceiling.cc": "one program on its own, read from top to bottom",
    "src/client/client.ts": "one connection: its states share everything",
    "src/gateway/intake.ts": "one switch over frames, and the holds between them",
    "src/ledger/block.ts": "one layout: encoding, locating and checking belong together",
    "src/ledger/record.ts": "one layout: encoding, decoding and checking belong together",
    "src/queue/keyed-fifo.ts": "one lock guards it all: lists, table and arena change together",
    "src/rank/loop.ts": "the life of a rank: every turn between epochs and outside of them",
    "src/simulation/cluster.ts": "one world: ranks, network, disk and faults meet here",
    "src/simulation/mutations.ts": "a list of bugs, each for itself",
    "src/simulation/rank-process.ts": "one process: everything that start.ts does, on twins",
    "src/transport/mpi.ts": "one port: what JavaScript keeps of each request until its event comes",
    "src/workload/driver.ts": "one state machine of an operation, from its slot to its answer",
    "test/support/consensus-cluster.ts": "the world of the core's tests in one place",
    "test/unit/fuzz/decoder-list.ts": "a list of decoders, each for itself",
    "test/unit/base/kernels.test.ts": "vectors of each kernel",
    "test/unit/transport/in-process.test.ts": "a table of what the twin promises",
    "test/unit/verify/ledger-reader.test.ts": "a table of damages",
    "test/unit/workload/driver.test.ts": "a table of cases",
  };

  const linesOf = (path: string) => files.get(path)!.trimEnd().split("\n").length;
  const isCode = (path: string) => /\.(ts|cc|h)$/.test(path) || path.startsWith("scripts/");

  test("no file is longer than can be read in one go", () => {
    const long = [...files.keys()].filter((path) => isCode(path) && linesOf(path) > LINES_ASKED);
    const unexplained = long.filter((path) => !(path in REASONS) || linesOf(path) > LINES_MAX);
    expect(unexplained.map((path) => `${path}: ${linesOf(path)} lines`)).toEqual([]);
  });

  test("no reason stands for a file that is gone", () => {
    expect(Object.keys(REASONS).filter((path) => !files.has(path))).toEqual([]);
  });
});

describe("nothing lies about", () => {
  /** Programs that people, scripts and other programs start. */
  const ENTRIES = [
    ...["src/rank.ts", "src/cli.ts", "src/cli/ycsb-load.ts", "src/cli/bench.ts"],
    ...["src/cli/calibrate.ts", "src/chaos/main.ts"],
    // Started by their names, which src/rank puts together.
    ...sources.filter((path) => path.startsWith("workers/")),
  ];
  /** In no program yet. */
  const SPARE: Record<string, string> = {
    "src/ledger/block-object.ts": "Table 2 of the paper as an object, for tests and tools",
  };
  /** Nobody asserts on these: they are started by hand, to measure. */
  const GAUGES = ["ping", "idle", "throughput"].map((name) => `test/mpi/programs/${name}.ts`);

  function reachableFrom(entries: readonly string[]): Set<string> {
    const reached = new Set<string>();
    const open = [...entries];
    for (let path = open.pop(); path !== undefined; path = open.pop()) {
      if (reached.has(path)) continue;
      reached.add(path);
      if (path.endsWith(".ts")) open.push(...referencesOf(path));
    }
    return reached;
  }

  test("every source file is part of a program", () => {
    const reached = reachableFrom(ENTRIES);
    const shipped = sources.filter((path) => !path.startsWith("test/"));
    expect(shipped.filter((path) => !reached.has(path)).sort()).toEqual(Object.keys(SPARE).sort());
  });

  test("every file of the tests is a test or helps one", () => {
    const tests = sources.filter((path) => /\.(test|bench)\.ts$/.test(path));
    const reached = reachableFrom(tests);
    // The programs of test/mpi and of some others are started by a name made up at run time.
    const isProgram = (path: string) => path.includes("/programs/");
    const unused = sources.filter((path) => path.startsWith("test/") && !reached.has(path));
    expect(unused.filter((path) => !isProgram(path))).toEqual([]);
    const text = tests.map((path) => files.get(path)).join();
    const helpers = sources.filter((path) => isProgram(path) && !GAUGES.includes(path));
    const names = (path: string) => path.slice(path.lastIndexOf("/") + 1, -".ts".length);
    const used = reachableFrom(helpers.filter((path) => text.includes(`"${names(path)}`)));
    expect(helpers.filter((path) => !used.has(path) && !reached.has(path))).toEqual([]);
  });

  test("what is to be done is done or in an issue", () => {
    // Spelled so that this file does not find itself.
    const pattern = new RegExp(`\\b(${["TO", "DO"].join("")}|${["FIX", "ME"].join("")}|X{3})\\b`);
    const found = [...files].filter(([, text]) => pattern.test(text)).map(([path]) => path);
    expect(found).toEqual([]);
  });

  test("the top of the project holds what it should", () => {
    const must = [
      ...["package.json", "tsconfig.json", "bunfig.toml", "src", "native", "workers", "scripts"],
      ...["test", "README.md", "LICENSE", "bun.lock", "biome.json", ".gitignore", ".ci"],
    ].sort();
    // What git does not track: its own folder, and what set-up and runs bring.
    const brought = /^(\.git|node_modules|\.bun|ledger.*)$/;
    const there = readdirSync(ROOT).filter((name) => !brought.test(name));
    expect(there.sort()).toEqual(must);
  });
});

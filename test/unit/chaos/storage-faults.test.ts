/** The library for LD_PRELOAD under a real process that uses the ledger's real file operations. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { StorageControl } from "../../../src/chaos/storage-control.ts";

const PROGRAM = join(import.meta.dir, "programs", "storage-user.ts");

let root = "";
let ledger = "";
let control: StorageControl;
const users: { kill(): void }[] = [];

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "baash-faults-"));
  ledger = join(root, "ledger");
  mkdirSync(ledger);
  control = new StorageControl(join(root, "control"), ledger);
});
afterEach(() => {
  for (const user of users.splice(0)) user.kill();
  control.close();
  rmSync(root, { recursive: true, force: true });
});

/** A process that the library takes for a rank, unless told otherwise. */
function user(directory = ledger, environment: Record<string, string> = { PMI_RANK: "0" }) {
  const child = Bun.spawn([process.execPath, PROGRAM, directory], {
    env: { ...process.env, ...control.environment, ...environment },
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
  });
  users.push(child);
  const reader = child.stdout.getReader();
  let text = "";
  const ask = async (line: string): Promise<string> => {
    child.stdin.write(`${line}\n`);
    child.stdin.flush();
    while (!text.includes("\n")) {
      const { value, done } = await reader.read();
      if (done) throw new Error("the process has ended");
      text += new TextDecoder().decode(value);
    }
    const [answer] = text.split("\n");
    text = text.slice(answer.length + 1);
    return answer;
  };
  return { ask, pid: child.pid };
}

describe("without rules", () => {
  test("everything works, and the process is counted as attached with its opens seen", async () => {
    const { ask } = user();
    expect(await ask("append a")).toBe("ok");
    expect(readdirSync(ledger)).toEqual(["a"]);
    const untrapped = process.arch === "x64" ? 0 : 1;
    expect(control.attached).toEqual({ processes: 1, untrapped });
    expect(control.hits).toBe(0);
  });

  test("a process that no launcher has numbered is left alone", async () => {
    const { ask } = user(ledger, {});
    control.apply([{ calls: ["create", "write", "fsync", "link"], error: "EIO" }]);
    expect(await ask("append a")).toBe("ok");
    expect(control.attached.processes).toBe(0);
  });
});

describe("rules take effect and end while the process runs", () => {
  test.each([
    ["create", "append b", "ENOSPC"],
    ["write", "append b", "ENOSPC"],
    ["fsync", "append b", "EIO"],
    ["link", "append b", "EIO"],
    ["open", "read a", "ESTALE"],
    ["open", "status a", "ESTALE"],
    ["list", "list", "ESTALE"],
    ["unlink", "remove a", "EIO"],
  ] as const)("%s, %s: %s", async (call, line, error) => {
    const { ask } = user();
    expect(await ask("append a")).toBe("ok");
    control.apply([{ calls: [call], error }]);
    expect(await ask(line)).toBe(error);
    expect(control.hits).toBe(1);
    control.apply([]);
    expect(await ask("append c")).toBe("ok");
    expect(control.hits).toBe(1);
  });

  test("gone: nothing is there, and all is there again afterwards", async () => {
    const { ask } = user();
    expect(await ask("append a")).toBe("ok");
    control.apply([{ calls: ["open", "create", "list", "stat"], error: "ENOENT" }]);
    expect(await ask("read a")).toBe("ENOENT");
    expect(await ask("append b")).toBe("ENOENT");
    expect(await ask("list")).toBe("ENOENT");
    control.apply([]);
    expect(await ask("read a")).toBe("ok");
    expect(await ask("append b")).toBe("ok");
  });

  test("syncing a directory fails apart from syncing a file", async () => {
    const { ask } = user();
    control.apply([{ calls: ["fsync"], error: "EIO", on: "directories" }]);
    expect(await ask("append a")).toBe("EIO");
    // The file was synced and linked before its directory could not be synced.
    expect(readdirSync(ledger).sort()).toEqual([".a.tmp", "a"]);
    control.apply([{ calls: ["fsync"], error: "EIO", on: "files" }]);
    expect(await ask("append b")).toBe("EIO");
    expect(readdirSync(ledger)).not.toContain("b");
  });

  test("a delay is one, and the call is made after it", async () => {
    const { ask } = user();
    expect(await ask("append a")).toBe("ok");
    control.apply([{ calls: ["fsync"], delayMs: 150, on: "files" }]);
    const started = performance.now();
    expect(await ask("append b")).toBe("ok");
    expect(performance.now() - started).toBeGreaterThanOrEqual(150);
    expect(readdirSync(ledger)).toContain("b");
  });

  test("a rate strikes some calls", async () => {
    const { ask } = user();
    control.apply([{ calls: ["link"], error: "EIO", rate: 0.5 }]);
    let failed = 0;
    for (let i = 0; i < 200; i++) if ((await ask(`append n${i}`)) !== "ok") failed++;
    // Six standard deviations on either side.
    expect(failed).toBeGreaterThan(57);
    expect(failed).toBeLessThan(143);
    expect(control.hits).toBe(failed);
  });
});

describe("only what is meant", () => {
  test("paths below the prefix, and below a part of it", async () => {
    const other = join(root, "ledger-2");
    const part = join(ledger, "log");
    for (const directory of [other, part]) mkdirSync(directory);
    control.apply([{ calls: ["link"], error: "EIO", below: "/log" }]);
    expect(await user(other).ask("append a")).toBe("ok");
    expect(await user(ledger).ask("append a")).toBe("ok");
    expect(await user(part).ask("append a")).toBe("EIO");
  });

  test("the processes that are named", async () => {
    const [one, two] = [user(), user()];
    control.apply([{ calls: ["link"], error: "EIO", pids: [two.pid] }]);
    expect(await one.ask("append a")).toBe("ok");
    expect(await two.ask("append b")).toBe("EIO");
  });
});

/** Runs scripts/chaos' program in a directory of its own, and says what it said. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";

const PROGRAM = join(import.meta.dir, "../../src/chaos/main.ts");
export const CHAOS_TIMEOUT_MS = 120_000;

/** `root` has a short path, on a disk. What chaos leaves behind is in `root`/t. */
export async function runChaos(root: string, args: readonly string[]) {
  const temporary = join(root, "t");
  mkdirSync(temporary, { recursive: true });
  const child = Bun.spawn([process.execPath, PROGRAM, ...args], {
    cwd: root,
    env: { ...process.env, TMPDIR: temporary },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    timeout: CHAOS_TIMEOUT_MS,
  });
  const [stdout, stderr, exitCode] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { stdout, stderr, exitCode, temporary };
}

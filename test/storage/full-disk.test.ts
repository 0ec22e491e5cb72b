/**
 * A real file system that is really full: a tmpfs of two megabytes in a mount namespace of its own. It
 * needs no rights but user namespaces; where the system forbids them this fails and says so.
 */
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const place = mkdtempSync(join(tmpdir(), "baash-full-"));
afterAll(() => rmSync(place, { recursive: true, force: true }));

const PROGRAM = join(import.meta.dir, "programs", "full-disk.ts");

test("ENOSPC of the kernel: rounds wait, membership records get through, nothing half is left", async () => {
  const mount = 'mount -t tmpfs -o size=2m none "$0" && exec "$@"';
  const command = ["sh", "-c", mount, place, process.execPath, PROGRAM, place];
  const child = Bun.spawn(["unshare", "--user", "--map-root-user", "--mount", ...command], {
    stdout: "pipe",
    stderr: "pipe",
  });
  const [text, errors] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  expect({ exitCode: await child.exited, errors }).toEqual({ exitCode: 0, errors: "" });
  expect(JSON.parse(text)).toEqual({
    outcomes: {
      before: "won",
      round: "STORAGE_FULL",
      noop: "won",
      seal: "won",
      late: "STORAGE_FULL",
      after: "won",
    },
    pieces: [3, 2, 0],
    temps: [],
    available: false,
    lastError: "STORAGE_FULL",
    // Not even the probe finds room, and nobody's reserve is left to take.
    again: "STORAGE_FULL",
    type: 0x01021994,
    slots: 4,
    reserve: 3,
  });
}, 30_000);

/**
 * Reads the status file of the ranks (JobStatus of src/job/status-file.ts) as if a stranger had
 * written it: it may be missing, of another version, or on a host that is not ours. Only the state is
 * needed; all else may be absent.
 */
import { readFileSync, rmSync, statSync } from "node:fs";
import { z } from "zod";

const count = z.number().int().nonnegative();

const eventSchema = z.object({
  at: z.number(),
  kind: z.string(),
  rank: count.optional().catch(undefined),
  checkpoint: z.string().catch(""),
  text: z.string(),
});

const statusSchema = z.object({
  state: z.enum(["starting", "running", "sealing", "draining", "stopped", "failed"]),
  reason: z
    .object({ code: z.string(), message: z.string(), exitCode: count })
    .optional()
    .catch(undefined),
  chainId: z.string().optional().catch(undefined),
  epoch: z.object({ hash: z.string(), number: count }).optional().catch(undefined),
  members: z.array(z.object({ process: count, host: z.string() })).catch([]),
  slot: count.optional().catch(undefined),
  settledRound: count.optional().catch(undefined),
  head: z.string().optional().catch(undefined),
  events: z.array(eventSchema).catch([]),
});

export type JobView = z.infer<typeof statusSchema>;
export type JobViewEvent = z.infer<typeof eventSchema>;

/** Undefined when the text is no status. */
export function parseStatus(text: string): JobView | undefined {
  try {
    return statusSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

export class StatusFile {
  readonly path: string;
  /** As last read; undefined until there is one. */
  current: JobView | undefined;
  private seen = "";

  constructor(path: string) {
    this.path = path;
  }

  /** True when there is something new. The file is replaced by rename, so that it is always whole. */
  poll(): boolean {
    try {
      const { ino, mtimeMs, size } = statSync(this.path);
      const mark = `${ino} ${mtimeMs} ${size}`;
      if (mark === this.seen) return false;
      const view = parseStatus(readFileSync(this.path, "utf8"));
      this.seen = mark;
      if (view !== undefined) this.current = view;
      return view !== undefined;
    } catch {
      // Not there yet, or its file system is away: there is nothing new.
      return false;
    }
  }

  /** Before a job starts: what the last one left says nothing of this one. */
  forget(): void {
    rmSync(this.path, { force: true });
    this.current = undefined;
    this.seen = "";
  }
}

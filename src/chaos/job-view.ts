/**
 * What a job says of itself in status.json (JobStatus of job/status-file.ts), read as a stranger would:
 * the file may be missing, half of an older version, or of a job that is dead by now.
 */
import { readFileSync } from "node:fs";
import { z } from "zod";

const count = z.number().int().nonnegative();

const viewSchema = z.object({
  at: z.number(),
  state: z.string(),
  epoch: z.object({ hash: z.string(), slot: count, number: count }),
  members: z.array(z.object({ rank: count, process: count, pid: count, incarnation: z.string() })),
  slot: count,
  head: z.string(),
  events: z.array(z.object({ at: z.number(), kind: z.string(), text: z.string() })).catch([]),
  storage: z
    .object({ available: z.boolean(), lastError: z.string().optional() })
    .optional()
    .catch(undefined),
});
export type JobView = z.infer<typeof viewSchema>;

export function parseJobView(text: string): JobView | undefined {
  try {
    return viewSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

export function readJobView(path: string): JobView | undefined {
  try {
    return parseJobView(readFileSync(path, "utf8"));
  } catch {
    return undefined;
  }
}

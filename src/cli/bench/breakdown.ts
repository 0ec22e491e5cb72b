/**
 * Where the time of one transaction goes: processor time of the main thread's stages and of the other
 * threads, and what the queues were asked to do. Names: "main.votes", "thread.mpi" (µs of one rank a
 * transaction), "queue.incoming.pushes" (times of one rank a transaction, over the whole job).
 */
import type { RankReport } from "../../job/job.ts";
import type { MergedUsage } from "../../workload/usage.ts";

export function breakdownOf(
  usage: MergedUsage,
  reports: readonly RankReport[],
): Record<string, number> {
  const { cpuUs, stagesUs, transactions, ranks } = usage;
  if (transactions === 0) return {};
  const parts: Record<string, number> = {};
  const perTransaction = (us: number) => us / transactions / ranks;
  let staged = 0;
  for (const [stage, us] of Object.entries(stagesUs)) {
    parts[`main.${stage}`] = perTransaction(us);
    staged += us;
  }
  for (const [thread, us] of Object.entries(cpuUs)) {
    if (thread === "main") parts["main.other"] = perTransaction(Math.max(0, us - staged));
    else parts[`thread.${thread}`] = perTransaction(us);
  }
  return { ...parts, ...queueCounts(reports) };
}

interface JobCounters {
  readonly transactions: number;
  readonly queues: Readonly<Record<string, Readonly<Record<string, number>>>>;
}

/** From the start of the job to its end: loading and warming up are in both sides of the ratio. */
function queueCounts(reports: readonly RankReport[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { counters } of reports) {
    const { queues, transactions } = counters as unknown as JobCounters;
    for (const [queue, kinds] of Object.entries(queues)) {
      for (const [kind, count] of Object.entries(kinds)) {
        const name = `queue.${queue}.${kind}`;
        counts[name] = (counts[name] ?? 0) + count / transactions / reports.length;
      }
    }
  }
  return counts;
}

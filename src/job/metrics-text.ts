/**
 * The status of a job in the text format of Prometheus (exposition format 0.0.4), for the textfile
 * collector of its node exporter: a batch job has no address that could be scraped. All times in
 * seconds, as is the custom there.
 */
import type { JobState, JobStatus } from "./status-file.ts";

const STATES: readonly JobState[] = [
  ...(["starting", "running", "sealing"] as const),
  ...(["draining", "stopped", "failed"] as const),
];

type Labels = Readonly<Record<string, string | number>>;

export function metricsText(status: JobStatus): string {
  const { members, epoch, storage, reason } = status;
  const labelsOf = ({ rank, process, host }: JobStatus["members"][number]) => ({
    rank,
    process,
    host,
  });
  const parts = [
    gauge("status_time_seconds", "When this was written, Unix time.", status.at / 1000),
    gauge("info", "Which ledger, told by which process.", [
      [{ chain_id: status.chainId, process: status.process, pid: status.pid }, 1],
    ]),
    gauge(
      "state",
      "1 for the state that the job is in.",
      STATES.map((state) => [{ state }, Number(state === status.state)]),
    ),
    gauge("ranks", "Members of the epoch.", status.ranks),
    gauge(
      "suspected_ranks",
      "Members believed dead or silent.",
      members.filter(({ suspected }) => suspected).length,
    ),
    gauge(
      "member_suspected",
      "1 for a member believed dead or silent.",
      members.map((member) => [labelsOf(member), Number(member.suspected)]),
    ),
    gauge(
      "member_silence_seconds",
      "Since the telling rank last heard that member.",
      members.map((member) => [labelsOf(member), member.lastHeardMs / 1000]),
    ),
    gauge("epoch_number", "Epochs since the job began.", epoch.number),
    gauge("epoch_slot", "Slot of the SEAL that began the epoch.", epoch.slot),
    gauge("slot", "Newest final slot.", status.slot),
    gauge("settled_round", "Newest final round.", status.settledRound),
    gauge("unsettled_rounds", "Rounds that are open or not final yet.", status.unsettledRounds),
    gauge("storage_available", "0 while storage takes no records.", Number(storage.available)),
    ...(reason ? [gauge("exit_code", "With which the process ends.", reason.exitCode)] : []),
    ...counts(status.counters),
  ];
  return parts.join("");
}

function gauge(name: string, help: string, value: number | readonly (readonly [Labels, number])[]) {
  const samples = typeof value === "number" ? ([[{}, value]] as const) : value;
  const lines = samples.map(([labels, each]) => `baash_${name}${braced(labels)} ${number(each)}\n`);
  return `# HELP baash_${name} ${help}\n# TYPE baash_${name} gauge\n${lines.join("")}`;
}

/** What the parts of the telling process count: most grow, some do not, so no type is claimed. */
function* counts(counters: JobStatus["counters"]): Generator<string> {
  const names = new Set<string>();
  for (const [name, value] of Object.entries(counters)) {
    const metric = `baash_process_${snake(name)}`;
    // A metric may stand once only, or the collector refuses the whole file.
    if (names.has(metric)) continue;
    names.add(metric);
    yield `# TYPE ${metric} untyped\n${metric} ${number(value)}\n`;
  }
}

function braced(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`);
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}

function escaped(value: string | number): string {
  return String(value).replace(/[\\"]/g, "\\$&").replaceAll("\n", "\\n");
}

/** "transport.sendsDropped" becomes transport_sends_dropped. */
function snake(name: string): string {
  return name
    .replace(/([a-z0-9])([A-Z])/g, "$1_$2")
    .replace(/[^A-Za-z0-9]+/g, "_")
    .toLowerCase();
}

function number(value: number): string {
  if (Number.isFinite(value) || Number.isNaN(value)) return String(value);
  return value > 0 ? "+Inf" : "-Inf";
}

/** What an emulation found, per size. */
import { WORK, type Work } from "./resources.ts";
import type { World } from "./world.ts";

export interface EmulationResult {
  readonly ranks: number;
  /** That live at the end. */
  readonly living: number;
  readonly rounds: number;
  readonly records: number;
  readonly epochs: number;
  readonly seconds: number;
  readonly dissemination: string;
  /** By how the round that they were proposed in ended. */
  readonly blocks: { readonly agreed: number; readonly lost: number };
  /** Ranks whose log is the log of storage, slot by slot. */
  readonly validLedgers: number;
  /** Transactions a second: asked for, and final. */
  readonly offered: number;
  readonly throughput: number;
  readonly latencyMs: {
    readonly agreed: Percentiles;
    readonly final: Percentiles;
  };
  readonly roundMs: number;
  /** Of one rank, mean, in each round. */
  readonly messagesPerRound: number;
  readonly bytesPerRound: number;
  readonly hashesPerTransaction: number;
  readonly joulesPerTransaction: number;
  /** Share of the time that each was busy. */
  readonly utilization: Record<"cores" | "network" | "storage", number>;
  /** Share of the cores' work. */
  readonly work: Record<Work, number>;
  readonly limit: string;
}

export interface Percentiles {
  readonly p50: number | undefined;
  readonly p95: number | undefined;
  readonly p99: number | undefined;
}

/** Busier than this, and a resource is what limits. */
const BUSY = 0.85;
/** Of what is asked for: rounds that carry it may keep the cores busy all the same. */
const SERVED = 0.98;
const WORK_NAMES: Record<Work, string> = {
  round: "rounds as such",
  messages: "messages",
  consensus: "proposals and votes of the others",
  blocks: "checking and executing blocks",
  puzzle: "the puzzle",
  transactions: "transactions",
  record: "records",
};

export function resultOf(world: World, notValid: ReadonlySet<string>): EmulationResult {
  const { options, measures, resources, clock, epoch, dissemination } = world;
  const elapsedMs = clock.now() - measures.since;
  const seconds = elapsedMs / 1000;
  const { rounds, transactions } = measures;
  const utilization = resources.utilization(clock.now());
  const all = Math.max(resources.coresMs, Number.MIN_VALUE);
  const work = Object.fromEntries(
    WORK.map((kind) => [kind, resources.busyMs[kind] / all]),
  ) as Record<Work, number>;
  const joules = (resources.coresMs / 1000) * options.ranks * options.model.power.wattsPerCore;
  const valid = epoch.cohorts.filter(({ name }) => !notValid.has(name));
  const offered = options.load * options.ranks;
  const throughput = transactions / seconds;
  const percentiles = (of: "agreed" | "final") => ({
    p50: measures[of].at(50),
    p95: measures[of].at(95),
    p99: measures[of].at(99),
  });
  return {
    ...{ ranks: options.ranks, rounds, records: measures.records, epochs: epoch.number, seconds },
    living: epoch.cohorts.reduce((sum, { size }) => sum + size, 0),
    dissemination: dissemination.name,
    blocks: { agreed: measures.blocksAgreed, lost: measures.blocksLost },
    validLedgers: valid.reduce((sum, { size }) => sum + size, 0),
    ...{ offered, throughput },
    latencyMs: { agreed: percentiles("agreed"), final: percentiles("final") },
    roundMs: elapsedMs / rounds,
    messagesPerRound: measures.messages / rounds,
    bytesPerRound: measures.bytes / rounds,
    hashesPerTransaction: transactions === 0 ? 0 : measures.hashes / transactions,
    joulesPerTransaction: transactions === 0 ? 0 : joules / transactions,
    ...{ utilization, work },
    limit: limitOf(utilization, work, throughput / offered),
  };
}

/** The busiest resource, if any is busy; else what rounds wait for is each other's answers. */
function limitOf(
  utilization: EmulationResult["utilization"],
  work: Record<Work, number>,
  served: number,
): string {
  const names = Object.keys(utilization) as (keyof typeof utilization)[];
  const busiest = names.reduce((a, b) => (utilization[a] >= utilization[b] ? a : b));
  const most = WORK.reduce((a, b) => (work[a] >= work[b] ? a : b));
  const what = busiest === "cores" ? `cores: ${WORK_NAMES[most]}` : busiest;
  const percent = `${Math.round(100 * Math.min(1, utilization[busiest]))} %`;
  if (served >= SERVED) return `the load; busiest: ${what} (${percent})`;
  if (utilization[busiest] >= BUSY) return `${what} (${percent})`;
  return `waiting for answers; busiest: ${what} (${percent})`;
}

/**
 * What a seed means: the cluster, its settings, its load and its faults. A scenario is a family of
 * plans; every number of a plan comes from the seed.
 */
import { Random } from "../base/random.ts";
import { DEFAULT_SETTINGS, type RankSettings } from "../rank/context.ts";
import type { NetworkModel } from "../transport/in-process.ts";
import { type Incident, IncidentMaker } from "./incidents.ts";

export const SCENARIOS = [
  /** Nothing fails; speeds differ. */
  "calm",
  /** Delay spikes, loss, messages that overtake each other. */
  "network",
  /** Collectives that hang or complete at some ranks only. */
  "collectives",
  /** Slow storage, EIO, ENOSPC, answers that hide a success; storage away for a while. */
  "storage",
  /** Ranks die for good, some of them all but one; the others go on. */
  "rank-crash",
  /** Ranks that are cut off from the others for a while, or frozen; storage is in reach. */
  "partition",
  /** Messages that come twice, or with a bit flipped. */
  "corruption",
  /** Queues with hardly any room. */
  "tight",
  /** All ranks die at once, with or without power, and the job comes again. */
  "job-crash",
  /** Another job opens the ledger while the first lives: it must go away. */
  "second-job",
  /** The job is frozen past the deadline and another takes over: the first stops when it wakes. */
  "frozen-job",
  /** Ranks and hosts die, say BYE or lose their storage, and are evicted by a SEAL. */
  "eviction",
  /** The same, and replacements are started until the job has its size again. */
  "healing",
  /** The job falls apart into halves, or into a few and the rest. */
  "split",
  /** Ranks that sleep or are cut off until they are evicted, and come back. */
  "rejoin",
  /** Bits of the log's files turn while its ranks live. */
  "bit-rot",
  /** Everything. */
  "storm",
] as const;
export type Scenario = (typeof SCENARIOS)[number];

export interface StorageFaults {
  readonly eio: number;
  /** EIO of reads and looks. */
  readonly readEio: number;
  readonly enospc: number;
  readonly spike: number;
  readonly spikeMsMax: number;
}

export interface Plan {
  readonly seed: number;
  readonly scenario: Scenario;
  readonly ranks: number;
  /** The load goes on, in peace if need be, until the log holds so many rounds and transactions. */
  readonly size: { readonly rounds: number; readonly transactions: number };
  /** Of a job that is started again. */
  readonly ranksLater: number;
  readonly ranksPerHost: number;
  /** Each job wants as many ranks as it starts with. */
  readonly settings: Omit<RankSettings, "ranksWanted">;
  readonly takeoverMs: number;
  /** The network while faults last; afterwards it only delays. */
  readonly network: Partial<NetworkModel>;
  readonly delayMsMax: number;
  readonly storage: StorageFaults;
  readonly diskStepMsMax: number;
  /** The disk is so much slower for this rank while faults last; -1: for none. */
  readonly slowRank: number;
  readonly slowFactor: number;
  /** 0: work is done inline, at once. */
  readonly poolDelayMsMax: number;
  readonly checkThrowsRate: number;
  /** Clocks of processes are wrong by so much at most. */
  readonly skewMsMax: number;
  readonly duplicateRate: number;
  readonly corruptRate: number;
  /** From the call that starts a process until it runs, at most; and how many never do. */
  readonly spawnDelayMsMax: number;
  readonly spawnFailRate: number;
  readonly slots: {
    readonly transactions: number;
    readonly outgoing: number;
    readonly incoming: number;
  };
  readonly incidents: readonly Incident[];
  readonly faultsUntilMs: number;
  readonly loadUntilMs: number;
  readonly loadIntervalMs: number;
  /** Transactions in one call of a client at most. */
  readonly batchMax: number;
  /** Transactions without an answer with which users still come. */
  readonly openMax: number;
}

const NO_STORAGE_FAULTS: StorageFaults = { eio: 0, readEio: 0, enospc: 0, spike: 0, spikeMsMax: 0 };
/** Of every seed: the issue of any fault needs rounds before it, and after it. */
const SIZE = { rounds: 200, transactions: 2000 };
const NO_SIZE = { rounds: 0, transactions: 0 };
const INCIDENTS_MIN = 5;
/** No job of a plan has more. */
const MEMBERS = 9;
/** By the seed: everything but the one in which nothing happens. */
const FAULTY = SCENARIOS.filter((scenario) => scenario !== "calm");
const CHANGING: readonly Scenario[] = ["eviction", "healing", "split", "rejoin"];

export interface PlanOptions {
  readonly scenario?: Scenario | undefined;
  readonly ranks?: number | undefined;
  /** A run that is as short as its faults are: for tests that make many. */
  readonly brief?: boolean;
}

export function planOf(seed: number, options: PlanOptions = {}): Plan {
  const random = new Random(seed, 1);
  const between = (low: number, high: number) => low + random.nextBelow(high - low + 1);
  const chance = (share: number) => random.nextFloat() < share;
  const scenario = options.scenario ?? FAULTY[seed % FAULTY.length];
  const isBrief = options.brief === true;
  const stormy = scenario === "storm";
  const has = (...names: Scenario[]) => stormy || names.includes(scenario);
  const changing = CHANGING.includes(scenario);
  const anySize = () => {
    if (changing) return chance(0.1) ? between(7, 9) : between(2, 6);
    return chance(0.1) ? 1 : chance(0.05) ? between(6, 8) : between(2, 5);
  };
  // Of what has rotted somebody must have a copy, or the ledger rightly stops.
  const ranks = options.ranks ?? Math.max(scenario === "bit-rot" ? 2 : 1, anySize());
  // Storage stays away for all while more and more is agreed on: until W rounds are in no record.
  const presses = !isBrief && scenario === "storage" && chance(0.5);
  // Or while most die.
  const strands = !isBrief && scenario === "eviction" && ranks > 2 && chance(0.15);
  const loadUntilMs =
    presses || strands
      ? between(3000, 3500)
      : changing || stormy
        ? between(1500, 4000)
        : between(800, 3000);
  const faultsUntilMs =
    presses || strands ? loadUntilMs : Math.floor(loadUntilMs * (0.6 + 0.4 * random.nextFloat()));
  const heals = scenario === "healing" || (scenario !== "eviction" && chance(0.3));
  const batchMax = between(isBrief ? 1 : 6, 24);
  const paceMs = loadUntilMs / between(150, 300);
  const settings = {
    ...settingsOf(between, chance, heals),
    ...gatheringOf(new Random(seed, 9)),
    ...(!isBrief && {
      roundIntervalMs: chance(0.2) ? 0 : Math.ceil(paceMs),
      // So many that 2,000 fit into 200 rounds, or rather more.
      blockTransactions: between(3, 12),
      proposalBlocksMax: between(2, 6),
      ...(presses && { roundIntervalMs: between(2, 6), blockTransactions: between(1, 3) }),
    }),
  };
  // A queue that has no room for a round has none for what the round includes.
  const wholeRound = MEMBERS * settings.proposalBlocksMax;
  const incidents = incidentsOf(presses ? "pressed" : strands ? "stranded" : scenario, random, {
    ranks,
    untilMs: faultsUntilMs,
    evictMs: settings.monitoring.evictMs,
    takeoverMs: settings.timing.takeoverMs,
  });
  const plan: Plan = {
    seed,
    scenario,
    ranks,
    size: isBrief ? NO_SIZE : SIZE,
    ranksLater: options.ranks ?? (chance(0.5) ? ranks : anySize()),
    ranksPerHost: chance(0.5) ? ranks : between(1, ranks),
    settings,
    takeoverMs: settings.timing.takeoverMs,
    network: {
      ...(has("network") && {
        lossRate: 0.2 * random.nextFloat() * (chance(0.7) ? 1 : 0),
        reorder: chance(0.5),
        delayMaxMs: chance(0.5) ? between(1, 150) : 2,
      }),
      ...(has("collectives") && {
        collectiveHangRate: 0.1 * random.nextFloat(),
        collectivePartialRate: 0.2 * random.nextFloat(),
      }),
    },
    delayMsMax: chance(0.5) ? 0.1 : between(1, 5),
    storage:
      has("storage") && !presses
        ? {
            eio: chance(0.7) ? 0.08 * random.nextFloat() : 0,
            readEio: chance(0.3) ? 0.02 * random.nextFloat() : 0,
            enospc: chance(0.5) ? 0.08 * random.nextFloat() : 0,
            spike: chance(0.7) ? 0.05 * random.nextFloat() : 0,
            spikeMsMax: stormy ? 300 : between(50, 3000),
          }
        : NO_STORAGE_FAULTS,
    diskStepMsMax: chance(0.5) ? 0.3 : between(1, 8),
    slowRank:
      has("storage", "rank-crash") && !presses && chance(0.4) ? random.nextBelow(ranks) : -1,
    slowFactor: between(3, 60),
    poolDelayMsMax: presses || chance(0.4) ? 0 : between(1, 30),
    checkThrowsRate: chance(0.2) ? 0.05 : 0,
    skewMsMax: chance(0.3) ? 7_200_000 : 0,
    duplicateRate: has("corruption") ? 0.1 * random.nextFloat() : 0,
    corruptRate: has("corruption") && chance(0.8) ? 0.03 * random.nextFloat() : 0,
    spawnDelayMsMax: between(1, 200),
    spawnFailRate: chance(0.3) ? 0.3 : 0,
    slots: presses
      ? { transactions: between(150, 300), outgoing: 64, incoming: 1024 }
      : scenario === "tight" || (stormy && chance(0.3))
        ? {
            transactions: between(8, 64),
            outgoing: between(2, 16),
            incoming: between(1, 3) * wholeRound,
          }
        : { transactions: 512, outgoing: 64, incoming: 1024 },
    incidents,
    faultsUntilMs,
    loadUntilMs,
    loadIntervalMs: isBrief
      ? chance(0.15)
        ? between(200, 600)
        : between(5, 60)
      : (loadUntilMs * batchMax) / ((presses ? 3 : 2) * SIZE.transactions),
    batchMax,
    openMax: chance(0.8) && !presses ? between(60, 400) : 2000,
  };
  // What hardly any queue takes comes in a few at a time: all of it has to have come in within a run.
  const isTight = plan.slots.transactions < 100;
  return isTight ? { ...plan, openMax: Math.min(plan.openMax, 400) } : plan;
}

/** Storage does what it is asked within the deadlines of the plan, whatever else happens. */
export function storageAnswers({ storage, slowRank }: Plan): boolean {
  const { eio, readEio, enospc, spike } = storage;
  return eio + readEio + enospc + spike === 0 && slowRank < 0;
}

/** T of L5, from a death to the SEAL without it: known where nothing else is in the way. */
export function evictionMsMax(plan: Plan): number {
  const { settings, incidents, network, ranks, takeoverMs } = plan;
  const deaths = new Set(["rank-crash", "rank-exit", "host-crash", "recorder-crash"]);
  const others = incidents.filter(({ kind }) => !deaths.has(kind));
  const alone = others.every(({ kind }) => kind === "hiccup");
  if (!alone || !storageAnswers(plan) || Object.keys(network).length > 0)
    return Number.POSITIVE_INFINITY;
  const { suspectMs, evictMs, turnDelayMs } = settings.monitoring;
  const turns = ranks * (turnDelayMs + settings.timing.turnDelayMs);
  // Who is about to seal may die as well, and who is left may have to ask by an INTENT.
  const hiccupsMs = others.length * evictMs;
  return (
    2 * (suspectMs + evictMs + settings.timing.sealWaitMs + turns + takeoverMs) + 500 + hiccupsMs
  );
}

/** SEALs of members that so few incidents may bring about: who comes back is let in by one more. */
export function sealsMax({ incidents, ranks, network }: Plan): number {
  const unasked = Object.keys(network).length > 0 ? 20 : 4;
  return unasked + 2 * ranks + 4 * incidents.length;
}

function incidentsOf(
  scenario: Scenario | "pressed" | "stranded",
  random: Random,
  run: { ranks: number; untilMs: number; evictMs: number; takeoverMs: number },
): readonly Incident[] {
  const make = new IncidentMaker(random, run);
  const stormy = scenario === "storm";
  const chance = (share: number) => random.nextFloat() < share;
  /** In the scenario of that name, and now and then in a storm. */
  const has = (name: Scenario, share: number) => scenario === name || (stormy && chance(share));
  const upTo = (count: number) => 1 + random.nextBelow(count);
  if (has("rank-crash", 0.2)) make.times(chance(0.6) ? 1 : upTo(run.ranks), () => make.death());
  if (has("partition", 0.2))
    make.times(upTo(3), () => (chance(0.6) ? make.partition() : make.freezeRank()));
  if (has("job-crash", 0.25)) make.times(upTo(2), () => make.jobDeath());
  if (has("second-job", 0.2)) make.secondJob();
  if (has("frozen-job", 0.1)) make.frozenJob(run.takeoverMs);
  if (scenario === "pressed") make.longOutage();
  if (scenario === "stranded") make.stranding();
  if (has("storage", 0.2) && chance(0.5)) make.storageAway();
  if (has("eviction", 0.4) || scenario === "healing") {
    make.times(upTo(3), () => (chance(0.8) ? make.death() : make.hostDeath()));
    if (chance(0.3)) make.massDeath();
    if (chance(0.2)) make.storageAway();
    if (chance(0.2)) make.oneWay();
  }
  if (has("split", 0.2))
    make.times(upTo(2), () => {
      const kind = random.nextFloat();
      if (kind < 0.35) make.evenSplit();
      else if (kind < 0.55) make.shatter();
      else if (kind < 0.7) make.swizzle();
      else if (kind < 0.9) make.partition();
      else make.oneWay();
    });
  if (has("rejoin", 0.2))
    make.times(upTo(4), () => (chance(0.7) ? make.freezeRank() : make.partition()));
  if (scenario === "bit-rot") make.times(upTo(4), () => make.bitRot());
  // Nor may a rank stop in doubt, with the copy that it has; nor is storage back sooner.
  const keepsStorage = scenario === "bit-rot" || scenario === "stranded";
  const kinds = keepsStorage
    ? (["process", "network"] as const)
    : (["process", "network", "storage"] as const);
  if (scenario !== "calm")
    make.times(Math.max(0, INCIDENTS_MIN - make.made.length), () => make.hiccup(kinds));
  return make.made.sort((a, b) => a.atMs - b.atMs);
}

/** Which proposals go by collective: small jobs gather as well here. */
function gatheringOf(random: Random) {
  return {
    gatherFrom: random.nextBelow(2) === 0 ? 2 : DEFAULT_SETTINGS.gatherFrom,
    gatherBytes: 1 << (9 + random.nextBelow(5)),
  };
}

function settingsOf(
  between: (low: number, high: number) => number,
  chance: (share: number) => boolean,
  heals: boolean,
): Plan["settings"] {
  const pollMs = between(50, 200);
  const heartbeatMs = between(15, 40);
  const suspectMs = heartbeatMs * between(5, 10);
  const evictMs = suspectMs * between(2, 3);
  return {
    ...DEFAULT_SETTINGS,
    blockTransactions: between(1, 5),
    blockDelayMs: between(0, 8),
    roundIntervalMs: chance(0.5) ? 0 : between(1, 20),
    proposalBlocksMax: between(1, 6),
    proposalBytesMax: 1 << 16,
    pipelineDepth: between(1, 4),
    collectiveTimeoutMs: between(100, 600),
    retryDelayMs: between(5, 20),
    pollMs,
    checkpointRecords: between(8, 60),
    // So few that a run folds some, and processes that are behind read in them meanwhile.
    segmentRecords: between(6, 40),
    timing: {
      proposalTimeoutMs: between(30, 200),
      voteTimeoutMs: between(30, 200),
      turnDelayMs: between(15, 80),
      readDelayMs: between(15, 80),
      pullIntervalMs: between(10, 40),
      sealWaitMs: between(30, 150),
      takeoverMs: 3 * (pollMs + 150),
    },
    monitoring: { heartbeatMs, suspectMs, evictMs, turnDelayMs: between(20, 80), scale: 1 },
    storageOn: chance(0.7) ? "alert" : chance(0.7) ? "no-majority" : "always",
    heal: heals ? "spawn" : "off",
    healAfterMs: evictMs * between(1, 6),
    spawnTimeoutMs: between(300, 1000),
    regroupTimeoutMs: between(150, 600),
    scrubRecords: between(8, 64),
    scrubMs: between(100, 500),
    repairWaitMs: between(200, 1000),
    storageLostMs: between(600, 2000),
    helloMs: between(40, 150),
    propagate: chance(0.6) ? "off" : chance(0.5) ? "backup" : "all",
    admitTimeoutMs: 10_000,
  };
}

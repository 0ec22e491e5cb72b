/**
 * Makes plans: of a few flags, or of a seed. Pure. A seed draws how many ranks there are, what they
 * run under and a mix of faults, each of which ends some seconds before the load does, so that every
 * run also shows the ledger after its faults.
 */
import { Random } from "../base/random.ts";
import { type ChaosEvent, endOf, type Plan, parsePlan, STORAGE_FAULT_NAMES } from "./plan.ts";

/** Flags for a schedule without a file. Times in seconds of the load's clock. */
export interface SimpleSchedule {
  readonly ranks: number;
  readonly seconds: number;
  readonly seed: number;
  readonly at: number;
  readonly for: number;
  readonly kill?: number;
  readonly stop?: number;
  readonly storage?: (typeof STORAGE_FAULT_NAMES)[number];
  readonly storageRate?: number;
  readonly storageDelayMs?: number;
  readonly killJob?: boolean;
  readonly restart?: boolean;
  readonly secondJob?: "alive" | "frozen" | "dead";
  readonly load: Partial<Plan["load"]>;
  readonly job: Partial<Plan["job"]>;
}

/** The flags' faults all begin at `at`. */
export function simplePlan(flags: SimpleSchedule): Plan {
  const random = new Random(flags.seed, 1);
  const { at, ranks } = flags;
  const events: object[] = [];
  if (flags.kill) events.push({ do: "kill", at, places: drawPlaces(random, ranks, flags.kill) });
  if (flags.stop) {
    const places = drawPlaces(random, ranks, flags.stop);
    events.push({ do: "stop", at, for: flags.for, places });
  }
  if (flags.storage !== undefined) {
    events.push({
      do: "storage",
      at,
      for: flags.for,
      fault: flags.storage,
      rate: flags.storageRate ?? 1,
      delayMs: flags.storageDelayMs ?? (flags.storage === "slow" ? 1000 : 0),
    });
  }
  if (flags.killJob) events.push({ do: "kill-job", at });
  if (flags.restart) events.push({ do: "restart", at });
  if (flags.secondJob !== undefined) {
    events.push({ do: "second-job", at, first: flags.secondJob, for: flags.for });
  }
  const { seconds, seed, load, job } = flags;
  return parsePlan({ version: 1, seed, ranks, seconds, load, job, events }, "the flags");
}

/** The load comes to its speed before anything happens, and shows it again afterwards. */
const CALM_START_S = 3;
const CALM_END_S = 4;
const SECONDS_MIN = 10;

export interface SeedLimits {
  readonly ranks?: number;
  readonly seconds?: number;
  readonly rate?: number;
  readonly supervised?: boolean;
}

type Draw = (random: Random, at: number, room: { ranks: number; seconds: number }) => object;

/** Faults with their weights: the many small ones and the few that take everything. */
const MIX: readonly (readonly [number, Draw])[] = [
  [6, (random, at, { ranks }) => killOf(random, at, ranks, 1 + random.nextBelow(minority(ranks)))],
  [2, (random, at, { ranks }) => killOf(random, at, ranks, majorityOrMore(random, ranks))],
  [4, (random, at, { ranks, seconds }) => stopOf(random, at, ranks, seconds)],
  [5, (random, at, { ranks, seconds }) => storageOf(random, at, ranks, seconds)],
  [2, (random, at) => ({ do: "kill-job", at, supervisor: random.nextBelow(3) === 0 })],
  [1, (_, at) => ({ do: "restart", at })],
  [1, (random, at, { seconds }) => secondJobOf(random, at, seconds)],
];

/** BAASH_FAULT of the ranks: one process ends in mid-validation, or every one throws now and then. */
const HOOKS = [
  (random: Random, ranks: number) => inValidation("exit", random, ranks),
  (random: Random, ranks: number) => inValidation("kill", random, ranks),
  () => "throw@validation:rate=0.01",
  (random: Random) => `slow@validation:ms=${5 + random.nextBelow(45)},process=0`,
];

function inValidation(action: string, random: Random, ranks: number): string {
  const after = 100 + random.nextBelow(2000);
  return `${action}@validation:after=${after},process=${random.nextBelow(ranks)}`;
}

/** The same seed makes the same plan, for ever and everywhere. */
export function seededPlan(seed: number, limits: SeedLimits = {}): Plan {
  const random = new Random(seed, 2);
  // Drawn whether they are wanted or not: a limit does not change the rest of the plan.
  const [drawnRanks, drawnSeconds] = [4 + random.nextBelow(5), 12 + random.nextBelow(7)];
  const ranks = limits.ranks ?? drawnRanks;
  const seconds = Math.max(SECONDS_MIN, limits.seconds ?? drawnSeconds);
  const kind = random.nextBelow(2) === 0 ? "transfers" : "updates";
  const flags = drawFlags(random);
  const hook = random.nextBelow(16);
  const events: ChaosEvent[] = [];
  const count = 1 + random.nextBelow(3);
  const last = seconds - CALM_END_S;
  const times = Array.from({ length: count }, () => CALM_START_S + 4 * random.nextFloat());
  times.sort((a, b) => a - b);
  for (const time of times) {
    const at = Math.round(10 * Math.min(time, last - 1)) / 10;
    events.push(pick(random)(random, at, { ranks, seconds: last - at }) as ChaosEvent);
  }
  return parsePlan(
    {
      version: 1,
      seed,
      ranks,
      seconds,
      load: { kind, rate: limits.rate ?? 200 },
      job: {
        supervised: limits.supervised ?? true,
        flags,
        ...(hook < HOOKS.length && { fault: HOOKS[hook](random, ranks) }),
      },
      events: withoutOverlap(events),
    },
    `seed ${seed}`,
  );
}

function drawFlags(random: Random): string[] {
  const flags = ["--heal", random.nextBelow(2) === 0 ? "off" : "spawn"];
  const storageOn = random.nextBelow(4);
  if (storageOn < 2) flags.push("--storage-on", ["no-majority", "always"][storageOn]);
  if (random.nextBelow(3) === 0) flags.push("--propagate", "backup");
  return flags;
}

function pick(random: Random): Draw {
  let ticket = random.nextBelow(MIX.reduce((sum, [weight]) => sum + weight, 0));
  for (const [weight, draw] of MIX) if ((ticket -= weight) < 0) return draw;
  return MIX[0][1];
}

/** Two faults of storage, or two jobs that are stopped at once, mean nothing together: the later goes. */
function withoutOverlap(events: readonly ChaosEvent[]): ChaosEvent[] {
  const kept: ChaosEvent[] = [];
  const isWhole = (event: ChaosEvent) => event.do === "restart" || event.do === "second-job";
  for (const event of events) {
    const clashes = kept.some((other) => {
      const meets = endOf(other) >= event.at;
      return (other.do === event.do && meets) || isWhole(other) || (isWhole(event) && meets);
    });
    if (!clashes) kept.push(event);
  }
  return kept;
}

const minority = (ranks: number) => Math.max(1, Math.ceil(ranks / 2) - 1);

function majorityOrMore(random: Random, ranks: number): number {
  const least = Math.floor(ranks / 2) + 1;
  return least + random.nextBelow(Math.max(1, ranks - least));
}

/** Distinct places, in the order drawn. */
export function drawPlaces(random: Random, ranks: number, count: number): number[] {
  const all = Array.from({ length: ranks }, (_, place) => place);
  const drawn: number[] = [];
  while (drawn.length < Math.min(count, ranks)) {
    drawn.push(...all.splice(random.nextBelow(all.length), 1));
  }
  return drawn;
}

function killOf(random: Random, at: number, ranks: number, count: number): object {
  return { do: "kill", at, places: drawPlaces(random, ranks, count) };
}

function within(random: Random, least: number, most: number): number {
  return Math.round(10 * (least + random.nextFloat() * Math.max(0, most - least))) / 10;
}

function stopOf(random: Random, at: number, ranks: number, seconds: number): object {
  const places = drawPlaces(random, ranks, 1 + random.nextBelow(minority(ranks)));
  return { do: "stop", at, for: within(random, 0.3, seconds), places };
}

function storageOf(random: Random, at: number, ranks: number, seconds: number): object {
  const fault = STORAGE_FAULT_NAMES[random.nextBelow(STORAGE_FAULT_NAMES.length)];
  const rate = [1, 0.5, 0.1][random.nextBelow(3)];
  const delayMs = fault === "slow" ? 50 + random.nextBelow(2000) : 0;
  const lasts = within(random, 0.5, seconds);
  // One host's path to the file system is bad, or the file system itself.
  const some = drawPlaces(random, ranks, 1 + random.nextBelow(minority(ranks)));
  const places = random.nextBelow(3) === 0 ? { places: some } : {};
  return { do: "storage", at, for: lasts, fault, rate, delayMs, ...places };
}

function secondJobOf(random: Random, at: number, seconds: number): object {
  const first = (["alive", "frozen", "dead"] as const)[random.nextBelow(3)];
  // A job that is frozen for less than the deadline of an INTENT just goes on.
  return { do: "second-job", at, first, for: first === "frozen" ? Math.max(8, seconds) : 8 };
}

/**
 * Figures of a run, from what the clients heard: rates, latencies, and how long nothing was agreed after
 * a fault. Pure arithmetic. Times are ms since 1970, rates are a second.
 */
import type { Submission } from "./journal.ts";

export interface Percentiles {
  readonly count: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

/** Nearest rank; undefined of nothing. */
export function percentilesOf(values: Float64Array): Percentiles | undefined {
  if (values.length === 0) return undefined;
  const sorted = values.slice().sort();
  const at = (share: number) => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
  return {
    count: sorted.length,
    p50: at(0.5),
    p90: at(0.9),
    p99: at(0.99),
    p999: at(0.999),
    max: sorted[sorted.length - 1],
  };
}

export type Level = "agreed" | "final";

/**
 * When transactions reached a level, in order of time. What is final is agreed, too: storage may have
 * decided before anybody told of an agreement.
 */
export function timesOf(submissions: readonly Submission[], level: Level): Float64Array {
  const times: number[] = [];
  for (const submission of submissions) {
    const time = timeOf(submission, level);
    if (!Number.isNaN(time)) times.push(time);
  }
  return Float64Array.from(times).sort();
}

function timeOf({ agreed, final }: Submission, level: Level): number {
  return level === "agreed" && !Number.isNaN(agreed) ? agreed : final;
}

/** From the intended start, so that a ledger that stalls is charged for all that should have started. */
export function latenciesOf(
  submissions: readonly Submission[],
  level: Level,
  from = Number.NEGATIVE_INFINITY,
  to = Number.POSITIVE_INFINITY,
): Float64Array {
  const latencies: number[] = [];
  for (const submission of submissions) {
    const { intended } = submission;
    if (intended < from || intended >= to) continue;
    const time = timeOf(submission, level);
    if (!Number.isNaN(time)) latencies.push(time - intended);
  }
  return Float64Array.from(latencies);
}

/** The index of the first time that is not before `time`. */
function firstFrom(times: Float64Array, time: number): number {
  let low = 0;
  let high = times.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (times[middle] < time) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Times in [from, to). */
export function countIn(times: Float64Array, from: number, to: number): number {
  return Math.max(0, firstFrom(times, to) - firstFrom(times, from));
}

/** A second, over [from, to); undefined of no time. */
export function rateIn(times: Float64Array, from: number, to: number): number | undefined {
  return to > from ? (SECOND_MS * countIn(times, from, to)) / (to - from) : undefined;
}

/** Of each whole second. */
export function perSecond(times: Float64Array, from: number, to: number): number[] {
  const counts: number[] = [];
  for (let at = from; at + SECOND_MS <= to; at += SECOND_MS)
    counts.push(countIn(times, at, at + SECOND_MS));
  return counts;
}

export interface Stall {
  readonly from: number;
  readonly to: number;
}

/**
 * The longest time without anything, of those that reach into [from, to]. It may have begun before:
 * a fault is charged for the whole of the silence that it falls into.
 */
export function longestStall(times: Float64Array, from: number, to: number): Stall {
  const first = firstFrom(times, from);
  let longest: Stall = { from, to: from };
  let before = first > 0 ? times[first - 1] : from;
  for (let i = first; before < to; i++) {
    const next = i < times.length ? times[i] : to;
    if (next - before > longest.to - longest.from) longest = { from: before, to: next };
    before = next;
    if (i >= times.length) break;
  }
  return longest;
}

/** From `time` until something that was submitted later was agreed; undefined: never. */
export function untilFresh(submissions: readonly Submission[], time: number): number | undefined {
  let first = Number.POSITIVE_INFINITY;
  for (const submission of submissions) {
    if (submission.submitted < time) continue;
    const agreed = timeOf(submission, "agreed");
    if (agreed < first) first = agreed;
  }
  return Number.isFinite(first) ? first - time : undefined;
}

/**
 * The first time from `time` on that begins a second of half the rate or more: transactions are agreed
 * again. Undefined: not before `to`.
 */
export function recoveryOf(
  times: Float64Array,
  { time, to, rate }: { time: number; to: number; rate: number },
): number | undefined {
  for (let i = firstFrom(times, time); i < times.length; ) {
    const at = times[i];
    if (at + SECOND_MS > to) return undefined;
    if (countIn(times, at, at + SECOND_MS) >= rate / 2) return at;
    i = Math.max(i + 1, firstFrom(times, at + RECOVERY_STEP_MS));
  }
  return undefined;
}

/** A fault as it happened. */
export interface Incident {
  readonly text: string;
  readonly at: number;
  /** When it was over; as `at` where nothing lasts. */
  readonly end: number;
}

export interface IncidentFigures {
  readonly text: string;
  /** Seconds since the load began. */
  readonly atS: number;
  readonly agreedStallMs: number;
  readonly finalStallMs: number;
  /** Until something submitted after the fault was agreed. */
  readonly freshMs: number | undefined;
  /** From its end until a second at half the rate offered; undefined: never. */
  readonly recoveryMs: number | undefined;
  /** Of the client that was worst off: it may have had to find another rank. */
  readonly worstClientMs: number;
}

export interface PhaseFigures {
  readonly fromS: number;
  readonly toS: number;
  readonly agreed: number | undefined;
  readonly final: number | undefined;
  /** Of what was intended to start in this phase; undefined of nothing. */
  readonly agreedLatency: Percentiles | undefined;
}

export interface Figures {
  readonly offered: number;
  readonly before: PhaseFigures;
  readonly during: PhaseFigures;
  readonly after: PhaseFigures;
  /** Agreed a second afterwards, of before; undefined where one of them is too short. */
  readonly afterOfBefore: number | undefined;
  readonly agreedPerSecond: readonly number[];
  readonly finalPerSecond: readonly number[];
  readonly agreedLatency: Percentiles | undefined;
  readonly finalLatency: Percentiles | undefined;
  readonly incidents: readonly IncidentFigures[];
}

/** A rate over less than this says nothing. */
const PHASE_MIN_MS = 2000;
/** The load comes to its speed. */
const WARM_MS = 1000;
/** What was held up comes all at once: that is no rate. */
const CATCH_UP_MS = 1000;
/** A stall that begins later than this after recovery has another cause. */
const REACH_MS = 2000;
const SECOND_MS = 1000;
const RECOVERY_STEP_MS = 50;

export interface RunTimes {
  /** Of each client. */
  readonly clients: readonly (readonly Submission[])[];
  readonly start: number;
  readonly end: number;
  readonly offered: number;
  readonly incidents: readonly Incident[];
}

export function figuresOf({ clients, start, end, offered, incidents }: RunTimes): Figures {
  const submissions = clients.flat().filter(({ intended }) => intended >= start);
  const agreed = timesOf(submissions, "agreed");
  const final = timesOf(submissions, "final");
  const own = clients.map((each) => timesOf(each, "agreed"));
  const figures: IncidentFigures[] = [];
  let over = Math.min(end, ...incidents.map(({ at }) => at));
  const first = over;
  for (const [i, incident] of incidents.entries()) {
    // Words that were on their way, and what was decided before, are no sign of recovery.
    const later = submissions.filter(({ submitted }) => submitted >= incident.end);
    const fresh = timesOf(later, "agreed");
    const recovery = recoveryOf(fresh, { time: incident.end, to: end, rate: offered });
    over = Math.max(over, recovery ?? end);
    const to = Math.min(end, (recovery ?? end) + REACH_MS, incidents[i + 1]?.at ?? end);
    const stallOf = (times: Float64Array) => lengthOf(longestStall(times, incident.at, to));
    figures.push({
      text: incident.text,
      atS: (incident.at - start) / 1000,
      agreedStallMs: stallOf(agreed),
      finalStallMs: stallOf(final),
      freshMs: untilFresh(submissions, incident.at),
      recoveryMs: recovery === undefined ? undefined : recovery - incident.end,
      worstClientMs: Math.max(0, ...own.map(stallOf)),
    });
  }
  const rest = incidents.length === 0 ? end : Math.min(end, over + CATCH_UP_MS);
  const phase = (from: number, to: number): PhaseFigures => {
    const isLong = to - from >= PHASE_MIN_MS;
    return {
      fromS: (from - start) / 1000,
      toS: (to - start) / 1000,
      agreed: isLong ? rateIn(agreed, from, to) : undefined,
      final: isLong ? rateIn(final, from, to) : undefined,
      agreedLatency: percentilesOf(latenciesOf(submissions, "agreed", from, to)),
    };
  };
  const before = phase(Math.min(start + WARM_MS, first), first);
  const after = phase(rest, end);
  const isKnown = before.agreed !== undefined && after.agreed !== undefined && before.agreed > 0;
  return {
    offered,
    before,
    during: phase(first, rest),
    after,
    afterOfBefore: isKnown ? after.agreed! / before.agreed! : undefined,
    agreedPerSecond: perSecond(agreed, start, end),
    finalPerSecond: perSecond(final, start, end),
    agreedLatency: percentilesOf(latenciesOf(submissions, "agreed")),
    finalLatency: percentilesOf(latenciesOf(submissions, "final")),
    incidents: figures,
  };
}

const lengthOf = ({ from, to }: Stall) => to - from;

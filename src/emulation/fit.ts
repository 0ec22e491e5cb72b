/**
 * Finds the costs that no single measurement gives: those with which the emulation comes closest to
 * what real jobs of two sizes did. Nelder and Mead's simplex over logarithms, so that costs stay
 * positive and errors count by their ratio. Deterministic.
 */
import type { CostModel } from "./cost-model.ts";

/** What a job of so many ranks did, or what the emulation says it does. */
export interface Figures {
  /** Transactions and rounds a second. */
  readonly throughput: number;
  readonly roundsPerS: number;
  /** Medians. */
  readonly agreedMs: number;
  readonly finalMs: number;
}

export interface Measurement extends Figures {
  readonly ranks: number;
  /** Transactions a second of each rank. */
  readonly load: number;
}

const FITTED = ["roundUs", "proposalUs", "transactionUs", "ownTransactionUs", "recordUs"] as const;
/** Of what a proposal costs, a vote costs so much: it has no blocks, and its MAC covers less. */
const VOTE_PART = 0.3;
/** Of each descent; then one more begins where it ended, as a simplex may collapse too early. */
const EVALUATIONS = 150;
const DESCENTS = 4;
/** First step away from the start, in logarithms: by half. */
const STEP = 0.5;
/** Costs beyond these have no meaning (microseconds). */
const LOG_MIN = Math.log(0.01);
const LOG_MAX = Math.log(1e5);

type Point = readonly number[];
interface Vertex {
  readonly at: Point;
  readonly error: number;
}

export interface Fit {
  readonly model: CostModel;
  /** Root of the mean square of ln(emulated / measured), over all figures of all measurements. */
  readonly error: number;
}

export async function fitCosts(
  start: CostModel,
  measurements: readonly Measurement[],
  emulated: (model: CostModel, measurement: Measurement) => Promise<Figures>,
): Promise<Fit> {
  const errorAt = async (at: Point): Promise<number> => {
    const model = withCosts(start, at);
    let sum = 0;
    for (const measurement of measurements)
      sum += distance(await emulated(model, measurement), measurement);
    return sum / measurements.length;
  };
  const first = FITTED.map((name) => Math.log(Math.max(start.cpu[name], 0.1)));
  let best = await descend(first, errorAt);
  for (let i = 1; i < DESCENTS; i++) best = await descend(best.at, errorAt);
  return { model: withCosts(start, best.at), error: Math.sqrt(best.error) };
}

function withCosts(model: CostModel, at: Point): CostModel {
  const cost = (i: number) =>
    Number(Math.exp(Math.min(Math.max(at[i], LOG_MIN), LOG_MAX)).toPrecision(4));
  const costs = Object.fromEntries(FITTED.map((name, i) => [name, cost(i)]));
  const cpu = { ...model.cpu, ...costs };
  return { ...model, cpu: { ...cpu, voteUs: Number((VOTE_PART * cpu.proposalUs).toPrecision(4)) } };
}

function distance(a: Figures, b: Figures): number {
  const names = ["throughput", "roundsPerS", "agreedMs", "finalMs"] as const;
  const off = (name: (typeof names)[number]) =>
    Math.log(Math.max(a[name], 1e-3) / Math.max(b[name], 1e-3)) ** 2;
  return names.reduce((sum, name) => sum + off(name), 0) / names.length;
}

/** Reflect, expand, contract, shrink. */
async function descend(first: Point, errorAt: (at: Point) => Promise<number>): Promise<Vertex> {
  const vertex = async (at: Point): Promise<Vertex> => ({ at, error: await errorAt(at) });
  let simplex = [await vertex(first)];
  for (const i of first.keys())
    simplex.push(await vertex(first.map((value, k) => (k === i ? value + STEP : value))));
  for (let evaluations = simplex.length; evaluations < EVALUATIONS; ) {
    simplex.sort((a, b) => a.error - b.error);
    const worst = simplex.pop()!;
    const centre = first.map(
      (_, k) => simplex.reduce((sum, { at }) => sum + at[k], 0) / simplex.length,
    );
    const along = (factor: number) => centre.map((c, k) => c + factor * (c - worst.at[k]));
    const reflected = await vertex(along(1));
    evaluations++;
    let next: Vertex = reflected;
    if (reflected.error < simplex[0].error) {
      const expanded = await vertex(along(2));
      evaluations++;
      if (expanded.error < reflected.error) next = expanded;
    } else if (reflected.error >= simplex.at(-1)!.error) {
      const contracted = await vertex(along(reflected.error < worst.error ? 0.5 : -0.5));
      evaluations++;
      if (contracted.error >= Math.min(worst.error, reflected.error)) {
        const best = simplex[0];
        const all = [...simplex, worst].slice(1);
        simplex = [best];
        for (const { at } of all)
          simplex.push(await vertex(at.map((value, k) => (value + best.at[k]) / 2)));
        evaluations += all.length;
        continue;
      }
      next = contracted;
    }
    simplex.push(next);
  }
  return simplex.reduce((a, b) => (a.error <= b.error ? a : b));
}

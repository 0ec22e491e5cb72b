/** A figure of several runs. */

export interface Spread {
  readonly min: number;
  readonly median: number;
  readonly max: number;
  /** In the order of the runs. */
  readonly runs: readonly number[];
}

/** Of at least one value. */
export function spreadOf(runs: readonly number[]): Spread {
  const sorted = [...runs].sort((a, b) => a - b);
  const below = sorted[Math.floor((sorted.length - 1) / 2)];
  const above = sorted[Math.floor(sorted.length / 2)];
  return { min: sorted[0], median: (below + above) / 2, max: sorted.at(-1)!, runs };
}

/** Each name's spread; a run that has no such figure is left out of it. */
export function spreadsOf<N extends string>(
  runs: readonly Readonly<Partial<Record<N, number>>>[],
): Partial<Record<N, Spread>> {
  const names = new Set(runs.flatMap((run) => Object.keys(run) as N[]));
  const spreads: Partial<Record<N, Spread>> = {};
  for (const name of names) {
    const values = runs.flatMap((run) => run[name] ?? []) as number[];
    if (values.length > 0) spreads[name] = spreadOf(values);
  }
  return spreads;
}

/** No run of one is as good as any of the other: more than chance, as far as so few runs can say. */
export function areApart(a: Spread, b: Spread): boolean {
  return a.max < b.min || b.max < a.min;
}

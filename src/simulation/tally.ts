/** Sums over many seeds: what was run, what befell it, and how often each rare way was taken. */
import type { SeedResult } from "./seed-run.ts";
import { Ways } from "./ways.ts";

export class Tally {
  seeds = 0;
  readonly sums = { virtualMs: 0, events: 0, slots: 0, rounds: 0, transactions: 0, receipts: 0 };
  /** The smallest of any seed. */
  readonly least = { rounds: Infinity, transactions: Infinity, faults: Infinity };
  /** The longest of any seed. */
  readonly most = { settledAfterMs: 0, evictedAfterMs: 0 };
  readonly kinds = new Map<string, number>();
  readonly faults = new Map<string, number>();
  private readonly taken = new Ways();

  add(result: SeedResult): void {
    this.seeds++;
    const { sums, least, most } = this;
    for (const name of Object.keys(sums) as (keyof typeof sums)[]) sums[name] += result[name];
    least.rounds = Math.min(least.rounds, result.rounds);
    least.transactions = Math.min(least.transactions, result.transactions);
    least.faults = Math.min(least.faults, faultsOf(result));
    for (const name of Object.keys(most) as (keyof typeof most)[])
      most[name] = Math.max(most[name], result[name]);
    addTo(this.kinds, result.kinds);
    addTo(this.faults, result.faults);
    this.taken.add(result.ways);
  }

  get ways(): Record<string, number> {
    return this.taken.all;
  }

  /** Ways that no seed took. */
  get never(): string[] {
    return Object.entries(this.ways).flatMap(([way, times]) => (times === 0 ? [way] : []));
  }
}

export function faultsOf({ faults }: SeedResult): number {
  return Object.values(faults).reduce((sum, count) => sum + count, 0);
}

function addTo(sums: Map<string, number>, counts: Readonly<Record<string, number>>): void {
  for (const [name, count] of Object.entries(counts)) sums.set(name, (sums.get(name) ?? 0) + count);
}

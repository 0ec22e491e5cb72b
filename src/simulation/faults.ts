/** How many faults of which kind befell a run: a run without faults shows little. */
export class Faults {
  private readonly counts = new Map<string, number>();

  happened(kind: string, times = 1): void {
    if (times > 0) this.counts.set(kind, (this.counts.get(kind) ?? 0) + times);
  }

  get all(): Record<string, number> {
    return Object.fromEntries(this.counts);
  }
}

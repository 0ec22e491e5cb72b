/**
 * What the other members say: whom they do not hear, and of whose end they are certain. An
 * accusation holds until it is withdrawn; one that is not said again in time no longer counts, as
 * its withdrawal may have been lost.
 */

interface Accusation {
  /** By accuser: awake time (silence-clocks.ts) at which it was last said. */
  readonly silent: Map<number, number>;
  readonly certain: Set<number>;
}

export class Accusations {
  private readonly accused = new Map<number, Accusation>();

  accuse(by: number, rank: number, at: number): void {
    this.of(rank).silent.set(by, at);
  }

  /** Answers how many members are certain now. */
  accuseCertain(by: number, rank: number): number {
    return this.of(rank).certain.add(by).size;
  }

  absolve(by: number, rank: number): void {
    this.accused.get(rank)?.silent.delete(by);
  }

  /** Members that do not hear `rank`, among those for which `counts` is true. */
  count(rank: number, counts: (by: number, at: number) => boolean): number {
    let count = 0;
    for (const [by, at] of this.accused.get(rank)?.silent ?? []) if (counts(by, at)) count++;
    return count;
  }

  private of(rank: number): Accusation {
    let accusation = this.accused.get(rank);
    if (accusation === undefined) {
      accusation = { silent: new Map(), certain: new Set() };
      this.accused.set(rank, accusation);
    }
    return accusation;
  }
}

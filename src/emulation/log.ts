/** The shared log as storage holds it: one record a slot, the first that was linked. */
import { assert } from "../base/assert.ts";
import type { LinkEffect, ProposalName, RecordSummary } from "../consensus/effects.ts";
import { inRoundOrder } from "../consensus/vote.ts";
import { recordName } from "./names.ts";

interface Entry {
  readonly summary: RecordSummary;
  readonly rounds: ReadonlyArray<{ round: number; order: readonly ProposalName[] }>;
}

/** What a rank made of a slot. */
export interface Finalized {
  readonly slot: number;
  readonly hash: string;
  readonly rounds: ReadonlyArray<{ round: number; order: readonly ProposalName[] }>;
}

export class EmulatedLog {
  private readonly entries = new Map<number, Entry>();
  head = { slot: 0, hash: recordName(0) };
  readonly kinds: Record<string, number> = {};

  /** True when the record took its slot. */
  link(draft: LinkEffect, ranks: number): boolean {
    if (draft.slot !== this.head.slot + 1) return false;
    assert(draft.prevHash === this.head.hash, "a record names its parent");
    const rounds = draft.settlement.map(({ round, included }) => ({ round, included }));
    const hash = recordName(draft.slot);
    this.head = { slot: draft.slot, hash };
    this.kinds[draft.kind] = (this.kinds[draft.kind] ?? 0) + 1;
    this.entries.set(draft.slot, {
      summary: {
        ...{ slot: draft.slot, hash, kind: draft.kind, valid: true, rounds },
        firstRound: rounds[0]?.round ?? 0,
        lastRound: rounds.at(-1)?.round ?? 0,
      },
      rounds: rounds.map(({ round, included }) => ({
        round,
        order: inRoundOrder(round, included, ranks),
      })),
    });
    return true;
  }

  /** The record of `slot`, as whoever reads it sees it. */
  read(slot: number): RecordSummary | undefined {
    return this.entries.get(slot)?.summary;
  }

  /** A rank that calls this final holds what the log holds: the same record, blocks and order. */
  agrees({ slot, hash, rounds }: Finalized): boolean {
    const entry = this.entries.get(slot);
    if (entry === undefined || entry.summary.hash !== hash) return false;
    if (entry.rounds.length !== rounds.length) return false;
    return entry.rounds.every(({ round, order }, i) => {
      const own = rounds[i];
      if (own.round !== round || own.order.length !== order.length) return false;
      return order.every(
        (name, at) => name.rank === own.order[at].rank && name.hash === own.order[at].hash,
      );
    });
  }

  /** All that go on have it: nobody will ask again. */
  forget(slot: number): void {
    for (const known of this.entries.keys()) if (known < slot) this.entries.delete(known);
  }
}

/**
 * Compares what the ranks computed (S7): every vote carries the digest of effects at the voter's
 * newest final slot. A rank whose digest differs from that of a majority can no longer trust
 * itself. Votes come one by one and may be ahead of or behind this rank, so claims are kept by slot.
 */
import { UNRECORDED_ROUNDS_MAX } from "../limits.ts";

/** Slots behind the newest for which claims and digests are kept. */
const SLOTS_KEPT = 64;

export class EffectsWatch {
  private readonly majority: number;
  private readonly own = new Map<number, string>();
  /** slot → rank → digest, of other ranks. */
  private readonly claims = new Map<number, Map<number, string>>();
  newest = { slot: 0, digest: "0".repeat(64) };
  /** First slot at which a majority has one other digest than this rank. */
  differsAt: number | undefined;
  mismatches = 0;

  constructor(majority: number) {
    this.majority = majority;
  }

  /** This rank has executed the record of `slot`. */
  executed(slot: number, digest: string): void {
    this.newest = { slot, digest };
    this.own.set(slot, digest);
    this.own.delete(slot - SLOTS_KEPT);
    this.claims.delete(slot - SLOTS_KEPT);
    const claims = this.claims.get(slot);
    if (claims !== undefined) for (const claim of claims.values()) this.compare(slot, claim);
  }

  claimed(rank: number, slot: number, digest: string): void {
    const mine = this.own.get(slot);
    // The common case costs one comparison and keeps nothing.
    if (mine === digest) return;
    const { newest } = this;
    if (slot <= newest.slot - SLOTS_KEPT || slot > newest.slot + UNRECORDED_ROUNDS_MAX) return;
    if (mine === undefined && slot <= newest.slot) return; // from before this rank joined
    let claims = this.claims.get(slot);
    if (claims === undefined) this.claims.set(slot, (claims = new Map()));
    if (claims.has(rank)) return;
    claims.set(rank, digest);
    if (mine !== undefined) this.compare(slot, digest);
  }

  private compare(slot: number, claim: string): void {
    if (claim === this.own.get(slot)) return;
    this.mismatches++;
    let same = 0;
    for (const other of this.claims.get(slot)!.values()) if (other === claim) same++;
    if (same >= this.majority) this.differsAt ??= slot;
  }
}

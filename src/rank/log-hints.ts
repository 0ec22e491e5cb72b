/**
 * In a byzantine epoch DECIDED is a hint: the log is looked at, and nothing is believed before the
 * record is read. Who hints at records that never come costs a few looks, and no more until what it
 * said has come true. Main thread.
 */
import type { RankContext } from "./context.ts";

/** Between link and sight a shared file system may take its time. */
const LOOKS_MAX = 5;

interface Hint {
  slot: number;
  looksLeft: number;
}

export class LogHints {
  private readonly rank: Pick<RankContext, "chain" | "clock" | "settings" | "emit">;
  private readonly newest = new Map<number, Hint>();

  constructor(rank: Pick<RankContext, "chain" | "clock" | "settings" | "emit">) {
    this.rank = rank;
  }

  /** A member says that the log reaches to `slot`. */
  hint(member: number, slot: number): void {
    const head = this.rank.chain.slot;
    if (slot <= head) return;
    const before = this.newest.get(member);
    if (before !== undefined && before.slot > head) {
      // It is being looked for, or was in vain.
      before.slot = Math.max(before.slot, slot);
      return;
    }
    const hint = { slot, looksLeft: LOOKS_MAX };
    this.newest.set(member, hint);
    this.look(hint);
  }

  private look(hint: Hint): void {
    const { chain, clock, settings, emit } = this.rank;
    if (hint.looksLeft-- === 0 || chain.slot >= hint.slot) return;
    emit({ type: "poll" });
    clock.schedule(clock.now() + settings.timing.readDelayMs, () => this.look(hint));
  }
}

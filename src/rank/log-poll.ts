/**
 * Looks for records that nobody announced, an INTENT of another job above all: one member of each
 * host, and only while no record comes anyway. Main thread.
 */
import type { RankContext } from "./context.ts";
import type { Monitoring } from "./monitoring.ts";

export class LogPoll {
  private readonly rank: RankContext;
  private readonly monitoring: Monitoring;
  private lastFinalAt = Number.NEGATIVE_INFINITY;
  private cancel: (() => void) | undefined;

  constructor(rank: RankContext, monitoring: Monitoring) {
    this.rank = rank;
    this.monitoring = monitoring;
  }

  start(): void {
    const { clock, settings, emit } = this.rank;
    this.cancel = clock.schedule(clock.now() + settings.pollMs, () => {
      this.start();
      const quiet = clock.now() - this.lastFinalAt >= settings.pollMs;
      if (quiet && this.isForHost()) emit({ type: "poll" });
    });
  }

  stop(): void {
    this.cancel?.();
  }

  /** A record has become final. */
  seen(): void {
    this.lastFinalAt = this.rank.clock.now();
  }

  /** This rank is the lowest of its host that is not suspected. */
  isForHost(): boolean {
    const { members, self } = this.rank.session;
    const { host } = members[self];
    const { suspects } = this.monitoring;
    const first = members.find((member) => member.host === host && !suspects.includes(member.rank));
    return first?.rank === self;
  }
}

/**
 * Steps 6 to 9 of HyBE: closed rounds are recorded by turns, storage decides what the ranks cannot,
 * and what storage holds is final. `sealing.ts` goes on from here where an epoch ends.
 */
import { assert } from "../base/assert.ts";
import { UNRECORDED_ROUNDS_MAX } from "../limits.ts";
import { Ballot } from "./ballot.ts";
import type {
  Decided,
  LinkEffect,
  ProposalName,
  RecordDraft,
  RecordKind,
  RecordSummary,
  RoundSettlement,
} from "./effects.ts";
import type { Round } from "./round.ts";
import { inRoundOrder, orderDigest } from "./vote.ts";

/** What is known of the head while it is an INTENT: its author asks whether anybody is here. */
interface HeadIntent {
  readonly answered: readonly number[];
  readonly own: boolean;
  readonly deadlineMs: number;
  /** When this rank learned of it, or, of its own one, when the sync was over. */
  at: number;
}

type SettledNames = ReadonlyArray<{ round: number; included: readonly ProposalName[] }>;

export abstract class Recorder extends Ballot {
  /** The record being appended by this rank, until the answer comes. */
  protected linking: LinkEffect | null = null;
  protected retryLinkAt = Number.NEGATIVE_INFINITY;
  /** Rounds in one record at most: halved when storage refuses a record, which may be too large. */
  protected groupMax = UNRECORDED_ROUNDS_MAX;
  protected headIntent: HeadIntent | undefined;
  /** The slot at which this rank steps in for a recorder that is late. */
  protected steppedInAt = 0;
  /** Nothing more happens here: the epoch has ended, or this rank cannot trust itself any more. */
  protected ended = false;

  // Step 6: record, by turns; step 8: storage decides.

  /** Frozen ranks record nothing but the SEAL; its turn has come, unless something is awaited. */
  protected abstract recordSeal(): void;

  /** When this rank may link the first unsettled round; Infinity when something else is awaited. */
  protected recordDue(first: Round): number {
    if (first.closed) {
      if (!first.bodiesGood()) return Number.POSITIVE_INFINITY;
      return this.afterTurns(first, first.closedAt);
    }
    const answered = first.asked && first.opened >= this.epoch.answersMin;
    if (!answered || !first.possibleFit()) return Number.POSITIVE_INFINITY;
    // One more interval for answers that are on their way: each can only make the record truer.
    const all = first.openedAll(this.suspects);
    return first.askedAt + (all ? 0 : this.timing.pullIntervalMs);
  }

  protected record(): void {
    if (this.linking !== null || this.now < this.retryLinkAt) return;
    if (this.refutesHead) {
      // Any record will do; that of a frozen rank settles nothing, and no puzzle is worth the wait.
      const settles = !this.frozen && this.storageOn !== "always";
      const settlement = settles ? this.closedRounds() : [];
      return this.link({ kind: settlement.length > 0 ? "QUORUM" : "NOOP", settlement });
    }
    if (this.frozen) return this.recordSeal();
    const first = this.rounds.get(this.settledRound + 1);
    if (first === undefined) return;
    const due = this.recordDue(first);
    if (this.now < due) return;
    if (!first.closed || this.placeIn(first.round) > 0) {
      // Whoever steps in for another looks first: a read is cheaper than a record written in vain.
      if (!this.looked(due)) return;
    }
    if (!first.closed) this.link({ kind: "STORAGE", settlement: [first.settle(first.possible())] });
    else if (this.storageOn === "always")
      this.link({ kind: "STORAGE", settlement: [first.settle(first.won())] });
    else this.link({ kind: "QUORUM", settlement: this.closedRounds() });
  }

  /** An INTENT whose author did not hear this rank: a record after it says that somebody is here. */
  private get refutesHead(): boolean {
    const { headIntent } = this;
    if (headIntent === undefined || headIntent.own) return false;
    return !headIntent.answered.includes(this.epoch.self);
  }

  /** Storage was seen to hold nothing after the head since then; else it is looked at now. */
  protected looked(since: number): boolean {
    this.steppedInAt = this.tail.slot + 1;
    if (this.tail.emptySince(since)) return true;
    this.tail.look(this.now);
    return false;
  }

  /** When storage is slow more rounds ride in one record. */
  private closedRounds(): RoundSettlement[] {
    const settlement: RoundSettlement[] = [];
    for (let number = this.settledRound + 1; settlement.length < this.groupMax; number++) {
      const round = this.rounds.get(number);
      if (!round?.closed || !round.bodiesGood()) break;
      settlement.push(round.settle(round.won()));
    }
    return settlement;
  }

  protected link(record: RecordDraft): void {
    const slot = this.tail.slot + 1;
    this.linking = { type: "link", slot, prevHash: this.tail.hash, ...record };
    this.out.push(this.linking);
  }

  protected onLinkFailed(slot: number): void {
    if (this.linking?.slot !== slot) return;
    const rounds = this.linking.settlement.length;
    if (rounds > 0) this.groupMax = Math.max(1, rounds >>> 1);
    this.linking = null;
    this.retryLinkAt = this.now + this.timing.turnDelayMs;
  }

  protected onLinkLost(slot: number): void {
    if (this.linking?.slot === slot) this.linking = null;
    if (slot > this.tail.slot) this.tail.readBy(this.now);
  }

  private tell(decided: Decided): void {
    this.out.push({ type: "send-decided", to: "all", decided });
  }

  // Step 7: finalize what storage holds.

  protected onLinked(slot: number, hash: string): void {
    const linking = this.linking;
    assert(linking !== null && linking.slot === slot, "the record linked is the one handed over");
    this.linking = null;
    this.groupMax = Math.min(2 * this.groupMax, UNRECORDED_ROUNDS_MAX);
    if (slot === this.tail.slot + 1) {
      const decided = this.describe(slot, hash, linking.kind, linking.settlement);
      this.tell(decided);
      this.finalize(decided, linking.settlement);
      if (linking.kind === "SEAL") this.endEpoch(slot, hash);
    } else if (slot === this.tail.slot) {
      // This rank read its own record before the append had answered.
      if (hash !== this.tail.hash) {
        const reason = `storage gave slot ${slot} to two records: its link is not exclusive`;
        return this.halt("TWO_RECORDS", reason);
      }
      this.tell(this.tail.lastDecided!);
    } else return;
    if (linking.kind === "INTENT") {
      this.headIntent = { ...linking, own: true, at: this.now };
    }
  }

  protected halt(code: string, reason: string): void {
    this.ended = true;
    this.out.push({ type: "halt", code, reason });
  }

  /** What this rank proposed and no record of the epoch holds is not in the log and never will be. */
  private endEpoch(slot: number, hash: string): void {
    for (const [round, mined] of this.own)
      if (mined !== undefined) this.out.push({ type: "returned", round, rejected: false });
    this.own.clear();
    this.ended = true;
    this.out.push({ type: "sealed", slot, hash });
  }

  private describe(slot: number, hash: string, kind: RecordKind, rounds: SettledNames): Decided {
    return {
      slot,
      hash,
      kind,
      firstRound: rounds[0]?.round ?? this.settledRound + 1,
      lastRound: rounds.at(-1)?.round ?? this.settledRound,
      orderDigest: orderDigest(this.ordered(rounds)),
    };
  }

  private ordered(rounds: SettledNames) {
    return rounds.map(({ round, included }) => ({
      round,
      order: inRoundOrder(round, included, this.epoch.ranks),
    }));
  }

  /** A DECIDED that matches what is known here spares the read; anything else reads the record. */
  protected adoptDecisions(): void {
    for (;;) {
      const decided = this.tail.next();
      if (decided === undefined) return;
      const rounds = this.explain(decided);
      if (rounds === undefined) return;
      this.finalize(decided, rounds);
    }
  }

  /** What the announced record includes, if this rank can tell without reading it. */
  private explain(decided: Decided): SettledNames | undefined {
    const { kind, firstRound, lastRound } = decided;
    if (kind === "NOOP") return [];
    if (kind !== "QUORUM" && kind !== "STORAGE") return undefined;
    if (firstRound !== this.settledRound + 1) return undefined;
    const rounds: { round: number; included: ProposalName[] }[] = [];
    for (let number = firstRound; number <= lastRound; number++) {
      const round = this.rounds.get(number);
      if (round === undefined) return undefined;
      const included = kind === "QUORUM" ? round.won() : round.possible();
      if (!included.every((name) => round.holds(name))) return undefined;
      rounds.push({ round: number, included });
    }
    const same = orderDigest(this.ordered(rounds)) === decided.orderDigest;
    return same ? rounds : undefined;
  }

  protected onRecord(record: RecordSummary): void {
    const { slot, hash, kind, valid } = record;
    this.tail.found(slot, this.now);
    if (slot !== this.tail.slot + 1) return;
    const announced = this.tail.next() !== undefined;
    const seals = valid && kind === "SEAL";
    const settles = seals || (valid && (kind === "QUORUM" || kind === "STORAGE"));
    const rounds = settles ? record.rounds : [];
    const decided = this.describe(slot, hash, valid ? kind : "NOOP", rounds);
    this.finalize(decided, rounds);
    // Who stepped in and found a record that nobody announced spares the others the same.
    if (this.steppedInAt === slot || (seals && !announced)) this.tell(decided);
    if (seals) return this.endEpoch(slot, hash);
    if (valid && kind === "INTENT") {
      const { answered = [], own = false, deadlineMs = 0 } = record.intent ?? {};
      this.headIntent = { answered, own, deadlineMs, at: this.now };
    }
  }

  protected finalize(decided: Decided, rounds: SettledNames): void {
    const { slot, hash } = decided;
    this.tail.advance(decided, this.now);
    this.headIntent = undefined;
    this.out.push({ type: "finalize", slot, hash, rounds: this.ordered(rounds) });
    for (const { round: number, included } of rounds) {
      assert(number === this.settledRound + 1, "rounds are settled in order");
      this.settledRound = number;
      if (number > this.lastVoted) this.out.push({ type: "skip-vote", round: number });
      this.settleOwn(number, included);
      this.rounds.delete(number);
      this.patience.settled(number);
    }
    this.lastOpened = Math.max(this.lastOpened, this.settledRound);
    this.lastVoted = Math.max(this.lastVoted, this.settledRound);
  }

  /** Step 9: what was not accepted waits again, now that its round is final without it. */
  private settleOwn(number: number, included: readonly ProposalName[]): void {
    const hash = this.own.get(number);
    if (hash === undefined) return; // still mining: `mined` will find the round settled
    this.own.delete(number);
    if (included.some((name) => name.rank === this.epoch.self && name.hash === hash)) return;
    const noVotes = this.rounds.get(number)?.noVotes(this.epoch.self, hash) ?? 0;
    this.out.push({ type: "returned", round: number, rejected: noVotes >= this.epoch.winVotes });
  }
}

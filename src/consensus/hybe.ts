/**
 * HyBE, the consensus of BAASH, as a pure state machine: `step(input, now)` returns effects. It
 * knows no clock, network, disk or thread; the simulator and the real rank run this very code.
 * The steps named in comments are those of README.md beside this file.
 *
 * Invariants: a rank votes once a round, in round order; what it calls agreed has w yes-votes;
 * the head only moves by a record that storage holds; one append is under way at most.
 */
import { assert } from "../base/assert.ts";
import { UNRECORDED_ROUNDS_MAX } from "../limits.ts";
import { Ballot } from "./ballot.ts";
import type {
  Decided,
  Effect,
  Input,
  ProposalName,
  RecordKind,
  RecordSummary,
  RoundSettlement,
} from "./effects.ts";
import type { Round } from "./round.ts";
import { inRoundOrder, orderDigest } from "./vote.ts";

type SettledNames = ReadonlyArray<{ round: number; included: readonly ProposalName[] }>;

export class HyBE extends Ballot {
  /** The record being appended by this rank, until the answer comes. */
  private linking: {
    slot: number;
    kind: RecordKind;
    settlement: readonly RoundSettlement[];
  } | null = null;
  private retryLinkAt = Number.NEGATIVE_INFINITY;
  /** Rounds in one record at most: halved when storage refuses a record, which may be too large. */
  private groupMax = UNRECORDED_ROUNDS_MAX;
  private wantNoop = false;
  /** The slot at which this rank steps in for a recorder that is late. */
  private steppedInAt = 0;
  private halted = false;

  step(input: Input, now: number): Effect[] {
    this.now = now;
    this.out = [];
    if (!this.halted) this.take(input);
    if (!this.halted) this.progress();
    return this.out;
  }

  get headSlot(): number {
    return this.tail.slot;
  }
  get headHash(): string {
    return this.tail.hash;
  }
  get settled(): number {
    return this.settledRound;
  }
  get idle(): boolean {
    return this.unsettled === 0 && this.linking === null && !this.demand && this.own.size === 0;
  }
  /** Votes that told of other effects than this rank's. */
  get effectMismatches(): number {
    return this.watch.mismatches;
  }

  /** The loop reports the effects digest once it has executed the record of `slot`. */
  executed(slot: number, digest: string): void {
    this.watch.executed(slot, digest);
  }

  /**
   * When the next deadline falls due; Infinity when nothing is open. What was due is done by the
   * step before or waits for an answer of storage or of a member, so it is always in the future.
   */
  nextDeadline(): number {
    let next = Number.POSITIVE_INFINITY;
    const due = (at: number) => {
      if (at > this.now && at < next) next = at;
    };
    due(this.tail.readDue());
    if (this.linking === null) due(this.retryLinkAt);
    for (const round of this.rounds.values()) {
      due(this.votesDue(round));
      due(this.bodiesDue(round));
      if (!round.voted) due(round.openedAt + this.timing.proposalTimeoutMs);
    }
    const first = this.rounds.get(this.settledRound + 1);
    if (first !== undefined) due(this.recordDue(first));
    return next;
  }

  private take(input: Input): void {
    switch (input.type) {
      case "tick":
        return;
      case "poll":
        return this.tail.readBy(this.now);
      case "demand":
        this.demand = true;
        return;
      case "mined":
        return this.onMined(input.round, input.hash);
      case "proposal":
        return this.onProposal(input.round, input.rank, input.hash);
      case "validated":
        this.rounds.get(input.round)?.judge(input.rank, input.hash, input.verdict);
        return;
      case "votes":
        return this.onVotes(input.votes);
      case "pull":
        return this.onPull(input.from, input.pull);
      case "decided":
        return this.tail.announced(input.decided, this.now);
      case "linked":
        return this.onLinked(input.slot, input.hash);
      case "link-lost":
        return this.onLinkLost(input.slot);
      case "link-failed":
        return this.onLinkFailed(input.slot);
      case "record":
        return this.onRecord(input.record);
      case "no-record":
        return this.tail.empty(input.slot, this.now);
    }
  }

  /** Everything that may have become possible, in the order of the steps. */
  private progress(): void {
    if (this.watch.differsAt !== undefined) {
      const slot = this.watch.differsAt;
      const reason = `the state of this rank differs from the majority's at slot ${slot}`;
      return this.halt("EFFECTS_DIFFER", reason);
    }
    this.voteWhatIsDue();
    for (const round of this.rounds.values()) this.repair(round);
    this.adoptDecisions();
    this.record();
    if (this.demand && this.mayOpen) this.open();
    if (this.tail.takeRead(this.now)) {
      this.out.push({ type: "read", slot: this.tail.slot + 1, prevHash: this.tail.hash });
    }
  }

  private halt(code: string, reason: string): void {
    this.halted = true;
    this.out.push({ type: "halt", code, reason });
  }

  // Step 6: record, by turns; step 8: storage decides.

  /** When this rank may link the first unsettled round; Infinity when something else is awaited. */
  private recordDue(first: Round): number {
    if (first.closed) {
      if (!first.bodiesGood()) return Number.POSITIVE_INFINITY;
      return this.afterTurns(first, first.closedAt);
    }
    const answered = first.asked && first.opened >= this.epoch.answersMin;
    if (!answered || !first.possibleFit()) return Number.POSITIVE_INFINITY;
    // One more interval for answers that are on their way: each can only make the record truer.
    const all = first.opened === this.epoch.ranks;
    return first.askedAt + (all ? 0 : this.timing.pullIntervalMs);
  }

  private record(): void {
    if (this.linking !== null || this.now < this.retryLinkAt) return;
    if (this.wantNoop) {
      // Any record will do: it shows that somebody is here.
      const settlement = this.closedRounds();
      return this.link(settlement.length > 0 ? "QUORUM" : "NOOP", settlement);
    }
    const first = this.rounds.get(this.settledRound + 1);
    if (first === undefined) return;
    const due = this.recordDue(first);
    if (this.now < due) return;
    if (!first.closed || this.turnOf(first.round) > 0) {
      this.steppedInAt = this.tail.slot + 1;
      // Whoever steps in for another looks first: a read is cheaper than a record written in vain.
      if (!this.tail.emptySince(due)) return this.tail.readBy(this.now);
    }
    if (first.closed) this.link("QUORUM", this.closedRounds());
    else this.link("STORAGE", [first.settle(first.possible())]);
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

  private link(kind: "QUORUM" | "STORAGE" | "NOOP", settlement: RoundSettlement[]): void {
    const slot = this.tail.slot + 1;
    this.linking = { slot, kind, settlement };
    this.out.push({ type: "link", kind, slot, prevHash: this.tail.hash, settlement });
  }

  private onLinkFailed(slot: number): void {
    if (this.linking?.slot !== slot) return;
    this.groupMax = Math.max(1, this.linking.settlement.length >>> 1);
    this.linking = null;
    this.retryLinkAt = this.now + this.timing.turnDelayMs;
  }

  private onLinkLost(slot: number): void {
    if (this.linking?.slot === slot) this.linking = null;
  }

  private tell(decided: Decided): void {
    this.out.push({ type: "send-decided", to: "all", decided });
  }

  // Step 7: finalize what storage holds.

  private onLinked(slot: number, hash: string): void {
    const linking = this.linking;
    assert(linking !== null && linking.slot === slot, "the record linked is the one handed over");
    this.linking = null;
    this.groupMax = Math.min(2 * this.groupMax, UNRECORDED_ROUNDS_MAX);
    if (slot === this.tail.slot + 1) {
      const decided = this.describe(slot, hash, linking.kind, linking.settlement);
      this.tell(decided);
      this.finalize(decided, linking.settlement);
    } else if (slot === this.tail.slot) {
      // This rank read its own record before the append had answered.
      if (hash === this.tail.hash) this.tell(this.tail.lastDecided!);
      else
        this.halt(
          "TWO_RECORDS",
          `storage gave slot ${slot} to two records: its link is not exclusive`,
        );
    }
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
  private adoptDecisions(): void {
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

  private onRecord(record: RecordSummary): void {
    const { slot, hash, kind, valid } = record;
    this.tail.found(slot, this.now);
    if (slot !== this.tail.slot + 1) return;
    if (valid && kind === "SEAL") {
      const reason = `slot ${slot} ends this epoch: another job or membership took over`;
      return this.halt("SEALED_OUT", reason);
    }
    const settles = valid && (kind === "QUORUM" || kind === "STORAGE");
    const rounds = settles ? record.rounds : [];
    const decided = this.describe(slot, hash, valid ? kind : "NOOP", rounds);
    this.finalize(decided, rounds);
    // Who stepped in and found a record that nobody announced spares the others the same.
    if (this.steppedInAt === slot) this.tell(decided);
    // An INTENT asks whether anybody is here: the next record, an empty one if need be, says so.
    this.wantNoop = valid && kind === "INTENT";
  }

  private finalize(decided: Decided, rounds: SettledNames): void {
    const { slot, hash } = decided;
    this.tail.advance(decided, this.now);
    this.wantNoop = false;
    this.out.push({ type: "finalize", slot, hash, rounds: this.ordered(rounds) });
    for (const { round: number, included } of rounds) {
      assert(number === this.settledRound + 1, "rounds are settled in order");
      this.settledRound = number;
      if (number > this.lastVoted) this.out.push({ type: "skip-vote", round: number });
      this.settleOwn(number, included);
      this.rounds.delete(number);
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

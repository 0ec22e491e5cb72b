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
import { settleByAnswers } from "./answers.ts";
import type {
  Decided,
  Effect,
  EpochView,
  Input,
  ProposalName,
  Pull,
  RecordKind,
  RecordSummary,
  RoundSettlement,
  Timing,
  Vote,
} from "./effects.ts";
import { EffectsWatch } from "./effects-watch.ts";
import { LogTail } from "./log-tail.ts";
import { Round } from "./round.ts";
import { inRoundOrder, orderDigest } from "./vote.ts";

export interface HyBEOptions {
  readonly epoch: EpochView;
  readonly timing: Timing;
  /** Rounds that may be open and not closed at once (protocol.md: 2–4). */
  readonly pipelineDepth: number;
  readonly head: { slot: number; hash: string };
  /** Last settled round; the next one opens first. */
  readonly settled: number;
}

type SettledNames = ReadonlyArray<{ round: number; included: readonly ProposalName[] }>;

/** Pulls that a storage validator waits through before it leaves out answers without bodies. */
const PATIENT_PULLS = 4;

export class HyBE {
  private readonly epoch: EpochView;
  private readonly timing: Timing;
  private readonly pipelineDepth: number;
  private readonly rounds = new Map<number, Round>();
  private readonly tail: LogTail;
  private readonly watch: EffectsWatch;
  private now = 0;
  private out: Effect[] = [];
  private settledRound: number;
  private lastOpened: number;
  private lastVoted: number;
  private demand = false;
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
  /** Own proposals whose fate is not final: round → hash once mined. */
  private readonly own = new Map<number, string | undefined>();
  private halted = false;

  constructor(options: HyBEOptions) {
    const { epoch, timing } = options;
    this.epoch = epoch;
    this.timing = timing;
    this.pipelineDepth = options.pipelineDepth;
    this.tail = new LogTail(options.head, timing.readDelayMs);
    this.watch = new EffectsWatch(epoch.winVotes);
    this.settledRound = options.settled;
    this.lastOpened = options.settled;
    this.lastVoted = options.settled;
    assert(epoch.winVotes + epoch.answersMin > epoch.ranks, "R members meet every winning set");
    assert(2 * epoch.winVotes > epoch.ranks, "two proposals of one rank cannot both win");
  }

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
  /** Rounds open or closed that no record settles yet. */
  get unsettled(): number {
    return this.lastOpened - this.settledRound;
  }
  /** True when demand would open a round now: else it waits for the pipeline or the log. */
  get mayOpen(): boolean {
    return this.unsettled < UNRECORDED_ROUNDS_MAX && this.openRounds() < this.pipelineDepth;
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

  // Steps 1 and 2: open, propose, distribute.

  private openRounds(): number {
    let open = 0;
    for (const round of this.rounds.values()) if (!round.closed) open++;
    return open;
  }

  private open(): void {
    const number = ++this.lastOpened;
    this.rounds.set(number, new Round(number, this.now, this.epoch));
    this.own.set(number, undefined);
    this.demand = false;
    this.out.push({ type: "mine", round: number });
  }

  /** Whoever proposes rings: everybody joins each round up to that one. */
  private join(number: number): Round | undefined {
    if (number <= this.settledRound) return undefined;
    if (number > this.settledRound + UNRECORDED_ROUNDS_MAX) {
      this.tail.heardOfRoundsBeyond(this.now);
      return undefined;
    }
    // Whoever opened it had closed a round that this rank has not heard of: it may be final.
    if (number > this.lastOpened + this.pipelineDepth) this.tail.readBy(this.now);
    while (this.lastOpened < number) this.open();
    return this.rounds.get(number);
  }

  private onMined(number: number, hash: string): void {
    if (number <= this.settledRound) {
      this.own.delete(number);
      this.out.push({ type: "returned", round: number, rejected: false });
      return;
    }
    const round = this.rounds.get(number);
    assert(round !== undefined, `mined round ${number} is open`);
    this.own.set(number, hash);
    this.hold(round, this.epoch.self, hash);
    // Own blocks were checked transaction by transaction when they were built.
    round.judge(this.epoch.self, hash, "yes");
    this.out.push({ type: "propose", round: number });
  }

  private onProposal(number: number, rank: number, hash: string): void {
    const round = this.join(number);
    if (round !== undefined && this.hold(round, rank, hash)) {
      this.out.push({ type: "validate", round: number, rank, hash });
    }
  }

  /** A proposal has come: it may explain votes that are not opened yet. */
  private hold(round: Round, rank: number, hash: string): boolean {
    const opened = round.opened;
    const isNew = round.hold(rank, hash);
    if (round.opened > opened) this.tally(round);
    return isNew;
  }

  // Steps 4 and 5: vote once, in round order; tally.

  private voteWhatIsDue(): void {
    for (;;) {
      const round = this.rounds.get(this.lastVoted + 1);
      if (round === undefined) return;
      const late = this.now >= round.openedAt + this.timing.proposalTimeoutMs;
      // Nothing can change a closed round: it is voted in only so that later ones may be.
      if (!round.complete() && !late && !round.closed) return;
      this.castVote(round);
    }
  }

  private castVote(round: Round): void {
    assert(round.round === this.lastVoted + 1, "votes go in round order");
    assert(!round.voted, "one vote a round");
    // Marked before it is sent: whatever happens next, there is no second vote.
    this.lastVoted = round.round;
    round.votedAt = this.now;
    const vote = round.formVote(this.watch.newest);
    round.ownVote = vote;
    round.addVote(vote);
    this.out.push({ type: "vote", vote });
    this.tally(round);
  }

  private onVotes(votes: readonly Vote[]): void {
    const touched = new Set<Round>();
    for (const vote of votes) {
      if (vote.rank === this.epoch.self) continue;
      this.watch.claimed(vote.rank, vote.effectsSlot, vote.effectsDigest);
      const round = this.join(vote.round);
      if (round === undefined) continue;
      round.addVote(vote);
      touched.add(round);
    }
    for (const round of touched) this.tally(round);
  }

  private tally(round: Round): void {
    for (const name of round.newlyWon()) {
      this.out.push({ type: "agreed", round: round.round, name });
    }
    if (!round.closed && round.mayClose()) round.closedAt = this.now;
  }

  /** Step 5: while anything is pending, pull. Whoever settled it without us has told storage. */
  private repair(round: Round): void {
    const votes = this.now >= this.votesDue(round);
    const bodies = this.now >= this.bodiesDue(round);
    if (votes) this.pullVotes(round);
    if (bodies) this.pullBodies(round);
    if (votes || bodies) this.tail.readBy(this.now + this.timing.readDelayMs);
  }

  private votesDue(round: Round): number {
    if (!round.voted || round.closed) return Number.POSITIVE_INFINITY;
    // When all have voted nothing is on its way: what is not opened has to be asked for.
    const wait = round.received === this.epoch.ranks ? 0 : this.timing.voteTimeoutMs;
    return Math.max(round.votedAt + wait, round.votesPulledAt + this.timing.pullIntervalMs);
  }

  /** A body not judged yet may wait for an anchor, that is, for a record not known here. */
  private bodiesDue(round: Round): number {
    if (!round.voted || round.bodiesJudged()) return Number.POSITIVE_INFINITY;
    // A body that is on its way is not pulled as well.
    const { proposalTimeoutMs, pullIntervalMs } = this.timing;
    return Math.max(round.openedAt + proposalTimeoutMs, round.bodiesPulledAt + pullIntervalMs);
  }

  /** Step 8: the storage validator, by turn, has them vote at once who have not. */
  private pullVotes(round: Round): void {
    round.votesPulledAt = this.now;
    const force = this.now >= this.askDue(round);
    if (force && !round.asked) round.askedAt = this.now;
    const to: number[] = [];
    for (let rank = 0; rank < this.epoch.ranks; rank++)
      if (round.votes[rank]?.hashes === undefined) to.push(rank);
    const pull = { round: round.round, vote: true, force, bodies: [] };
    if (to.length > 0) this.out.push({ type: "send-pull", to, pull });
  }

  /** A missing body is asked of one member at a time: its author, then whoever said yes to it. */
  private pullBodies(round: Round): void {
    round.bodiesPulledAt = this.now;
    const asked = new Map<number, ProposalName[]>();
    for (const name of round.missing()) {
      const others = round.yesVoters(name).filter((rank) => rank !== name.rank);
      const sources = [name.rank, ...others].filter((rank) => rank !== this.epoch.self);
      const source = sources[round.bodyPulls % sources.length];
      if (source === undefined) continue;
      asked.set(source, [...(asked.get(source) ?? []), name]);
    }
    if (asked.size > 0) round.bodyPulls++;
    for (const [source, bodies] of asked) {
      const pull = { round: round.round, vote: false, force: false, bodies };
      this.out.push({ type: "send-pull", to: [source], pull });
    }
  }

  private onPull(from: number, pull: Pull): void {
    if (pull.round <= this.settledRound) {
      const { lastDecided } = this.tail;
      if (lastDecided) this.out.push({ type: "send-decided", to: from, decided: lastDecided });
      return;
    }
    const round = this.join(pull.round);
    if (round === undefined) return;
    if (pull.force) {
      for (let next = this.lastVoted + 1; next <= pull.round; next++) {
        this.castVote(this.rounds.get(next)!);
      }
    }
    if (pull.vote && round.ownVote !== undefined) {
      this.out.push({ type: "send-vote", to: from, vote: round.ownVote });
    }
    for (const name of pull.bodies) {
      if (!round.holds(name)) continue;
      this.out.push({ type: "send-body", to: from, round: pull.round, name });
    }
  }

  // Step 6: record, by turns; step 8: storage decides.

  /** Turns at a record are counted from when it became possible, not from when a round closed. */
  private afterTurns(round: Round, since: number): number {
    const turn = this.turnOf(round.round);
    return Math.max(since, this.tail.movedAt) + turn * this.timing.turnDelayMs;
  }

  private turnOf(round: number): number {
    return (this.epoch.self - (round % this.epoch.ranks) + this.epoch.ranks) % this.epoch.ranks;
  }

  /** When it is this rank's turn as storage validator of the first unsettled round. */
  private askDue(round: Round): number {
    if (round.round !== this.settledRound + 1) return Number.POSITIVE_INFINITY;
    return this.afterTurns(round, round.votedAt + this.timing.voteTimeoutMs);
  }

  /** When this rank may link the first unsettled round; Infinity when something else is awaited. */
  private recordDue(first: Round): number {
    if (first.closed) {
      if (!first.bodiesJudged()) return Number.POSITIVE_INFINITY;
      return this.afterTurns(first, first.closedAt);
    }
    if (!first.asked || first.opened < this.epoch.answersMin) return Number.POSITIVE_INFINITY;
    // One more interval for answers that are on their way: each can only make the record truer.
    const pulls = first.opened === this.epoch.ranks ? 0 : 1;
    const patience = this.answersFit(first) ? pulls : PATIENT_PULLS;
    return first.askedAt + patience * this.timing.pullIntervalMs;
  }

  /** Every yes has its body in hand, and no rank has two proposals that may have been agreed. */
  private answersFit(round: Round): boolean {
    const names = round.possible();
    const ranks = new Set(names.map(({ rank }) => rank));
    return ranks.size === names.length && names.every((name) => round.usable(name));
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
    if (first.closed) return this.link("QUORUM", this.closedRounds());
    const usable = (name: ProposalName) => first.usable(name);
    const settled = settleByAnswers(first.round, first.openedVotes(), this.epoch, usable);
    if (settled !== undefined) this.link("STORAGE", [settled]);
  }

  /** When storage is slow more rounds ride in one record. */
  private closedRounds(): RoundSettlement[] {
    const settlement: RoundSettlement[] = [];
    for (let number = this.settledRound + 1; settlement.length < this.groupMax; number++) {
      const round = this.rounds.get(number);
      if (!round?.closed || !round.bodiesJudged()) break;
      const included = round.won();
      const hashes = new Set(included.map(({ hash }) => hash));
      const lost = round.named().filter(({ hash }) => !hashes.has(hash));
      settlement.push({ round: number, included, lost, votes: round.openedVotes() });
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

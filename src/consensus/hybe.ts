/**
 * HyBE, the consensus of BAASH, as a pure state machine: `step(input, now)` returns effects. It
 * knows no clock, network, disk or thread; the simulator and the real rank run this very code.
 * The steps named in comments are those of README.md beside this file.
 *
 * Invariants: a rank votes once a round, in round order; what it calls agreed has w yes-votes;
 * the head only moves by a record that storage holds.
 */
import { assert } from "../base/assert.ts";
import { UNRECORDED_ROUNDS_MAX } from "../limits.ts";
import type {
  Decided,
  Effect,
  EpochView,
  Input,
  ProposalName,
  Pull,
  RecordSummary,
  RoundSettlement,
  Timing,
  Verdict,
  Vote,
} from "./effects.ts";
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

/** How many finalized slots' effects digests are kept for comparison with the votes. */
const EFFECTS_KEPT = 64;

export class HyBE {
  private readonly epoch: EpochView;
  private readonly timing: Timing;
  private readonly pipelineDepth: number;
  private readonly rounds = new Map<number, Round>();
  private now = 0;
  private out: Effect[] = [];
  private head: { slot: number; hash: string };
  private settledRound: number;
  private lastOpened: number;
  private lastVoted: number;
  private demand = false;
  /** The record being appended by this rank, if any. */
  private linking: { slot: number; settlement: readonly RoundSettlement[]; kind: string } | null =
    null;
  private retryLinkAt = Number.NEGATIVE_INFINITY;
  private reading = false;
  private readAt = Number.POSITIVE_INFINITY;
  private wantNoop = false;
  private readonly decisions = new Map<number, Decided>();
  private lastDecided: Decided | undefined;
  private readonly effectsBySlot = new Map<number, string>();
  private effects = { slot: 0, digest: "0".repeat(64) };
  /** Own proposals whose fate is not final: round → hash once mined. */
  private readonly own = new Map<number, string | undefined>();
  private halted = false;

  constructor(options: HyBEOptions) {
    this.epoch = options.epoch;
    this.timing = options.timing;
    this.pipelineDepth = options.pipelineDepth;
    this.head = { ...options.head };
    this.settledRound = options.settled;
    this.lastOpened = options.settled;
    this.lastVoted = options.settled;
    assert(
      options.epoch.winVotes + options.epoch.answersMin > options.epoch.ranks,
      "any R members meet every winning set: w + R > N",
    );
  }

  step(input: Input, now: number): Effect[] {
    this.now = now;
    this.out = [];
    if (!this.halted) {
      this.take(input);
      this.progress();
    }
    return this.out;
  }

  get headSlot(): number {
    return this.head.slot;
  }
  get headHash(): string {
    return this.head.hash;
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
    return this.openRounds() < this.pipelineDepth && this.unsettled < UNRECORDED_ROUNDS_MAX;
  }
  get idle(): boolean {
    return this.unsettled === 0 && this.linking === null && !this.demand && this.own.size === 0;
  }

  /** The loop reports the effects digest once it has executed the record of `slot`. */
  executed(slot: number, digest: string): void {
    this.effects = { slot, digest };
    this.effectsBySlot.set(slot, digest);
    this.effectsBySlot.delete(slot - EFFECTS_KEPT);
  }

  /** When the next deadline falls due; Infinity when nothing is open. */
  nextDeadline(): number {
    let next = this.readAt;
    if (this.linking === null && this.retryLinkAt > this.now) next = Math.min(next, this.retryLinkAt);
    const { proposalTimeoutMs, voteTimeoutMs, turnDelayMs, pullIntervalMs } = this.timing;
    for (const round of this.rounds.values()) {
      if (!Number.isNaN(round.closedAt)) {
        const due = round.closedAt + this.turnOf(round.round) * turnDelayMs;
        const wait = due > this.now ? due : this.now + turnDelayMs;
        if (round.round === this.settledRound + 1) next = Math.min(next, wait);
        if (this.missing(round, round.won()).length > 0)
          next = Math.min(next, Math.max(this.now, round.lastPullAt) + pullIntervalMs);
      } else if (Number.isNaN(round.votedAt)) {
        next = Math.min(next, Math.max(round.openedAt + proposalTimeoutMs, this.now + 1));
      } else {
        const due = round.votedAt + voteTimeoutMs;
        next = Math.min(next, due > this.now ? due : this.now + pullIntervalMs);
      }
    }
    return next;
  }

  private take(input: Input): void {
    switch (input.type) {
      case "tick":
        return;
      case "poll":
        return this.read();
      case "demand":
        this.demand = true;
        return;
      case "mined":
        return this.onMined(input.round, input.hash);
      case "proposal":
        return this.onProposal(input.round, input.rank, input.hash);
      case "validated":
        return this.onValidated(input.round, input.rank, input.hash, input.verdict);
      case "votes":
        return this.onVotes(input.votes);
      case "pull":
        return this.onPull(input.from, input.pull);
      case "decided":
        return this.onDecided(input.decided);
      case "linked":
        return this.onLinked(input.slot, input.hash);
      case "record":
        return this.onRecord(input.record);
      case "no-record":
        this.reading = false;
        return;
      case "link-failed":
        if (this.linking?.slot === input.slot) {
          this.linking = null;
          if (input.slot > this.head.slot) this.retryLinkAt = this.now + this.timing.turnDelayMs;
        }
        return;
    }
  }

  // Steps 1 and 2: open, propose, distribute.

  private openRounds(): number {
    let open = 0;
    for (const round of this.rounds.values()) if (Number.isNaN(round.closedAt)) open++;
    return open;
  }

  private open(): Round {
    const number = ++this.lastOpened;
    const round = new Round(number, this.now, this.epoch);
    this.rounds.set(number, round);
    this.own.set(number, undefined);
    this.demand = false;
    this.out.push({ type: "mine", round: number });
    return round;
  }

  /** Whoever proposes rings: everybody joins each round up to that one. */
  private join(number: number): Round | undefined {
    if (number <= this.settledRound) return undefined;
    if (number > this.settledRound + UNRECORDED_ROUNDS_MAX) {
      // The sender knows of records that this rank has not learned of.
      this.readAt = Math.min(this.readAt, this.now + this.timing.readDelayMs);
      return undefined;
    }
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
    round.ownHash = hash;
    if (Number.isNaN(round.votedAt)) {
      // Own blocks were checked transaction by transaction when they were built.
      round.held[this.epoch.self] = { hash, verdict: "yes" };
    }
    this.out.push({ type: "propose", round: number });
  }

  private onProposal(number: number, rank: number, hash: string): void {
    const round = this.join(number);
    if (round === undefined) return;
    const held = round.held[rank];
    if (held !== undefined) {
      // Step 4: only the first is judged, unless the votes name another and its body is missing.
      const wanted = round.named().some((name) => name.rank === rank && name.hash === hash);
      if (held.hash === hash || !wanted) return;
    }
    round.held[rank] = { hash, verdict: undefined };
    this.out.push({ type: "validate", round: number, rank, hash });
  }

  // Step 3: validate. An exception came as an abstention.

  private onValidated(number: number, rank: number, hash: string, verdict: Verdict): void {
    const round = this.rounds.get(number);
    const held = round?.held[rank];
    if (round === undefined || held?.hash !== hash || held.verdict !== undefined) return;
    held.verdict = verdict;
    if (!Number.isNaN(round.votedAt) && Number.isNaN(round.closedAt)) this.recount(round);
  }

  // Steps 4 and 5: vote once, in round order; tally.

  private castVote(round: Round): void {
    assert(round.round === this.lastVoted + 1, "votes go in round order");
    assert(round.ownVote === undefined, "one vote a round");
    // Marked before it is sent: whatever happens next, there is no second vote.
    this.lastVoted = round.round;
    round.votedAt = this.now;
    const vote = round.formVote(this.epoch.self, this.effects);
    round.ownVote = vote;
    round.addVote(vote);
    this.out.push({ type: "vote", vote });
    this.recount(round);
  }

  private onVotes(votes: readonly Vote[]): void {
    const touched = new Set<Round>();
    for (const vote of votes) {
      this.compareEffects(vote);
      const round = this.join(vote.round);
      if (round === undefined) continue;
      round.addVote(vote);
      touched.add(round);
    }
    for (const round of touched) this.recount(round);
    if (votes.length > 1) this.judgeOwnEffects(votes);
  }

  private recount(round: Round): void {
    round.openVotes();
    round.count(this.epoch);
    for (const candidate of round.candidates) {
      if (candidate.standing !== "won" || round.agreedTold.has(candidate.hash)) continue;
      round.agreedTold.add(candidate.hash);
      const name = { rank: candidate.rank, hash: candidate.hash };
      this.out.push({ type: "agreed", round: round.round, name });
    }
    if (Number.isNaN(round.closedAt) && round.mayClose(this.epoch)) round.closedAt = this.now;
  }

  /** A vote from a rank that executed the same slot to another digest is worth a count. */
  private compareEffects(vote: Vote): void {
    const mine = this.effectsBySlot.get(vote.effectsSlot);
    if (mine !== undefined && mine !== vote.effectsDigest) this.effectMismatches++;
  }
  effectMismatches = 0;

  /** Step 4: whoever's effects differ from the majority's halts. */
  private judgeOwnEffects(votes: readonly Vote[]): void {
    const against = new Map<string, Set<number>>();
    for (const vote of votes) {
      const mine = this.effectsBySlot.get(vote.effectsSlot);
      if (mine === undefined || mine === vote.effectsDigest) continue;
      const key = `${vote.effectsSlot}:${vote.effectsDigest}`;
      if (!against.has(key)) against.set(key, new Set());
      against.get(key)!.add(vote.rank);
    }
    for (const [key, ranks] of against) {
      if (ranks.size < this.epoch.winVotes) continue;
      const slot = key.slice(0, key.indexOf(":"));
      this.halt("EFFECTS_DIFFER", `the state of this rank differs from the majority's at slot ${slot}`);
    }
  }

  private halt(code: string, reason: string): void {
    this.halted = true;
    this.out.push({ type: "halt", code, reason });
  }

  // Everything that may have become possible, in the order of the steps.

  private progress(): void {
    if (this.demand && this.mayOpen) this.open();
    this.voteWhatIsDue();
    for (const round of this.rounds.values()) this.repair(round);
    this.adoptDecisions();
    this.record();
    if (this.now >= this.readAt) {
      this.readAt = Number.POSITIVE_INFINITY;
      this.read();
    }
  }

  private voteWhatIsDue(): void {
    for (;;) {
      const round = this.rounds.get(this.lastVoted + 1);
      if (round === undefined) return;
      const late = this.now >= round.openedAt + this.timing.proposalTimeoutMs;
      if (!round.complete() && !late) return;
      this.castVote(round);
    }
  }

  /** Step 5: while anything is pending, pull; step 8: the storage validator asks everybody. */
  private repair(round: Round): void {
    if (Number.isNaN(round.votedAt)) return;
    const closed = !Number.isNaN(round.closedAt);
    const since = closed ? round.closedAt : round.votedAt;
    if (!closed && this.now < since + this.timing.voteTimeoutMs) return;
    if (this.now < round.lastPullAt + this.timing.pullIntervalMs) return;
    if (closed) {
      const bodies = this.missing(round, round.won());
      if (bodies.length > 0) this.pull(round, { vote: false, force: false, bodies });
      return;
    }
    const turnAt = since + this.timing.voteTimeoutMs + this.turnOf(round.round) * this.timing.turnDelayMs;
    const force = round.round === this.settledRound + 1 && this.now >= turnAt;
    if (force && Number.isNaN(round.askedAt)) round.askedAt = this.now;
    this.pull(round, { vote: true, force, bodies: this.missing(round, round.possible()) });
    // Whoever settled this round without us has told storage.
    this.readAt = Math.min(this.readAt, this.now + this.timing.readDelayMs);
  }

  private missing(round: Round, names: readonly ProposalName[]): ProposalName[] {
    return names.filter((name) => round.held[name.rank]?.hash !== name.hash);
  }

  private pull(round: Round, what: Omit<Pull, "round">): void {
    round.lastPullAt = this.now;
    const to: number[] = [];
    for (let rank = 0; rank < this.epoch.ranks; rank++) {
      if (rank === this.epoch.self) continue;
      const unopened = round.votes[rank]?.hashes === undefined;
      if ((what.vote && unopened) || what.bodies.length > 0) to.push(rank);
    }
    // A proposal that never came is asked of its author.
    const bodies = [...what.bodies];
    if (to.length > 0) this.out.push({ type: "send-pull", to, pull: { round: round.round, ...what, bodies } });
  }

  private onPull(from: number, pull: Pull): void {
    if (pull.round <= this.settledRound) {
      if (this.lastDecided) this.out.push({ type: "send-decided", to: from, decided: this.lastDecided });
      return;
    }
    const round = this.join(pull.round);
    if (round === undefined) return;
    if (pull.force) {
      for (let next = this.lastVoted + 1; next <= pull.round; next++) {
        const due = this.rounds.get(next);
        if (due !== undefined) this.castVote(due);
      }
    }
    if (pull.vote && round.ownVote !== undefined)
      this.out.push({ type: "send-vote", to: from, vote: round.ownVote });
    for (const name of pull.bodies)
      if (round.holds(name))
        this.out.push({ type: "send-body", to: from, round: pull.round, name });
  }

  // Step 6: record, by turns; step 8: storage decides.

  private turnOf(round: number): number {
    return (this.epoch.self - (round % this.epoch.ranks) + this.epoch.ranks) % this.epoch.ranks;
  }

  private record(): void {
    if (this.linking !== null || this.reading || this.now < this.retryLinkAt) return;
    if (this.wantNoop) {
      this.link("NOOP", []);
      return;
    }
    const first = this.rounds.get(this.settledRound + 1);
    if (first === undefined) return;
    if (Number.isNaN(first.closedAt)) return this.recordByStorage(first);
    if (this.now < first.closedAt + this.turnOf(first.round) * this.timing.turnDelayMs) return;
    const settlement: RoundSettlement[] = [];
    for (let number = first.round; ; number++) {
      const round = this.rounds.get(number);
      if (round === undefined || Number.isNaN(round.closedAt)) break;
      const included = round.won();
      if (!included.every((name) => round.holds(name))) break;
      settlement.push(this.settle(round, included));
    }
    if (settlement.length > 0) this.link("QUORUM", settlement);
  }

  private recordByStorage(round: Round): void {
    if (Number.isNaN(round.askedAt) || round.opened() < this.epoch.answersMin) return;
    // One more interval for answers that are on their way: each can only make the record truer.
    const everybody = round.opened() === this.epoch.ranks;
    if (!everybody && this.now < round.askedAt + this.timing.pullIntervalMs) return;
    const included = round.possible();
    if (!included.every((name) => round.holds(name))) return;
    this.link("STORAGE", [this.settle(round, included)]);
  }

  private settle(round: Round, included: readonly ProposalName[]): RoundSettlement {
    const names = new Set(included.map(({ hash }) => hash));
    return {
      round: round.round,
      included,
      lost: round.named().filter(({ hash }) => !names.has(hash)),
      votes: round.openedVotes(),
    };
  }

  private link(kind: "QUORUM" | "STORAGE" | "NOOP", settlement: RoundSettlement[]): void {
    const slot = this.head.slot + 1;
    this.linking = { slot, settlement, kind };
    this.out.push({ type: "link", kind, slot, prevHash: this.head.hash, settlement });
  }

  // Step 7: finalize what storage holds.

  private onLinked(slot: number, hash: string): void {
    const linking = this.linking;
    assert(linking !== null && linking.slot === slot, "the record linked is the one handed over");
    this.linking = null;
    if (slot !== this.head.slot + 1) return; // learned of it by another way meanwhile
    const rounds = linking.settlement.map(({ round, included }) => ({ round, included }));
    const decided: Decided = {
      slot,
      hash,
      kind: linking.kind as Decided["kind"],
      firstRound: rounds[0]?.round ?? this.settledRound + 1,
      lastRound: rounds.at(-1)?.round ?? this.settledRound,
      orderDigest: orderDigest(this.ordered(rounds)),
    };
    this.out.push({ type: "send-decided", to: "all", decided });
    this.finalize(slot, hash, rounds, decided);
  }

  private ordered(rounds: ReadonlyArray<{ round: number; included: readonly ProposalName[] }>) {
    return rounds.map(({ round, included }) => ({
      round,
      order: inRoundOrder(round, included, this.epoch.ranks),
    }));
  }

  private onDecided(decided: Decided): void {
    if (decided.slot <= this.head.slot) return;
    if (decided.slot > this.head.slot + UNRECORDED_ROUNDS_MAX) {
      this.readAt = Math.min(this.readAt, this.now);
      return;
    }
    this.decisions.set(decided.slot, decided);
    this.readAt = Math.min(this.readAt, this.now + this.timing.readDelayMs);
  }

  /** A DECIDED that matches what is closed here spares the read; anything else reads the record. */
  private adoptDecisions(): void {
    for (;;) {
      const decided = this.decisions.get(this.head.slot + 1);
      if (decided === undefined) return;
      if (decided.kind !== "QUORUM" && decided.kind !== "STORAGE") return this.read();
      if (decided.firstRound !== this.settledRound + 1) return this.read();
      const rounds: { round: number; included: ProposalName[] }[] = [];
      for (let number = decided.firstRound; number <= decided.lastRound; number++) {
        const round = this.rounds.get(number);
        if (round === undefined) return;
        const included = Number.isNaN(round.closedAt) ? round.possible() : round.won();
        if (!included.every((name) => round.holds(name))) return;
        rounds.push({ round: number, included });
      }
      if (orderDigest(this.ordered(rounds)) !== decided.orderDigest) return;
      this.finalize(decided.slot, decided.hash, rounds, decided);
    }
  }

  private read(): void {
    if (this.reading) return;
    this.reading = true;
    const { slot, hash } = this.head;
    this.out.push({ type: "read", slot: slot + 1, prevHash: hash });
  }

  private onRecord(record: RecordSummary): void {
    this.reading = false;
    if (this.linking?.slot === record.slot) this.linking = null;
    if (record.slot !== this.head.slot + 1) return;
    if (record.valid && record.kind === "SEAL") {
      this.halt("SEALED_OUT", `slot ${record.slot} ends this epoch: another job or membership took over`);
      return;
    }
    // An INTENT asks whether anybody is here: the next record, an empty one if need be, says so.
    if (record.kind === "INTENT") this.wantNoop = true;
    const settles = record.valid && (record.kind === "QUORUM" || record.kind === "STORAGE");
    const rounds = settles ? record.rounds : [];
    this.finalize(record.slot, record.hash, rounds, undefined);
    // More may follow: a rank that was behind reads on until the log ends.
    if (this.rounds.size > 0 || this.decisions.size > 0)
      this.readAt = Math.min(this.readAt, this.now + this.timing.readDelayMs);
  }

  private finalize(
    slot: number,
    hash: string,
    rounds: ReadonlyArray<{ round: number; included: readonly ProposalName[] }>,
    decided: Decided | undefined,
  ): void {
    assert(slot === this.head.slot + 1, "slots are contiguous");
    this.head = { slot, hash };
    this.decisions.delete(slot);
    if (decided !== undefined) {
      this.lastDecided = decided;
      if (decided.kind === "NOOP") this.wantNoop = false;
    }
    if (rounds.length > 0) this.wantNoop = false;
    if (this.decisions.size === 0) this.readAt = Number.POSITIVE_INFINITY;
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
    if (!this.own.has(number)) return;
    const hash = this.own.get(number);
    if (hash === undefined) return; // still mining: `mined` will find the round settled
    this.own.delete(number);
    if (included.some((name) => name.rank === this.epoch.self && name.hash === hash)) return;
    const own = this.rounds.get(number)?.candidates.find((name) => name.hash === hash);
    const rejected = own !== undefined && own.no >= this.epoch.winVotes;
    this.out.push({ type: "returned", round: number, rejected });
  }
}

/**
 * Steps 1 to 5 of HyBE: rounds are opened, proposed in, voted on once and in order, and tallied;
 * what is missing is pulled. Nothing here touches the log: `hybe.ts` goes on from closed rounds.
 */
import { assert } from "../base/assert.ts";
import { UNRECORDED_ROUNDS_MAX } from "../limits.ts";
import type {
  Effect,
  EpochView,
  ProposalName,
  Pull,
  StorageOn,
  Timing,
  Verdict,
  Vote,
} from "./effects.ts";
import { EffectsWatch } from "./effects-watch.ts";
import { LogTail } from "./log-tail.ts";
import { Patience } from "./patience.ts";
import { Round } from "./round.ts";

export interface HyBEOptions {
  readonly epoch: EpochView;
  readonly timing: Timing;
  /** Rounds that may be open and not closed at once (protocol.md: 2–4). */
  readonly pipelineDepth: number;
  readonly head: { slot: number; hash: string };
  /** Last settled round; the next one opens first. */
  readonly settled: number;
  readonly storageOn: StorageOn;
  /** A SEAL by fewer than R answers may follow an INTENT that nobody refuted. */
  readonly minoritySeals: boolean;
}

export abstract class Ballot {
  protected readonly epoch: EpochView;
  protected readonly timing: Timing;
  protected readonly pipelineDepth: number;
  protected readonly rounds = new Map<number, Round>();
  protected readonly tail: LogTail;
  protected readonly watch: EffectsWatch;
  protected now = 0;
  protected out: Effect[] = [];
  protected settledRound: number;
  protected lastOpened: number;
  protected lastVoted: number;
  protected demand = false;
  protected readonly storageOn: StorageOn;
  protected readonly minoritySeals: boolean;
  /** Members whose proposals and votes are not waited for: they are believed dead or silent. */
  protected suspects: ReadonlySet<number> = new Set();
  private alertedAt = Number.NEGATIVE_INFINITY;
  /** Of the deadlines of rounds to come. */
  protected readonly patience: Patience;
  /** Never undone: this rank has no further vote in this epoch, which waits for its SEAL. */
  protected frozen = false;
  /** Own proposals whose fate is not final: round → hash once mined. */
  protected readonly own = new Map<number, string | undefined>();

  constructor(options: HyBEOptions) {
    const { epoch, timing } = options;
    this.epoch = epoch;
    this.timing = timing;
    this.pipelineDepth = options.pipelineDepth;
    this.storageOn = options.storageOn;
    this.minoritySeals = options.minoritySeals;
    this.patience = new Patience(epoch, !options.minoritySeals);
    this.tail = new LogTail(options.head, timing.readDelayMs);
    this.watch = new EffectsWatch(epoch.winVotes);
    this.settledRound = options.settled;
    this.lastOpened = options.settled;
    this.lastVoted = options.settled;
    assert(epoch.winVotes + epoch.answersMin > epoch.ranks, "R members meet every winning set");
    assert(2 * epoch.winVotes > epoch.ranks, "two proposals of one rank cannot both win");
  }

  protected proposalWaitMs({ patience }: Round): number {
    return patience * this.timing.proposalTimeoutMs;
  }
  protected voteWaitMs({ patience }: Round): number {
    return patience * this.timing.voteTimeoutMs;
  }

  /** Rounds open or closed that no record settles yet. */
  get unsettled(): number {
    return this.lastOpened - this.settledRound;
  }
  /** True when demand would open a round now: else it waits for the pipeline or the log. */
  get mayOpen(): boolean {
    if (this.frozen) return false;
    return this.unsettled < UNRECORDED_ROUNDS_MAX && this.openRounds() < this.pipelineDepth;
  }

  // Steps 1 and 2: open, propose, distribute.

  protected openRounds(): number {
    let open = 0;
    for (const round of this.rounds.values()) if (!round.closed) open++;
    return open;
  }

  protected open(): void {
    const number = this.openUnproposed();
    this.own.set(number, undefined);
    this.demand = false;
    this.out.push({ type: "mine", round: number });
  }

  /** A round of which this rank only wants to know: it proposes nothing in it. */
  protected openUnproposed(): number {
    const number = ++this.lastOpened;
    this.rounds.set(number, new Round(number, this.now, this.epoch, this.patience.times));
    return number;
  }

  /** Whoever proposes rings: everybody joins each round up to that one. */
  protected join(number: number): Round | undefined {
    if (number <= this.settledRound) return undefined;
    if (number > this.settledRound + UNRECORDED_ROUNDS_MAX) {
      this.tail.heardOfRoundsBeyond(this.now);
      return undefined;
    }
    // Whoever opened it had closed a round that this rank has not heard of: it may be final.
    if (number > this.lastOpened + this.pipelineDepth) this.tail.readBy(this.now);
    while (this.lastOpened < number) {
      if (this.frozen) this.openUnproposed();
      else this.open();
    }
    return this.rounds.get(number);
  }

  protected onMined(number: number, hash: string): void {
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

  protected onProposal(number: number, rank: number, hash: string): void {
    const round = this.join(number);
    if (round !== undefined && this.hold(round, rank, hash)) {
      if (round.voted) this.patience.wasLate(number, rank);
      this.out.push({ type: "validate", round: number, rank, hash });
    }
  }

  protected onValidated(of: { round: number; rank: number; hash: string; verdict: Verdict }): void {
    const round = this.rounds.get(of.round);
    if (round === undefined) return;
    // Its blocks wait for a record that is not here: that is nobody's slowness.
    if (round.voted && of.verdict !== "abstain" && round.abstainedOn(of.rank))
      this.patience.wasLate(of.round, this.epoch.self);
    round.judge(of.rank, of.hash, of.verdict);
  }

  /** A proposal has come: it may explain votes that are not opened yet. */
  protected hold(round: Round, rank: number, hash: string): boolean {
    const opened = round.opened;
    const isNew = round.hold(rank, hash);
    if (round.opened > opened) this.tally(round);
    return isNew;
  }

  // Steps 4 and 5: vote once, in round order; tally.

  protected voteWhatIsDue(): void {
    for (;;) {
      const round = this.rounds.get(this.lastVoted + 1);
      if (round === undefined) return;
      const late = this.now >= round.openedAt + this.proposalWaitMs(round);
      // Nothing can change a closed round: it is voted in only so that later ones may be.
      if (!round.complete(this.suspects) && !late && !round.closed) return;
      this.castVote(round);
    }
  }

  protected castVote(round: Round): void {
    assert(round.round === this.lastVoted + 1, "votes go in round order");
    assert(!round.voted && !this.frozen, "one vote a round, and none once frozen");
    // Marked before it is sent: whatever happens next, there is no second vote.
    this.lastVoted = round.round;
    if (round.complete(this.suspects)) this.patience.wasComplete();
    round.votedAt = this.now;
    const vote = round.formVote(this.watch.newest);
    round.ownVote = vote;
    round.addVote(vote);
    this.out.push({ type: "vote", vote });
    this.tally(round);
  }

  protected onVotes(votes: readonly Vote[]): void {
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

  protected tally(round: Round): void {
    for (const name of round.newlyWon()) {
      this.out.push({ type: "agreed", round: round.round, name });
    }
    if (!round.closed && round.mayClose()) round.closedAt = this.now;
  }

  /** Step 5: while anything is pending, pull. Whoever settled it without us has told storage. */
  protected repair(round: Round): void {
    const votes = this.now >= this.votesDue(round);
    const bodies = this.now >= this.bodiesDue(round);
    if (votes) this.pullVotes(round);
    if (bodies) this.pullBodies(round);
    if (votes || bodies) this.tail.readBy(this.now + this.timing.readDelayMs);
  }

  protected votesDue(round: Round): number {
    if (!round.voted || round.closed || this.frozen) return Number.POSITIVE_INFINITY;
    // When all have voted nothing is on its way: what is not opened has to be asked for.
    const ask = round.heardAll(this.suspects) || this.alerted(round);
    const wait = ask ? 0 : this.voteWaitMs(round);
    return Math.max(round.votedAt + wait, round.votesPulledAt + this.timing.pullIntervalMs);
  }

  /** A body that is not judged yet may wait for an anchor, that is, for a record not known here. */
  protected bodiesDue(round: Round): number {
    if (!round.voted || this.frozen || round.bodiesGood()) return Number.POSITIVE_INFINITY;
    const { pullIntervalMs } = this.timing;
    // A body that is on its way is not pulled as well; one that is here is judged anew soon.
    const since = round.abstained()
      ? round.votedAt + pullIntervalMs
      : round.openedAt + this.proposalWaitMs(round);
    return Math.max(since, round.bodiesPulledAt + pullIntervalMs);
  }

  /** Step 8: the storage validator, by turn, has them vote at once who have not. */
  protected pullVotes(round: Round): void {
    round.votesPulledAt = this.now;
    const force = this.now >= this.askDue(round);
    if (force && !round.asked) round.askedAt = this.now;
    const to: number[] = [];
    for (let rank = 0; rank < this.epoch.ranks; rank++)
      if (round.votes[rank]?.hashes === undefined) to.push(rank);
    const pull = { round: round.round, vote: true, force, bodies: [] };
    if (to.length > 0) this.out.push({ type: "send-pull", to, pull });
  }

  protected pullBodies(round: Round): void {
    // Won, but found bad here: the copy is damaged, as validity is the same for everybody.
    const won = new Set(round.won().map(({ hash }) => hash));
    this.fetch(round, round.possible(), ({ hash }) => won.has(hash));
  }

  /**
   * Makes good bodies of `names` come. A missing one is asked of one member at a time: its author,
   * then whoever said yes to it. What this rank abstained on is judged anew; `damaged` says which of
   * the copies found bad are to be replaced.
   */
  protected fetch(
    round: Round,
    names: readonly ProposalName[],
    damaged: (name: ProposalName) => boolean,
  ): void {
    round.bodiesPulledAt = this.now;
    const { round: number } = round;
    const bad = names.filter((name) => round.bodyState(name) === "no" && damaged(name));
    for (const name of bad) {
      round.discard(name);
      this.out.push({ type: "discard", round: number, name });
    }
    const asked = new Map<number, ProposalName[]>();
    for (const name of names) {
      if (round.bodyState(name) !== "absent") continue;
      const source = this.sourceOf(round, name);
      if (source !== undefined) asked.set(source, [...(asked.get(source) ?? []), name]);
    }
    if (asked.size > 0) round.bodyPulls++;
    for (const name of names) {
      if (round.bodyState(name) !== "abstain") continue;
      round.judgeAgain(name);
      this.out.push({ type: "validate", round: number, ...name });
    }
    for (const [source, bodies] of asked) {
      const pull = { round: number, vote: false, force: false, bodies };
      this.out.push({ type: "send-pull", to: [source], pull });
    }
  }

  /** Each time another one; those believed dead only where nobody else has it. */
  private sourceOf(round: Round, name: ProposalName): number | undefined {
    const others = round.yesVoters(name).filter((rank) => rank !== name.rank);
    const sources = [name.rank, ...others].filter((rank) => rank !== this.epoch.self);
    const living = sources.filter((rank) => !this.suspects.has(rank));
    const from = living.length > 0 ? living : sources;
    return from[round.bodyPulls % from.length];
  }

  protected onPull(from: number, pull: Pull): void {
    if (pull.round <= this.settledRound) {
      const { lastDecided } = this.tail;
      if (lastDecided) this.out.push({ type: "send-decided", to: from, decided: lastDecided });
      return;
    }
    const round = this.join(pull.round);
    if (round === undefined) return;
    if (pull.force && !this.frozen) {
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

  // Suspicions and alerts: who is not waited for, and what is not waited out.

  protected onSuspects(ranks: readonly number[]): void {
    const before = this.suspects;
    this.suspects = new Set(ranks.filter((rank) => rank !== this.epoch.self));
    if ([...this.suspects].some((rank) => !before.has(rank))) this.onAlert();
  }

  /** Step 8: an alert sends the rounds that are open now to the storage validator at once. */
  protected onAlert(): void {
    if (this.storageOn !== "alert") return;
    for (const round of this.rounds.values())
      if (!this.alerted(round)) round.votesPulledAt = Number.NEGATIVE_INFINITY;
    this.alertedAt = this.now;
  }

  /** Nobody who could still decide it is waited for, or something went wrong while it was open. */
  private alerted(round: Round): boolean {
    if (this.storageOn !== "alert") return false;
    if (this.alertedAt >= round.openedAt) return true;
    return this.suspects.size > 0 && round.heardAll(this.suspects);
  }

  // Turns: who records (step 6), and who is the storage validator (step 8).

  /** Turns at a record are counted from when it became possible, not from when a round closed. */
  protected afterTurns(round: Round, since: number): number {
    const turn = this.turnOf(round.round);
    return Math.max(since, this.tail.movedAt) + turn * this.timing.turnDelayMs;
  }

  /** How many members come before this one in the round: 0 means that it is its own to record. */
  protected placeIn(round: number, rank = this.epoch.self): number {
    const { ranks } = this.epoch;
    return (rank - (round % ranks) + ranks) % ranks;
  }

  /** How many of them are waited for. */
  protected turnOf(round: number): number {
    const place = this.placeIn(round);
    let turn = place;
    for (const rank of this.suspects) if (this.placeIn(round, rank) < place) turn--;
    return turn;
  }

  /** When it is this rank's turn as storage validator of the first unsettled round. */
  protected askDue(round: Round): number {
    if (round.round !== this.settledRound + 1) return Number.POSITIVE_INFINITY;
    const timeout = round.votedAt + this.voteWaitMs(round);
    const alert = Math.max(round.votedAt, this.alertedAt);
    return this.afterTurns(round, this.alerted(round) ? Math.min(alert, timeout) : timeout);
  }
}

/**
 * How an epoch ends: its author freezes itself, pulls the votes of the members, which freezes them,
 * and links a SEAL that settles every round in which one of those who answered voted. With fewer
 * than R answers an INTENT asks first whether anybody is there (protocol.md, Membership and faults).
 *
 * Invariants: a frozen rank has no further vote; what a SEAL settles is shown by the votes of all
 * who answered it; fewer than R answers seal only as the child of their author's own INTENT, a
 * deadline after its sync, and with the answers of all that it lists.
 */
import { UNRECORDED_ROUNDS_MAX } from "../limits.ts";
import type { Decided, ProposalName, SealAnswer, SealPull } from "./effects.ts";
import { Recorder } from "./recorder.ts";
import type { Round } from "./round.ts";
import { lastVotedOf, planSeal, type SealPlan, silentVote, yesNames } from "./seal-plan.ts";

/** Between two INTENTs of a rank that are refuted, at most. */
const INTENT_PAUSE_MAX_MS = 30_000;

/** What the next epoch is to be like. */
interface Change {
  readonly evict: readonly number[];
  readonly admit: readonly string[];
  /** This rank goes on for the author that froze it: it adds whom it suspects itself. */
  readonly inherited: boolean;
}

/** This rank authors a SEAL. */
interface Attempt {
  /** Storage has to have been seen since then: else a record may be written in vain. */
  readonly lookSince: number;
  readonly startedAt: number;
  readonly answers: Map<number, SealAnswer>;
  pulledAt: number;
  /** When missing bodies are asked for again. */
  fetchAt: number;
}

export abstract class Sealing extends Recorder {
  private change: Change = { evict: [], admit: [], inherited: true };
  /** When this rank was told to seal, until it begins. */
  private toldAt = Number.POSITIVE_INFINITY;
  private frozenAt = Number.NaN;
  private attempt: Attempt | null = null;
  /** Not before then: an INTENT of this rank was refuted. */
  private intentAfter = Number.NEGATIVE_INFINITY;
  private intentPauseMs = this.timing.sealWaitMs;

  // Freezing.

  protected onChange(evict: readonly number[], admit: readonly string[]): void {
    this.change = { evict, admit, inherited: false };
    if (this.attempt === null) this.toldAt = Math.min(this.toldAt, this.now);
  }

  protected onSealPull(from: number, { evict, admit, lastRound }: SealPull): void {
    if (from === this.epoch.self) return;
    this.freeze(lastRound);
    if (this.attempt === null) this.change = { evict, admit, inherited: true };
    this.toldAt = Number.POSITIVE_INFINITY;
    this.out.push({ type: "send-seal-answer", to: from, answer: this.ownAnswer() });
  }

  /** The last votes of this rank in this epoch, with what it holds now. */
  private freeze(lastRound: number): void {
    if (this.frozen) return;
    const newest = Math.max(this.lastOpened, lastRound);
    const last = Math.min(newest, this.settledRound + UNRECORDED_ROUNDS_MAX);
    while (this.lastOpened < last) this.openUnproposed();
    while (this.lastVoted < this.lastOpened) this.castVote(this.rounds.get(this.lastVoted + 1)!);
    this.frozen = true;
    this.frozenAt = this.now;
    this.demand = false;
  }

  private ownAnswer(): SealAnswer {
    const votes = [];
    for (let number = this.settledRound + 1; number <= this.lastVoted; number++) {
      const vote = this.rounds.get(number)?.ownVote;
      if (vote !== undefined) votes.push(vote);
    }
    return {
      rank: this.epoch.self,
      headSlot: this.tail.slot,
      lastVoted: this.lastVoted,
      votes,
      effectsSlot: this.watch.newest.slot,
      effectsDigest: this.watch.newest.digest,
    };
  }

  // Collecting answers.

  /**
   * Whoever seals looks first: nobody is frozen for a SEAL that cannot be linked, so the members go
   * on agreeing as long as storage is away; and somebody else may have sealed already.
   */
  private mayBegin(): boolean {
    const due = this.frozen ? Math.min(this.toldAt, this.takeoverDue) : this.toldAt;
    return this.now >= due && this.looked(due);
  }

  private begin(): void {
    this.freeze(this.lastOpened);
    const never = Number.NEGATIVE_INFINITY;
    const startedAt = this.now;
    this.attempt = {
      lookSince: Math.min(this.toldAt, startedAt),
      startedAt,
      answers: new Map([[this.epoch.self, this.ownAnswer()]]),
      pulledAt: never,
      fetchAt: never,
    };
    this.toldAt = Number.POSITIVE_INFINITY;
  }

  /** Frozen members seal by themselves when nobody has: the k-th of those waited for after k·Δ. */
  private get takeoverDue(): number {
    const { sealWaitMs, turnDelayMs } = this.timing;
    return this.frozenAt + sealWaitMs + (this.place + 1) * turnDelayMs;
  }

  /** This rank's place among those that are waited for. */
  private get place(): number {
    let place = this.epoch.self;
    for (const rank of this.suspects) if (rank < this.epoch.self) place--;
    return place;
  }

  /** Asks those who have not answered, and looks whether somebody else has sealed. */
  protected pursueSeal(): void {
    if (this.attempt === null && this.mayBegin()) this.begin();
    const { attempt } = this;
    if (attempt === null || this.now < this.pullDue(attempt)) return;
    attempt.pulledAt = this.now;
    const to: number[] = [];
    for (let rank = 0; rank < this.epoch.ranks; rank++)
      if (!attempt.answers.has(rank)) to.push(rank);
    const pull = { ...this.wanted(), lastRound: this.lastOpened };
    if (to.length > 0) this.out.push({ type: "send-seal-pull", to, pull });
    this.tail.readBy(this.now + this.timing.readDelayMs);
  }

  private pullDue({ startedAt, pulledAt }: Attempt): number {
    const { pullIntervalMs, sealWaitMs } = this.timing;
    // Who has not answered by then is hardly there; but a partition may end at any time.
    const often = pulledAt < startedAt + sealWaitMs;
    return pulledAt + (often ? pullIntervalMs : Math.max(pullIntervalMs, sealWaitMs));
  }

  private wanted(): { evict: number[]; admit: readonly string[] } {
    const evict = new Set(this.change.evict);
    if (this.change.inherited) for (const rank of this.suspects) evict.add(rank);
    return { evict: [...evict].sort((a, b) => a - b), admit: this.change.admit };
  }

  protected onSealAnswer(from: number, answer: SealAnswer): void {
    const { attempt } = this;
    if (attempt === null || answer.rank !== from || from === this.epoch.self) return;
    if (answer.votes.length > UNRECORDED_ROUNDS_MAX) return;
    attempt.answers.set(from, answer);
    this.tail.heardOfSlot(answer.headSlot, this.now);
    this.onVotes(answer.votes.filter((vote) => vote.rank === from));
  }

  // The SEAL, and the INTENT before that of a minority.

  protected recordSeal(): void {
    const { attempt } = this;
    if (attempt === null) return;
    const waited = this.now >= attempt.startedAt + this.timing.sealWaitMs;
    // Answers come one by one: none of them is looked at before all may have come.
    if (!waited && attempt.answers.size + this.suspects.size < this.epoch.ranks) return;
    const usable = this.usable(attempt);
    const enough = usable.length >= this.epoch.answersMin;
    if (!waited && !(enough && this.answeredByAll(usable))) return;
    const plan = this.plan(usable, waited);
    if (plan.answers.length < this.epoch.answersMin) {
      if (waited && this.minoritySeals) this.sealAsMinority(attempt, plan);
    } else if (this.allHere(attempt, plan) && this.looked(attempt.lookSince)) this.seal(plan);
  }

  /** A log that this rank has not read yet may settle what such an answer says nothing of. */
  private usable({ answers }: Attempt): SealAnswer[] {
    const bound = this.settledRound + UNRECORDED_ROUNDS_MAX;
    return [...answers.values()].filter(
      ({ headSlot, lastVoted }) => headSlot <= this.tail.slot && lastVoted <= bound,
    );
  }

  private answeredByAll(usable: readonly SealAnswer[]): boolean {
    const silent = new Set(this.suspects);
    for (const { rank } of usable) silent.delete(rank);
    return usable.length + silent.size === this.epoch.ranks;
  }

  private plan(usable: readonly SealAnswer[], waited: boolean): SealPlan {
    const last = lastVotedOf(usable, this.settledRound);
    this.join(last);
    const rounds: Round[] = [];
    for (let number = this.settledRound + 1; number <= last; number++)
      rounds.push(this.rounds.get(number)!);
    const answerers = new Set<number>();
    for (const answer of usable)
      if (rounds.every((round) => this.voteKnown(round, answer))) answerers.add(answer.rank);
    const plan = planSeal(rounds, answerers, this.epoch);
    if (plan.missing.length === 0 || !waited) return plan;
    // What only the dead could hand over cannot be settled: it goes on without their answers.
    const wanted = new Set(plan.missing.flatMap(({ names }) => names.map(({ hash }) => hash)));
    const names = (rank: number) => rounds.flatMap((round) => yesNames(round.votes[rank]!));
    for (const rank of this.suspects)
      if (answerers.has(rank) && names(rank).some(({ hash }) => wanted.has(hash)))
        answerers.delete(rank);
    return planSeal(rounds, answerers, this.epoch);
  }

  /** The vote of the answerer in that round is opened here: ⊥ where it never voted. */
  private voteKnown(round: Round, answer: SealAnswer): boolean {
    const { rank, lastVoted, votes } = answer;
    const isKnown = () => round.votes[rank]?.hashes !== undefined;
    if (isKnown()) return true;
    const vote =
      round.round > lastVoted
        ? silentVote(round.round, this.epoch.ranks, answer)
        : votes.find((vote) => vote.round === round.round);
    if (vote === undefined) return false;
    round.addVote(vote);
    this.tally(round);
    return isKnown();
  }

  /** The bodies of all that it includes are here and good; else they are asked for. */
  private allHere(attempt: Attempt, { missing, fits }: SealPlan): boolean {
    const { pullIntervalMs } = this.timing;
    for (const { round, names } of missing) {
      if (this.now < round.bodiesPulledAt + pullIntervalMs) continue;
      // Whoever answered found it good: a copy found bad here is damaged.
      this.fetch(round, names, () => true);
    }
    if (missing.length > 0 && attempt.fetchAt <= this.now)
      attempt.fetchAt = this.now + pullIntervalMs;
    return missing.length === 0 && fits;
  }

  private seal({ answers, settlement }: SealPlan): void {
    const enough = answers.length >= this.epoch.answersMin;
    if (enough && settlement.length > this.groupMax) {
      // Storage refused it, perhaps as too large: answers of R members may go ahead of the SEAL.
      return this.link({ kind: "STORAGE", settlement: settlement.slice(0, this.groupMax) });
    }
    const { evict, admit } = this.wanted();
    const gone = evict.filter((rank) => !answers.includes(rank));
    this.link({ kind: "SEAL", settlement, answers, evict: gone, admit });
  }

  private sealAsMinority(attempt: Attempt, plan: SealPlan): void {
    if (!this.allHere(attempt, plan)) return;
    const { headIntent } = this;
    const answered = plan.answers;
    if (headIntent?.own && headIntent.answered.every((rank) => answered.includes(rank))) {
      const due = headIntent.at + this.timing.takeoverMs;
      if (this.now >= due && this.looked(due)) this.seal(plan);
      return;
    }
    const due = this.intentDue(attempt);
    if (this.now < due || !this.looked(due)) return;
    this.link({ kind: "INTENT", settlement: [], answered, deadlineMs: this.timing.takeoverMs });
  }

  /** Nobody's INTENT is refuted by another one before its deadline, and its SEAL has had its time. */
  private intentDue({ startedAt }: Attempt): number {
    const due = Math.max(startedAt + this.timing.sealWaitMs, this.intentAfter);
    if (this.headIntent === undefined) return due;
    const { own, at, deadlineMs } = this.headIntent;
    const turn = own ? 0 : this.intentPauseMs + (this.place + 1) * this.timing.turnDelayMs;
    return Math.max(due, at + deadlineMs + turn);
  }

  protected override finalize(
    decided: Decided,
    rounds: ReadonlyArray<{ round: number; included: readonly ProposalName[] }>,
  ): void {
    const refuted = this.headIntent?.own === true && decided.kind !== "SEAL";
    super.finalize(decided, rounds);
    if (!refuted) return;
    // Somebody is there, or was: meanwhile whoever hears R members may seal.
    this.intentAfter = this.now + this.intentPauseMs + this.place * this.timing.turnDelayMs;
    this.intentPauseMs = Math.min(2 * this.intentPauseMs, INTENT_PAUSE_MAX_MS);
  }

  /** Tells `due` of every time at which a frozen rank may have something to do. */
  protected sealDeadlines(due: (at: number) => void): void {
    const { attempt, headIntent } = this;
    if (attempt === null) return due(this.takeoverDue);
    due(this.pullDue(attempt));
    due(attempt.startedAt + this.timing.sealWaitMs);
    due(attempt.fetchAt);
    due(this.intentDue(attempt));
    if (headIntent?.own) due(headIntent.at + this.timing.takeoverMs);
  }
}

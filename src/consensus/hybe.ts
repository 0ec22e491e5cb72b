/**
 * HyBE, the consensus of BAASH, as a pure state machine: `step(input, now)` returns effects. It
 * knows no clock, network, disk or thread; the simulator and the real rank run this very code.
 * The steps named in comments are those of README.md beside this file. One machine is one epoch:
 * ballot.ts has steps 1 to 5, recorder.ts 6 to 9, sealing.ts the end of the epoch.
 *
 * Invariants: a rank votes once a round, in round order, and never once it is frozen; what it calls
 * agreed has w yes-votes; the head only moves by a record that storage holds; one append is under
 * way at most.
 */
import type { Effect, Input } from "./effects.ts";
import { Sealing } from "./sealing.ts";

export class HyBE extends Sealing {
  step(input: Input, now: number): Effect[] {
    this.now = now;
    this.out = [];
    if (!this.ended) this.take(input);
    if (!this.ended) this.progress();
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
    if (this.ended) return true;
    if (this.frozen || this.linking !== null || this.demand) return false;
    return this.unsettled === 0 && this.own.size === 0;
  }
  /** This rank votes no more: the epoch waits for its SEAL. */
  get isFrozen(): boolean {
    return this.frozen;
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
    if (this.ended) return next;
    due(this.tail.readDue());
    if (this.linking === null) due(this.retryLinkAt);
    if (this.frozen) {
      this.sealDeadlines(due);
      return next;
    }
    for (const round of this.rounds.values()) {
      due(this.votesDue(round));
      due(this.bodiesDue(round));
      if (!round.voted) due(round.openedAt + this.proposalWaitMs(round));
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
        this.demand = !this.frozen;
        return;
      case "mined":
        return this.onMined(input.round, input.hash);
      case "ring":
        return void this.join(input.round);
      case "proposal":
        return this.onProposal(input.round, input.rank, input.hash);
      case "validated":
        return this.onValidated(input);
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
        if (input.failed) return this.tail.failed(input.slot, this.now);
        return this.tail.empty(input.slot, this.now);
      case "suspects":
        return this.onSuspects(input.ranks);
      case "alert":
        return this.onAlert();
      case "change":
        return this.onChange(input.evict, input.admit);
      case "seal-pull":
        return this.onSealPull(input.from, input.pull);
      case "seal-answer":
        return this.onSealAnswer(input.from, input.answer);
    }
  }

  /** Everything that may have become possible, in the order of the steps. */
  private progress(): void {
    if (this.watch.differsAt !== undefined) {
      const slot = this.watch.differsAt;
      const reason = `the state of this rank differs from the majority's at slot ${slot}`;
      return this.halt("EFFECTS_DIFFER", reason);
    }
    if (!this.frozen) {
      this.voteWhatIsDue();
      for (const round of this.rounds.values()) this.repair(round);
    }
    this.adoptDecisions();
    this.pursueSeal();
    this.record();
    if (this.demand && this.mayOpen) this.open();
    if (this.tail.takeRead(this.now)) {
      this.out.push({ type: "read", slot: this.tail.slot + 1, prevHash: this.tail.hash });
    }
  }
}

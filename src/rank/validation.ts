/**
 * Step 3: hands received blocks to the pool and turns its verdicts into answers. An exception is an
 * abstention and an alert; an anchor that is not known yet is waited for; a body that was damaged on
 * the way counts as not received. Main thread.
 */
import { fromHex } from "../base/bytes.ts";
import { BaashError } from "../base/errors.ts";
import type { ProposalName, Pull } from "../consensus/effects.ts";
import { isTransient, VERDICT, type Verdict, verdictName } from "../ledger/verdict.ts";
import { UNRECORDED_ROUNDS_MAX } from "../limits.ts";
import { bodiesMatch, checkBlocks } from "../queue/block-checking.ts";
import type { RankContext } from "./context.ts";
import type { HeldProposal } from "./proposals.ts";

export class Validation {
  private readonly rank: RankContext;
  private readonly pull: (from: number, pull: Pull) => void;
  private readonly checks = new Map<number, HeldProposal>();
  /** Proposals whose anchor is not known here yet: waited for, then ⊥, never no. */
  private readonly awaitingAnchor = new Set<HeldProposal>();
  /** Proposals whose bodies came damaged, and their rounds: asked for again. */
  private readonly awaitingBody = new Map<string, number>();
  /** Who was asked for those, each at most once. */
  private readonly askedAgain = new Map<string, { round: number; ranks: Set<number> }>();

  constructor(rank: RankContext, pull: (from: number, pull: Pull) => void) {
    this.rank = rank;
    this.pull = pull;
  }

  validate(round: number, rank: number, hash: string): void {
    const held = this.rank.proposals.get(round, rank, hash);
    if (held === undefined) return this.judged(round, rank, hash, "abstain");
    const anchored = this.rank.chain.anchorRound(held.anchor);
    if (anchored === undefined) {
      this.awaitingAnchor.add(held);
      return;
    }
    if (round - anchored > 2 * UNRECORDED_ROUNDS_MAX) {
      this.misdeed(rank, "STALE_ANCHOR");
      return this.judged(round, rank, hash, "abstain");
    }
    if (held.checked || held.slots.length === 0) {
      held.checked = true;
      return this.judged(round, rank, hash, "yes");
    }
    const ticket = this.rank.tickets.next++;
    this.checks.set(ticket, held);
    held.checking = true;
    this.rank.pool.check(ticket, this.checkRequest(held), held.txnCount);
  }

  private checkRequest(held: HeldProposal) {
    const { difficulty, blockTransactionsMax } = this.rank.chain.genesis;
    return {
      proposal: held.header,
      difficulty,
      transactionsMax: blockTransactionsMax,
      anchor: fromHex(held.anchor),
      slots: held.slots,
    };
  }

  awaits(ticket: number): boolean {
    return this.checks.has(ticket);
  }

  /** The pool is checking blocks for this epoch. */
  get busy(): boolean {
    return this.checks.size > 0;
  }

  checked(ticket: number, verdict: Verdict): void {
    const held = this.endCheck(ticket);
    if (held === undefined) return;
    held.checked = verdict === VERDICT.OK;
    if (!held.checked && this.damagedOnTheWay(held)) return;
    if (!held.checked) {
      this.rank.events.onAlert({ code: "BAD_BLOCK", message: this.describe(held, verdict) });
      const bytes = isTransient(verdict) ? undefined : this.rank.proposals.envelope(held);
      this.misdeed(held.rank, verdictName(verdict), bytes);
    }
    const answer = held.checked ? "yes" : isTransient(verdict) ? "abstain" : "no";
    this.judged(held.round, held.rank, held.hash, answer);
  }

  /** An exception while validating is an abstention and an alert, not a crash of the round. */
  checkFailed(ticket: number, error: unknown): void {
    const held = this.endCheck(ticket);
    this.rank.events.onAlert({ code: "VALIDATION_EXCEPTION", message: String(error) });
    this.rank.exception("validation");
    if (held !== undefined && !this.damagedOnTheWay(held))
      this.judged(held.round, held.rank, held.hash, "abstain");
  }

  /**
   * Bodies that are not those of the headers count as not received, as if they had never come: ⊥,
   * never no. Each member is asked for them once; later their record brings them.
   */
  private damagedOnTheWay(held: HeldProposal): boolean {
    if (bodiesMatch(held.slots, this.rank.incoming)) return false;
    const { round, rank, hash } = held;
    this.rank.events.onAlert({
      code: "DAMAGED_BODY",
      message: this.describe(held, VERDICT.WRONG_ROOT),
    });
    this.misdeed(held.sender, "DAMAGED_BODY");
    this.rank.proposals.drop(held);
    const name = `${rank} ${hash}`;
    this.awaitingBody.set(name, round);
    const from = this.nextSource(name, { round, rank });
    const pull = { round, vote: false, force: false, bodies: [{ rank, hash }] };
    if (from !== undefined) this.pull(from, pull);
    return true;
  }

  /** Its author, then each of the others: nobody is asked twice, as it may be who damages it. */
  private nextSource(name: string, of: { round: number; rank: number }): number | undefined {
    let asked = this.askedAgain.get(name);
    if (asked === undefined) {
      asked = { round: of.round, ranks: new Set<number>() };
      this.askedAgain.set(name, asked);
    }
    const { others } = this.rank.session;
    const sources = [of.rank, ...others].filter((rank) => others.includes(rank));
    const next = sources.find((rank) => !asked.ranks.has(rank));
    if (next !== undefined) asked.ranks.add(next);
    return next;
  }

  private misdeed(rank: number, reason: string, bytes?: Uint8Array): void {
    const process = this.rank.session.process(rank);
    if (process !== undefined) this.rank.misdeeds.note(process, reason, bytes);
  }

  /** A proposal is held now. True when it is one that came damaged before: it is judged here. */
  cameAgain({ round, rank, hash }: ProposalName & { round: number }): boolean {
    if (!this.awaitingBody.delete(`${rank} ${hash}`)) return false;
    this.validate(round, rank, hash);
    return true;
  }

  private endCheck(ticket: number): HeldProposal | undefined {
    const held = this.checks.get(ticket);
    this.checks.delete(ticket);
    return held !== undefined && this.rank.proposals.checkEnded(held) ? held : undefined;
  }

  private judged(
    round: number,
    rank: number,
    hash: string,
    verdict: "yes" | "no" | "abstain",
  ): void {
    this.rank.emit({ type: "validated", round, rank, hash, verdict });
  }

  private describe(held: HeldProposal, verdict: Verdict): string {
    return `a block of rank ${held.rank} in round ${held.round} is not valid: ${verdictName(verdict)}`;
  }

  /** A record may include what this rank abstained on: it judges it now, before it executes it. */
  ensureChecked(held: HeldProposal): void {
    if (held.checked || held.slots.length === 0) return;
    const verdict = checkBlocks(this.checkRequest(held), this.rank.incoming);
    if (verdict !== VERDICT.OK)
      throw new BaashError("BLOCK_DISAGREES", this.describe(held, verdict));
    held.checked = true;
  }

  /** A record became final: its hash may be the anchor that some proposals wait for. */
  anchorsChanged(): void {
    for (const held of [...this.awaitingAnchor]) {
      if (this.rank.chain.anchorRound(held.anchor) === undefined) continue;
      this.awaitingAnchor.delete(held);
      this.validate(held.round, held.rank, held.hash);
    }
  }

  /** The round is settled: nothing is waited for any more. */
  settled(round: number): void {
    for (const held of this.awaitingAnchor) {
      if (held.round > round) continue;
      this.awaitingAnchor.delete(held);
      this.misdeed(held.rank, "UNKNOWN_ANCHOR");
    }
    for (const [name, of] of this.awaitingBody) if (of <= round) this.awaitingBody.delete(name);
    for (const [name, of] of this.askedAgain) if (of.round <= round) this.askedAgain.delete(name);
  }
}

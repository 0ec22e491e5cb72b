/**
 * The one switch over the effects of the core: each becomes a call of transport, pool, storage,
 * chain or queues, and their answers come back as inputs. Main thread; never blocks.
 */
import { assert, unreachable } from "../base/assert.ts";
import { fromHex, toHex } from "../base/bytes.ts";
import { copyRange } from "../base/copy.ts";
import { BaashError, errorCode } from "../base/errors.ts";
import type {
  Decided,
  Effect,
  ProposalName,
  RecordSummary,
  RoundSettlement,
  Vote,
} from "../consensus/effects.ts";
import { createBlockLocation, locateBlock } from "../ledger/block.ts";
import { namesOf } from "../ledger/judge.ts";
import { blocksRoot, encodeProposalHeader, proposalHash } from "../ledger/proposal.ts";
import type { LedgerRecord } from "../ledger/record.ts";
import { readNext, replayRounds, settledBy } from "../ledger/replay.ts";
import { isTransient, VERDICT, type Verdict, verdictName } from "../ledger/verdict.ts";
import { BLOCK_TXNS_MAX, SEGMENT_RECORDS, UNRECORDED_ROUNDS_MAX } from "../limits.ts";
import { bodiesMatch, checkBlocks } from "../queue/block-checking.ts";
import { NONE } from "../queue/keyed-fifo.ts";
import type { RankContext } from "./context.ts";
import { draftRound } from "./draft.ts";
import {
  encodeDecided,
  encodePull,
  encodeVote,
  MESSAGE,
  PROPOSAL_HEADER_AT,
  voteBytesMax,
} from "./envelope.ts";
import type { HeldProposal } from "./proposals.ts";

const location = createBlockLocation();
const RETRY_DELAY_MAX_MS = 1000;

export class Performer {
  private readonly rank: RankContext;
  private readonly others: number[];
  private readonly outcomes = new Uint8Array(BLOCK_TXNS_MAX);
  private readonly checks = new Map<number, HeldProposal>();
  private nextTicket = 1;
  /** Proposals whose anchor is not known here yet: waited for, then ⊥, never no. */
  private readonly awaitingAnchor = new Set<HeldProposal>();
  /** Proposals whose bodies came damaged, and their rounds: asked for again. */
  private readonly awaitingBody = new Map<string, number>();
  /** Records read from storage and not executed yet, by slot. */
  private readonly readRecords = new Map<number, LedgerRecord>();
  private appending = false;
  private readonly forgetLater: number[] = [];
  private building = 0;
  private retryDelayMs = 0;
  /** Segment → hash of the record before its first: what folding starts from. */
  private readonly segmentParents = new Map<number, Uint8Array>();
  blocksFinal = 0;
  transactionsFinal = 0;

  constructor(rank: RankContext) {
    this.rank = rank;
    const { self, ranks } = rank.session;
    this.others = Array.from({ length: ranks }, (_, i) => i).filter((i) => i !== self);
  }

  /** A build is under way: what waits may be taken already. */
  get busyBuilding(): boolean {
    return this.building > 0;
  }

  perform(effect: Effect): void {
    switch (effect.type) {
      case "mine":
        return this.mine(effect.round);
      case "propose":
        return this.propose(effect.round);
      case "validate":
        return this.validate(effect.round, effect.rank, effect.hash);
      case "vote":
        return this.vote(effect.vote);
      case "skip-vote":
        return this.skipVote(effect.round);
      case "send-vote":
        return this.send([effect.to], MESSAGE.vote, encodeVote(effect.vote, true));
      case "send-pull":
        return this.send(effect.to, MESSAGE.pull, encodePull(effect.pull));
      case "send-body":
        return this.sendBody(effect.to, effect.round, effect.name);
      case "discard":
        return this.discard(effect.round, effect.name);
      case "send-decided": {
        const to = effect.to === "all" ? this.others : [effect.to];
        return this.send(to, MESSAGE.decided, encodeDecided(effect.decided));
      }
      case "agreed":
        return this.agreed(effect.round, effect.name);
      case "link":
        return this.link(effect);
      case "read":
        return this.read(effect.slot, effect.prevHash);
      case "finalize":
        return this.finalize(effect);
      case "returned":
        return this.returned(effect.round, effect.rejected);
      case "halt":
        return this.rank.events.onHalt(effect.code, effect.reason);
      default:
        return unreachable(effect);
    }
  }

  send(to: readonly number[], type: number, body: Uint8Array): void {
    if (to.length > 0) this.rank.transport.sendMany(to, this.rank.session.seal.wrap(type, body));
  }

  // Steps 1 and 2.

  private mine(round: number): void {
    const { chain, session, settings, clock, pool } = this.rank;
    this.building++;
    pool.build({
      setting: {
        chainId: chain.chainId,
        epoch: session.epoch,
        anchor: fromHex(chain.hash),
        round,
        rank: session.self,
        incarnation: session.incarnation,
        creationTime: Math.floor(clock.wall()),
        puzzleDifficulty: chain.genesis.difficulty,
      },
      blockTransactions: settings.blockTransactions,
      blocksMax: settings.proposalBlocksMax,
      bytesMax: settings.proposalBytesMax,
      partial: this.rank.partial(),
    });
  }

  /** The pool has built own blocks of `round`: they become its proposal. */
  built(round: number, blocks: number): void {
    this.building--;
    const { outgoing, own, proposals, chain, session, clock } = this.rank;
    const chainOfBlocks = outgoing.takePending(blocks);
    const slots: number[] = [];
    let txnCount = 0;
    const hashes = new Uint8Array(32 * blocks);
    let anchor = fromHex(chain.hash);
    for (let slot = chainOfBlocks.head; slot !== NONE && slots.length < blocks; ) {
      hashes.set(outgoing.fifo.ids.subarray(32 * slot, 32 * slot + 32), 32 * slots.length);
      txnCount += outgoing.fifo.words[4 * slot + 1];
      // All blocks of a proposal share the anchor that they were mined with.
      locateBlock(
        outgoing.fifo.bytes,
        outgoing.messageOffset(slot),
        outgoing.messageLength(slot),
        location,
      );
      const at = location.headerOffset + 48;
      anchor = outgoing.fifo.bytes.slice(at, at + 32);
      slots.push(slot);
      slot = outgoing.fifo.next(slot);
    }
    own.add(round, outgoing, slots);
    const draft = (count: number) => {
      const header = encodeProposalHeader({
        chainId: chain.chainId,
        epoch: session.epoch,
        anchor,
        round,
        rank: session.self,
        blockCount: count,
        incarnation: session.incarnation,
        creationTime: Math.floor(clock.wall()),
        txnCount: count === 0 ? 0 : txnCount,
        blocksRoot: blocksRoot(hashes, count),
      });
      const envelope = new Uint8Array(PROPOSAL_HEADER_AT + header.length);
      envelope.set(header, PROPOSAL_HEADER_AT);
      session.seal.sign(envelope, MESSAGE.proposal, PROPOSAL_HEADER_AT, header.length);
      const held = {
        round,
        rank: session.self,
        hash: toHex(proposalHash(header)),
        header,
        mac: envelope.slice(1, 17),
        anchor: toHex(anchor),
        txnCount: count === 0 ? 0 : txnCount,
      };
      return proposals.holdOwn(held, outgoing, slots.slice(0, count), hashes);
    };
    let held = draft(blocks);
    if (held === undefined) {
      // No room for own blocks beside those of the open rounds: propose nothing this time.
      own.giveBack(round);
      this.scheduleRetry();
      held = draft(0);
      assert(held !== undefined, "an EMPTY proposal takes no room");
    }
    outgoing.free(chainOfBlocks);
    this.rank.emit({ type: "mined", round, hash: held.hash });
  }

  private propose(round: number): void {
    const { proposals, session, transport } = this.rank;
    if (this.others.length === 0) return;
    const held = proposals.ofRank(round, session.self);
    assert(held !== undefined, "own proposal is held until its round is settled");
    transport.sendMany(this.others, proposals.envelope(held));
  }

  private sendBody(to: number, round: number, name: ProposalName): void {
    const held = this.rank.proposals.get(round, name.rank, name.hash);
    if (held !== undefined) this.rank.transport.send(to, this.rank.proposals.envelope(held));
  }

  private discard(round: number, name: ProposalName): void {
    const held = this.rank.proposals.get(round, name.rank, name.hash);
    if (held !== undefined) this.rank.proposals.drop(held);
  }

  // Step 3.

  private validate(round: number, rank: number, hash: string): void {
    const held = this.rank.proposals.get(round, rank, hash);
    if (held === undefined) return this.judged(round, rank, hash, "abstain");
    const anchored = this.rank.chain.anchorRound(held.anchor);
    if (anchored === undefined) {
      this.awaitingAnchor.add(held);
      return;
    }
    if (round - anchored > 2 * UNRECORDED_ROUNDS_MAX)
      return this.judged(round, rank, hash, "abstain");
    if (held.checked || held.slots.length === 0) {
      held.checked = true;
      return this.judged(round, rank, hash, "yes");
    }
    const ticket = this.nextTicket++;
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

  checked(ticket: number, verdict: Verdict): void {
    const held = this.endCheck(ticket);
    if (held === undefined) return;
    held.checked = verdict === VERDICT.OK;
    if (!held.checked && this.damagedOnTheWay(held)) return;
    if (!held.checked)
      this.rank.events.onAlert({ code: "BAD_BLOCK", message: this.describe(held, verdict) });
    const answer = held.checked ? "yes" : isTransient(verdict) ? "abstain" : "no";
    this.judged(held.round, held.rank, held.hash, answer);
  }

  /** An exception while validating is an abstention and an alert, not a crash of the round. */
  checkFailed(ticket: number, error: unknown): void {
    const held = this.endCheck(ticket);
    this.rank.events.onAlert({ code: "VALIDATION_EXCEPTION", message: String(error) });
    if (held !== undefined && !this.damagedOnTheWay(held))
      this.judged(held.round, held.rank, held.hash, "abstain");
  }

  /**
   * Bodies that are not those of the headers count as not received, as if they had never come: ⊥,
   * never no. They are asked for once; later their record brings them.
   */
  private damagedOnTheWay(held: HeldProposal): boolean {
    if (bodiesMatch(held.slots, this.rank.incoming)) return false;
    const { round, rank, hash } = held;
    this.rank.events.onAlert({
      code: "DAMAGED_BODY",
      message: this.describe(held, VERDICT.WRONG_ROOT),
    });
    this.rank.proposals.drop(held);
    this.awaitingBody.set(`${rank} ${hash}`, round);
    const pull = { round, vote: false, force: false, bodies: [{ rank, hash }] };
    this.send([rank], MESSAGE.pull, encodePull(pull));
    return true;
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

  // Steps 4 and 5.

  private vote(vote: Vote): void {
    if (this.others.length === 0) return;
    const { session, transport } = this.rank;
    if (transport.lanePoisoned(this.lane(vote.round))) {
      return this.send(this.others, MESSAGE.vote, encodeVote(vote, true));
    }
    this.gather(vote.round, session.seal.wrap(MESSAGE.vote, encodeVote(vote, false)));
  }

  private skipVote(round: number): void {
    if (this.others.length === 0 || this.rank.transport.lanePoisoned(this.lane(round))) return;
    this.gather(round, new Uint8Array(0));
  }

  private gather(round: number, bytes: Uint8Array): void {
    const { transport, settings, session } = this.rank;
    const bytesMax = voteBytesMax(session.ranks);
    transport.allgather(this.lane(round), bytes, bytesMax, settings.collectiveTimeoutMs);
  }

  private lane(round: number): number {
    return round % this.rank.settings.lanes;
  }

  private agreed(round: number, { rank }: ProposalName): void {
    if (rank === this.rank.session.self) this.rank.own.agreed(round);
  }

  // Steps 6 and 8.

  private link(effect: Extract<Effect, { type: "link" }>): void {
    const { chain, session, storage, proposals, clock } = this.rank;
    const rounds = effect.settlement.map((settlement: RoundSettlement) =>
      draftRound(settlement, proposals, session.ranks),
    );
    this.appending = true;
    const draft = {
      kind: effect.kind,
      slot: effect.slot,
      prevHash: fromHex(effect.prevHash),
      epoch: session.epoch,
      firstRound: rounds[0]?.round ?? chain.settledRound + 1,
      lastRound: rounds.at(-1)?.round ?? chain.settledRound,
      heightBefore: chain.height,
      creationTime: Math.floor(clock.wall()),
      rounds,
    };
    storage.append(draft).then(
      (result) => {
        this.appendEnded();
        if (result.won) {
          this.rank.emit({ type: "linked", slot: effect.slot, hash: toHex(result.hash) });
        } else {
          if (effect.slot === chain.slot + 1) this.found(effect.slot, result.winner);
          this.rank.emit({ type: "link-lost", slot: effect.slot });
        }
      },
      (error) => {
        this.appendEnded();
        this.rank.events.onAlert({ code: errorCode(error), message: String(error) });
        this.rank.emit({ type: "link-failed", slot: effect.slot });
      },
    );
  }

  /** The round is settled. The writer may still read its blocks. */
  private forget(round: number): void {
    if (this.appending) this.forgetLater.push(round);
    else this.rank.proposals.forget(round);
  }

  /** The writer no longer reads the blocks of rounds that were settled meanwhile. */
  private appendEnded(): void {
    this.appending = false;
    for (const round of this.forgetLater.splice(0)) this.rank.proposals.forget(round);
  }

  private read(slot: number, prevHash: string): void {
    this.rank.storage.child(slot, fromHex(prevHash)).then(
      (bytes) => {
        if (bytes === undefined) this.rank.emit({ type: "no-record", slot });
        else this.found(slot, bytes);
      },
      (error) => {
        this.rank.events.onAlert({ code: errorCode(error), message: String(error) });
        this.rank.emit({ type: "no-record", slot });
      },
    );
  }

  /** A record that another writer linked after our head. */
  private found(slot: number, bytes: Uint8Array): void {
    const { chain, emit } = this.rank;
    if (slot !== chain.slot + 1) return emit({ type: "no-record", slot });
    const next = readNext(chain, bytes);
    if (!next.ok) {
      const reason = `the record of slot ${slot} cannot be read: ${verdictName(next.verdict)}`;
      return this.rank.events.onHalt("RECORD_UNREADABLE", reason);
    }
    const { header, hash, record } = next.value;
    const rounds = record === undefined ? [] : settledBy(record);
    const summary: RecordSummary = {
      slot,
      hash: toHex(hash),
      kind: header.kind,
      valid: record !== undefined,
      firstRound: header.firstRound,
      lastRound: header.lastRound,
      rounds: rounds.map((round) => ({ round: round.round, included: namesOf(round) })),
    };
    if (record?.body.kind === "SEAL") {
      const { members, rounds: settled } = record.body.seal;
      if (members.length + settled.length === 0) return this.rank.sealed(slot, summary.hash);
    }
    if (record !== undefined) this.readRecords.set(slot, record);
    emit({ type: "record", record: summary });
  }

  // Step 7.

  private finalize(effect: Extract<Effect, { type: "finalize" }>): void {
    const { chain, own, session, core } = this.rank;
    if (effect.slot % SEGMENT_RECORDS === 0) {
      this.segmentParents.set(effect.slot / SEGMENT_RECORDS, fromHex(chain.hash));
    }
    const record = this.readRecords.get(effect.slot);
    this.readRecords.delete(effect.slot);
    const settledOwn: number[] = [];
    for (const { round, order } of effect.rounds) {
      if (record === undefined) this.execute(round, order);
      if (order.some((name) => name.rank === session.self)) settledOwn.push(round);
    }
    if (record !== undefined && effect.rounds.length > 0) this.replay(record);
    chain.advance(effect.slot, effect.hash);
    if (record?.body.kind === "INTENT") chain.announce(record.header.authorIncarnation);
    core.executed(effect.slot, chain.effectsDigest);
    for (const round of settledOwn) own.settle(round);
    for (const { round } of effect.rounds) {
      for (const held of this.awaitingAnchor)
        if (held.round <= round) this.awaitingAnchor.delete(held);
      for (const [name, of] of this.awaitingBody) if (of <= round) this.awaitingBody.delete(name);
      this.forget(round);
    }
    if (settledOwn.length > 0) this.retryDelayMs = 0;
    this.anchorsChanged();
    this.rank.events.onFinal(effect.slot);
  }

  private execute(round: number, order: readonly ProposalName[]): void {
    const { chain, proposals } = this.rank;
    const all: HeldProposal[] = [];
    let blocks = 0;
    for (const { rank, hash } of order) {
      const held = proposals.get(round, rank, hash);
      assert(held !== undefined, `the proposal of rank ${rank} in round ${round} is held`);
      this.ensureChecked(held);
      all.push(held);
      blocks += held.slots.length;
    }
    this.orderBlocks(all, blocks);
    for (const held of all) this.executeProposal(held);
    chain.endRound(round);
  }

  /** Fixes the place of every block of a round at once: their hashes form one chain. */
  private orderBlocks(all: readonly HeldProposal[], blocks: number): void {
    const { ids } = this.rank.incoming.fifo;
    const hashes = new Uint8Array(32 * blocks);
    let at = 0;
    for (const { slots } of all) {
      for (const slot of slots) {
        copyRange(ids, 32 * slot, 32, hashes, at);
        at += 32;
      }
    }
    this.rank.chain.orderBlocks(hashes, blocks);
  }

  private executeProposal(held: HeldProposal): void {
    const { chain, incoming, own, session } = this.rank;
    const { bytes } = incoming.fifo;
    for (let index = 0; index < held.slots.length; index++) {
      const slot = held.slots[index];
      locateBlock(bytes, incoming.messageOffset(slot), incoming.messageLength(slot), location);
      const { bodyOffset, bodyLength, txnCounter: count } = location;
      const idsOffset = incoming.idsOffset(slot);
      const block = { bytes, bodyOffset, bodyLength, count, ids: bytes, idsOffset };
      chain.executeBlock(block, held.round, this.outcomes);
      this.blocksFinal++;
      this.transactionsFinal += count;
      if (held.rank === session.self)
        own.executed(held.round, index, this.outcomes.slice(0, count));
    }
  }

  /** A record may include what this rank abstained on: it judges it now, before it executes it. */
  private ensureChecked(held: HeldProposal): void {
    if (held.checked || held.slots.length === 0) return;
    const verdict = checkBlocks(this.checkRequest(held), this.rank.incoming);
    if (verdict !== VERDICT.OK)
      throw new BaashError("BLOCK_DISAGREES", this.describe(held, verdict));
    held.checked = true;
  }

  private replay(record: LedgerRecord): void {
    const { chain, own, session } = this.rank;
    replayRounds(chain, settledBy(record), ({ round, rank, index }, outcomes) => {
      this.blocksFinal++;
      this.transactionsFinal += outcomes.length;
      if (rank === session.self && own.has(round)) own.executed(round, index, outcomes.slice());
    });
  }

  private anchorsChanged(): void {
    for (const held of [...this.awaitingAnchor]) {
      if (this.rank.chain.anchorRound(held.anchor) === undefined) continue;
      this.awaitingAnchor.delete(held);
      this.validate(held.round, held.rank, held.hash);
    }
  }

  /** The parent of segment `segment`, if this rank has seen it begin. */
  segmentParent(segment: number): Uint8Array | undefined {
    return this.segmentParents.get(segment);
  }

  // Step 9.

  private returned(round: number, rejected: boolean): void {
    if (rejected) {
      // Validity depends on bytes alone: when most others find ours bad, this rank's memory or
      // program is at fault, and proposing the same again would never end.
      const reason = `most members found its proposal of round ${round} not valid`;
      return this.rank.events.onHalt("PROPOSAL_REJECTED", reason);
    }
    const count = this.rank.own.giveBack(round);
    if (count > 0) this.scheduleRetry();
    // Built after its round was settled: nobody comes back to it.
    if (round <= this.rank.chain.settledRound) this.forget(round);
  }

  private scheduleRetry(): void {
    const { clock, settings, transactions } = this.rank;
    this.retryDelayMs = Math.min(
      Math.max(2 * this.retryDelayMs, settings.retryDelayMs),
      RETRY_DELAY_MAX_MS,
    );
    clock.schedule(clock.now() + this.retryDelayMs, () => {
      transactions.retryNow();
      this.rank.emit({ type: "tick" });
    });
  }

  /** Announces a record that was appended outside of the rounds. */
  announce(decided: Decided): void {
    this.send(this.others, MESSAGE.decided, encodeDecided(decided));
  }
}

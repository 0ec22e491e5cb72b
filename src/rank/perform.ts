/**
 * The one switch over the effects of the core: each becomes a call of transport, pool, storage,
 * chain or queues, and their answers come back as inputs. Main thread; never blocks.
 */
import { assert, unreachable } from "../base/assert.ts";
import { fromHex, toHex } from "../base/bytes.ts";
import type {
  Decided,
  Effect,
  ProposalName,
  Pull,
  SealAnswer,
  Vote,
} from "../consensus/effects.ts";
import { createBlockLocation, locateBlock } from "../ledger/block.ts";
import { blocksRoot, encodeProposalHeader, proposalHash } from "../ledger/proposal.ts";
import { NONE } from "../queue/keyed-fifo.ts";
import { Announcing } from "./announcing.ts";
import type { RankContext } from "./context.ts";
import { encodeDecided, encodePull, encodeVote, MESSAGE, PROPOSAL_HEADER_AT } from "./envelope.ts";
import { Execution } from "./execution.ts";
import { Lanes } from "./lanes.ts";
import { encodeSealAnswer, encodeSealPull } from "./membership-messages.ts";
import { Recording } from "./recording.ts";
import { statementOf } from "./signing.ts";
import { EFFECT_STAGES } from "./stage-clock.ts";
import { Validation } from "./validation.ts";

const location = createBlockLocation();
const RETRY_DELAY_MAX_MS = 1000;
/** Remembered at once; then all are forgotten. */
const BODIES_SENT_MAX = 4096;

export class Performer {
  private readonly rank: RankContext;
  readonly validation: Validation;
  readonly execution: Execution;
  readonly lanes: Lanes;
  readonly announcing: Announcing;
  private readonly recording: Recording;
  private building = 0;
  private retryDelayMs = 0;

  constructor(rank: RankContext) {
    this.rank = rank;
    this.lanes = new Lanes(rank, (to, type, body) => this.send(to, type, body));
    this.announcing = new Announcing(rank, {
      gathers: (round) => this.lanes.gathers(round),
      send: (to, type, body) => this.send(to, type, body),
    });
    this.validation = new Validation(rank, (from, pull) => this.pull([from], pull));
    this.execution = new Execution(rank, (held) => this.validation.ensureChecked(held));
    this.recording = new Recording(rank);
  }

  /** A build is under way: what waits may be taken already. */
  get busyBuilding(): boolean {
    return this.building > 0;
  }

  /** The epoch is over. False while a worker still reads blocks of it. */
  retire(): boolean {
    this.recording.retire();
    return !this.validation.busy;
  }

  perform(effect: Effect): void {
    const stage = EFFECT_STAGES[effect.type];
    if (stage === undefined) return this.act(effect);
    const { stages } = this.rank;
    stages.enter(stage);
    this.act(effect);
    stages.leave();
  }

  private act(effect: Effect): void {
    switch (effect.type) {
      case "mine":
        return this.mine(effect.round);
      case "propose":
        return this.propose(effect.round);
      case "validate":
        return this.validation.validate(effect.round, effect.rank, effect.hash);
      case "vote":
        return this.vote(effect.vote);
      case "skip-vote":
        return this.lanes.skip(effect.round);
      case "send-vote":
        return this.send([effect.to], MESSAGE.vote, this.openedVote(effect.vote));
      case "send-pull":
        return this.pull(effect.to, effect.pull);
      case "send-body":
        return this.sendBody(effect.to, effect.round, effect.name);
      case "discard":
        return this.discard(effect.round, effect.name);
      case "send-decided": {
        if (effect.to === "all") return this.announcing.decided(effect.decided);
        return this.send([effect.to], MESSAGE.decided, encodeDecided(effect.decided));
      }
      case "agreed":
        return this.agreed(effect.round, effect.name);
      case "link":
        return this.recording.link(effect);
      case "read":
        return this.recording.read(effect.slot, effect.prevHash);
      case "finalize":
        return this.finalize(effect);
      case "returned":
        return this.returned(effect.round, effect.rejected);
      case "send-seal-pull":
        this.rank.watch.askForAnswers();
        return this.send(effect.to, MESSAGE.sealPull, encodeSealPull(effect.pull));
      case "send-seal-answer":
        return this.answerSeal(effect.to, effect.answer);
      case "sealed":
        return this.rank.sealed(this.recording.epochEnd(effect.slot));
      case "halt":
        return this.rank.events.onHalt(effect.code, effect.reason);
      default:
        return unreachable(effect);
    }
  }

  /** To members; those whose process is not known yet are passed over. */
  send(to: readonly number[], type: number, body: Uint8Array): void {
    const { session, transport } = this.rank;
    const processes = session.processesOf(to);
    if (processes.length > 0) transport.sendMany(processes, session.seal.wrap(type, body));
  }

  /** The bodies may then come from whoever is asked. */
  pull(to: readonly number[], pull: Pull): void {
    const { round, bodies } = pull;
    for (const { rank, hash } of bodies) this.rank.proposals.ask({ round, rank, hash });
    this.send(to, MESSAGE.pull, encodePull(pull));
  }

  // Steps 1 and 2.

  private mine(round: number): void {
    const { chain, proposals, session, settings, clock } = this.rank;
    this.announcing.opened(round);
    this.building++;
    this.rank.build({
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
      blocksMax: Math.max(1, Math.min(settings.proposalBlocksMax, proposals.ownRoom(session.self))),
      bytesMax: settings.proposalBytesMax,
      partial: this.rank.partial(),
    });
  }

  /** The pool has built own blocks of `round`: they become its proposal. */
  built(round: number, blocks: number): void {
    this.rank.stages.enter("building");
    this.toProposal(round, blocks);
    this.rank.stages.leave();
  }

  private toProposal(round: number, blocks: number): void {
    this.building--;
    const { outgoing, own, proposals, chain, session, clock, signing } = this.rank;
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
    own.add(round, outgoing, slots, clock.now());
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
      const kept = proposals.holdOwn(held, outgoing, slots.slice(0, count), hashes);
      // Signed once it is the one that goes out: nobody signs two proposals of a round.
      if (kept !== undefined) kept.signature = signing?.signProposal(header);
      return kept;
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
    const { proposals, session, transport, counters } = this.rank;
    if (session.others.length === 0) return;
    const held = proposals.ofRank(round, session.self);
    assert(held !== undefined, "own proposal is held until its round is settled");
    const envelope = proposals.envelope(held);
    if (this.lanes.propose(round, envelope)) {
      counters.proposals.gathered++;
      return;
    }
    counters.proposals.direct++;
    transport.sendMany(session.processesOf(session.others), envelope);
  }

  /** Own proposals that the others may never get by collective. */
  private proposeAgain(rounds: readonly number[]): void {
    const { proposals, session, transport } = this.rank;
    for (const round of rounds) {
      const held = proposals.ofRank(round, session.self);
      if (held === undefined) continue;
      transport.sendMany(session.processesOf(session.others), proposals.envelope(held));
    }
  }

  laneLost(): void {
    this.proposeAgain(this.lanes.lost());
  }

  /** Suspicions of this rank have changed. */
  suspects(ranks: readonly number[]): void {
    this.proposeAgain(this.lanes.suspects(ranks.length > 0));
  }

  private sendBody(to: number, round: number, name: ProposalName): void {
    const held = this.rank.proposals.get(round, name.rank, name.hash);
    const process = this.rank.session.process(to);
    if (held === undefined || process === undefined || !this.maySend(to, name.hash)) return;
    this.rank.transport.send(process, this.rank.proposals.envelope(held));
  }

  /** Bodies are long and pulls are short: no member has the same one sent all the time. */
  private maySend(to: number, hash: string): boolean {
    const { clock, settings } = this.rank;
    const now = clock.now();
    const key = `${to} ${hash}`;
    const before = this.bodiesSent.get(key) ?? Number.NEGATIVE_INFINITY;
    if (now - before < settings.timing.pullIntervalMs / 4) return false;
    if (this.bodiesSent.size >= BODIES_SENT_MAX) this.bodiesSent.clear();
    this.bodiesSent.set(key, now);
    return true;
  }
  private readonly bodiesSent = new Map<string, number>();

  private discard(round: number, name: ProposalName): void {
    const held = this.rank.proposals.get(round, name.rank, name.hash);
    if (held !== undefined) this.rank.proposals.drop(held);
  }

  // Steps 4 and 5.

  private vote(vote: Vote): void {
    const { session, watch } = this.rank;
    const signature = watch.ownVote(vote);
    if (session.others.length === 0) return;
    const bytes = session.seal.wrap(MESSAGE.vote, encodeVote(vote, false, signature));
    if (this.lanes.vote(vote.round, bytes)) return;
    this.send(session.others, MESSAGE.vote, this.openedVote(vote));
  }

  /** Own vote with its hashes, as it is handed out again. */
  private openedVote(vote: Vote): Uint8Array {
    return encodeVote(vote, true, this.rank.watch.ownVote(vote));
  }

  private answerSeal(to: number, answer: SealAnswer): void {
    const { signing, watch } = this.rank;
    const signed = signing && {
      answer: signing.signAnswer(statementOf(answer)),
      vote: (vote: Vote) => watch.ownVote(vote),
    };
    this.send([to], MESSAGE.sealAnswer, encodeSealAnswer(answer, signed));
  }

  private agreed(round: number, { rank }: ProposalName): void {
    if (rank === this.rank.session.self) this.rank.own.agreed(round, this.rank.clock.now());
  }

  // Step 7.

  private finalize(effect: Extract<Effect, { type: "finalize" }>): void {
    const { chain, own, session, core, settings } = this.rank;
    if (effect.slot % settings.segmentRecords === 0) {
      const segment = effect.slot / settings.segmentRecords;
      this.rank.segmentParents.set(segment, fromHex(chain.hash));
    }
    const record = this.recording.takeRead(effect.slot);
    const settledOwn: number[] = [];
    for (const { round, order } of effect.rounds) {
      if (record === undefined) this.execution.execute(round, order);
      if (order.some((name) => name.rank === session.self)) settledOwn.push(round);
    }
    if (record !== undefined && effect.rounds.length > 0) this.execution.replay(record);
    const place = { slot: effect.slot, prevHash: chain.hash };
    chain.advance(effect.slot, effect.hash);
    this.recording.takeEffect(place, effect.hash, record);
    core.executed(effect.slot, chain.effectsDigest);
    for (const round of settledOwn) own.settle(round);
    for (const { round } of effect.rounds) {
      this.validation.settled(round);
      this.recording.forget(round);
    }
    if (settledOwn.length > 0) this.retryDelayMs = 0;
    this.validation.anchorsChanged();
    this.rank.events.onFinal(effect.slot);
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
    if (round <= this.rank.chain.settledRound) this.recording.forget(round);
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

  /** A member's DECIDED, before the core hears of it. */
  decided({ slot, hash }: Decided, from: number): void {
    this.recording.heardOf(slot, hash, from);
  }
}

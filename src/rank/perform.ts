/**
 * The one switch over the effects of the core: each becomes a call of transport, pool, storage,
 * chain or queues, and their answers come back as inputs. Main thread; never blocks.
 */
import { assert, unreachable } from "../base/assert.ts";
import { fromHex, toHex } from "../base/bytes.ts";
import type { Decided, Effect, ProposalName, Vote } from "../consensus/effects.ts";
import { createBlockLocation, locateBlock } from "../ledger/block.ts";
import { blocksRoot, encodeProposalHeader, proposalHash } from "../ledger/proposal.ts";
import { SEGMENT_RECORDS } from "../limits.ts";
import { NONE } from "../queue/keyed-fifo.ts";
import type { RankContext } from "./context.ts";
import {
  encodeDecided,
  encodePull,
  encodeVote,
  MESSAGE,
  PROPOSAL_HEADER_AT,
  voteBytesMax,
} from "./envelope.ts";
import { Execution } from "./execution.ts";
import { Recording } from "./recording.ts";
import { Validation } from "./validation.ts";

const location = createBlockLocation();
const RETRY_DELAY_MAX_MS = 1000;

export class Performer {
  private readonly rank: RankContext;
  private readonly others: number[];
  readonly validation: Validation;
  readonly execution: Execution;
  private readonly recording: Recording;
  private building = 0;
  private retryDelayMs = 0;
  /** Segment → hash of the record before its first: what folding starts from. */
  private readonly segmentParents = new Map<number, Uint8Array>();

  constructor(rank: RankContext) {
    this.rank = rank;
    const { self, ranks } = rank.session;
    this.others = Array.from({ length: ranks }, (_, i) => i).filter((i) => i !== self);
    this.validation = new Validation(rank, (from, pull) =>
      this.send([from], MESSAGE.pull, encodePull(pull)),
    );
    this.execution = new Execution(rank, (held) => this.validation.ensureChecked(held));
    this.recording = new Recording(rank);
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
        return this.validation.validate(effect.round, effect.rank, effect.hash);
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
        return this.recording.link(effect);
      case "read":
        return this.recording.read(effect.slot, effect.prevHash);
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

  // Step 7.

  private finalize(effect: Extract<Effect, { type: "finalize" }>): void {
    const { chain, own, session, core } = this.rank;
    if (effect.slot % SEGMENT_RECORDS === 0) {
      this.segmentParents.set(effect.slot / SEGMENT_RECORDS, fromHex(chain.hash));
    }
    const record = this.recording.takeRead(effect.slot);
    const settledOwn: number[] = [];
    for (const { round, order } of effect.rounds) {
      if (record === undefined) this.execution.execute(round, order);
      if (order.some((name) => name.rank === session.self)) settledOwn.push(round);
    }
    if (record !== undefined && effect.rounds.length > 0) this.execution.replay(record);
    chain.advance(effect.slot, effect.hash);
    if (record?.body.kind === "INTENT") chain.announce(record.header.authorIncarnation);
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

  /** Announces a record that was appended outside of the rounds. */
  announce(decided: Decided): void {
    this.send(this.others, MESSAGE.decided, encodeDecided(decided));
  }
}

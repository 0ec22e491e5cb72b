/**
 * The event loop of one rank: takes what comes from transport, pool, storage, timers and intake,
 * hands it to the core as inputs, one after the other, and performs the effects. Main thread only;
 * nothing here waits. The real rank and the simulator run this very class.
 */
import { toHex } from "../base/bytes.ts";
import type { Input } from "../consensus/effects.ts";
import { HyBE } from "../consensus/hybe.ts";
import type { Chain } from "../ledger/chain.ts";
import { answersMin, winVotes } from "../ledger/judge.ts";
import { checkProposal, decodeProposal, proposalHash } from "../ledger/proposal.ts";
import { encodeSeal } from "../ledger/settlement.ts";
import { VERDICT, verdictName } from "../ledger/verdict.ts";
import { PROPOSAL_BLOCKS_MAX, UNRECORDED_ROUNDS_MAX } from "../limits.ts";
import type { BlockQueue } from "../queue/block-queue.ts";
import type { TransactionQueue } from "../queue/transaction-queue.ts";
import type { LedgerStorage } from "../storage/storage-service.ts";
import type { Messages, Transport } from "../transport/transport.ts";
import type { RankContext, RankEvents, RankSettings, Session } from "./context.ts";
import {
  authenticProposal,
  decodeDecided,
  decodePull,
  decodeStatus,
  decodeVote,
  ENVELOPE_BYTES,
  encodeStatus,
  MESSAGE,
  type Status,
} from "./envelope.ts";
import { Intake } from "./intake.ts";
import { OwnBlocks } from "./own-blocks.ts";
import { Performer } from "./perform.ts";
import type { Clock, WorkerPool } from "./ports.ts";
import { ProposalTable } from "./proposals.ts";

export interface RankParts {
  readonly clock: Clock;
  readonly transport: Transport;
  readonly pool: WorkerPool;
  readonly storage: LedgerStorage;
  readonly chain: Chain;
  readonly session: Session;
  readonly settings: RankSettings;
  readonly transactions: TransactionQueue;
  readonly outgoing: BlockQueue;
  readonly incoming: BlockQueue;
  readonly events: RankEvents;
}

export class RankLoop {
  readonly context: RankContext;
  private readonly performer: Performer;
  private readonly inputs: Input[] = [];
  private handling = false;
  private timerAt = Number.POSITIVE_INFINITY;
  private cancelTimer: (() => void) | undefined;
  private cancelPoll: (() => void) | undefined;
  private lastOpenedAt = Number.NEGATIVE_INFINITY;
  private draining = false;
  private saidDrained = false;
  private readonly drained = new Set<number>();
  private sealing = false;
  private stopped = false;
  private readonly hashes = new Uint8Array(32 * PROPOSAL_BLOCKS_MAX);

  constructor(parts: RankParts) {
    const { chain, session, settings, transactions } = parts;
    const intake = new Intake({
      chain,
      rank: session.self,
      ranks: session.ranks,
      queue: transactions,
      onAccepted: () => this.seekDemand(),
    });
    const core = new HyBE({
      epoch: {
        self: session.self,
        ranks: session.ranks,
        winVotes: winVotes(session.ranks),
        answersMin: answersMin(session.ranks),
      },
      timing: settings.timing,
      pipelineDepth: settings.pipelineDepth,
      head: { slot: chain.slot, hash: chain.hash },
      settled: chain.settledRound,
    });
    this.context = {
      ...parts,
      intake,
      core,
      proposals: new ProposalTable(parts.incoming),
      own: new OwnBlocks(transactions, (owner, batch) => intake.deliver(owner, batch)),
      events: { ...parts.events, onFinal: (slot) => this.onFinal(slot, parts.events) },
      emit: (input) => this.take(input),
      sealed: (slot, hash) => this.sealed(slot, hash),
      dropped: new Map(),
      partial: () => this.oldestIsDue(),
    };
    core.executed(chain.slot, chain.effectsDigest);
    this.performer = new Performer(this.context);
  }

  /** Begins to take part. Messages that came earlier are handed over by `replay`. */
  start(): void {
    const { transport, pool, events } = this.context;
    pool.handler = {
      onBuilt: (round, blocks) => {
        this.performer.built(round, blocks);
        this.seekDemand();
      },
      onChecked: (ticket, verdict) => this.performer.validation.checked(ticket, verdict as 0),
      onCheckFailed: (ticket, error) => this.performer.validation.checkFailed(ticket, error),
    };
    transport.handler = {
      onMessages: (batch) => this.onMessages(batch),
      onAllgather: (lane, parts) => this.onVotes(lane, parts),
      onError: (error) => events.onAlert({ code: error.code, message: error.message }),
    };
    this.poll();
  }

  get counters() {
    return {
      blocks: this.performer.execution.blocks,
      transactions: this.performer.execution.transactions,
      inFlight: this.context.own.inFlight,
      dropped: Object.fromEntries(this.context.dropped),
      unsettledRounds: this.context.core.unsettled,
    };
  }

  segmentParent(segment: number): Uint8Array | undefined {
    return this.performer.segmentParent(segment);
  }

  /** One message that arrived before this loop had the transport. */
  replay(from: number, bytes: Uint8Array): void {
    this.onMessage(from, bytes);
  }

  // Inputs, one after the other.

  private take(input: Input): void {
    if (this.stopped) return;
    this.inputs.push(input);
    if (this.handling) return;
    this.handling = true;
    try {
      for (let next = this.inputs.shift(); next !== undefined; next = this.inputs.shift()) {
        const effects = this.context.core.step(next, this.context.clock.now());
        for (const effect of effects) this.performer.perform(effect);
      }
    } finally {
      this.handling = false;
    }
    this.setTimer();
    this.seekDemand();
    if (this.draining) this.proceedDrain();
  }

  private setTimer(): void {
    const at = this.context.core.nextDeadline();
    if (at >= this.timerAt || this.stopped) return;
    this.cancelTimer?.();
    this.timerAt = at;
    this.cancelTimer = this.context.clock.schedule(at, () => {
      this.timerAt = Number.POSITIVE_INFINITY;
      this.cancelTimer = undefined;
      this.take({ type: "tick" });
    });
  }

  // Demand: a full block, or one whose oldest transaction has waited blockDelay.

  private oldestIsDue(): boolean {
    const { transactions, clock, settings } = this.context;
    return this.draining || clock.wall() - transactions.oldestTime() >= settings.blockDelayMs;
  }

  private demandTimerSet = false;

  private seekDemand(): void {
    const { transactions, settings, core, clock } = this.context;
    if (this.handling || this.performer.busyBuilding || this.stopped) return;
    const waiting = transactions.waiting();
    if (waiting === 0) return;
    const now = clock.now();
    const open = this.lastOpenedAt + settings.roundIntervalMs;
    if (now < open) return this.seekDemandAt(open);
    if (waiting < settings.blockTransactions && !this.oldestIsDue()) {
      const age = clock.wall() - transactions.oldestTime();
      return this.seekDemandAt(now + Math.max(settings.blockDelayMs - age, 0));
    }
    if (!core.mayOpen || !this.hasRoom()) return;
    this.lastOpenedAt = now;
    this.take({ type: "demand" });
  }

  private seekDemandAt(at: number): void {
    if (this.demandTimerSet) return;
    this.demandTimerSet = true;
    this.context.clock.schedule(at, () => {
      this.demandTimerSet = false;
      this.seekDemand();
    });
  }

  /** Back-pressure: rounds that storage has not taken fill the incoming queue. */
  private hasRoom(): boolean {
    const { incoming } = this.context;
    return incoming.fifo.freeSlots() > incoming.fifo.slotCount / 4;
  }

  // Transport.

  private onMessages(batch: Messages): void {
    for (let i = 0; i < batch.count; i++) this.onMessage(batch.from(i), batch.bytes(i));
  }

  private drop(reason: string): void {
    const { dropped } = this.context;
    dropped.set(reason, (dropped.get(reason) ?? 0) + 1);
  }

  private onMessage(from: number, bytes: Uint8Array): void {
    if (bytes.length <= ENVELOPE_BYTES) return this.drop("TRUNCATED");
    if (bytes[0] === MESSAGE.proposal) return this.onProposal(bytes);
    const { session } = this.context;
    const body = session.seal.unwrap(bytes);
    if (body === undefined) return this.drop("BAD_MAC");
    switch (bytes[0]) {
      case MESSAGE.vote: {
        const vote = decodeVote(body, session.ranks);
        if (vote === undefined) return this.drop("BAD_VOTE");
        return this.take({ type: "votes", votes: [vote] });
      }
      case MESSAGE.pull: {
        const pull = decodePull(body, session.ranks);
        if (pull === undefined) return this.drop("BAD_PULL");
        return this.take({ type: "pull", from, pull });
      }
      case MESSAGE.decided: {
        const decided = decodeDecided(body);
        if (decided === undefined) return this.drop("BAD_DECIDED");
        return this.take({ type: "decided", decided });
      }
      case MESSAGE.status: {
        const status = decodeStatus(body);
        if (status === undefined) return this.drop("BAD_STATUS");
        return this.onStatus(from, status);
      }
      default:
        this.drop("UNKNOWN_TYPE");
    }
  }

  /** Header and roots are judged here; the blocks go to the incoming queue for the pool. */
  private onProposal(envelope: Uint8Array): void {
    const { session, chain, proposals } = this.context;
    if (!authenticProposal(session.seal, envelope)) return this.drop("BAD_PROPOSAL");
    const proposal = decodeProposal(envelope, ENVELOPE_BYTES);
    if (!proposal.ok) return this.drop(verdictName(proposal.verdict));
    const { header, headerBytes } = proposal.value;
    const member = chain.epoch.members[header.rank];
    if (member === undefined) return this.drop("WRONG_RANK");
    if (header.round <= chain.settledRound) return this.drop("SETTLED_ROUND");
    const hash = proposalHash(headerBytes);
    const name = { round: header.round, rank: header.rank, hash: toHex(hash) };
    const ahead = header.round > chain.settledRound + UNRECORDED_ROUNDS_MAX;
    if (!ahead && proposals.get(name.round, name.rank, name.hash) === undefined) {
      const expected = {
        chainId: chain.chainId,
        epoch: session.epoch,
        round: header.round,
        rank: header.rank,
        incarnation: member.incarnation,
      };
      const verdict = checkProposal(proposal.value, expected, this.hashes);
      if (verdict !== VERDICT.OK) return this.drop(verdictName(verdict));
      const mac = envelope.subarray(1, ENVELOPE_BYTES);
      const held = proposals.hold(proposal.value, {
        mac,
        hash,
        blockHashes: this.hashes,
        source: envelope,
      });
      // No room now: it counts as not received, and is pulled when it is needed.
      if (held === undefined) return this.drop("INCOMING_FULL");
      if (this.performer.validation.cameAgain(name)) return;
    }
    this.take({ type: "proposal", ...name });
  }

  private onVotes(_lane: number, parts: readonly Uint8Array[]): void {
    const { session } = this.context;
    const votes = [];
    for (const [from, part] of parts.entries()) {
      if (from === session.self || part.length === 0) continue;
      const body = part[0] === MESSAGE.vote ? session.seal.unwrap(part) : undefined;
      const vote = body && decodeVote(body, session.ranks);
      if (vote === undefined || vote.rank !== from) this.drop("BAD_VOTE");
      else votes.push(vote);
    }
    if (votes.length > 0) this.take({ type: "votes", votes });
  }

  // Records that nobody announced: one look a host and interval, unless records come anyway.

  private lastFinalAt = Number.NEGATIVE_INFINITY;

  private poll(): void {
    const { clock, settings, transport, session } = this.context;
    if (transport.ranksOnHost[0] !== session.self) return;
    this.cancelPoll = clock.schedule(clock.now() + settings.pollMs, () => {
      if (this.stopped) return;
      if (clock.now() - this.lastFinalAt >= settings.pollMs) this.take({ type: "poll" });
      this.poll();
    });
  }

  private onFinal(slot: number, events: RankEvents): void {
    this.lastFinalAt = this.context.clock.now();
    events.onFinal(slot);
  }

  // A clean stop: drain, make final, SEAL without members.

  /** No new transactions from now on; resolves by `events.onSealed`. */
  drain(): void {
    if (this.draining) return;
    this.draining = true;
    this.context.intake.stopping = true;
    this.seekDemand();
    this.proceedDrain();
  }

  status(to: number, status: Status): void {
    const { session } = this.context;
    if (to === session.self) return this.onStatus(to, status);
    this.performer.send([to], MESSAGE.status, encodeStatus(status));
  }

  private onStatus(from: number, status: Status): void {
    if (status.kind === "drained") {
      this.drained.add(from);
      if (this.draining) this.proceedDrain();
    } else this.context.events.onStatus(from, status);
  }

  private proceedDrain(): void {
    const { transactions, own, session, core } = this.context;
    if (this.stopped || this.handling) return;
    const empty = transactions.waiting() + transactions.retrying() + own.inFlight === 0;
    if (!this.saidDrained && empty && !this.performer.busyBuilding) {
      this.saidDrained = true;
      for (let rank = 0; rank < session.ranks; rank++)
        this.status(rank, { kind: "drained", json: "" });
    }
    const first = session.self === 0;
    if (first && this.drained.size === session.ranks && core.idle && !this.sealing) this.seal();
  }

  private seal(): void {
    const { chain, session, storage, clock, events } = this.context;
    this.sealing = true;
    const answers = Array.from({ length: session.ranks }, (_, rank) => rank);
    const { parts } = encodeSeal({ members: [], rounds: [], answers });
    const draft = {
      kind: "SEAL" as const,
      slot: chain.slot + 1,
      prevHash: Uint8Array.from(Buffer.from(chain.hash, "hex")),
      epoch: session.epoch,
      firstRound: chain.settledRound + 1,
      lastRound: chain.settledRound,
      heightBefore: chain.height,
      creationTime: Math.floor(clock.wall()),
      rounds: [],
      payload: Buffer.concat(parts),
    };
    storage.append(draft).then(
      (result) => {
        this.sealing = false;
        if (!result.won) return this.take({ type: "poll" });
        const { slot, firstRound, lastRound } = draft;
        const hash = toHex(result.hash);
        const orderDigest = "0".repeat(64);
        this.performer.announce({ slot, hash, kind: "SEAL", firstRound, lastRound, orderDigest });
        this.sealed(slot, hash);
      },
      (error) => {
        this.sealing = false;
        events.onHalt("SEAL_FAILED", `the ledger could not be closed: ${String(error)}`);
      },
    );
  }

  /** The epoch ended cleanly with the record of `slot`. */
  sealed(slot: number, hash: string): void {
    if (this.context.chain.slot < slot) {
      this.context.chain.advance(slot, hash);
      this.context.chain.install([]);
    }
    this.stop();
    this.context.events.onSealed();
  }

  /** No further input is taken. */
  stop(): void {
    this.stopped = true;
    this.cancelTimer?.();
    this.cancelPoll?.();
  }
}

/**
 * The event loop of one rank: takes what comes from transport, pool, storage, timers and intake,
 * hands it to the core as inputs, one after the other, and performs the effects. Main thread only;
 * nothing here waits. The real rank and the simulator run this very class.
 *
 * What lasts (queues, chain, intake, own transactions) is the loop's; what is of one epoch (core,
 * proposals, performer, monitor) is made anew by `enter` after each SEAL. Between two epochs, or
 * when it was sealed out, the rank is outside: it follows the log and asks to be let in.
 */
import { fromHex, toHex } from "../base/bytes.ts";
import { errorCode, exitCodeOf } from "../base/errors.ts";
import type { Input } from "../consensus/effects.ts";
import type { Chain } from "../ledger/chain.ts";
import type { ProcessWatch, WatchedProcess } from "../monitor/process-watch.ts";
import { successorsOnHost } from "../monitor/ring.ts";
import type { BlockQueue } from "../queue/block-queue.ts";
import type { TransactionQueue } from "../queue/transaction-queue.ts";
import type { LedgerStorage } from "../storage/storage-service.ts";
import type { Messages, Transport } from "../transport/transport.ts";
import type { Authority } from "./authority.ts";
import type { EpochEnd, RankContext, RankEvents, RankSettings, RankShared } from "./context.ts";
import { Convictions } from "./convictions.ts";
import { Demand } from "./demand.ts";
import { Draining } from "./draining.ts";
import { EarlyMessages } from "./early-messages.ts";
import {
  codeOfBye,
  ENVELOPE_BYTES,
  encodeStatus,
  isAuthentic,
  MESSAGE,
  type Status,
} from "./envelope.ts";
import { type EpochRun, openEpoch } from "./epoch-run.ts";
import { Healing } from "./healing.ts";
import { Intake } from "./intake.ts";
import { Joining } from "./joining.ts";
import { hello, Membership } from "./membership.ts";
import { Misdeeds } from "./misdeeds.ts";
import { OwnBlocks } from "./own-blocks.ts";
import type { Performer } from "./perform.ts";
import type { Clock, WorkerPool } from "./ports.ts";
import { Propagation } from "./propagation.ts";
import { Repairing } from "./repairing.ts";
import type { Identity, Roster } from "./roster.ts";
import type { Session } from "./session.ts";
import { NO_STAGES, type StageClock, timedHandler } from "./stage-clock.ts";
import type { Validation } from "./validation.ts";

/** A misdeed, unless the next epoch explains it. */
const UNAUTHENTIC = "UNAUTHENTIC";

export interface RankParts {
  readonly clock: Clock;
  readonly transport: Transport;
  readonly pool: WorkerPool;
  readonly storage: LedgerStorage;
  readonly chain: Chain;
  readonly settings: RankSettings;
  readonly transactions: TransactionQueue;
  readonly outgoing: BlockQueue;
  readonly incoming: BlockQueue;
  readonly events: RankEvents;
  readonly roster: Roster;
  readonly authority: Authority;
  readonly identity: Identity;
  /** Where the main thread's time goes, if somebody wants to know. */
  readonly stages?: StageClock;
  /** Tells of processes of this host that end. */
  readonly watch: ProcessWatch;
  /** A new participation, after this process was sealed out. */
  readonly redraw: () => Promise<Identity>;
  /** argv of a replacement. */
  readonly command: readonly string[];
}

export class RankLoop {
  readonly shared: RankShared;
  private readonly parts: RankParts;
  private identity: Identity;
  private epoch: EpochRun | undefined;
  private ended: EpochEnd | undefined;
  private readonly membership: Membership;
  private readonly healing: Healing;
  private readonly propagation: Propagation;
  private readonly repairing: Repairing;
  private joining: Joining | undefined;
  private master: Uint8Array | undefined;
  /** Who asked the pool for the builds that are under way, oldest first. */
  private readonly builders: Performer[] = [];
  /** Of epochs that ended while the pool was checking. */
  private readonly retired = new Set<Validation>();
  private readonly inputs: Input[] = [];
  private handling = false;
  private timerAt = Number.POSITIVE_INFINITY;
  private cancelTimer: (() => void) | undefined;
  private readonly draining: Draining;
  private readonly demand: Demand;
  private stopped = false;
  private readonly early = new EarlyMessages();

  constructor(parts: RankParts) {
    const { chain, transport, transactions, events } = parts;
    const own = new OwnBlocks(transactions, (owner, batch) => intake.deliver(owner, batch));
    const intake = new Intake({
      chain,
      rank: transport.rank,
      ranks: transport.size,
      queue: transactions,
      lastRounds: own.lastRounds,
      onAccepted: () => this.demand.seek(),
      ...(parts.settings.propagate !== "off" && {
        propagate: (accepted: readonly Uint8Array[]) => this.propagation.accepted(accepted),
      }),
    });
    chain.state.forgetting = own;
    this.parts = parts;
    this.identity = parts.identity;
    this.healing = new Healing(parts.command);
    this.shared = {
      ...parts,
      intake,
      own,
      events: { ...events, onFinal: (slot) => this.onFinal(slot) },
      counters: {
        ...{ blocks: 0, transactions: 0, epochs: 0 },
        proposals: { gathered: 0, direct: 0 },
        dropped: new Map(),
      },
      stages: parts.stages ?? NO_STAGES,
      misdeeds: new Misdeeds(transport.size, {
        quarantine: (name, bytes) => parts.storage.quarantine(name, bytes),
        onAlert: (alert) => events.onAlert(alert),
      }),
      convictions: new Convictions(parts),
      sealPatience: new Map(),
      segmentParents: new Map(),
      tickets: { next: 1 },
      partial: () => this.demand.oldestIsDue(),
      draining: () => this.draining.asked,
    };
    this.membership = new Membership(this.shared, () => this.master);
    this.propagation = new Propagation(this.shared);
    this.repairing = new Repairing(this.shared, () => this.epoch?.poll.isForHost() ?? false);
    this.demand = new Demand(() => this.shared, {
      epoch: () => (this.handling || this.stopped ? undefined : this.epoch),
      draining: () => this.draining.asked,
      demand: () => this.take({ type: "demand" }),
    });
    this.draining = new Draining({
      busy: () => this.stopped || this.handling,
      tellAll: (status) => this.statusToAll(status),
      poll: () => this.take({ type: "poll" }),
      closed: (end) => this.turnOver(end),
    });
    parts.watch.onGone = (process) => this.processGone(process);
    parts.pool.handler = {
      onBuilt: (round, blocks) => this.onBuilt(round, blocks),
      onChecked: (ticket, verdict) =>
        this.ofTicket(ticket, (validation) => validation.checked(ticket, verdict as 0)),
      onCheckFailed: (ticket, error) =>
        this.ofTicket(ticket, (validation) => validation.checkFailed(ticket, error)),
    };
  }

  /** Slot of the SEAL that installed this rank's epoch. */
  epochSlot = -1;

  get intake(): Intake {
    return this.shared.intake;
  }

  /** Nothing of this rank's own is under way. */
  get idle(): boolean {
    const { transactions, own } = this.shared;
    const waiting = transactions.waiting() + transactions.retrying() + own.inFlight;
    return this.epoch?.context.core.idle === true && waiting === 0;
  }

  /** Undefined while this rank is outside. */
  get context(): RankContext | undefined {
    return this.epoch?.context;
  }

  /** Members believed dead or silent. */
  get suspects(): readonly number[] {
    return this.epoch?.monitoring.suspects ?? [];
  }

  /** Milliseconds since a member was heard. */
  heardAgoMs(member: number): number {
    return this.epoch?.monitoring.heardAgoMs(member) ?? 0;
  }

  /** Begins to take part as a member of the job's first epoch. */
  start(first: { session: Session; master: Uint8Array; cards: readonly Uint8Array[] }): void {
    this.listen();
    this.master = first.master;
    for (const bytes of first.cards) this.membership.keepBytes(bytes);
    this.enter(first.session, { own: false, first: true });
  }

  /** Begins outside: asks the members of the job to be let in. */
  join(): void {
    this.listen();
    this.ask();
  }

  private listen(): void {
    const { transport, events } = this.parts;
    transport.handler = timedHandler(this.shared.stages, {
      onMessages: (batch) => this.onMessages(batch),
      onAllgather: (lane, parts) => this.epoch?.reception.gathered(lane, parts),
      onError: (error) => {
        if (error.code === "COLLECTIVE_DEADLINE") this.laneLost();
        events.onAlert({ code: error.code, message: error.message });
      },
    });
  }

  private laneLost(): void {
    this.epoch?.monitoring.laneLost();
    this.epoch?.performer.laneLost();
  }

  get counters() {
    const { blocks, transactions, epochs, proposals, dropped } = this.shared.counters;
    return {
      blocks,
      transactions,
      epochs,
      proposals,
      inFlight: this.shared.own.inFlight,
      dropped: Object.fromEntries(dropped),
      misdeeds: this.shared.misdeeds.counters,
      convicted: this.shared.convictions.count,
      propagation: this.propagation.counters,
      repairs: this.repairing.counters,
      unsettledRounds: this.context?.core.unsettled ?? 0,
    };
  }

  segmentParent(segment: number): Uint8Array | undefined {
    return this.shared.segmentParents.get(segment);
  }

  /** One message that arrived before this loop had the transport. */
  replay(from: number, bytes: Uint8Array): void {
    this.onMessage(from, bytes);
  }

  // Epochs.

  /** The chain stands at the SEAL of `session`, or beyond. */
  private enter(session: Session, how: { own: boolean; first: boolean }): void {
    const { chain, transactions, events } = this.shared;
    const epoch = openEpoch(
      this.shared,
      { session, identity: this.identity },
      {
        input: (from, input) => {
          if (this.epoch === from) this.take(input);
        },
        build: (from, request) => {
          this.builders.push(from.performer);
          this.shared.pool.build(request);
        },
        sealed: (from, end) => {
          if (this.epoch === from) this.ended = end;
        },
        damaged: (record) => this.repairing.want(record),
        evict: (ranks) => this.membership.evict(ranks),
        status: (from, status) => this.onStatus(from, status),
        heal: (heal) => this.healing.heal(heal),
        recordPull: (from, body) => this.repairing.onPull(from, body),
        record: (body) => this.repairing.onRecord(body),
        evidence: (body) => this.shared.convictions.onMessage(body),
        closes: () => this.draining.closes,
        wantsSeal: (pull) => {
          const isEmpty = pull.evict.length + pull.admit.length === 0;
          return (isEmpty && this.draining.closes) || this.membership.wants(pull);
        },
        propagated: (from, body) => this.propagation.onMessage(from, body),
        cardPull: (from, body) => this.membership.onCardPull(from, body),
        card: (bytes) => {
          if (this.membership.keepBytes(bytes)) this.learnt();
        },
      },
    );
    const { context, performer, monitoring, poll } = epoch;
    const send = (to: readonly number[], type: number, body: Uint8Array) =>
      performer.send(to, type, body);
    const { left = [], dead = [], admitted = 0 } = this.leavers(session);
    this.epoch = epoch;
    this.shared.counters.epochs++;
    this.epochSlot = chain.slot;
    context.core.executed(chain.slot, chain.effectsDigest);
    this.draining.entered(context, performer);
    if (how.first) performer.lanes.useAtOnce();
    else void performer.lanes.regroup();
    events.onEpoch(session);
    this.membership.entered(context, { monitoring, authored: how.own, send });
    this.healing.entered(context, { send, left, dead, admitted });
    this.propagation.entered(context, send, left);
    this.repairing.entered(context, send);
    this.watchProcesses(session);
    monitoring.start();
    this.shared.convictions.entered(context, {
      send,
      evict: (member) => monitoring.convicted(member),
    });
    poll.start();
    this.replayEarly();
    transactions.retryNow();
    this.take({ type: "tick" });
  }

  private former: { processes: readonly number[]; dead: readonly number[] } | undefined;

  /** Who was in the epoch before and is not in this one. */
  private leavers(session: Session) {
    const { former } = this;
    if (former === undefined) return {};
    const left = former.processes.filter((process) => session.member(process) === undefined);
    for (const process of former.dead) this.shared.transport.forget(process);
    const stayed = former.processes.length - left.length;
    return { left, dead: former.dead, admitted: session.ranks - stayed };
  }

  /** The epoch is over: what it left is cleared away, and the next one begins, if there is one. */
  private turnOver(end: EpochEnd): void {
    const { context, performer, monitoring, poll } = this.epoch!;
    const { session } = context;
    this.ended = undefined;
    this.inputs.length = 0;
    this.cancelTimer?.();
    this.timerAt = Number.POSITIVE_INFINITY;
    poll.stop();
    monitoring.stop();
    this.draining.left();
    this.membership.left();
    this.healing.left();
    this.propagation.left();
    this.repairing.left();
    this.shared.convictions.left();
    this.formerSeal = session.seal;
    if (!performer.retire()) this.retired.add(performer.validation);
    // The members of a ledger that was closed still have something to tell each other.
    if (end.members.length === 0) return this.closed();
    this.epoch = undefined;
    const members = session.members.map(({ rank }) => rank);
    this.former = {
      processes: session.processesOf(members),
      dead: session.processesOf([...monitoring.gone]),
    };
    const next = session.next(end, this.master!, this.shared.roster);
    if (next.self === 0) this.clean(next, end);
    if (next.self >= 0) return this.enter(next, { own: end.own, first: false });
    if (end.foreign) {
      const reason = `slot ${end.slot} ends this epoch: another job took the ledger over`;
      return this.shared.events.onHalt("SEALED_OUT", reason);
    }
    this.rejoin(end.slot);
  }

  /** Files of processes that are gone for good are of no use: the lowest member clears them away. */
  private clean({ members }: Session, { slot, prevHash }: EpochEnd): void {
    const { storage, clock, events } = this.shared;
    const alive = members.map(({ incarnation }) => toHex(incarnation));
    storage.clean(alive, clock.wall(), { slot, prevHash: fromHex(prevHash) }).catch((error) => {
      events.onAlert({ code: "CLEAN_FAILED", message: String(error) });
    });
  }

  /** Sealed out by the others, who go on: comes back as somebody new. */
  private rejoin(slot: number): void {
    const { events, clock, transport } = this.shared;
    const text = `this process was evicted in slot ${slot}; it asks to be let in anew`;
    const rank = transport.rank;
    events.onMonitor({ at: clock.now(), kind: "evicted", rank, checkpoint: "C1", text });
    this.parts.redraw().then(
      (identity) => {
        this.identity = identity;
        if (!this.stopped) this.ask();
      },
      (error) => events.onHalt(errorCode(error), String(error)),
    );
  }

  private ask(): void {
    this.membership.keep(this.identity.card, this.identity.cardBytes);
    this.joining = new Joining(this.shared, {
      identity: this.identity,
      master: this.master,
      keep: (card, bytes) => this.membership.keep(card, bytes),
    });
    this.joining.run().then(
      ({ session, master }) => {
        this.joining = undefined;
        if (this.stopped) return;
        this.master = master;
        this.former = undefined;
        // Members that have not seen this card learn from it which process the new member is.
        const { transport } = this.shared;
        const others = transport.processes.filter((process) => process !== transport.rank);
        transport.sendMany(others, hello(this.identity, false));
        this.enter(session, { own: false, first: false });
      },
      (error) => {
        const { message } = error as Error;
        this.shared.events.onHalt(errorCode(error), message, exitCodeOf(error));
      },
    );
  }

  /** Which process some member is has become known. */
  private learnt(): void {
    const { epoch } = this;
    if (epoch === undefined) return;
    this.watchProcesses(epoch.context.session);
    void epoch.performer.lanes.regroup();
    this.replayEarly();
  }

  private watchProcesses(session: Session): void {
    const list: WatchedProcess[] = [];
    for (const member of successorsOnHost(
      session.self,
      session.members.map(({ host }) => host),
    )) {
      const card = this.shared.roster.get(toHex(session.members[member].incarnation));
      if (card !== undefined) list.push({ rank: card.process, ...card.mark });
    }
    this.parts.watch.watch(list);
  }

  /** Process `process` of the job has ended: the word of the process watch or of the launcher. */
  private processGone(process: number): void {
    const member = this.context?.session.member(process);
    if (member !== undefined) this.epoch!.monitoring.memberGone(member);
    else this.healing.processGone(process);
  }

  // The pool.

  private onBuilt(round: number, blocks: number): void {
    const builder = this.builders.shift();
    if (builder !== undefined && builder === this.epoch?.performer) builder.built(round, blocks);
    else {
      // Mined for an epoch that is over: nobody would accept these blocks.
      this.shared.own.discard(this.shared.outgoing, blocks);
      this.shared.transactions.retryNow();
    }
    this.demand.seek();
  }

  private ofTicket(ticket: number, act: (validation: Validation) => void): void {
    const current = this.epoch?.performer.validation;
    if (current?.awaits(ticket)) return act(current);
    for (const validation of this.retired) {
      if (!validation.awaits(ticket)) continue;
      act(validation);
      if (!validation.busy) this.retired.delete(validation);
      return;
    }
  }

  // Inputs, one after the other.

  private take(input: Input): void {
    if (this.stopped || this.epoch === undefined) return;
    this.inputs.push(input);
    if (this.handling) return;
    this.handling = true;
    try {
      for (let next = this.inputs.shift(); next !== undefined; next = this.inputs.shift()) {
        const { context, performer } = this.epoch!;
        const effects = context.core.step(next, context.clock.now());
        for (const effect of effects) performer.perform(effect);
        if (this.ended !== undefined) break;
      }
    } finally {
      this.handling = false;
    }
    if (this.ended !== undefined) return this.turnOver(this.ended);
    this.setTimer();
    this.demand.seek();
    this.draining.proceed();
  }

  private setTimer(): void {
    const at = this.epoch?.context.core.nextDeadline() ?? Number.POSITIVE_INFINITY;
    if (at >= this.timerAt || this.stopped) return;
    this.cancelTimer?.();
    this.timerAt = at;
    this.cancelTimer = this.shared.clock.schedule(at, () => {
      this.timerAt = Number.POSITIVE_INFINITY;
      this.cancelTimer = undefined;
      this.take({ type: "tick" });
    });
  }

  // Transport.

  private onMessages(batch: Messages): void {
    for (let i = 0; i < batch.count; i++) this.onMessage(batch.from(i), batch.bytes(i));
  }

  private onMessage(from: number, bytes: Uint8Array): void {
    if (bytes.length <= ENVELOPE_BYTES) return this.drop("TRUNCATED");
    if (bytes[0] === MESSAGE.hello) {
      if (this.shared.convictions.hasProcess(from)) return this.drop("IGNORED_MEMBER");
      if (this.membership.onHello(from, bytes.subarray(ENVELOPE_BYTES))) this.learnt();
      return;
    }
    if (bytes[0] === MESSAGE.welcome) {
      return this.joining?.onWelcome(bytes.subarray(ENVELOPE_BYTES));
    }
    if (this.epoch?.reception.message(from, bytes) === true) return;
    this.drop("OTHER_EPOCH");
    if (this.context?.session.member(from) !== undefined) {
      // Sent before its author saw the SEAL, or before this rank sees the next one, or by nobody.
      if (isAuthentic(this.formerSeal, bytes)) return;
      this.shared.misdeeds.note(from, UNAUTHENTIC);
    }
    this.early.keep(from, bytes);
  }

  private formerSeal: Session["seal"] | undefined;

  private drop(reason: string): void {
    const { dropped } = this.shared.counters;
    dropped.set(reason, (dropped.get(reason) ?? 0) + 1);
  }

  private replayEarly(): void {
    for (const { from, bytes } of this.early.take())
      if (this.epoch?.reception.message(from, bytes) === true)
        this.shared.misdeeds.withdraw(from, UNAUTHENTIC);
  }

  private onFinal(slot: number): void {
    this.epoch?.poll.seen();
    this.parts.events.onFinal(slot);
  }

  /** No new transactions from now on; ends with `events.onSealed`. */
  drain(): void {
    if (this.draining.asked) return;
    this.shared.intake.stopping = true;
    this.draining.ask();
    this.demand.seek();
  }

  /** To a member; nothing while this rank is outside. */
  status(to: number, status: Status): void {
    const { epoch } = this;
    if (epoch === undefined) return;
    if (to === epoch.context.session.self) this.onStatus(to, status);
    else epoch.performer.send([to], MESSAGE.status, encodeStatus(status));
  }

  statusToAll(status: Status): void {
    for (let rank = 0; rank < (this.context?.session.ranks ?? 0); rank++) this.status(rank, status);
  }

  private onStatus(from: number, status: Status): void {
    if (status.kind === "drained") {
      this.shared.events.onStatus(from, status);
      this.draining.memberDrained(from);
    } else if (status.kind === "bye") {
      this.epoch?.monitoring.bye(from, codeOfBye(status));
    } else this.shared.events.onStatus(from, status);
  }

  /** The ledger was closed cleanly. */
  private closed(): void {
    this.stop();
    this.shared.events.onSealed();
  }

  /** No further input is taken. */
  stop(): void {
    this.stopped = true;
    this.cancelTimer?.();
    this.epoch?.poll.stop();
    this.joining?.stop();
    this.epoch?.monitoring.stop();
    this.parts.watch.close();
  }
}

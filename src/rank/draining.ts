/**
 * A clean stop: no new transactions, all accepted ones final, then a SEAL without members, which the
 * lowest member links once all have said that they are drained. An epoch that ends meanwhile begins
 * this anew. Main thread.
 */
import { fromHex, toHex } from "../base/bytes.ts";
import { errorCode } from "../base/errors.ts";
import { answersMin } from "../ledger/judge.ts";
import { encodeSeal } from "../ledger/settlement.ts";
import type { EpochEnd, RankContext } from "./context.ts";
import type { Status } from "./envelope.ts";
import type { Performer } from "./perform.ts";

const NO_ORDER = "0".repeat(64);

export interface DrainingPorts {
  /** An input is being handled: this is called again after it. */
  busy(): boolean;
  tellAll(status: Status): void;
  /** Somebody else has the slot: look who. */
  poll(): void;
  closed(end: EpochEnd): void;
}

export class Draining {
  asked = false;
  private readonly ports: DrainingPorts;
  private epoch: { context: RankContext; performer: Performer } | undefined;
  private said = false;
  private sealing = false;
  private readonly drained = new Set<number>();
  /** Byzantine: since when enough members are drained not to wait for liars. */
  private enoughSince: number | undefined;
  private waiting = false;
  private closing = false;

  constructor(ports: DrainingPorts) {
    this.ports = ports;
  }

  ask(): void {
    this.asked = true;
    this.proceed();
  }

  entered(context: RankContext, performer: Performer): void {
    this.epoch = { context, performer };
    this.said = false;
    this.sealing = false;
    this.closing = false;
    this.enoughSince = undefined;
    this.waiting = false;
    this.drained.clear();
  }

  left(): void {
    this.epoch = undefined;
  }

  memberDrained(member: number): void {
    this.drained.add(member);
    this.proceed();
  }

  /** Whatever has become possible. */
  proceed(): void {
    const { epoch } = this;
    if (!this.asked || epoch === undefined || this.ports.busy()) return;
    const { transactions, own, session, core } = epoch.context;
    const empty = transactions.waiting() + transactions.retrying() + own.inFlight === 0;
    if (!this.said && empty && !epoch.performer.busyBuilding) {
      this.said = true;
      this.ports.tellAll({ kind: "drained", json: "" });
      if (this.epoch !== epoch) return;
    }
    if (epoch.context.signing !== undefined) return this.closeByAnswers(epoch.context);
    const all = this.drained.size === session.ranks;
    if (session.self === 0 && all && core.idle && !this.sealing) this.seal(epoch);
  }

  /** Byzantine: enough members are drained for a SEAL to close the ledger, whoever authors it. */
  get closes(): boolean {
    if (!this.asked || this.epoch === undefined) return false;
    const { session, chain, signing } = this.epoch.context;
    const enough = answersMin(session.ranks, chain.genesis.quorum);
    return signing !== undefined && this.drained.size >= enough;
  }

  /**
   * A byzantine SEAL shows what its answerers signed, so the core authors it; and no liar holds it up:
   * who is not drained is waited for so long, and when its author is late, the next one steps in.
   */
  private closeByAnswers({ session, clock, settings, emit }: RankContext): void {
    const all = this.drained.size === session.ranks;
    if (this.closing || !this.closes) return;
    const { takeoverMs } = settings.timing;
    const now = clock.now();
    this.enoughSince ??= now;
    const due = this.enoughSince + ((all ? 0 : 1) + session.self) * takeoverMs;
    if (now < due) return this.proceedAt(due);
    this.closing = true;
    emit({ type: "change", evict: [], admit: [] });
  }

  private proceedAt(due: number): void {
    const { epoch } = this;
    if (this.waiting) return;
    this.waiting = true;
    epoch!.context.clock.schedule(due, () => {
      if (this.epoch !== epoch) return;
      this.waiting = false;
      this.proceed();
    });
  }

  private seal(epoch: { context: RankContext; performer: Performer }): void {
    const { context, performer } = epoch;
    const { chain, session, settings, storage, clock, events } = context;
    this.sealing = true;
    const answers = Array.from({ length: session.ranks }, (_, rank) => rank);
    const { parts } = encodeSeal({ members: [], rounds: [], answers });
    const draft = {
      kind: "SEAL" as const,
      slot: chain.slot + 1,
      prevHash: fromHex(chain.hash),
      epoch: session.epoch,
      authorRank: session.self,
      firstRound: chain.settledRound + 1,
      lastRound: chain.settledRound,
      heightBefore: chain.height,
      creationTime: Math.floor(clock.wall()),
      rounds: [],
      payload: Buffer.concat(parts),
    };
    storage.append(draft).then(
      (result) => {
        if (this.epoch !== epoch) return;
        this.sealing = false;
        if (!result.won) return this.ports.poll();
        const { slot, firstRound, lastRound } = draft;
        const hash = toHex(result.hash);
        const prevHash = chain.hash;
        performer.announcing.decided({
          slot,
          hash,
          kind: "SEAL",
          firstRound,
          lastRound,
          orderDigest: NO_ORDER,
        });
        chain.advance(slot, hash);
        chain.install([]);
        this.ports.closed({ slot, prevHash, hash, members: [], foreign: false, own: true });
      },
      (error) => {
        if (this.epoch !== epoch) return;
        this.sealing = false;
        events.onAlert({ code: errorCode(error), message: String(error) });
        clock.schedule(clock.now() + settings.retryDelayMs, () => this.proceed());
      },
    );
  }
}

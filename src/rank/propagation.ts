/**
 * Accepted transactions also go to backup ranks, which propose them if their origin dies before they
 * are final (`propagate: off|backup|all`). Both hold them until they are executed or have expired, so
 * that a backup that joins later is sent them again; what is held is bounded. A transaction that both
 * propose takes effect once, as its sequence is used once. Main thread.
 */
import { pack, scanMessagePack, unpackScanned } from "../ledger/codec.ts";
import { lastValidRoundOf, senderOf, sequenceOf, TXN_HEADER_BYTES } from "../ledger/transaction.ts";
import { VERDICT } from "../ledger/verdict.ts";
import { INTAKE_BATCH_TXNS_MAX, MESSAGE_BYTES_MAX } from "../limits.ts";
import type { RankContext, RankShared } from "./context.ts";
import { MESSAGE } from "./envelope.ts";

/** Bytes held for others at most; then the oldest go: their origin most likely still has them. */
const HELD_BYTES_MAX = 64 << 20;
/** Between two looks at what is executed meanwhile. */
const SWEEP_MS = 1000;
/** Of one message that brings a new backup up to date. */
const AGAIN_BYTES_MAX = 4 << 20;
const LIMITS = { depthMax: 2, itemsMax: INTAKE_BATCH_TXNS_MAX + 1, bytesMax: MESSAGE_BYTES_MAX };

export class Propagation {
  private readonly shared: RankShared;
  /** By origin process, in order of arrival. */
  private readonly held = new Map<number, Uint8Array[]>();
  private heldBytes = 0;
  private sweeping = false;
  private context: RankContext | undefined;
  private send: ((to: readonly number[], type: number, body: Uint8Array) => void) | undefined;
  /** Backups of this rank, by process: they hold what it has accepted. */
  private backups: readonly number[] = [];
  readonly counters = { sent: 0, sentAgain: 0, held: 0, adopted: 0, forgotten: 0 };

  constructor(shared: RankShared) {
    this.shared = shared;
  }

  get on(): boolean {
    return this.shared.settings.propagate !== "off";
  }

  /** A new epoch. The transactions of processes that `left` are this rank's now. */
  entered(
    context: RankContext,
    send: (to: readonly number[], type: number, body: Uint8Array) => void,
    left: readonly number[],
  ): void {
    this.context = context;
    this.send = send;
    const before = this.backups;
    const { session } = context;
    const members = this.on ? this.backupMembers(context) : [];
    this.backups = session.processesOf(members);
    const fresh = members.filter((member) => !before.includes(session.process(member) ?? -1));
    if (fresh.length > 0) this.sendAgain(fresh);
    for (const process of left) this.adopt(process);
  }

  private backupMembers({ session, settings }: RankContext): readonly number[] {
    if (settings.propagate === "all" || session.others.length === 0) return session.others;
    return [(session.self + 1) % session.ranks];
  }

  left(): void {
    this.context = undefined;
  }

  /** This rank has accepted these; they go out before they are proposed. */
  accepted(transactions: readonly Uint8Array[]): void {
    const { context } = this;
    if (transactions.length === 0) return;
    this.hold(this.shared.transport.rank, transactions);
    if (context === undefined || context.session.others.length === 0) return; // sent in the next epoch
    this.counters.sent += transactions.length;
    this.send!(this.backupMembers(context), MESSAGE.propagate, pack([...transactions]));
  }

  /** What this rank has accepted, to members that were no backups of it. */
  private sendAgain(to: readonly number[]): void {
    const held = this.held.get(this.shared.transport.rank) ?? [];
    let batch: Uint8Array[] = [];
    let bytes = 0;
    const flush = () => {
      if (batch.length > 0) this.send!(to, MESSAGE.propagate, pack(batch));
      this.counters.sentAgain += batch.length;
      batch = [];
      bytes = 0;
    };
    for (const transaction of held) {
      if (this.isOver(transaction)) continue;
      batch.push(transaction);
      bytes += transaction.length;
      if (batch.length === INTAKE_BATCH_TXNS_MAX || bytes >= AGAIN_BYTES_MAX) flush();
    }
    flush();
  }

  /** Accepted by `member`. False when malformed. */
  onMessage(member: number, body: Uint8Array): boolean {
    const process = this.context?.session.process(member);
    if (scanMessagePack(body, 0, body.length, LIMITS) !== VERDICT.OK) return false;
    const list = unpackScanned(body);
    const isTransaction = (item: unknown) =>
      item instanceof Uint8Array && item.length >= TXN_HEADER_BYTES;
    if (!Array.isArray(list) || !list.every(isTransaction)) return false;
    if (process === undefined) return true;
    this.hold(
      process,
      (list as Uint8Array[]).map((bytes) => bytes.slice()),
    );
    return true;
  }

  private hold(process: number, transactions: readonly Uint8Array[]): void {
    const held = this.held.get(process) ?? [];
    this.held.set(process, held);
    for (const bytes of transactions) {
      held.push(bytes);
      this.heldBytes += bytes.length;
      this.counters.held++;
    }
    let oldest = 0;
    while (this.heldBytes > HELD_BYTES_MAX && oldest < held.length) this.forget(held[oldest++]);
    if (oldest > 0) held.splice(0, oldest);
    this.sweepLater();
  }

  private forget(bytes: Uint8Array): void {
    this.heldBytes -= bytes.length;
    this.counters.forgotten++;
  }

  /** It is executed, or never will be. */
  private isOver(bytes: Uint8Array): boolean {
    const { state, settledRound } = this.shared.chain;
    if (lastValidRoundOf(bytes, 0) <= settledRound) return true;
    return state.remembers(senderOf(bytes, 0), sequenceOf(bytes, 0));
  }

  private sweepLater(): void {
    if (this.sweeping) return;
    this.sweeping = true;
    const { clock } = this.shared;
    clock.schedule(clock.now() + SWEEP_MS, () => {
      this.sweeping = false;
      for (const [process, held] of this.held) {
        const rest: Uint8Array[] = [];
        for (const bytes of held) {
          if (this.isOver(bytes)) this.forget(bytes);
          else rest.push(bytes);
        }
        if (rest.length > 0) this.held.set(process, rest);
        else this.held.delete(process);
      }
      if (this.held.size > 0) this.sweepLater();
    });
  }

  /** Their origin is gone: they are proposed here, if they are not executed already. */
  private adopt(process: number): void {
    const held = (this.held.get(process) ?? []).filter((bytes) => !this.isOver(bytes));
    for (const bytes of this.held.get(process) ?? []) this.heldBytes -= bytes.length;
    this.held.delete(process);
    if (held.length === 0) return;
    const { intake } = this.shared;
    if (intake.orphans < 0) intake.orphans = intake.attach(() => {});
    this.counters.adopted += held.length;
    const count = held.length;
    const bytes = Buffer.concat(held);
    const spans = new Uint32Array(2 * count);
    const times = new Float64Array(count).fill(this.shared.clock.wall());
    let offset = 0;
    for (const [i, { length }] of held.entries()) {
      spans[2 * i] = offset;
      spans[2 * i + 1] = length;
      offset += length;
    }
    const batch = { bytes, spans, count, tags: new Int32Array(count), times };
    intake.submit(intake.orphans, batch, 0, new Uint8Array(count));
  }
}

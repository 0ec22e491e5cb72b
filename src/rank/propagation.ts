/**
 * Accepted transactions also go to backup ranks, which propose them if their origin dies before they
 * are final (`propagate: off|backup|all`). What is held here is bounded and forgotten once it is
 * executed; a transaction that both propose takes effect once, as its sequence is used once.
 * A backup that joins later holds what was accepted since. Main thread.
 */
import { pack, scanMessagePack, unpackScanned } from "../ledger/codec.ts";
import { senderOf, sequenceOf, TXN_HEADER_BYTES } from "../ledger/transaction.ts";
import { VERDICT } from "../ledger/verdict.ts";
import { INTAKE_BATCH_TXNS_MAX, MESSAGE_BYTES_MAX } from "../limits.ts";
import type { RankContext, RankShared } from "./context.ts";
import { MESSAGE } from "./envelope.ts";

/** Bytes held for others at most; then the oldest go: their origin most likely still has them. */
const HELD_BYTES_MAX = 64 << 20;
/** Between two looks at what is executed meanwhile. */
const SWEEP_MS = 1000;
const LIMITS = { depthMax: 2, itemsMax: INTAKE_BATCH_TXNS_MAX + 1, bytesMax: MESSAGE_BYTES_MAX };

export class Propagation {
  private readonly shared: RankShared;
  /** By origin process, in order of arrival. */
  private readonly held = new Map<number, Uint8Array[]>();
  private heldBytes = 0;
  private sweeping = false;
  private context: RankContext | undefined;
  private send: ((to: readonly number[], type: number, body: Uint8Array) => void) | undefined;
  readonly counters = { sent: 0, held: 0, adopted: 0, forgotten: 0 };

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
    for (const process of left) this.adopt(process);
  }

  left(): void {
    this.context = undefined;
  }

  /** This rank has accepted these; they go out before they are proposed. */
  accepted(transactions: readonly Uint8Array[]): void {
    const { context } = this;
    if (context === undefined || transactions.length === 0) return;
    const { session, settings } = context;
    if (session.others.length === 0) return;
    const next = (session.self + 1) % session.ranks;
    const to = settings.propagate === "all" ? session.others : [next];
    this.counters.sent += transactions.length;
    this.send!(to, MESSAGE.propagate, pack([...transactions]));
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
    const held = this.held.get(process) ?? [];
    this.held.set(process, held);
    for (const bytes of list as Uint8Array[]) {
      held.push(bytes.slice());
      this.heldBytes += bytes.length;
      this.counters.held++;
    }
    while (this.heldBytes > HELD_BYTES_MAX && held.length > 0) this.forget(held.shift()!);
    this.sweepLater();
    return true;
  }

  private forget(bytes: Uint8Array): void {
    this.heldBytes -= bytes.length;
    this.counters.forgotten++;
  }

  private isExecuted(bytes: Uint8Array): boolean {
    if (bytes.length < TXN_HEADER_BYTES) return true; // no transaction: nothing to propose
    return this.shared.chain.state.remembers(senderOf(bytes, 0), sequenceOf(bytes, 0));
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
          if (this.isExecuted(bytes)) this.forget(bytes);
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
    const held = (this.held.get(process) ?? []).filter((bytes) => !this.isExecuted(bytes));
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

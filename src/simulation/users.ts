/**
 * The people who use the ledger: they submit through the intake of whichever rank lives, send the
 * same bytes again elsewhere, ask for what cannot be, and remember everything they were told.
 */
import { toHex } from "../base/bytes.ts";
import type { Random } from "../base/random.ts";
import { type ReceiptBatch, SUBMIT } from "../ledger/service.ts";
import { encodeTransaction, txnIDText } from "../ledger/transaction-object.ts";
import type { Intake } from "../rank/intake.ts";
import type { Checkers } from "./checkers.ts";
import type { Trace } from "./trace.ts";

/** Nothing is known yet of what is answered so: it is sent again. */
const AGAIN: ReadonlySet<number> = new Set([
  SUBMIT.FULL,
  SUBMIT.STOPPING,
  SUBMIT.DUPLICATE_PENDING,
]);
/** Sent again at once, at most: of a long queue, the oldest. */
const INSIST_MAX = 400;
const ACCOUNTS = 6;
const KEYS = 10;

export interface Submission {
  readonly id: string;
  readonly bytes: Uint8Array;
}

/** What a user sees of one rank of one job. */
export interface Counter {
  readonly name: string;
  readonly intake: Intake;
  readonly owner: number;
  /** Accepted here and not answered. */
  readonly pending: Set<string>;
  /** Told agreed here: "txnID epoch". */
  readonly agreed: Set<string>;
  /** Time of day there, right or wrong. */
  wall(): number;
}

export class Users {
  readonly submissions: Submission[] = [];
  private readonly byId = new Map<string, Submission>();
  private readonly unresolved = new Set<Submission>();
  private readonly random: Random;
  private readonly checkers: Checkers;
  private readonly trace: Trace;
  private readonly wall: () => number;
  private readonly sequences = new Map<number, number>();
  counts = { submitted: 0, accepted: 0, refused: 0, turnedAway: 0, finals: 0, agreed: 0 };

  constructor(options: { random: Random; checkers: Checkers; trace: Trace; wall: () => number }) {
    this.random = options.random;
    this.checkers = options.checkers;
    this.trace = options.trace;
    this.wall = options.wall;
  }

  /** Comes to a rank: its receipts are listened to from now on. `epoch` is the one it is in. */
  meet(name: string, intake: Intake, rank: { epoch(): string; wall(): number }): Counter {
    const pending = new Set<string>();
    const agreed = new Set<string>();
    const owner = intake.attach((batch) => {
      if (batch.level === "agreed") this.promised(agreed, rank.epoch(), batch);
      else this.answered(name, pending, batch);
      this.trace.add(`${name} tells ${batch.count} ${batch.level}`);
    });
    return { name, intake, owner, pending, agreed, wall: rank.wall };
  }

  private promised(agreed: Set<string>, epoch: string, batch: ReceiptBatch): void {
    this.counts.agreed += batch.count;
    for (let i = 0; i < batch.count; i++)
      agreed.add(`${toHex(batch.ids, 32 * i, 32 * i + 32)} ${epoch}`);
  }

  private answered(name: string, pending: Set<string>, batch: ReceiptBatch): void {
    for (let i = 0; i < batch.count; i++) {
      const id = toHex(batch.ids, 32 * i, 32 * i + 32);
      this.counts.finals++;
      pending.delete(id);
      this.checkers.toldAsFinal(name, id, batch.outcomes[i]);
      const submission = this.byId.get(id);
      if (submission !== undefined) this.unresolved.delete(submission);
    }
  }

  /** One visit: some new transactions, some that were sent before. */
  visit(counter: Counter, batchMax: number): void {
    const { random } = this;
    const wanted = 1 + random.nextBelow(batchMax);
    const chosen: Submission[] = [];
    for (let i = 0; i < wanted; i++) {
      const again = this.submissions.length > 0 && random.nextFloat() < 0.15;
      chosen.push(again ? this.anyOf(this.submissions) : this.invent(counter));
    }
    this.submit(counter, chosen);
  }

  /** Sends again what nobody has answered. */
  insist(counter: Counter): number {
    const open = [...this.unresolved].slice(0, INSIST_MAX);
    if (open.length > 0) this.submit(counter, open);
    return open.length;
  }

  /** Transactions that were neither told final, nor refused for good, nor settled before they came. */
  get open(): number {
    return this.unresolved.size;
  }

  private anyOf<T>(list: readonly T[]): T {
    return list[this.random.nextBelow(list.length)];
  }

  private submit(counter: Counter, chosen: readonly Submission[]): void {
    const spans = new Uint32Array(2 * chosen.length);
    const bytes = new Uint8Array(chosen.reduce((sum, one) => sum + one.bytes.length, 0));
    let at = 0;
    for (const [i, one] of chosen.entries()) {
      bytes.set(one.bytes, at);
      spans.set([at, one.bytes.length], 2 * i);
      at += one.bytes.length;
    }
    const count = chosen.length;
    const tags = Int32Array.from(chosen, (_, i) => i);
    const times = new Float64Array(count).fill(counter.wall());
    const statuses = new Uint8Array(count).fill(255);
    this.counts.submitted += count;
    // Receipts may come inside the call: what is accepted is pending before it is known to be.
    const before = new Set(counter.pending);
    for (const { id } of chosen) counter.pending.add(id);
    const answered = new Set<string>();
    const batch = { bytes, spans, count, tags, times };
    this.checkers.submitted(chosen.map(({ id }) => id));
    const end = counter.intake.submit(counter.owner, batch, 0, statuses);
    for (const [i, one] of chosen.entries()) {
      const status = i < end ? statuses[i] : SUBMIT.FULL;
      if (status === SUBMIT.ACCEPTED) {
        this.counts.accepted++;
        answered.add(one.id);
        continue;
      }
      if (status === SUBMIT.FULL) this.counts.turnedAway++;
      // It may be pending for somebody else, as a backup of another rank: asking again tells.
      if (status !== SUBMIT.DUPLICATE_PENDING) this.counts.refused++;
      // The same transaction may stand twice in a batch; one of them may have been taken.
      if (!before.has(one.id) && !answered.has(one.id)) counter.pending.delete(one.id);
      if (!AGAIN.has(status)) this.unresolved.delete(one);
    }
    this.trace.add(
      `${counter.name} is asked for ${count}: ${Buffer.from(statuses).toString("hex")}`,
    );
  }

  private invent(counter: Counter): Submission {
    const { random } = this;
    const kind = this.anyOf([
      "transfer",
      "transfer",
      "insert",
      "update",
      "delete",
      "record",
    ] as const);
    const senderID = random.nextFloat() < 0.3 ? 0 : random.nextBelow(ACCOUNTS);
    const last = this.sequences.get(senderID) ?? 0;
    // Now and then a number that was used, or one that leaves a gap.
    const sequence =
      random.nextFloat() < 0.03 ? random.nextBelow(last + 1) : last + 1 + random.nextBelow(2);
    this.sequences.set(senderID, Math.max(last, sequence));
    const near = random.nextFloat() < 0.05;
    const lastValidRound = counter.intake.lastRound() + (near ? random.nextBelow(4) : 10_000);
    const field = {
      name: Uint8Array.of(97 + random.nextBelow(3)),
      value: new Uint8Array(random.nextBelow(40)),
    };
    random.fill(field.value);
    const isTransfer = kind === "transfer";
    const bytes = encodeTransaction({
      kind,
      chainId: counter.intake.chainId,
      senderID,
      sequence,
      lastValidRound,
      creationTime: Math.floor(this.wall()),
      ...(isTransfer && {
        receiverID: random.nextBelow(ACCOUNTS),
        txnAmount: 1 + random.nextBelow(random.nextFloat() < 0.1 ? 1_000_000 : 500),
      }),
      ...(!isTransfer && { key: Uint8Array.of(107, random.nextBelow(KEYS)) }),
      ...((kind === "insert" || kind === "update") && { fields: [field] }),
      ...(kind === "record" && { payload: field.value }),
    });
    const id = txnIDText(bytes);
    const known = this.byId.get(id);
    if (known !== undefined) return known;
    const submission = { id, bytes };
    this.submissions.push(submission);
    this.unresolved.add(submission);
    this.byId.set(id, submission);
    return submission;
  }
}

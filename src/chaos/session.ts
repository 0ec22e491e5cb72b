/**
 * One client of a chaos run: offers transactions at a fixed rate to whatever rank it finds, writes its
 * journal, and sends each transaction again, as the same bytes, until it has heard the last of it.
 */
import { randomBytes } from "node:crypto";
import { type ClientReceipt, LedgerClient } from "../client/client.ts";
import { circleOf, listSockets } from "../client/failover.ts";
import { STATE } from "../ledger/intake-frames.ts";
import { OUTCOME } from "../ledger/receipt.ts";
import { SUBMIT } from "../ledger/service.ts";
import { senderOf, sequenceOf } from "../ledger/transaction.ts";
import { txnIDOf } from "../ledger/transaction-object.ts";
import { Sender } from "../workload/operation.ts";
import { ENTRY, JournalWriter } from "./journal.ts";
import type { Plan } from "./plan.ts";
import { FixedRate, TransactionSource } from "./transaction-source.ts";

/** Between two looks at what is due. */
const TICK_MS = 5;
/** Of one tick: a client that was starved catches up in several. */
const DUE_MAX = 2000;
/** Beyond this nothing more is offered: a ledger that takes nothing for minutes. */
const OPEN_MAX = 200_000;
const READ_EVERY_MS = 1000;
/** As long as a run may take: when to give up is the run's decision. */
const RECONNECT_MS = 24 * 3600 * 1000;
/** For a rank to say what it knows of transactions that the client gives up. */
const STATUS_MS = 3000;
const PREPARE_BATCH = 1000;

export interface SessionOptions {
  readonly plan: Pick<Plan, "load" | "seed">;
  readonly place: number;
  readonly of: number;
  /** Directories with sockets of ranks. */
  readonly sockets: readonly string[];
  readonly journal: string;
}

/** Counts since the start. */
export interface SessionCounts {
  submitted: number;
  agreed: number;
  final: number;
  refused: number;
  /** Without a last word. */
  open: number;
  /** Not offered, since too many were open. */
  withheld: number;
  connections: number;
}

const now = () => performance.timeOrigin + performance.now();

export class Session {
  readonly counts: SessionCounts = {
    submitted: 0,
    agreed: 0,
    final: 0,
    refused: 0,
    open: 0,
    withheld: 0,
    connections: 0,
  };
  /** Hash of the SEAL that the rank lived under when it was last read from. */
  epoch = "";
  private readonly options: SessionOptions;
  private readonly journal: JournalWriter;
  private readonly sender = new Sender(new Uint8Array(randomBytes(6)));
  private readonly open = new Map<number, Uint8Array>();
  private client!: LedgerClient;
  private ticker: ReturnType<typeof setInterval> | undefined;
  private reader: ReturnType<typeof setInterval> | undefined;
  private settled: (() => void) | undefined;

  constructor(options: SessionOptions) {
    this.options = options;
    this.journal = new JournalWriter(options.journal);
  }

  async connect(): Promise<void> {
    const { sockets, place } = this.options;
    const list = () => circleOf(listSockets(sockets), place);
    this.client = await LedgerClient.connect(list()[0] ?? "", {
      reconnectMs: RECONNECT_MS,
      failover: {
        sockets: list,
        onConnected: (path) => {
          this.counts.connections++;
          this.journal.connected(path, now());
        },
      },
    });
  }

  /** The accounts or records of this client, all final. */
  async prepare(): Promise<void> {
    const source = await this.source("load");
    while (source.left > 0) {
      const transactions = [];
      while (transactions.length < PREPARE_BATCH && source.left > 0) {
        transactions.push(source.next(this.client.lastRound, now()));
      }
      await this.submit(transactions, transactions.map(now));
    }
  }

  /** Offers this client's share of the load until `stop`. */
  async start(): Promise<void> {
    const source = await this.source("run");
    const { plan, place, of } = this.options;
    const rate = new FixedRate(now(), plan.load.rate / of, place / of);
    this.ticker = setInterval(() => this.tick(source, rate), TICK_MS);
    this.reader = setInterval(() => void this.read(), READ_EVERY_MS);
  }

  /** Offers nothing more. */
  stop(): void {
    clearInterval(this.ticker);
    clearInterval(this.reader);
  }

  /** Resolves when every transaction has had its last word. */
  settle(): Promise<void> {
    return new Promise((resolve) => {
      this.settled = resolve;
      this.checkSettled();
    });
  }

  /** Asks once what became of the open ones, notes it, and ends. */
  async close(): Promise<void> {
    const asked = [...this.open].map(async ([index, bytes]) => {
      const state = await this.stateOf(bytes);
      if (typeof state === "string") {
        this.journal.heard(ENTRY.FINAL, OUTCOME[state as keyof typeof OUTCOME], index, now());
      } else {
        this.journal.heard(ENTRY.UNKNOWN, state, index, now());
      }
    });
    await Promise.all(asked);
    this.client.close();
    this.journal.close();
  }

  private async source(phase: "load" | "run"): Promise<TransactionSource> {
    const { plan, place, of } = this.options;
    const { balance: treasury } = await this.client.balance(0);
    const { chainId } = this.client.facts;
    return new TransactionSource({
      plan,
      phase,
      place,
      of,
      chainId,
      treasury,
      sender: this.sender,
    });
  }

  private tick(source: TransactionSource, rate: FixedRate): void {
    const time = now();
    const intended = rate.due(time, DUE_MAX);
    const room = Math.max(0, OPEN_MAX - this.open.size);
    this.counts.withheld += Math.max(0, intended.length - room);
    const taken = intended.slice(0, room);
    if (taken.length === 0) {
      this.journal.flush();
      return;
    }
    const transactions = taken.map(() => source.next(this.client.lastRound, time));
    void this.submit(transactions, taken);
  }

  private async submit(
    transactions: readonly Uint8Array[],
    intended: readonly number[],
  ): Promise<void> {
    const time = now();
    const indexes = transactions.map((bytes, i) => {
      const index = this.journal.submitted(bytes, intended[i], time);
      this.open.set(index, bytes);
      return index;
    });
    this.journal.flush();
    this.counts.submitted += transactions.length;
    this.counts.open += transactions.length;
    const onReceipt = (place: number, receipt: ClientReceipt) =>
      this.onReceipt(indexes[place], receipt);
    try {
      await this.client.submit(transactions, "both", onReceipt);
    } catch {
      // Closed by us: what is open stays open, and the journal says so.
    }
  }

  private onReceipt(index: number, receipt: ClientReceipt): void {
    const { counts, journal } = this;
    const time = now();
    if (receipt.level === "agreed") {
      counts.agreed++;
      journal.heard(ENTRY.AGREED, 0, index, time);
      return;
    }
    if (receipt.level === "final") {
      counts.final++;
      journal.heard(ENTRY.FINAL, OUTCOME[receipt.outcome], index, time);
    } else {
      counts.refused++;
      journal.heard(ENTRY.REFUSED, SUBMIT[receipt.code], index, time);
    }
    this.open.delete(index);
    counts.open--;
    this.checkSettled();
  }

  private checkSettled(): void {
    if (this.open.size === 0) this.settled?.();
  }

  /** The stamp says what the rank holds for final: checked against the log afterwards. */
  private async read(): Promise<void> {
    try {
      const { stamp } = await this.client.balance(0);
      this.epoch = stamp.epoch;
      this.journal.read({ time: now(), ...stamp }, this.client.socketPath);
    } catch {
      // Closed by us.
    }
  }

  /** The outcome's name, or a STATE. */
  private async stateOf(bytes: Uint8Array): Promise<number | string> {
    const late = Bun.sleep(STATUS_MS).then(() => undefined);
    const asked = this.client.status(senderOf(bytes, 0), sequenceOf(bytes, 0), txnIDOf(bytes));
    const answer = await Promise.race([asked.catch(() => undefined), late]);
    if (answer?.state === "final") return answer.outcome;
    return answer?.state === "pending" ? STATE.PENDING : STATE.UNKNOWN;
  }
}

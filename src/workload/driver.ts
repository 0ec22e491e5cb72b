/**
 * Drives one rank's ledger service with a workload and measures it. Runs on the rank's main thread,
 * beside consensus: it generates for a millisecond at most, then lets the event loop go round, and
 * it stops at the bound of outstanding transactions or when the queue is full.
 *
 * Latency counts from the *intended* start: the operation's slot in the schedule of the target
 * rate, so that a ledger that stalls is charged for all operations that should have started
 * meanwhile (no coordinated omission). Without a target an operation is intended when it is made.
 *
 * An operation is complete at the acknowledgement asked for (`ack`), yet its slot is held until
 * final. What expires is made anew, as another transaction, with the operation's first start.
 */
import { sha256 } from "../base/sha256.ts";
import { OUTCOME } from "../ledger/receipt.ts";
import { type ReceiptBatch, SUBMIT } from "../ledger/service.ts";
import { senderOf, sequenceOf, type TransactionHead } from "../ledger/transaction.ts";
import { VALIDITY_ROUNDS_MAX } from "../limits.ts";
import { AcknowledgementJournal, isTransient } from "./acknowledgement-journal.ts";
import { type DriverClock, SYSTEM_CLOCK } from "./driver-clock.ts";
import { FLAG, InFlight } from "./in-flight.ts";
import { LEVEL, type Measurements, type RankResult } from "./measurements.ts";
import { type LoadService, OPERATION, type Operation, RESULT, type Workload } from "./operation.ts";
import { OutgoingBatch } from "./outgoing-batch.ts";

/** One uninterrupted piece of generation, ms: consensus waits for no more than this. */
const SLICE_MS = 1;
/** Operations between two looks at the clock, which costs a tenth of an operation. */
const CLOCK_EVERY = 32;
/** Transactions handed over at once: what a slice can make. */
const BATCH_TRANSACTIONS = 1000;
/** With ack=agreed, slots held until final are this many times those that wait for agreed. */
const FINAL_SLOTS_FACTOR = 4;
/** Looks again after this long when no receipt wakes it: a time limit may have passed. */
const IDLE_MS = 50;
/** A full queue is tried again after this long, or at the next receipt. */
const FULL_MS = 1;

export interface LoadDriverOptions {
  readonly workload: Workload;
  readonly measurements: Measurements;
  /** Name of the phase in the result. */
  readonly phase: string;
  readonly ack: "agreed" | "final";
  /** Transactions that may wait for that acknowledgement. */
  readonly window: number;
  /** Operations a second of this rank; 0: as fast as the window allows. */
  readonly rate: number;
  /** After this no operation starts; 0: no limit. */
  readonly timeLimitMs: number;
  readonly validityRounds: number;
  /** Gets what was acknowledged, as journal entries; the bytes are valid during the call. */
  readonly journal?: (entries: Uint8Array) => void;
  readonly clock?: DriverClock;
}

export interface DriverProgress {
  /** Operations complete at the level asked for. */
  readonly done: number;
  /** Infinity when only time ends the phase. */
  readonly total: number;
  readonly outstanding: number;
  readonly elapsedMs: number;
}

export class LoadDriver {
  readonly #service: LoadService;
  readonly #options: LoadDriverOptions;
  readonly #workload: Workload;
  readonly #measurements: Measurements;
  readonly #clock: DriverClock;
  readonly #ackIsFinal: boolean;
  readonly #intervalMs: number;
  readonly #inFlight: InFlight;
  readonly #batch: OutgoingBatch;
  readonly #operation: Operation = { kind: 0, subject: 0, object: 0, amount: 0 };
  readonly #head: TransactionHead;
  /** Slots whose operation is to be encoded (again). */
  readonly #due: number[] = [];
  readonly #journal: AcknowledgementJournal | undefined;
  /** Not #operation: a refusal or receipt may come while that one is in use. */
  readonly #settledOperation: Operation = { kind: 0, subject: 0, object: 0, amount: 0 };
  #receiptBatches = 0;
  #validityRounds: number;
  #validityRaisedAt = 0;
  #owner = 0;
  #startedAt = 0;
  #ackedAt = 0;
  #started = 0;
  #unacknowledged = 0;
  #stopping = false;
  #abandoned = false;
  #wake: (() => void) | undefined;

  constructor(service: LoadService, options: LoadDriverOptions) {
    this.#service = service;
    this.#options = options;
    this.#workload = options.workload;
    this.#measurements = options.measurements;
    this.#clock = options.clock ?? SYSTEM_CLOCK;
    this.#ackIsFinal = options.ack === "final";
    this.#validityRounds = options.validityRounds;
    this.#intervalMs = options.rate > 0 ? 1000 / options.rate : 0;
    this.#inFlight = new InFlight(options.window * (this.#ackIsFinal ? 1 : FINAL_SLOTS_FACTOR));
    this.#batch = new OutgoingBatch({
      transactionsMax: BATCH_TRANSACTIONS,
      transactionBytesMax: options.workload.transactionBytesMax,
      pool: options.workload.pool,
    });
    options.workload.usePool?.(this.#batch.bytes, this.#batch.poolAt);
    this.#journal = options.journal && new AcknowledgementJournal(options.journal);
    this.#head = {
      chainId: service.chainId,
      senderID: 0,
      sequence: 0,
      lastValidRound: 0,
      creationTime: 0,
    };
  }

  /** Runs the phase to its end: all operations made and answered. Call it once. */
  async run(): Promise<RankResult> {
    this.#owner = this.#service.attach((receipts) => this.#onReceipts(receipts));
    this.#startedAt = this.#clock.now();
    this.#ackedAt = this.#startedAt;
    while (!this.#abandoned) {
      const receiptBatches = this.#receiptBatches;
      let pauseMs = this.#step();
      if (this.#isDone()) break;
      // Receipts that came during the step woke nobody: look again instead of sleeping over them.
      if (receiptBatches !== this.#receiptBatches) pauseMs = 0;
      await (pauseMs === 0 ? this.#clock.yield() : this.#pause(pauseMs));
    }
    this.#giveUp();
    return this.#measurements.total(this.#frame());
  }

  /** Starts no further operation; `run` ends when all outstanding are answered. */
  stop(): void {
    this.#stopping = true;
    this.#wake?.();
  }

  /** Ends `run` now; what is outstanding counts as UNANSWERED. */
  abandon(): void {
    this.#abandoned = true;
    this.stop();
  }

  progress(): DriverProgress {
    return {
      done: this.#measurements.counters.operations,
      total: this.#workload.operations,
      outstanding: this.#inFlight.count,
      elapsedMs: this.#startedAt === 0 ? 0 : this.#clock.now() - this.#startedAt,
    };
  }

  /**
   * What was measured since the last call, for status lines and the progress bar. Encoding takes up
   * to a millisecond a series: ask once a second, and `progress` as often as you like.
   */
  takeInterval(): RankResult {
    return this.#measurements.takeInterval(this.#frame());
  }

  #frame() {
    return {
      rank: this.#service.rank,
      phase: this.#options.phase,
      startedAt: this.#startedAt,
      durationMs: this.#ackedAt - this.#startedAt,
    };
  }

  #isDone(): boolean {
    const generated = this.#stopping || this.#started >= this.#workload.operations;
    return generated && this.#inFlight.count === 0;
  }

  /** Sends and generates for a slice; answers how long to pause, 0 to go on after a yield. */
  #step(): number {
    if (!this.#batch.isEmpty && !this.#submit()) return FULL_MS;
    const pauseMs = this.#generate();
    if (!this.#batch.isEmpty && !this.#submit()) return FULL_MS;
    return this.#due.length > 0 ? Math.min(pauseMs, FULL_MS) : pauseMs;
  }

  #generate(): number {
    const batch = this.#batch;
    const started = this.#clock.now();
    let now = started;
    batch.clear();
    this.#head.lastValidRound = this.#service.lastRound() + this.#validityRounds;
    this.#head.creationTime = Math.floor(now);
    for (let made = 1; batch.hasRoom; made++) {
      if (made % CLOCK_EVERY === 0) {
        now = this.#clock.now();
        if (now - started >= SLICE_MS) return 0;
      }
      const due = this.#due.pop();
      if (due !== undefined) {
        this.#inFlight.load(due, this.#operation);
        this.#encode(due);
        continue;
      }
      if (!this.#mayStart(now)) return IDLE_MS;
      if (this.#unacknowledged >= this.#options.window || this.#inFlight.freeCount === 0) {
        return IDLE_MS;
      }
      const intended =
        this.#intervalMs === 0 ? now : this.#startedAt + this.#started * this.#intervalMs;
      // A timer counts whole milliseconds: waking a little late is in the latency.
      if (intended > now) return Math.max(1, intended - now);
      this.#started++;
      if (this.#start(intended, now)) now = this.#clock.now();
    }
    return 0;
  }

  #mayStart(now: number): boolean {
    const { timeLimitMs } = this.#options;
    if (timeLimitMs > 0 && now - this.#startedAt >= timeLimitMs) this.#stopping = true;
    return !this.#stopping && this.#started < this.#workload.operations;
  }

  /** Starts one operation; answers whether it took long enough to look at the clock again. */
  #start(intended: number, now: number): boolean {
    const operation = this.#operation;
    this.#workload.choose(operation);
    if (!reads(operation.kind)) {
      this.#unacknowledged++;
      this.#encode(this.#inFlight.open(operation, intended, now));
      return false;
    }
    // Without a schedule `now` may be some operations old: the read is intended when it is made.
    const created = this.#clock.now();
    const due = intended === now ? created : intended;
    const answer = this.#workload.perform(operation, this.#service);
    if (typeof answer !== "number") {
      this.#unacknowledged++;
      this.#await(answer, this.#inFlight.open(operation, due, created));
      return true;
    }
    const ended = this.#clock.now();
    if (this.#countRead(operation.kind, answer, ended - due, ended - created)) {
      this.#unacknowledged++;
      this.#encode(this.#inFlight.open(operation, intended, now));
    } else {
      this.#measurements.counters.operations++;
      this.#ackedAt = ended;
    }
    return true;
  }

  /** Holds a slot until the answer to a read is there. */
  #await(answer: Promise<number>, slot: number): void {
    const tag = this.#inFlight.tagOf(slot);
    const settle = (result: number) => {
      if (this.#inFlight.slotOf(tag) < 0) return;
      this.#onRead(slot, result);
      this.#receiptBatches++;
      this.#wake?.();
    };
    answer.then(settle, () => settle(RESULT.UNANSWERED));
  }

  #onRead(slot: number, result: number): void {
    const flight = this.#inFlight;
    const now = this.#clock.now();
    const sinceIntended = now - flight.intended[slot];
    const sinceCreated = now - flight.created[slot];
    if (this.#countRead(flight.kinds[slot], result, sinceIntended, sinceCreated)) {
      this.#due.push(slot);
    } else {
      flight.close(slot);
      this.#complete(now);
    }
  }

  /** Counts the reading part of an operation; answers whether a transaction follows. */
  #countRead(kind: number, result: number, sinceIntended: number, sinceCreated: number): boolean {
    const measurements = this.#measurements;
    const modifies = kind === OPERATION.READ_MODIFY_WRITE;
    if (result !== RESULT.OK) {
      measurements.failure(kind, result, sinceIntended, sinceCreated);
      return false;
    }
    const readKind = modifies ? OPERATION.READ : kind;
    measurements.latency(readKind, LEVEL.LOCAL, sinceIntended, sinceCreated);
    measurements.result(readKind, result);
    measurements.counters.reads++;
    return modifies;
  }

  #encode(slot: number): void {
    const { end } = this.#batch;
    const length = this.#workload.encode(this.#operation, this.#batch.bytes, end, this.#head);
    this.#batch.add(length, this.#inFlight.tagOf(slot), this.#inFlight.intended[slot]);
  }

  /** Hands the batch over; answers false when the queue is full before its end. */
  #submit(): boolean {
    const batch = this.#batch;
    const { from, statuses } = batch;
    const end = this.#service.submit(this.#owner, batch, from, statuses);
    let index = from;
    while (index < end && statuses[index] !== SUBMIT.FULL) {
      const status = statuses[index];
      if (status !== SUBMIT.ACCEPTED && status !== SUBMIT.DUPLICATE_PENDING) {
        this.#onRefused(index, status);
      }
      index++;
    }
    batch.from = index;
    if (batch.isEmpty) return true;
    this.#measurements.counters.refusals++;
    return false;
  }

  #onRefused(index: number, status: number): void {
    const slot = this.#inFlight.slotOf(this.#batch.tags[index]);
    if (slot < 0) return;
    switch (status) {
      case SUBMIT.BEYOND_WINDOW:
      case SUBMIT.EXPIRED:
        this.#retry(slot);
        break;
      case SUBMIT.SETTLED:
        this.#onFinal(slot, this.#lookup(index), this.#clock.now());
        break;
      case SUBMIT.WRONG_CHAIN:
        this.#onFinal(slot, RESULT.WRONG_CHAIN, this.#clock.now());
        break;
      case SUBMIT.STOPPING:
        this.#stopping = true;
        this.#onFinal(slot, RESULT.STOPPING, this.#clock.now());
        break;
      default:
        this.#onFinal(slot, RESULT.MALFORMED, this.#clock.now());
    }
  }

  /** The outcome of a transaction that the ledger knows already. */
  #lookup(index: number): number {
    const { bytes, spans } = this.#batch;
    const start = spans[2 * index];
    const transaction = bytes.subarray(start, start + spans[2 * index + 1]);
    const txnID = sha256(Uint8Array.of(0), transaction);
    const outcome = this.#service.lookup(senderOf(bytes, start), sequenceOf(bytes, start), txnID);
    return outcome ?? RESULT.UNANSWERED;
  }

  #onReceipts(receipts: ReceiptBatch): void {
    const now = this.#clock.now();
    const { tags, outcomes, count } = receipts;
    if (receipts.level === "agreed") {
      for (let i = 0; i < count; i++) {
        const slot = this.#inFlight.slotOf(tags[i]);
        if (slot >= 0) this.#onAgreed(slot, now);
      }
    } else {
      for (let i = 0; i < count; i++) {
        const slot = this.#inFlight.slotOf(tags[i]);
        if (slot < 0) continue;
        if (outcomes[i] === OUTCOME.EXPIRED) this.#raiseValidity();
        if (outcomes[i] === RESULT.STOPPING) this.#stopping = true;
        if (isTransient(outcomes[i])) this.#retry(slot);
        else this.#onFinal(slot, outcomes[i], now);
      }
    }
    this.#journal?.append(receipts);
    this.#receiptBatches++;
    this.#wake?.();
  }

  #onAgreed(slot: number, now: number): void {
    const flight = this.#inFlight;
    if (flight.flags[slot] & FLAG.AGREED) return;
    flight.flags[slot] |= FLAG.AGREED;
    const kind = flight.kinds[slot];
    const sinceIntended = now - flight.intended[slot];
    const sinceCreated = now - flight.created[slot];
    this.#measurements.latency(kind, LEVEL.AGREED, sinceIntended, sinceCreated);
    if (!this.#ackIsFinal) this.#complete(now);
  }

  /** The end of an operation, good or not: its slot becomes free. */
  #onFinal(slot: number, result: number, now: number): void {
    const flight = this.#inFlight;
    const measurements = this.#measurements;
    const kind = flight.kinds[slot];
    const sinceIntended = now - flight.intended[slot];
    const sinceCreated = now - flight.created[slot];
    if (result === RESULT.OK) {
      // Final without agreed before it (storage decided): whoever waited for agreed is served too.
      this.#onAgreed(slot, now);
      measurements.latency(kind, LEVEL.FINAL, sinceIntended, sinceCreated);
      measurements.result(kind, result);
      measurements.counters.transactions++;
    } else {
      measurements.failure(kind, result, sinceIntended, sinceCreated);
    }
    const isCounted = !this.#ackIsFinal && (flight.flags[slot] & FLAG.AGREED) !== 0;
    if (!isCounted) this.#complete(now);
    flight.load(slot, this.#settledOperation);
    flight.close(slot);
    this.#workload.settled(this.#settledOperation);
  }

  #complete(now: number): void {
    this.#unacknowledged--;
    this.#measurements.counters.operations++;
    this.#ackedAt = now;
  }

  /**
   * Transactions expired in the queue, and would for ever if made anew for as few rounds. Doubling
   * once in as many rounds as they are valid waits for those that were made before to be gone.
   */
  #raiseValidity(): void {
    const round = this.#service.lastRound();
    if (round - this.#validityRaisedAt < this.#validityRounds) return;
    this.#validityRaisedAt = round;
    this.#validityRounds = Math.min(2 * this.#validityRounds, VALIDITY_ROUNDS_MAX);
  }

  #retry(slot: number): void {
    this.#inFlight.renew(slot);
    this.#due.push(slot);
    this.#measurements.counters.retries++;
  }

  /** Counts whatever is still outstanding: nothing, unless the driver was abandoned. */
  #giveUp(): void {
    const now = this.#clock.now();
    for (let slot = 0; this.#inFlight.count > 0; slot++) {
      if (this.#inFlight.isOpen(slot)) this.#onFinal(slot, RESULT.UNANSWERED, now);
    }
  }

  /** Until a receipt comes or `ms` have passed. */
  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#clock.after(ms, () => this.#wake?.());
      this.#wake = () => {
        this.#wake = undefined;
        cancel();
        resolve();
      };
    });
  }
}

function reads(kind: number): boolean {
  return kind === OPERATION.READ || kind === OPERATION.SCAN || kind === OPERATION.READ_MODIFY_WRITE;
}

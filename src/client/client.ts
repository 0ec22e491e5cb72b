/**
 * Client of a rank's intake (Unix socket): hands transactions in and waits for their receipts. Loses
 * nothing over a broken connection: what has no last receipt yet is sent again, to the same rank or,
 * with `failover`, to another one. Since a transaction is known by its bytes, sending it twice has no
 * second effect. RETRY is handled here.
 */
import type { Socket } from "bun";
import { concatBytes, equalBytes, readU32, toHex } from "../base/bytes.ts";
import { BaashError, configurationError, EXIT } from "../base/errors.ts";
import type { Packable } from "../ledger/codec.ts";
import {
  decodeFrame,
  encodeFrame,
  FRAME,
  FrameAssembler,
  FrameSender,
  findFields,
  INTAKE_VERSION,
  LEVEL,
  type LevelName,
  packTransactions,
  RECEIPT,
  STATE,
} from "../ledger/intake-frames.ts";
import { type OutcomeName, outcomeName, type Stamp } from "../ledger/receipt.ts";
import { SUBMIT } from "../ledger/service.ts";
import { INTAKE_SCAN_KEYS_MAX } from "../limits.ts";
import { type FailoverOptions, SILENCE_MS, SilenceWatch } from "./failover.ts";

export interface ClientOptions {
  /** Refuses a rank of another ledger. */
  chainId?: Uint8Array;
  /** How long to try to get a lost connection back before everything open fails. */
  reconnectMs?: number;
  /** Goes to other ranks when this one is gone, says nothing or stops. */
  failover?: FailoverOptions;
}

/** What a client hears of one transaction. */
export type ClientReceipt =
  | { readonly level: "agreed" }
  | { readonly level: "final"; readonly outcome: OutcomeName }
  /** Never taken, and never will be as it is. */
  | { readonly level: "refused"; readonly code: keyof typeof SUBMIT };

export interface ServerFacts {
  chainId: Uint8Array;
  rank: number;
  ranks: number;
  frameBytesMax: number;
  batchTxnsMax: number;
  inFlightMax: number;
}

export interface Read {
  fields: { name: Uint8Array; value: Uint8Array }[] | undefined;
  stamp: Stamp;
}

/** Told of each receipt as it comes: AGREED too where level is "both", perhaps more than once. */
export type OnReceipt = (place: number, receipt: ClientReceipt) => void;

const RECONNECT_MS = 30_000;
const RECONNECT_PAUSE_MS = { first: 20, most: 1000 };
const RETRY_PAUSE_MS = 5;
/** Room in a frame for what is around the transactions. */
const FRAME_SLACK_BYTES = 64;

/** The caller's batch: it is done when each transaction has its last receipt. */
interface Batch {
  transactions: readonly Uint8Array[];
  level: LevelName;
  onReceipt: OnReceipt | undefined;
  receipts: (ClientReceipt | undefined)[];
  open: number;
  resolve(receipts: ClientReceipt[]): void;
  reject(error: Error): void;
}

/** Part of a batch, as it was sent in one frame. */
interface Part {
  batch: Batch;
  /** Places in the batch of those without their last receipt; -1 once they have it. */
  places: Int32Array;
  open: number;
}

interface Query {
  frame(request: number): Uint8Array;
  resolve(answer: unknown[]): void;
  reject(error: Error): void;
}

export class LedgerClient {
  private path: string;
  private readonly options: ClientOptions;
  private readonly silence: SilenceWatch | undefined;
  private socket: Socket<undefined> | undefined;
  private assembler = new FrameAssembler();
  private server: ServerFacts | undefined;
  private newestRound = 0;
  private nextRequest = 1;
  private inFlight = 0;
  private readonly parts = new Map<number, Part>();
  private readonly queries = new Map<number, Query>();
  /** Not sent yet: batch and place of each. */
  private waiting: { batch: Batch; place: number }[] = [];
  private sender = new FrameSender();
  private flushDue = false;
  private ended: Error | undefined;
  private greeting: { resolve(): void; reject(error: Error): void } | undefined;
  private farewell: BaashError | undefined;
  /** The rank's queue was full: nothing is sent for a moment. */
  private isPaused = false;
  /** The rank takes nothing more: once it has answered what it took, another one is looked for. */
  private isStopping = false;
  private reconnectPauseMs = RECONNECT_PAUSE_MS.first;

  /**
   * Throws CLIENT_CONNECT (exit 69), CLIENT_VERSION or CLIENT_CHAIN (exit 78); with `failover` only
   * when no rank was found for `reconnectMs`.
   */
  static async connect(path: string, options: ClientOptions = {}): Promise<LedgerClient> {
    const client = new LedgerClient(path, options);
    if (options.failover === undefined) await client.open(path);
    else await client.findRank();
    return client;
  }

  private constructor(path: string, options: ClientOptions) {
    this.path = path;
    this.options = options;
    const { failover } = options;
    if (failover === undefined) return;
    this.silence = new SilenceWatch(failover.silenceMs ?? SILENCE_MS, {
      isWaiting: () => this.parts.size > 0 || this.queries.size > 0,
      // Its answer belongs to no query: that it comes is all that matters.
      ask: () => this.send(encodeFrame([FRAME.STATS, this.nextRequest++])),
      onSilent: () => this.leave("answers nothing"),
    });
  }

  /** Of the rank that is served by, or was. */
  get socketPath(): string {
    return this.path;
  }

  get facts(): ServerFacts {
    return this.server!;
  }

  /** Newest settled round that the rank has told of. */
  get lastRound(): number {
    return this.newestRound;
  }

  /** Resolves once each transaction has its last receipt, in the order given. */
  submit(
    transactions: readonly Uint8Array[],
    level: LevelName = "final",
    onReceipt?: OnReceipt,
  ): Promise<ClientReceipt[]> {
    if (this.ended !== undefined) return Promise.reject(this.ended);
    if (transactions.length === 0) return Promise.resolve([]);
    const { promise, resolve, reject } = Promise.withResolvers<ClientReceipt[]>();
    const receipts = new Array<ClientReceipt | undefined>(transactions.length);
    const open = transactions.length;
    const batch: Batch = { transactions, level, onReceipt, receipts, open, resolve, reject };
    for (let place = 0; place < open; place++) this.waiting.push({ batch, place });
    this.sendWaiting();
    return promise;
  }

  /** What the rank knows of a transaction. */
  async status(
    sender: number,
    sequence: number,
    txnID: Uint8Array,
  ): Promise<{ state: "unknown" | "pending" } | { state: "final"; outcome: OutcomeName }> {
    const [, , state, outcome] = await this.query([FRAME.STATUS, sender, sequence, txnID]);
    if (state === STATE.FINAL) return { state: "final", outcome: outcomeName(Number(outcome))! };
    return { state: state === STATE.PENDING ? "pending" : "unknown" };
  }

  async read(key: Uint8Array): Promise<Read> {
    const answer = await this.query([FRAME.READ, key]);
    const [, , found, record, stamp] = answer as [0, 0, number, Uint8Array, RawStamp];
    if (found !== 1) return { fields: undefined, stamp: stampOf(stamp) };
    // A copy: the connection's buffer is used again.
    const fields = findFields(record.slice());
    if (fields !== undefined) return { fields, stamp: stampOf(stamp) };
    throw clientError("CLIENT_FRAME", `the rank at ${this.path} sent fields that do not add up`);
  }

  /** Up to `count` keys from `start` on, in bytewise order. */
  async scan(start: Uint8Array, count: number): Promise<Uint8Array[]> {
    const keys: Uint8Array[] = [];
    let from = start;
    while (keys.length < count) {
      const asked = Math.min(count - keys.length, INTAKE_SCAN_KEYS_MAX);
      const [, , found] = (await this.query([FRAME.SCAN, from, asked])) as [0, 0, Uint8Array[]];
      for (const key of found) keys.push(key.slice());
      if (found.length < asked) break;
      from = concatBytes([keys.at(-1)!, Uint8Array.of(0)]);
    }
    return keys;
  }

  async balance(account: number): Promise<{ balance: number; stamp: Stamp }> {
    const answer = await this.query([FRAME.BALANCE, account]);
    const [, , balance, stamp] = answer as [0, 0, number, RawStamp];
    return { balance, stamp: stampOf(stamp) };
  }

  async stats(): Promise<Record<string, number>> {
    const [, , json] = await this.query([FRAME.STATS]);
    return JSON.parse(String(json));
  }

  /** Ends the connection; what is open fails with CLIENT_CLOSED. */
  close(): void {
    this.end(
      clientError("CLIENT_CLOSED", `the connection to ${this.path} was closed by its owner`),
    );
  }

  private query(values: readonly Packable[]): Promise<unknown[]> {
    if (this.ended !== undefined) return Promise.reject(this.ended);
    const { promise, resolve, reject } = Promise.withResolvers<unknown[]>();
    const [type, ...rest] = values;
    const request = this.nextRequest++;
    const frame = (number: number) => encodeFrame([type, number, ...rest]);
    this.queries.set(request, { frame, resolve, reject });
    if (this.socket !== undefined) this.send(frame(request));
    return promise;
  }

  private async open(path: string): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.path = path;
    this.greeting = { resolve, reject };
    this.assembler = new FrameAssembler();
    this.farewell = undefined;
    this.isStopping = false;
    try {
      await Bun.connect<undefined>({
        unix: path,
        socket: {
          open: (socket) => {
            if (this.ended !== undefined) {
              socket.terminate();
              return;
            }
            this.socket = socket;
            this.sender = new FrameSender();
          },
          data: (from, bytes) => this.onData(from, bytes),
          drain: () => this.drain(),
          close: (from) => this.onLost(from),
          error: (from) => this.onLost(from),
        },
      });
    } catch (cause) {
      this.greeting = undefined;
      const message = `no rank listens at ${path}: ${(cause as Error).message}; check that it runs`;
      throw clientError("CLIENT_CONNECT", message, cause);
    }
    const { failover } = this.options;
    if (failover === undefined) return promise;
    // The kernel takes connections for a rank that is frozen.
    const timer = setTimeout(
      () => this.drop(clientError("CLIENT_SILENT", `the rank at ${path} does not greet`)),
      failover.silenceMs ?? SILENCE_MS,
    );
    await promise.finally(() => clearTimeout(timer));
    this.silence?.start();
    failover.onConnected?.(path);
  }

  private onData(from: Socket<undefined>, bytes: Uint8Array): void {
    if (from !== this.socket) return;
    this.assembler.push(bytes);
    this.silence?.heard();
    for (;;) {
      const body = this.assembler.next();
      if (body === undefined) return;
      const frame = typeof body === "number" ? `a frame of ${body} bytes` : decodeFrame(body);
      const problem = typeof frame === "string" ? frame : this.onFrame(frame);
      if (problem === undefined) continue;
      this.end(clientError("CLIENT_FRAME", `the rank at ${this.path} sent nonsense: ${problem}`));
      return;
    }
  }

  private onFrame(frame: unknown[]): string | undefined {
    switch (frame[0]) {
      case FRAME.HELLO:
        return this.onHello(frame);
      case FRAME.RECEIPTS:
        return this.onReceipts(frame);
      case FRAME.GOODBYE:
        this.farewell = clientError(
          `CLIENT_${String(frame[1])}`,
          `the rank said: ${String(frame[2])}`,
        );
        return undefined;
      default: {
        const request = Number(frame[1]);
        this.queries.get(request)?.resolve(frame);
        this.queries.delete(request);
        return undefined;
      }
    }
  }

  private onHello(frame: unknown[]): string | undefined {
    const [, version, chainId, rank, ranks, lastRound, limits] = frame as [
      number,
      number,
      Uint8Array,
      number,
      number,
      number,
      [number, number, number],
    ];
    const expected = this.options.chainId;
    if (version !== INTAKE_VERSION) {
      const message = `the rank speaks version ${version}, this client ${INTAKE_VERSION}: use equal versions`;
      this.end(configurationError("CLIENT_VERSION", message));
      return undefined;
    }
    if (expected !== undefined && !equalBytes(chainId, expected)) {
      const message = `the rank at ${this.path} serves ledger ${toHex(chainId)}, not ${toHex(expected)}: check the path`;
      this.end(configurationError("CLIENT_CHAIN", message));
      return undefined;
    }
    const [frameBytesMax, batchTxnsMax, inFlightMax] = limits;
    const own = chainId.slice();
    this.server = { chainId: own, rank, ranks, frameBytesMax, batchTxnsMax, inFlightMax };
    this.newestRound = Math.max(this.newestRound, lastRound);
    this.greeting?.resolve();
    this.greeting = undefined;
    this.sendWaiting();
    return undefined;
  }

  private onReceipts(frame: unknown[]): string | undefined {
    const [, request, indexes, receipts, details, lastRound] = frame as [
      number,
      number,
      Uint8Array,
      Uint8Array,
      Uint8Array,
      number,
    ];
    this.newestRound = Math.max(this.newestRound, lastRound);
    const part = this.parts.get(request);
    if (part === undefined) return undefined;
    const again: { batch: Batch; place: number }[] = [];
    for (let i = 0; i < receipts.length; i++) {
      const index = readU32(indexes, 4 * i);
      const place = part.places[index];
      if (place === undefined) return "a receipt for a transaction that was not sent";
      if (place < 0) continue;
      if (receipts[i] === RECEIPT.AGREED && part.batch.level === "both") {
        part.batch.onReceipt?.(place, receiptOf(receipts[i], details[i]));
        continue;
      }
      part.places[index] = -1;
      part.open--;
      this.inFlight--;
      const stops = receipts[i] === RECEIPT.REFUSED && details[i] === SUBMIT.STOPPING;
      if (stops && this.silence !== undefined) this.isStopping = true;
      if (receipts[i] === RECEIPT.RETRY || (stops && this.isStopping)) {
        again.push({ batch: part.batch, place });
        continue;
      }
      this.silence?.served();
      this.reconnectPauseMs = RECONNECT_PAUSE_MS.first;
      settle(part.batch, place, receiptOf(receipts[i], details[i]));
    }
    if (part.open === 0) this.parts.delete(request);
    if (again.length > 0) {
      this.waiting.push(...again);
      this.pause();
    }
    this.sendWaiting();
    if (this.isStopping && this.parts.size === 0) this.leave("stops");
    return undefined;
  }

  private pause(): void {
    if (this.isPaused) return;
    this.isPaused = true;
    setTimeout(() => {
      this.isPaused = false;
      this.sendWaiting();
    }, RETRY_PAUSE_MS);
  }

  /** Sends what waits, in frames as large as the rank takes, up to its limit in flight. */
  private sendWaiting(): void {
    const { server } = this;
    if (server === undefined || this.socket === undefined) return;
    if (this.greeting !== undefined || this.isPaused || this.isStopping) return;
    let next = 0;
    while (next < this.waiting.length && this.inFlight < server.inFlightMax) {
      const { batch } = this.waiting[next];
      const places: number[] = [];
      const most = Math.min(server.batchTxnsMax, server.inFlightMax - this.inFlight);
      let bytes = FRAME_SLACK_BYTES;
      while (next < this.waiting.length && places.length < most) {
        const { batch: of, place } = this.waiting[next];
        if (of !== batch) break;
        const length = 4 + of.transactions[place].length;
        if (places.length > 0 && bytes + length > server.frameBytesMax) break;
        bytes += length;
        places.push(place);
        next++;
      }
      this.sendPart(batch, places);
    }
    this.waiting = this.waiting.slice(next);
  }

  private sendPart(batch: Batch, places: readonly number[]): void {
    const request = this.nextRequest++;
    this.parts.set(request, { batch, places: Int32Array.from(places), open: places.length });
    this.inFlight += places.length;
    const transactions = packTransactions(places.map((place) => batch.transactions[place]));
    this.send(encodeFrame([FRAME.SUBMIT, request, LEVEL[batch.level], transactions]));
  }

  private send(frame: Uint8Array): void {
    this.sender.push(frame);
    if (this.flushDue) return;
    // What is sent in one go leaves in one write.
    this.flushDue = true;
    queueMicrotask(() => {
      this.flushDue = false;
      this.drain();
    });
  }

  private drain(): void {
    if (this.socket !== undefined) this.sender.drain(this.socket);
  }

  private onLost(from: Socket<undefined>): void {
    if (this.ended !== undefined || from !== this.socket) return;
    this.drop(
      this.farewell ?? clientError("CLIENT_LOST", `the rank at ${this.path} closed the connection`),
    );
  }

  /** Goes to another rank though this one is there. */
  private leave(why: string): void {
    if (this.ended !== undefined || this.socket === undefined) return;
    this.drop(clientError("CLIENT_LEFT", `the rank at ${this.path} ${why}`));
  }

  /** The connection is of no more use. */
  private drop(lost: BaashError): void {
    const { socket, greeting } = this;
    this.socket = undefined;
    this.silence?.stop();
    socket?.terminate();
    if (greeting !== undefined) {
      this.greeting = undefined;
      greeting.reject(lost);
      return;
    }
    // A frame of ours that the rank will not have: sending it again would end as it did.
    if (lost.code === "CLIENT_BAD_FRAME") this.end(lost);
    else void this.reconnect(lost);
  }

  private async reconnect(lost: BaashError): Promise<void> {
    for (const { batch, places } of this.parts.values()) {
      for (const place of places) if (place >= 0) this.waiting.push({ batch, place });
    }
    this.parts.clear();
    this.inFlight = 0;
    try {
      await this.findRank();
    } catch {
      this.end(lost);
      return;
    }
    for (const [request, { frame }] of this.queries) this.send(frame(request));
  }

  /** Connects to the first rank that answers; throws what the last attempt ended with. */
  private async findRank(): Promise<void> {
    const deadline = performance.now() + (this.options.reconnectMs ?? RECONNECT_MS);
    for (;;) {
      let problem: unknown = clientError(
        "CLIENT_CONNECT",
        "no rank has a socket; check that it runs",
      );
      for (const path of this.candidates()) {
        if (this.ended !== undefined) throw this.ended;
        try {
          return await this.open(path);
        } catch (error) {
          problem = error;
          if ((error as BaashError).exitCode === EXIT.configuration) throw error;
        }
      }
      const pause = this.reconnectPauseMs;
      if (performance.now() + pause > deadline) throw problem;
      await Bun.sleep(pause);
      this.reconnectPauseMs = Math.min(2 * pause, RECONNECT_PAUSE_MS.most);
    }
  }

  /** The rank that was lost comes last. */
  private candidates(): string[] {
    const { failover } = this.options;
    if (failover === undefined) return [this.path];
    const lost = this.path;
    const others = failover.sockets().filter((path) => path !== lost);
    return this.server === undefined ? [lost, ...others] : [...others, lost];
  }

  private end(error: Error): void {
    if (this.ended !== undefined) return;
    this.ended = error;
    this.silence?.stop();
    this.greeting?.reject(error);
    const batches = new Set<Batch>();
    for (const { batch } of this.parts.values()) batches.add(batch);
    for (const { batch } of this.waiting) batches.add(batch);
    for (const batch of batches) batch.reject(error);
    for (const { reject } of this.queries.values()) reject(error);
    this.parts.clear();
    this.queries.clear();
    this.waiting = [];
    this.socket?.end();
  }
}

type RawStamp = [string, number, number];

function stampOf([epoch, slot, round]: RawStamp): Stamp {
  return { epoch, slot, round };
}

function receiptOf(receipt: number, detail: number): ClientReceipt {
  if (receipt === RECEIPT.AGREED) return { level: "agreed" };
  if (receipt === RECEIPT.FINAL) return { level: "final", outcome: outcomeName(detail) ?? "OK" };
  const codes = Object.keys(SUBMIT) as (keyof typeof SUBMIT)[];
  return { level: "refused", code: codes[detail] ?? "MALFORMED" };
}

function settle(batch: Batch, place: number, receipt: ClientReceipt): void {
  batch.receipts[place] = receipt;
  batch.onReceipt?.(place, receipt);
  if (--batch.open === 0) batch.resolve(batch.receipts as ClientReceipt[]);
}

function clientError(code: string, message: string, cause?: unknown): BaashError {
  return new BaashError(code, message, { exitCode: EXIT.unavailable, cause });
}

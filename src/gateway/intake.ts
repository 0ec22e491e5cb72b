/**
 * The intake of a rank: a Unix socket, mode 0600, over which clients hand transactions in and hear
 * of them (frames: ledger/intake-frames). Main thread; never blocks.
 *
 * Idempotent by txnID: a transaction that comes again, over any connection, joins the pending one or
 * is answered with its first outcome. Bounded: a client that does not read, or has too much in
 * flight, is not read; what the rank's queue does not take is answered RETRY. Frames that lie about
 * their size or shape end the connection with a reason, before anything is reserved for them.
 */
import { chmodSync, lstatSync, unlinkSync } from "node:fs";
import type { Socket, UnixSocketListener } from "bun";
import { BaashError, configurationError, EXIT } from "../base/errors.ts";
import { kernels } from "../base/kernels.ts";
import {
  decodeFrame,
  encodeFrame,
  FRAME,
  findTransactions,
  INTAKE_VERSION,
  isBytes,
  isCount,
  LEVEL,
  type LevelName,
  packFields,
  RECEIPT,
  STATE,
} from "../ledger/intake-frames.ts";
import { OUTCOME } from "../ledger/receipt.ts";
import { type LedgerService, type ReceiptBatch, SUBMIT } from "../ledger/service.ts";
import { senderOf, sequenceOf, TXN_HEADER_BYTES } from "../ledger/transaction.ts";
import {
  INTAKE_BATCH_TXNS_MAX,
  INTAKE_BUFFER_BYTES_MAX,
  INTAKE_CONNECTIONS_MAX,
  INTAKE_FRAME_BYTES_MAX,
  INTAKE_IN_FLIGHT_MAX,
  INTAKE_SCAN_KEYS_MAX,
  KEY_BYTES_MAX,
} from "../limits.ts";
import { Connection } from "./connection.ts";
import { type Pending, PendingTable } from "./pending.ts";

/** Longest path of a Unix socket (sun_path, with its final zero). */
const PATH_BYTES_MAX = 107;
/** A full queue is tried again after this time, or with the next receipts if those come first. */
const QUEUE_RETRY_MS = 5;
/** A client that stops in the middle of a frame is closed: it holds memory that others want. */
const STALLED_S = 30;

export interface IntakeCounters {
  connections: number;
  connectionsOpened: number;
  connectionsRefused: number;
  frames: number;
  framesRejected: number;
  transactions: number;
  joined: number;
  retried: number;
  refused: number;
  receipts: number;
  pending: number;
  bufferedBytes: number;
}

const LEVEL_NAMES = Object.keys(LEVEL) as LevelName[];

type Client = Socket<Connection | undefined>;

export class Intake {
  readonly path: string;
  private readonly service: LedgerService;
  private readonly owner: number;
  private readonly pending = new PendingTable();
  private readonly connections = new Set<Connection>();
  /** Not read until the rank's queue has room. */
  private readonly queueHeld = new Set<Connection>();
  private queueTimer: ReturnType<typeof setTimeout> | undefined;
  private readonly listener: UnixSocketListener<Connection | undefined>;
  private bufferedBytes = 0;
  private readonly counts = {
    connectionsOpened: 0,
    connectionsRefused: 0,
    frames: 0,
    framesRejected: 0,
    transactions: 0,
    joined: 0,
    retried: 0,
    refused: 0,
    receipts: 0,
  };

  /** Throws INTAKE_PATH (exit 78) or INTAKE_LISTEN (exit 69). */
  constructor(options: { path: string; service: LedgerService }) {
    this.path = options.path;
    this.service = options.service;
    this.owner = this.service.attach((batch) => this.onReceipts(batch));
    this.listener = this.listen();
  }

  counters(): IntakeCounters {
    return {
      ...this.counts,
      connections: this.connections.size,
      pending: this.pending.size,
      bufferedBytes: this.bufferedBytes,
    };
  }

  /** Says goodbye to all and removes the socket. Pending transactions go on without listeners. */
  close(): void {
    clearTimeout(this.queueTimer);
    for (const connection of this.connections) {
      connection.goodbye("STOPPING", "the rank stops: connect to another one or try again later");
    }
    this.listener.stop(false);
    removeSocket(this.path);
  }

  private listen(): UnixSocketListener<Connection | undefined> {
    const { path } = this;
    if (Buffer.byteLength(path) > PATH_BYTES_MAX) {
      const message = `intake socket ${path} has a path of more than ${PATH_BYTES_MAX} bytes; choose a shorter one`;
      throw configurationError("INTAKE_PATH", message, { path });
    }
    removeSocket(path);
    // From the first moment on: a file made 0755 and changed later is open in between.
    const umask = process.umask(0o177);
    try {
      const listener = Bun.listen<Connection | undefined>({
        unix: path,
        socket: {
          open: (socket) => this.onOpen(socket),
          data: (socket, bytes) => this.onData(socket, bytes),
          drain: ({ data }) => {
            if (data !== undefined) this.proceed(data, () => data.drain());
          },
          timeout: ({ data }) => {
            if (data?.midFrame && !data.held)
              this.reject(data, "a frame was begun and not finished");
          },
          close: ({ data }) => this.onClose(data),
          error: ({ data }) => this.onClose(data),
        },
      });
      chmodSync(path, 0o600);
      return listener;
    } catch (cause) {
      const message = `intake socket ${path} cannot be opened: ${(cause as Error).message}; check its directory`;
      throw new BaashError("INTAKE_LISTEN", message, { exitCode: EXIT.unavailable, cause });
    } finally {
      process.umask(umask);
    }
  }

  private onOpen(socket: Client): void {
    const connection = new Connection(socket);
    socket.data = connection;
    if (this.connections.size >= INTAKE_CONNECTIONS_MAX) {
      this.counts.connectionsRefused++;
      connection.goodbye("BUSY", `the rank serves ${INTAKE_CONNECTIONS_MAX} clients: try another`);
      return;
    }
    this.counts.connectionsOpened++;
    this.connections.add(connection);
    const { chainId, rank, ranks } = this.service;
    const limits = [INTAKE_FRAME_BYTES_MAX, INTAKE_BATCH_TXNS_MAX, INTAKE_IN_FLIGHT_MAX];
    const lastRound = this.service.lastRound();
    connection.send(
      encodeFrame([FRAME.HELLO, INTAKE_VERSION, chainId, rank, ranks, lastRound, limits]),
    );
    connection.drain();
  }

  private onClose(connection: Connection | undefined): void {
    if (connection === undefined || connection.closed) return;
    connection.closed = true;
    this.connections.delete(connection);
    this.queueHeld.delete(connection);
    this.bufferedBytes -= connection.frames.held;
    if (connection.inFlight > 0) this.pending.drop((waiter) => waiter.tell === connection.tell);
    this.releaseBuffers();
  }

  private onData({ data: connection }: Client, bytes: Uint8Array): void {
    if (connection === undefined || connection.isClosing) return;
    connection.frames.push(bytes);
    this.bufferedBytes += bytes.length;
    this.readFrames(connection);
  }

  /** Does something that may end a hold; then the frames that waited in memory are due. */
  private proceed(connection: Connection, change: () => void): void {
    const wasHeld = connection.held;
    change();
    if (wasHeld && !connection.held) this.readFrames(connection);
  }

  /** Treats the frames that are in memory, as far as nothing holds the connection back. */
  private readFrames(connection: Connection): void {
    let wasHeld = true;
    while (wasHeld && !connection.held && !connection.isClosing) {
      this.treatFrames(connection);
      wasHeld = connection.held;
      connection.flush(this.service.lastRound());
    }
    if (connection.isClosing) return;
    connection.timeout(connection.midFrame ? STALLED_S : 0);
    if (connection.midFrame && this.bufferedBytes > INTAKE_BUFFER_BYTES_MAX) {
      // One of them is always read on, so that memory comes free again.
      const others = [...this.connections].some(
        (other) => other !== connection && other.midFrame && !other.held,
      );
      if (others) connection.hold("buffer");
    } else {
      this.releaseBuffers();
    }
  }

  private treatFrames(connection: Connection): void {
    while (!connection.held && !connection.isClosing) {
      const before = connection.frames.held;
      const body = connection.frames.next();
      if (body === undefined) return;
      if (typeof body === "number") {
        this.reject(connection, `a frame of ${body} bytes, of 1 to ${INTAKE_FRAME_BYTES_MAX}`);
        return;
      }
      this.bufferedBytes -= before - connection.frames.held;
      this.counts.frames++;
      const problem = this.onFrame(connection, body);
      if (problem !== undefined) this.reject(connection, problem);
    }
  }

  private releaseBuffers(): void {
    if (this.bufferedBytes > INTAKE_BUFFER_BYTES_MAX) return;
    for (const connection of this.connections) {
      this.proceed(connection, () => connection.release("buffer"));
    }
  }

  private reject(connection: Connection, problem: string): void {
    this.counts.framesRejected++;
    connection.goodbye("BAD_FRAME", problem);
  }

  /** Undefined when the frame was good; otherwise what was wrong. */
  private onFrame(connection: Connection, body: Uint8Array): string | undefined {
    const frame = decodeFrame(body);
    if (typeof frame === "string") return `a frame is not readable (${frame})`;
    const [type, request] = frame;
    if (!isCount(request)) return "a frame without a request number";
    switch (type) {
      case FRAME.SUBMIT:
        return this.onSubmit(connection, request, frame);
      case FRAME.STATUS:
        return this.onStatus(connection, request, frame);
      case FRAME.READ:
        return this.onRead(connection, request, frame);
      case FRAME.SCAN:
        return this.onScan(connection, request, frame);
      case FRAME.BALANCE: {
        const account = frame[2];
        if (!isCount(account)) return "a BALANCE without an account";
        const balance = this.service.balance(account);
        connection.send(encodeFrame([FRAME.BALANCE_ANSWER, request, balance, this.stamp()]));
        return undefined;
      }
      case FRAME.STATS:
        connection.send(
          encodeFrame([FRAME.STATS_ANSWER, request, JSON.stringify(this.counters())]),
        );
        return undefined;
      default:
        return `a frame of type ${String(type)}, which clients do not send`;
    }
  }

  private onStatus(connection: Connection, request: number, frame: unknown[]): string | undefined {
    const [, , sender, sequence, txnID] = frame;
    if (!isCount(sender) || !isCount(sequence) || !isBytes(txnID, 32)) return "a malformed STATUS";
    const outcome = this.service.lookup(sender, sequence, txnID);
    const isPending = this.pending.find(idText(txnID, 0)) !== undefined;
    const state = outcome !== undefined ? STATE.FINAL : isPending ? STATE.PENDING : STATE.UNKNOWN;
    connection.send(encodeFrame([FRAME.STATUS_ANSWER, request, state, outcome ?? 0]));
    return undefined;
  }

  private onRead(connection: Connection, request: number, frame: unknown[]): string | undefined {
    const key = frame[2];
    if (!isBytes(key) || key.length > KEY_BYTES_MAX) return "a malformed READ";
    const fields = this.service.read(key);
    const found = fields === undefined ? 0 : 1;
    const record = packFields(fields ?? []);
    connection.send(encodeFrame([FRAME.READ_ANSWER, request, found, record, this.stamp()]));
    return undefined;
  }

  private onScan(connection: Connection, request: number, frame: unknown[]): string | undefined {
    const [, , start, count] = frame;
    const isGood = isBytes(start) && start.length <= KEY_BYTES_MAX + 1 && isCount(count);
    if (!isGood || count > INTAKE_SCAN_KEYS_MAX) return "a malformed SCAN";
    const keys = this.service.scan(start, count);
    connection.send(encodeFrame([FRAME.SCAN_ANSWER, request, keys, this.stamp()]));
    return undefined;
  }

  private stamp(): [string, number, number] {
    const { epoch, slot, round } = this.service.stamp();
    return [epoch, slot, round];
  }

  private onSubmit(connection: Connection, request: number, frame: unknown[]): string | undefined {
    const [, , level, bytes] = frame;
    const name = LEVEL_NAMES.find((known) => LEVEL[known] === level);
    if (name === undefined) return "a SUBMIT without a level";
    if (!isBytes(bytes) || bytes.length === 0) return "a SUBMIT without transactions";
    const spans = findTransactions(bytes);
    if (spans === undefined) return "the transactions of a SUBMIT do not add up";
    const count = spans.length / 2;
    this.counts.transactions += count;
    connection.inFlight += count;
    if (connection.inFlight >= INTAKE_IN_FLIGHT_MAX) connection.hold("in-flight");
    const ids = new Uint8Array(32 * count);
    kernels.leafHashes(bytes, spans, count, ids, 0);
    const fresh: Pending[] = [];
    const freshSpans = new Uint32Array(2 * count);
    for (let i = 0; i < count; i++) {
      const waiter = connection.waiter(request, i, name);
      const id = idText(ids, 32 * i);
      const known = this.pending.find(id);
      if (known !== undefined) {
        this.counts.joined++;
        this.pending.join(known, waiter);
        continue;
      }
      const at = spans[2 * i];
      // Too short for a head: the service says MALFORMED before the numbers matter.
      const whole = spans[2 * i + 1] >= TXN_HEADER_BYTES;
      const sender = whole ? senderOf(bytes, at) : 0;
      const sequence = whole ? sequenceOf(bytes, at) : 0;
      const pending = this.pending.add({ id, sender, sequence });
      pending.waiters.push(waiter);
      freshSpans.set([at, spans[2 * i + 1]], 2 * fresh.length);
      fresh.push(pending);
    }
    if (fresh.length > 0) this.submit(connection, { bytes, spans: freshSpans, fresh });
    return undefined;
  }

  private submit(
    connection: Connection,
    batch: { bytes: Uint8Array; spans: Uint32Array; fresh: Pending[] },
  ): void {
    const { bytes, spans, fresh } = batch;
    const count = fresh.length;
    const tags = Int32Array.from(fresh, ({ tag }) => tag);
    const times = new Float64Array(count).fill(performance.timeOrigin + performance.now());
    const statuses = new Uint8Array(count).fill(SUBMIT.FULL);
    const taken = { bytes, spans, count, tags, times };
    const end = this.service.submit(this.owner, taken, 0, statuses);
    let isFull = false;
    for (let i = 0; i < count; i++) {
      const status = i < end ? statuses[i] : SUBMIT.FULL;
      if (status === SUBMIT.ACCEPTED) continue;
      isFull ||= status === SUBMIT.FULL;
      this.settleRefused(fresh[i], status);
    }
    if (!isFull) return;
    connection.hold("queue");
    this.queueHeld.add(connection);
    this.queueTimer ??= setTimeout(() => this.releaseQueue(), QUEUE_RETRY_MS);
  }

  private settleRefused(pending: Pending, status: number): void {
    if (status === SUBMIT.SETTLED) {
      const id = Buffer.from(pending.id, "latin1");
      const outcome = this.service.lookup(pending.sender, pending.sequence, id);
      if (outcome !== undefined) {
        this.pending.settle(pending, RECEIPT.FINAL, outcome);
        return;
      }
    }
    // Pending elsewhere on this rank, or settled and just forgotten: asking again tells.
    const again =
      status === SUBMIT.FULL || status === SUBMIT.DUPLICATE_PENDING || status === SUBMIT.SETTLED;
    if (again) this.counts.retried++;
    else this.counts.refused++;
    this.pending.settle(pending, again ? RECEIPT.RETRY : RECEIPT.REFUSED, status);
  }

  private releaseQueue(): void {
    clearTimeout(this.queueTimer);
    this.queueTimer = undefined;
    const held = [...this.queueHeld];
    this.queueHeld.clear();
    for (const connection of held) this.proceed(connection, () => connection.release("queue"));
  }

  private onReceipts(batch: ReceiptBatch): void {
    const { count, tags, ids, outcomes } = batch;
    for (let i = 0; i < count; i++) {
      const pending = this.pending.at(tags[i]);
      if (pending === undefined || pending.id !== idText(ids, 32 * i)) continue;
      this.counts.receipts++;
      if (batch.level === "agreed") {
        this.pending.agree(pending);
        continue;
      }
      let outcome = outcomes[i];
      if (outcome === OUTCOME.DUPLICATE) {
        // The first receipt is its receipt.
        const id = ids.subarray(32 * i, 32 * i + 32);
        outcome = this.service.lookup(pending.sender, pending.sequence, id) ?? outcome;
      }
      this.pending.settle(pending, RECEIPT.FINAL, outcome);
    }
    const lastRound = this.service.lastRound();
    for (const connection of this.connections) {
      this.proceed(connection, () => connection.flush(lastRound));
    }
    if (this.queueHeld.size > 0) this.releaseQueue();
  }
}

/** A txnID as a Map's key: one character a byte. */
function idText(ids: Uint8Array, at: number): string {
  return Buffer.from(ids.buffer, ids.byteOffset + at, 32).toString("latin1");
}

/** Of an earlier run; anything that is no socket stays, and listening then fails. */
function removeSocket(path: string): void {
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket()) unlinkSync(path);
}

/**
 * The validator's Unix socket: takes connections of the users that may be ranks, hands their requests
 * over one by one and answers in order. Bounded: connections, unfinished frames, and one request at
 * a time a connection; whoever does not keep to it is hung up on.
 */
import { chmodSync, rmSync } from "node:fs";
import type { Socket, UnixSocketListener } from "bun";
import { BaashError, configurationError, EXIT, errorCode } from "../base/errors.ts";
import type { Packable } from "../ledger/codec.ts";
import { MEMBERS_MAX } from "../limits.ts";
import { peerOf } from "./peer.ts";
import { FrameReader, FrameWriter } from "./stream.ts";
import { decodeFrame, encodeFrame, isCount, OPERATIONS, type Operation } from "./wire.ts";

/** sun_path of Linux, its last zero byte included. */
const PATH_BYTES_MAX = 107;
const CONNECTIONS_MAX = MEMBERS_MAX + 16;
/** Of all unfinished frames: some records of full size beside many small ones. */
const HELD_BYTES_MAX = 512 << 20;
/** A frame that is begun is sent. */
const MID_FRAME_S = 30;

interface Peer {
  readonly reader: FrameReader;
  readonly writer: FrameWriter;
  busy: boolean;
  heldBytes: number;
}

export interface ServerOptions {
  readonly path: string;
  /** The users whose processes may connect. */
  readonly allowed: ReadonlySet<number>;
  handle(operation: Operation, args: readonly unknown[]): Promise<Packable[]>;
  say(code: string, sentence: string): void;
}

type Connection = Socket<Peer | undefined>;

export class ValidatorServer {
  private readonly options: ServerOptions;
  private readonly listener: UnixSocketListener<Peer | undefined>;
  private connections = 0;
  private heldBytes = 0;

  /** Throws VALIDATOR_PATH (exit 78) or VALIDATOR_LISTEN (exit 69). */
  constructor(options: ServerOptions) {
    this.options = options;
    this.listener = this.listen();
  }

  close(): void {
    this.listener.stop(true);
    rmSync(this.options.path, { force: true });
  }

  private listen(): UnixSocketListener<Peer | undefined> {
    const { path } = this.options;
    if (Buffer.byteLength(path) > PATH_BYTES_MAX) {
      const message = `The socket ${path} has a path of more than ${PATH_BYTES_MAX} bytes: choose a shorter one.`;
      throw configurationError("VALIDATOR_PATH", message, { path });
    }
    rmSync(path, { force: true });
    try {
      const listener = Bun.listen<Peer | undefined>({
        unix: path,
        socket: {
          open: (socket) => this.onOpen(socket),
          data: (socket, bytes) => this.onData(socket, bytes),
          drain: ({ data }) => data?.writer.drain(),
          timeout: (socket) => this.onTimeout(socket),
          close: (socket) => this.onClose(socket),
          error: (socket) => void socket.terminate(),
        },
      });
      // Whoever connects is asked who it is: the file need not keep anybody out.
      chmodSync(path, 0o666);
      return listener;
    } catch (cause) {
      throw new BaashError(
        "VALIDATOR_LISTEN",
        `The validator cannot listen on ${path} (${errorCode(cause)}): is the directory there and writable?`,
        { exitCode: EXIT.unavailable, data: { path }, cause },
      );
    }
  }

  private onOpen(socket: Connection): void {
    const peer = peerOf(socket as unknown as { fd: number });
    const { allowed, say } = this.options;
    if (peer === undefined || !allowed.has(peer.uid)) {
      say("PEER_REFUSED", `a process of user ${peer?.uid} is not let in; see --allow-uid`);
      socket.terminate();
      return;
    }
    if (this.connections >= CONNECTIONS_MAX) {
      say("PEER_REFUSED", `${CONNECTIONS_MAX} processes are connected already`);
      socket.terminate();
      return;
    }
    this.connections++;
    const writer = new FrameWriter({ write: (bytes) => socket.write(bytes) });
    socket.data = { reader: new FrameReader(), writer, busy: false, heldBytes: 0 };
  }

  private onClose(socket: Connection): void {
    if (socket.data === undefined) return;
    this.connections--;
    this.heldBytes -= socket.data.heldBytes;
    socket.data = undefined;
  }

  private onTimeout(socket: Connection): void {
    if (socket.data?.busy === false && socket.data.reader.heldBytes > 0) socket.terminate();
  }

  private onData(socket: Connection, bytes: Uint8Array): void {
    const { data } = socket;
    if (data === undefined) return;
    data.reader.push(bytes);
    this.count(data);
    if (this.heldBytes > HELD_BYTES_MAX) {
      this.options.say("PEER_REFUSED", "unfinished requests take too much memory");
      socket.terminate();
      return;
    }
    this.proceed(socket);
  }

  private count(data: Peer): void {
    this.heldBytes += data.reader.heldBytes - data.heldBytes;
    data.heldBytes = data.reader.heldBytes;
  }

  private proceed(socket: Connection): void {
    const { data } = socket;
    if (data === undefined || data.busy) return;
    const body = data.reader.next();
    this.count(data);
    if (body === undefined) {
      socket.timeout(data.reader.heldBytes > 0 ? MID_FRAME_S : 0);
      return;
    }
    const request = body === "too-large" ? undefined : decodeFrame(body);
    const [id, number, ...args] = request ?? [];
    const operation = OPERATIONS[number as number];
    if (!isCount(id) || !isCount(number) || operation === undefined) {
      this.options.say("PEER_REFUSED", "a request that is malformed");
      socket.terminate();
      return;
    }
    data.busy = true;
    socket.pause();
    this.answer(id, operation, args).then((frame) => {
      data.busy = false;
      if (socket.data !== data) return;
      data.writer.send(frame);
      socket.resume();
      this.proceed(socket);
    });
  }

  private async answer(
    id: number,
    operation: Operation,
    args: readonly unknown[],
  ): Promise<Uint8Array> {
    try {
      return encodeFrame([id, "", ...(await this.options.handle(operation, args))]);
    } catch (error) {
      // A bug that some bytes bring about must not end what all ranks need; nothing was linked.
      const code = error instanceof BaashError ? error.code : "INTERNAL";
      if (code === "INTERNAL") this.options.say(code, String((error as Error).stack ?? error));
      return encodeFrame([id, code, String((error as Error).message).slice(0, 1000)]);
    }
  }
}

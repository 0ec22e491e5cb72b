/**
 * A rank's end of the validator's socket: requests go out as they come, answers come back in order. A
 * connection that breaks fails what is under way with STORAGE_GONE, and the next request makes a new
 * one: the ledger goes on by itself when the validator is back.
 */
import type { Socket } from "bun";
import { BaashError, EXIT, errorCode } from "../base/errors.ts";
import type { Packable } from "../ledger/codec.ts";
import { FrameReader, FrameWriter } from "./stream.ts";
import { decodeFrame, encodeFrame, OPERATIONS, type Operation } from "./wire.ts";

interface Waiting {
  readonly id: number;
  resolve(values: unknown[]): void;
  reject(error: Error): void;
}

interface Link {
  readonly socket: Socket<undefined>;
  readonly writer: FrameWriter;
}

export class ValidatorConnection {
  private readonly path: string;
  private link: Promise<Link> | undefined;
  private readonly waiting: Waiting[] = [];
  private nextId = 0;
  private closed = false;

  constructor(path: string) {
    this.path = path;
  }

  /** Rejects with the validator's code, or with STORAGE_GONE. */
  async ask(operation: Operation, ...args: Packable[]): Promise<unknown[]> {
    if (this.closed) throw this.gone("this rank has closed it");
    this.link ??= this.connect();
    const { writer } = await this.link;
    const id = this.nextId++;
    const answer = new Promise<unknown[]>((resolve, reject) => {
      this.waiting.push({ id, resolve, reject });
    });
    writer.send(encodeFrame([id, OPERATIONS.indexOf(operation), ...args]));
    return await answer;
  }

  close(): void {
    this.closed = true;
    this.link?.then(
      ({ socket }) => socket.end(),
      () => {},
    );
  }

  private connect(): Promise<Link> {
    const reader = new FrameReader();
    let link: Link | undefined;
    const connecting: Promise<Link> = Bun.connect<undefined>({
      unix: this.path,
      socket: {
        data: (socket, bytes) => {
          reader.push(bytes);
          this.take(reader, () => socket.terminate());
        },
        drain: () => link?.writer.drain(),
        close: () => this.lost(connecting, "the connection broke"),
        error: (_socket, error) => this.lost(connecting, error.message),
      },
    }).then(
      (socket) => {
        const writer = new FrameWriter({ write: (bytes) => socket.write(bytes) });
        link = { socket, writer };
        return link;
      },
      (error) => {
        this.link = undefined;
        throw this.gone(errorCode(error));
      },
    );
    return connecting;
  }

  private take(reader: FrameReader, hangUp: () => void): void {
    for (;;) {
      const body = reader.next();
      if (body === undefined) return;
      const [id, code, ...values] = (body === "too-large" ? undefined : decodeFrame(body)) ?? [];
      const request = this.waiting.shift();
      if (request === undefined || request.id !== id || typeof code !== "string") {
        request?.reject(this.gone("its answer is malformed"));
        return hangUp();
      }
      if (code === "") request.resolve(values);
      else request.reject(new BaashError(code, String(values[0])));
    }
  }

  private lost(link: Promise<Link>, why: string): void {
    if (this.link !== link) return;
    this.link = undefined;
    for (const { reject } of this.waiting.splice(0)) reject(this.gone(why));
  }

  private gone(why: string): BaashError {
    return new BaashError(
      "STORAGE_GONE",
      `The storage validator at ${this.path} does not answer (${why}): is it running, and may this user connect? The ledger goes on by itself when it is back.`,
      { exitCode: EXIT.unavailable, data: { path: this.path } },
    );
  }
}

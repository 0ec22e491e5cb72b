/**
 * What the programs of this folder share: each runs as every rank of an MPI job, checks, and prints
 * one line of JSON that `mpi.test.ts` reads. A failed check ends the whole job with a message.
 */
import type { BaashError } from "../../../src/base/errors.ts";
import { type MpiTransportOptions, openMpiTransport } from "../../../src/transport/mpi.ts";
import type { Messages, Transport } from "../../../src/transport/transport.ts";

const MiB = 1024 * 1024;

export interface Inbox {
  readonly transport: Transport;
  onMessages: (batch: Messages) => void;
  onAllgather: (lane: number, parts: readonly Uint8Array[]) => void;
  onError: (error: BaashError) => void;
}

export async function openInbox(options: Partial<MpiTransportOptions> = {}): Promise<Inbox> {
  const transport = await openMpiTransport({
    lanes: 3,
    arenaBytes: 64 * MiB,
    messageBytesMax: 9 * MiB,
    ...(process.env.DOUBLING_FROM && { doublingFrom: Number(process.env.DOUBLING_FROM) }),
    ...options,
  });
  const inbox: Inbox = {
    transport,
    onMessages: () => {},
    onAllgather: () => {},
    onError: (error) => {
      fail(transport, `${error.code}: ${error.message}`);
    },
  };
  transport.handler = {
    onMessages: (batch) => inbox.onMessages(batch),
    onAllgather: (lane, parts) => inbox.onAllgather(lane, parts),
    onError: (error) => inbox.onError(error),
  };
  return inbox;
}

export function fail(transport: Transport, message: string): void {
  console.error(`rank ${transport.rank}: ${message}`);
  transport.abort(1);
}

export function expect(transport: Transport, condition: boolean, message: string): void {
  if (!condition) fail(transport, message);
}

export function print(result: Record<string, unknown>): void {
  console.log(JSON.stringify(result));
}

/** The byte at `index` of message `number` from `from` to `to`: cheap, and different everywhere. */
export function patternByte(from: number, to: number, number: number, index: number): number {
  return (from * 31 + to * 17 + number * 7 + index * 13 + (index >> 8)) & 0xff;
}

export function fillPattern(bytes: Uint8Array, from: number, to: number, number: number): void {
  for (let i = 8; i < bytes.length; i++) bytes[i] = patternByte(from, to, number, i);
}

/**
 * Jobs of the worker pool and their answers, as they go through the message rings: small messages
 * about blocks that stay where they are in shared memory. Both ends are our own code of the same
 * build, so nothing is checked here.
 */
import { pack, unpackScanned } from "../ledger/codec.ts";
import type { BuildRequest } from "./block-building.ts";
import type { CheckRequest } from "./block-checking.ts";

export function encodeBuildJob(request: BuildRequest): Uint8Array {
  const { setting } = request;
  return pack([
    setting.chainId,
    setting.epoch,
    setting.anchor,
    setting.round,
    setting.rank,
    setting.incarnation,
    setting.creationTime,
    setting.puzzleDifficulty,
    request.blockTransactions,
    request.blocksMax,
    request.bytesMax,
    request.partial ? 1 : 0,
  ]);
}

export function decodeBuildJob(bytes: Uint8Array): BuildRequest {
  const fields = unpackScanned(bytes) as [
    Uint8Array,
    Uint8Array,
    Uint8Array,
    number,
    number,
    Uint8Array,
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const [chainId, epoch, anchor, round, rank, incarnation, creationTime, puzzleDifficulty] = fields;
  return {
    setting: { chainId, epoch, anchor, round, rank, incarnation, creationTime, puzzleDifficulty },
    blockTransactions: fields[8],
    blocksMax: fields[9],
    bytesMax: fields[10],
    partial: fields[11] === 1,
  };
}

export function encodeCheckJob(ticket: number, request: CheckRequest): Uint8Array {
  const { proposal, difficulty, transactionsMax, anchor, slots } = request;
  return pack([ticket, proposal, difficulty, transactionsMax, anchor, slots]);
}

export function decodeCheckJob(bytes: Uint8Array): { ticket: number; request: CheckRequest } {
  const fields = unpackScanned(bytes) as [number, Uint8Array, number, number, Uint8Array, number[]];
  const [ticket, proposal, difficulty, transactionsMax, anchor, slots] = fields;
  return { ticket, request: { proposal, difficulty, transactionsMax, anchor, slots } };
}

export type PoolAnswer =
  | { type: "built"; round: number; blocks: number }
  | { type: "checked"; ticket: number; verdict: number }
  | { type: "check-failed"; ticket: number; error: string };

export function encodeAnswer(answer: PoolAnswer): Uint8Array {
  switch (answer.type) {
    case "built":
      return pack([0, answer.round, answer.blocks]);
    case "checked":
      return pack([1, answer.ticket, answer.verdict]);
    case "check-failed":
      return pack([2, answer.ticket, answer.error]);
  }
}

export function decodeAnswer(bytes: Uint8Array): PoolAnswer {
  const [type, first, second] = unpackScanned(bytes) as [number, number, number | string];
  if (type === 0) return { type: "built", round: first, blocks: Number(second) };
  if (type === 1) return { type: "checked", ticket: first, verdict: Number(second) };
  return { type: "check-failed", ticket: first, error: String(second) };
}

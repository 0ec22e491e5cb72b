/**
 * Votes: their digest, when one is opened, and the three-valued tally of a round. Pure.
 */
import { fromHex, toHex, writeU32, writeU64 } from "../base/bytes.ts";
import { kernels } from "../base/kernels.ts";
import { ANSWER, type EpochView, type ProposalName, type Vote } from "./effects.ts";

export function sha256Hex(bytes: Uint8Array): string {
  const out = new Uint8Array(32);
  kernels.sha256(bytes, 0, bytes.length, out, 0);
  return toHex(out);
}

/** SHA-256(u64 round ‖ answers ‖ the hash of every answer that is not ⊥, by rank). */
export function voteDigest(round: number, answers: Uint8Array, hashes: readonly string[]): string {
  const bytes = new Uint8Array(8 + answers.length + 32 * answers.length);
  writeU64(bytes, 0, round);
  bytes.set(answers, 8);
  let length = 8 + answers.length;
  for (let rank = 0; rank < answers.length; rank++) {
    if (answers[rank] === ANSWER.none) continue;
    bytes.set(fromHex(hashes[rank]), length);
    length += 32;
  }
  return sha256Hex(bytes.subarray(0, length));
}

/** True when a vote's answers and hashes have its digest: nobody can claim other hashes for it. */
export function opensVote(vote: Vote, hashes: readonly string[]): boolean {
  for (let rank = 0; rank < vote.answers.length; rank++) {
    if (vote.answers[rank] !== ANSWER.none && hashes[rank].length !== 64) return false;
  }
  return voteDigest(vote.round, vote.answers, hashes) === vote.digest;
}

/** Digest of the ordered names in a record: what DECIDED carries instead of the record. */
export function orderDigest(
  rounds: ReadonlyArray<{ round: number; order: readonly ProposalName[] }>,
): string {
  const names = rounds.reduce((sum, { order }) => sum + order.length, 0);
  const bytes = new Uint8Array(8 * rounds.length + 36 * names);
  let offset = 0;
  for (const { round, order } of rounds) {
    writeU64(bytes, offset, round);
    offset += 8;
    for (const { rank, hash } of order) {
      writeU32(bytes, offset, rank);
      bytes.set(fromHex(hash), offset + 4);
      offset += 36;
    }
  }
  return sha256Hex(bytes);
}

/** Order inside a round: rank rotated by the round number, so that no rank is always first. */
export function inRoundOrder(
  round: number,
  included: readonly ProposalName[],
  ranks: number,
): ProposalName[] {
  const place = ({ rank }: ProposalName) => (rank - (round % ranks) + ranks) % ranks;
  return [...included].sort((a, b) => place(a) - place(b));
}

export type Standing = "won" | "lost" | "pending";

export interface Candidate extends ProposalName {
  readonly yes: number;
  readonly no: number;
  readonly standing: Standing;
}

/**
 * Tally of the opened votes: won with w yes, lost when the members yet to answer cannot make it w
 * any more, pending in between. Returns every hash that a vote names, by rank.
 */
export function tally(votes: readonly (Vote | undefined)[], epoch: EpochView): Candidate[] {
  const counts = new Map<string, { rank: number; hash: string; yes: number; no: number }>();
  let opened = 0;
  for (const vote of votes) {
    if (vote?.hashes === undefined) continue;
    opened++;
    for (let rank = 0; rank < epoch.ranks; rank++) {
      const answer = vote.answers[rank];
      if (answer === ANSWER.none) continue;
      const hash = vote.hashes[rank];
      const key = `${rank}:${hash}`;
      let count = counts.get(key);
      if (count === undefined) counts.set(key, (count = { rank, hash, yes: 0, no: 0 }));
      if (answer === ANSWER.yes) count.yes++;
      else count.no++;
    }
  }
  const unknown = epoch.ranks - opened;
  const candidates: Candidate[] = [];
  for (const { rank, hash, yes, no } of counts.values()) {
    const standing: Standing =
      yes >= epoch.winVotes ? "won" : yes + unknown < epoch.winVotes ? "lost" : "pending";
    candidates.push({ rank, hash, yes, no, standing });
  }
  return candidates.sort((a, b) => a.rank - b.rank);
}

/** How many votes of a round are opened. */
export function openedCount(votes: readonly (Vote | undefined)[]): number {
  let opened = 0;
  for (const vote of votes) if (vote?.hashes !== undefined) opened++;
  return opened;
}

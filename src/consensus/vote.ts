/**
 * Votes: their digest, when one is opened, and the three-valued tally of a round. Pure.
 */
import { toHex, writeU32, writeU64 } from "../base/bytes.ts";
import { kernels } from "../base/kernels.ts";
import { ANSWER, type EpochView, type ProposalName, type Vote } from "./effects.ts";

const HASH_CHARS = 64;
const digest = new Uint8Array(32);

function sha256Hex(bytes: Uint8Array, length: number): string {
  kernels.sha256(bytes, 0, length, digest, 0);
  return toHex(digest);
}

/** Value of a hexadecimal digit by its character code; the hashes here are lower-case. */
const nibble = (code: number) => (code < 58 ? code - 48 : code - 87);

/** Writes 32 bytes of a hash without a string or an array in between: digests are on the hot path. */
function writeHash(bytes: Uint8Array, offset: number, hash: string): void {
  for (let i = 0; i < 32; i++) {
    const high = nibble(hash.charCodeAt(2 * i));
    bytes[offset + i] = (high << 4) | nibble(hash.charCodeAt(2 * i + 1));
  }
}

let buffer = new Uint8Array(8 + 33 * 64);

function bufferOf(length: number): Uint8Array {
  if (buffer.length < length) buffer = new Uint8Array(2 * length);
  return buffer;
}

/** SHA-256(u64 round ‖ answers ‖ the hash of every answer that is not ⊥, by rank). */
export function voteDigest(round: number, answers: Uint8Array, hashes: readonly string[]): string {
  const bytes = bufferOf(8 + 33 * answers.length);
  writeU64(bytes, 0, round);
  bytes.set(answers, 8);
  let length = 8 + answers.length;
  for (let rank = 0; rank < answers.length; rank++) {
    if (answers[rank] === ANSWER.none) continue;
    writeHash(bytes, length, hashes[rank]);
    length += 32;
  }
  return sha256Hex(bytes, length);
}

/** True when a vote's answers and hashes have its digest: nobody can claim other hashes for it. */
export function opensVote(vote: Vote, hashes: readonly string[]): boolean {
  for (let rank = 0; rank < vote.answers.length; rank++) {
    if (vote.answers[rank] !== ANSWER.none && hashes[rank].length !== HASH_CHARS) return false;
  }
  return voteDigest(vote.round, vote.answers, hashes) === vote.digest;
}

/** Digest of the ordered names in a record: what DECIDED carries instead of the record. */
export function orderDigest(
  rounds: ReadonlyArray<{ round: number; order: readonly ProposalName[] }>,
): string {
  const names = rounds.reduce((sum, { order }) => sum + order.length, 0);
  const bytes = bufferOf(8 * rounds.length + 36 * names);
  let length = 0;
  for (const { round, order } of rounds) {
    writeU64(bytes, length, round);
    length += 8;
    for (const { rank, hash } of order) {
      writeU32(bytes, length, rank);
      writeHash(bytes, length + 4, hash);
      length += 36;
    }
  }
  return sha256Hex(bytes, length);
}

/** Order inside a round: rank rotated by the round number, so that no rank is always first. */
export function inRoundOrder(
  round: number,
  included: readonly ProposalName[],
  ranks: number,
): ProposalName[] {
  if (ascends(included)) {
    const first = included.findIndex(({ rank }) => rank >= round % ranks);
    return first < 0 ? [...included] : [...included.slice(first), ...included.slice(0, first)];
  }
  const place = ({ rank }: ProposalName) => (rank - (round % ranks) + ranks) % ranks;
  return [...included].sort((a, b) => place(a) - place(b));
}

function ascends(names: readonly ProposalName[]): boolean {
  for (let i = 1; i < names.length; i++) if (names[i].rank <= names[i - 1].rank) return false;
  return true;
}

export type Standing = "won" | "lost" | "pending";

/**
 * Won with w yes; lost when the members yet to answer cannot make it w any more; pending in
 * between. `answered` counts the opened votes.
 */
export function standingOf(yes: number, answered: number, epoch: EpochView): Standing {
  if (yes >= epoch.winVotes) return "won";
  return yes + (epoch.ranks - answered) < epoch.winVotes ? "lost" : "pending";
}

/**
 * What a lying member may say. Its own rank is the production one and holds its keys; the mouth
 * between the rank and the network says something else, or more, or nothing.
 */
import { readU64, writeU64 } from "../../src/base/bytes.ts";
import type { Random } from "../../src/base/random.ts";
import { ANSWER, type Vote } from "../../src/consensus/effects.ts";
import { voteDigest } from "../../src/consensus/vote.ts";
import { PROPOSAL_HEADER_BYTES } from "../../src/ledger/proposal.ts";
import type { RankContext } from "../../src/rank/context.ts";
import {
  decodeVote,
  ENVELOPE_BYTES,
  encodeVote,
  MESSAGE,
  PROPOSAL_HEADER_AT,
} from "../../src/rank/envelope.ts";
import type { RankProcess } from "../../src/simulation/rank-process.ts";

/** One message: to whom, and what. */
export type Said = readonly [to: number, bytes: Uint8Array];
/** What becomes of a message that the rank wants to send to `to`. */
export type Rule = (bytes: Uint8Array, to: number, context: RankContext) => readonly Said[];

/** Passes all that the rank sends through `rules`, by type. Answers a way past them. */
export function mouthOf(
  liar: RankProcess,
  rules: Partial<Record<number, Rule>>,
): (to: number, bytes: Uint8Array) => void {
  const { transport } = liar;
  const send = transport.send.bind(transport);
  const say = (to: number, bytes: Uint8Array) => {
    const context = liar.loop?.context;
    const rule = rules[bytes[0]];
    if (rule === undefined || context === undefined) return send(to, bytes);
    for (const [whom, what] of rule(bytes, to, context)) send(whom, what);
  };
  transport.send = say;
  transport.sendMany = (to, bytes) => {
    for (const one of to) say(one, bytes);
  };
  return send;
}

/** Everything that the liar says and hears goes through `note` as well. */
export function overhear(liar: RankProcess, note: (bytes: Uint8Array) => void): void {
  const rules: Partial<Record<number, Rule>> = {};
  for (const type of Object.values(MESSAGE))
    rules[type] = (bytes, to) => {
      note(bytes);
      return [[to, bytes]];
    };
  mouthOf(liar, rules);
  const { loop } = liar;
  const open = loop as unknown as { onMessage(from: number, bytes: Uint8Array): void };
  const hear = open.onMessage.bind(loop);
  open.onMessage = (from, bytes) => {
    note(bytes);
    hear(from, bytes);
  };
}

/** The liar lies anew every so many ms, as long as it is a member. */
export function keepLying(
  liar: RankProcess,
  everyMs: number,
  lie: (context: RankContext, others: readonly number[]) => void,
): void {
  const again = () => {
    const context = liar.loop?.context;
    if (context !== undefined) {
      const { session } = context;
      lie(context, session.processesOf(session.others));
    }
    liar.clock.schedule(liar.clock.now() + everyMs, again);
  };
  again();
}

/** Another proposal of the same round: the same blocks, made at another time. */
export function otherProposal(envelope: Uint8Array, context: RankContext): Uint8Array {
  const other = envelope.slice();
  const header = other.subarray(PROPOSAL_HEADER_AT, PROPOSAL_HEADER_AT + PROPOSAL_HEADER_BYTES);
  writeU64(header, 104, readU64(header, 104) + 1);
  const signature = context.signing?.signProposal(header);
  if (signature !== undefined) other.set(signature, other.length - signature.length);
  context.session.seal.sign(other, MESSAGE.proposal, PROPOSAL_HEADER_AT, header.length);
  return other;
}

export function voteIn(envelope: Uint8Array, context: RankContext): Vote {
  return decodeVote(envelope.subarray(ENVELOPE_BYTES), context.session.ranks)!;
}

/** A vote as `rank` would send it, signed by this liar. */
export function sealedVote(vote: Vote, context: RankContext): Uint8Array {
  const { session, signing } = context;
  return session.seal.wrap(MESSAGE.vote, encodeVote(vote, true, signing?.signVote(vote)));
}

/** The same vote with other answers. */
export function answering(vote: Vote, answer: (own: number, rank: number) => number): Vote {
  const answers = vote.answers.map(answer);
  const known = vote.hashes ?? [];
  const hashes = Array.from(answers, (each, rank) =>
    each === ANSWER.none ? "" : known[rank] || "ab".repeat(32),
  );
  return { ...vote, answers, hashes, digest: voteDigest(vote.round, answers, hashes) };
}

/** Bytes that mean nothing. */
export function garbage(random: Random, bytesMax: number): Uint8Array {
  const bytes = new Uint8Array(1 + random.nextBelow(bytesMax));
  random.fill(bytes);
  return bytes;
}

/** One byte of a message is another one, and its MAC fits again: malformed, and authentic. */
export function bent(envelope: Uint8Array, context: RankContext, random: Random): Uint8Array {
  const copy = envelope.slice();
  if (copy.length <= ENVELOPE_BYTES) return copy;
  const at = ENVELOPE_BYTES + random.nextBelow(copy.length - ENVELOPE_BYTES);
  copy[at] = random.nextBelow(256);
  const type = copy[0];
  if (type === MESSAGE.proposal) {
    if (copy.length >= PROPOSAL_HEADER_AT + PROPOSAL_HEADER_BYTES)
      context.session.seal.sign(copy, type, PROPOSAL_HEADER_AT, PROPOSAL_HEADER_BYTES);
  } else context.session.seal.sign(copy, type, ENVELOPE_BYTES, copy.length - ENVELOPE_BYTES);
  return copy;
}

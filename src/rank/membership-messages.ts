/**
 * Bodies of the messages that change who takes part: signs of life and accusations, the pull and
 * the answers of a SEAL, cards and welcomes, healing and fresh lanes. Decoders answer undefined for
 * anything malformed; envelopes and MACs are envelope.ts's.
 */
import { fromHex, toHex } from "../base/bytes.ts";
import type { SealAnswer, SealPull, Vote } from "../consensus/effects.ts";
import { pack, scanMessagePack, unpackScanned } from "../ledger/codec.ts";
import { SIGNATURE_BYTES } from "../ledger/keys.ts";
import { VERDICT } from "../ledger/verdict.ts";
import { MEMBERS_MAX, UNRECORDED_ROUNDS_MAX } from "../limits.ts";
import {
  ANSWER_BYTES_MAX,
  decodeVote,
  encodeVote,
  isBytes,
  isCount,
  unpackBody,
  type VoteMessage,
} from "./envelope.ts";
import { CARD_BYTES_MAX } from "./roster.ts";

/** A body that says nothing but its type. */
export const EMPTY_BODY: Uint8Array = pack([]);

export interface Accusation {
  readonly rank: number;
  /** Its process has ended; else it is silent. */
  readonly certain: boolean;
  /** Taken back: it was heard again. */
  readonly withdrawn: boolean;
}

export function encodeAccusation({ rank, certain, withdrawn }: Accusation): Uint8Array {
  return pack([rank, (certain ? 1 : 0) | (withdrawn ? 2 : 0)]);
}

export function decodeAccusation(body: Uint8Array, ranks: number): Accusation | undefined {
  const fields = unpackBody(body);
  if (fields?.length !== 2) return undefined;
  const [rank, flags] = fields;
  if (!isCount(rank) || rank >= ranks || !isCount(flags) || flags > 3) return undefined;
  return { rank, certain: (flags & 1) !== 0, withdrawn: (flags & 2) !== 0 };
}

const areRanks = (value: unknown, ranks: number): value is number[] =>
  Array.isArray(value) && value.every((rank) => isCount(rank) && rank < ranks);

export function encodeSealPull(pull: SealPull): Uint8Array {
  return pack([[...pull.evict], pull.admit.map(fromHex), pull.lastRound]);
}

export function decodeSealPull(body: Uint8Array, ranks: number): SealPull | undefined {
  const fields = unpackBody(body);
  if (fields?.length !== 3) return undefined;
  const [evict, admit, lastRound] = fields;
  if (!areRanks(evict, ranks) || !isCount(lastRound)) return undefined;
  if (!Array.isArray(admit) || !admit.every((incarnation) => isBytes(incarnation, 8)))
    return undefined;
  return { evict, admit: (admit as Uint8Array[]).map((bytes) => toHex(bytes)), lastRound };
}

/** An answer as it travels. */
export interface SealAnswerMessage extends SealAnswer {
  readonly votes: readonly VoteMessage[];
  /** Its author's, in a byzantine epoch. */
  readonly signature?: Uint8Array | undefined;
}

/** `signed`, in a byzantine epoch: the author's signatures of the answer and of each vote. */
export function encodeSealAnswer(
  answer: SealAnswer,
  signed?: { answer: Uint8Array; vote(vote: Vote): Uint8Array | undefined },
): Uint8Array {
  return pack([
    answer.rank,
    answer.headSlot,
    answer.lastVoted,
    answer.effectsSlot,
    fromHex(answer.effectsDigest),
    answer.votes.map((vote) => encodeVote(vote, true, signed?.vote(vote))),
    ...(signed === undefined ? [] : [signed.answer]),
  ]);
}

const ANSWER_LIMITS = {
  depthMax: 3,
  itemsMax: 4 * UNRECORDED_ROUNDS_MAX,
  bytesMax: ANSWER_BYTES_MAX,
};

export function decodeSealAnswer(body: Uint8Array, ranks: number): SealAnswerMessage | undefined {
  if (scanMessagePack(body, 0, body.length, ANSWER_LIMITS) !== VERDICT.OK) return undefined;
  const fields = unpackScanned(body);
  if (!Array.isArray(fields) || (fields.length !== 6 && fields.length !== 7)) return undefined;
  const [rank, headSlot, lastVoted, effectsSlot, effectsDigest, list, signature] = fields;
  if (fields.length === 7 && !isBytes(signature, SIGNATURE_BYTES)) return undefined;
  if (!isCount(rank) || rank >= ranks || !isCount(headSlot) || !isCount(lastVoted))
    return undefined;
  if (!isCount(effectsSlot) || !isBytes(effectsDigest, 32) || !Array.isArray(list))
    return undefined;
  if (list.length > UNRECORDED_ROUNDS_MAX) return undefined;
  const votes: VoteMessage[] = [];
  for (const bytes of list) {
    const vote = bytes instanceof Uint8Array ? decodeVote(bytes, ranks) : undefined;
    if (vote === undefined || vote.rank !== rank) return undefined;
    // A vote that answers ⊥ to all names no hash, and so it is opened as it is.
    vote.hashes ??= new Array<string>(ranks).fill("");
    votes.push(vote);
  }
  return {
    rank,
    headSlot,
    lastVoted,
    votes,
    effectsSlot,
    effectsDigest: toHex(effectsDigest),
    signature: (signature as Uint8Array | undefined)?.slice(),
  };
}

export interface Welcome {
  /** The SEAL that let the newcomer in. */
  readonly slot: number;
  readonly epoch: Uint8Array;
  /** The job's master secret, boxed for the newcomer with the epoch as its context. */
  readonly box: Uint8Array;
  /** Cards of the members, as they travel. */
  readonly cards: readonly Uint8Array[];
}

const WELCOME_LIMITS = {
  depthMax: 2,
  itemsMax: MEMBERS_MAX + 8,
  bytesMax: (MEMBERS_MAX + 1) * CARD_BYTES_MAX,
};

export function encodeWelcome({ slot, epoch, box, cards }: Welcome): Uint8Array {
  return pack([slot, epoch, box, [...cards]]);
}

export function decodeWelcome(body: Uint8Array): Welcome | undefined {
  if (scanMessagePack(body, 0, body.length, WELCOME_LIMITS) !== VERDICT.OK) return undefined;
  const fields = unpackScanned(body);
  if (!Array.isArray(fields) || fields.length !== 4) return undefined;
  const [slot, epoch, box, cards] = fields;
  if (!isCount(slot) || !isBytes(epoch, 32) || !isBytes(box) || !Array.isArray(cards))
    return undefined;
  if (!cards.every((card) => isBytes(card))) return undefined;
  return { slot, epoch, box, cards };
}

/** All members start `count` replacements together; `attempt` tells the attempts apart. */
export interface Heal {
  readonly attempt: number;
  readonly count: number;
}

export function encodeHeal({ attempt, count }: Heal): Uint8Array {
  return pack([attempt, count]);
}

export function decodeHeal(body: Uint8Array): Heal | undefined {
  const fields = unpackBody(body);
  if (fields?.length !== 2) return undefined;
  const [attempt, count] = fields;
  if (!isCount(attempt) || !isCount(count) || count === 0 || count > MEMBERS_MAX) return undefined;
  return { attempt, count };
}

/** `round` undefined: this member's fresh lanes are ready; else all use them from that round on. */
export function encodeLanes(round: number | undefined): Uint8Array {
  return pack(round === undefined ? [] : [round]);
}

export function decodeLanes(body: Uint8Array): { round: number | undefined } | undefined {
  const fields = unpackBody(body);
  if (fields === undefined || fields.length > 1) return undefined;
  if (fields.length === 1 && !isCount(fields[0])) return undefined;
  return { round: fields[0] as number | undefined };
}

/**
 * What this rank signs in one byzantine epoch, and how what the others signed is verified: 27 µs and
 * 80 µs a signature, so each is made and verified once. A majority epoch has none of this. Main
 * thread.
 */
import type { KeyObject } from "node:crypto";
import { fromHex } from "../base/bytes.ts";
import type { SealAnswer, Vote } from "../consensus/effects.ts";
import { importSigningKey, signMessage, verifySignature } from "../ledger/keys.ts";
import {
  type AnswerStatement,
  answerMessage,
  proposalMessage,
  type StatementPlace,
  voteMessage,
} from "../ledger/statements.ts";
import type { Identity } from "./roster.ts";
import type { Session } from "./session.ts";

export class Signing {
  /** Where everything that is signed here holds. */
  readonly place: StatementPlace;
  private readonly privateKey: KeyObject;
  private readonly session: Session;
  /** By member; imported when the first statement of it comes. */
  private readonly keys: (KeyObject | undefined)[];

  constructor(chainId: Uint8Array, session: Session, identity: Identity) {
    this.place = { chainId, epoch: session.epoch };
    this.privateKey = identity.signing.privateKey;
    this.session = session;
    this.keys = new Array(session.ranks).fill(undefined);
  }

  signProposal(header: Uint8Array): Uint8Array {
    return signMessage(this.privateKey, proposalMessage(header));
  }

  signVote(vote: Vote): Uint8Array {
    return signMessage(this.privateKey, this.voteMessage(vote));
  }

  signAnswer(answer: AnswerStatement): Uint8Array {
    return signMessage(this.privateKey, answerMessage(this.place, answer));
  }

  /** True when `rank` signed the proposal that has this header. */
  signedProposal(rank: number, header: Uint8Array, signature: Uint8Array): boolean {
    return this.signed(rank, proposalMessage(header), signature);
  }

  /** True when the vote is signed by whom it names. */
  signedVote(vote: Vote, signature: Uint8Array): boolean {
    return this.signed(vote.rank, this.voteMessage(vote), signature);
  }

  signedAnswer(answer: AnswerStatement, signature: Uint8Array): boolean {
    return this.signed(answer.rank, answerMessage(this.place, answer), signature);
  }

  private signed(rank: number, message: Uint8Array, signature: Uint8Array): boolean {
    const key = (this.keys[rank] ??= importSigningKey(this.session.members[rank].publicKey));
    return key !== undefined && verifySignature(key, message, signature);
  }

  private voteMessage({ round, rank, digest, effectsSlot, effectsDigest }: Vote): Uint8Array {
    const effects = { effectsSlot, effectsDigest: fromHex(effectsDigest) };
    return voteMessage(this.place, { round, rank, digest: fromHex(digest), ...effects });
  }
}

/** The part of an answer to a SEAL's pull that is signed. */
export function statementOf(answer: SealAnswer): AnswerStatement {
  const { rank, lastVoted, effectsSlot, effectsDigest } = answer;
  return { rank, lastVoted, effectsSlot, effectsDigest: fromHex(effectsDigest) };
}

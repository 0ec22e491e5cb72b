/**
 * What the members of one epoch have said, so that nobody says two things: the first vote and the
 * first proposal of each member in each open round, and its answer to the pull of a SEAL. What
 * contradicts them never reaches the core. In a byzantine epoch every statement is verified here,
 * once, and two that contradict each other convict their author; what is kept is what a record shows
 * as signed. Bounded by the open rounds. Main thread.
 */
import { fromHex, toHex } from "../base/bytes.ts";
import type { ProposalName, RoundSettlement, Vote } from "../consensus/effects.ts";
import type { Evidence, SignedVote } from "../ledger/evidence.ts";
import { SIGNATURE_BYTES } from "../ledger/keys.ts";
import { isVoter, type SettledRound, type SignedAnswer } from "../ledger/settlement.ts";
import { recordedVoteDigest } from "../ledger/statements.ts";
import { UNRECORDED_ROUNDS_MAX } from "../limits.ts";
import type { RankContext } from "./context.ts";
import type { VoteMessage } from "./envelope.ts";
import type { SealAnswerMessage } from "./membership-messages.ts";
import { statementOf } from "./signing.ts";

/**
 * What becomes of a statement. "good": the core may have it. "early", "late": not of an open round.
 * "forged": not signed by whom it names. "contradicts": its author has said something else.
 */
export type Standing = "good" | "early" | "late" | "forged" | "contradicts";

interface SaidVote {
  readonly digest: string;
  readonly effectsSlot: number;
  readonly effectsDigest: string;
  /** None in a majority epoch. */
  readonly signature?: Uint8Array | undefined;
}

interface SaidProposal {
  /** The 152 bytes. */
  readonly header: Uint8Array;
  readonly hash: string;
  readonly signature: Uint8Array | undefined;
}

interface SaidInRound {
  /** By member. */
  readonly votes: (SaidVote | undefined)[];
  readonly proposals: (SaidProposal | undefined)[];
  /** Members of whom another proposal was asked for. */
  readonly asked: Set<number>;
}

type Parts = Pick<RankContext, "core" | "session" | "chain" | "signing">;
type Contradiction =
  | Pick<Extract<Evidence, { kind: "proposals" }>, "kind" | "first" | "second">
  | Pick<Extract<Evidence, { kind: "votes" }>, "kind" | "first" | "second">
  | Pick<Extract<Evidence, { kind: "frozen" }>, "kind" | "first" | "second">;

export class EvidenceWatch {
  private readonly rank: Parts;
  private readonly convict: (evidence: Evidence) => void;
  private readonly rounds = new Map<number, SaidInRound>();
  /** By member: what those said who were asked for a SEAL, signed. */
  private readonly answers = new Map<number, SignedAnswer>();
  /** This rank has asked for answers: others' are not awaited. */
  private asked = false;
  private ownLast = 0;

  /** `convict` is told of every contradiction that is signed. */
  constructor(rank: Parts, convict: (evidence: Evidence) => void) {
    this.rank = rank;
    this.convict = convict;
  }

  // Votes.

  /** Own vote, as it is cast or sent again. Answers the signature that goes with it. */
  ownVote(vote: Vote): Uint8Array | undefined {
    const { signing } = this.rank;
    const { votes } = this.of(vote.round);
    const said = votes[vote.rank];
    if (said !== undefined) return said.signature;
    const { digest, effectsSlot, effectsDigest } = vote;
    const signature = signing?.signVote(vote);
    votes[vote.rank] = { digest, effectsSlot, effectsDigest, signature };
    this.ownLast = Math.max(this.ownLast, vote.round);
    return signature;
  }

  /** A vote of another member, from itself. */
  vote(vote: VoteMessage): Standing {
    const { round, rank } = vote;
    const window = this.window(round);
    if (window !== "good") return window;
    const { signing } = this.rank;
    const { votes } = this.of(round);
    const first = votes[rank];
    // The hashes that open it may come later; what it says is its digest.
    if (first !== undefined && sameVote(first, vote)) return "good";
    if (signing !== undefined) {
      const { signature } = vote;
      if (signature === undefined || !signing.signedVote(vote, signature)) return "forged";
      if (this.isAfterAnswer(vote, signature)) return "contradicts";
    }
    if (first === undefined) {
      const { digest, effectsSlot, effectsDigest, signature } = vote;
      votes[rank] = { digest, effectsSlot, effectsDigest, signature };
      return "good";
    }
    // A vote that was sent again may tell of a newer state: that is no contradiction.
    if (first.digest === vote.digest && first.effectsSlot !== vote.effectsSlot) return "good";
    if (signing !== undefined) {
      const [one, two] = [signedVote(round, first), signedVote(round, vote)];
      this.contradiction(rank, { kind: "votes", first: one, second: two });
    }
    return "contradicts";
  }

  /** The signature under a vote that this rank knows; undefined for the ⊥ of one that froze before. */
  signatureOf(vote: Vote): Uint8Array | undefined {
    const said = this.rounds.get(vote.round)?.votes[vote.rank];
    return said !== undefined && sameVote(said, vote) ? said.signature : undefined;
  }

  // Proposals.

  /** An authentic header of an open round, from whomever. */
  proposal(
    name: { readonly round: number; readonly rank: number; readonly hash: string },
    header: Uint8Array,
    signature: Uint8Array | undefined,
  ): Standing {
    const { round, rank, hash } = name;
    const { signing } = this.rank;
    const { proposals } = this.of(round);
    const first = proposals[rank];
    if (first?.hash === hash) return "good";
    if (signing !== undefined) {
      const isSigned = signature !== undefined && signing.signedProposal(rank, header, signature);
      if (!isSigned) return "forged";
    }
    if (first === undefined) {
      proposals[rank] = { header: header.slice(), hash, signature: signature?.slice() };
      return "good";
    }
    if (signing !== undefined) {
      const [one, two] = [first, { header: header.slice(), signature: signature!.slice() }];
      const { header: before, signature: under } = one;
      const earlier = { header: before, signature: under! };
      this.contradiction(rank, { kind: "proposals", first: earlier, second: two });
    }
    return "contradicts";
  }

  /**
   * Other proposals than those known here, named by an opened vote: whoever voted on one can show it,
   * and what its author signed twice. Each rank of a round is asked after once.
   */
  clashes({ round, hashes }: VoteMessage): ProposalName[] {
    const said = this.rank.signing && this.rounds.get(round);
    if (said === undefined || hashes === undefined) return [];
    const names: ProposalName[] = [];
    for (const [rank, hash] of hashes.entries()) {
      const known = said.proposals[rank];
      if (hash === "" || known === undefined || known.hash === hash || said.asked.has(rank))
        continue;
      said.asked.add(rank);
      names.push({ rank, hash });
    }
    return names;
  }

  /** What a record that counts shows: a member may have told its author something else. */
  recorded(settled: SettledRound): void {
    const said = this.rounds.get(settled.round);
    if (said === undefined) return;
    for (const { answers, voters, signatures, effectsSlot, effectsDigest } of settled.votes) {
      if (signatures === undefined) return;
      const digest = toHex(recordedVoteDigest(settled, answers));
      let at = 0;
      for (const [rank, known] of said.votes.entries()) {
        if (!isVoter(voters, rank)) continue;
        const signature = signatures.slice(at, (at += SIGNATURE_BYTES));
        const shown = { digest, effectsSlot, effectsDigest: toHex(effectsDigest), signature };
        const isTold = known === undefined || sameVote(known, shown);
        const isOlder = known?.digest === digest && known.effectsSlot !== effectsSlot;
        if (isTold || isOlder || signature.every((byte) => byte === 0)) continue;
        const [one, two] = [signedVote(settled.round, known), signedVote(settled.round, shown)];
        this.contradiction(rank, { kind: "votes", first: one, second: two });
      }
    }
  }

  // Answers to the pull of a SEAL.

  /** This rank asks for answers from now on. */
  askForAnswers(): void {
    this.asked = true;
  }

  /**
   * An answer of another member, from itself: its votes must be those of every round that is open
   * here, up to its last, and each must be good. The first one of a member counts: what the core makes
   * of it has to be what its author signed.
   */
  answer(answer: SealAnswerMessage): Standing {
    const { signing } = this.rank;
    if (signing === undefined) return "good";
    const { rank, lastVoted, signature } = answer;
    if (!this.asked || !this.covers(answer)) return "late";
    const first = this.answers.get(rank);
    if (first !== undefined) {
      const statement = statementOf(answer);
      const isSame =
        first.lastVoted === lastVoted &&
        first.effectsSlot === statement.effectsSlot &&
        toHex(first.effectsDigest) === answer.effectsDigest;
      return isSame ? "good" : "late";
    }
    const statement = statementOf(answer);
    if (signature === undefined || !signing.signedAnswer(statement, signature)) return "forged";
    const { effectsSlot, effectsDigest } = statement;
    const signed = { lastVoted, effectsSlot, effectsDigest, signature };
    for (const vote of answer.votes) {
      const standing = this.vote(vote);
      if (standing !== "good" && standing !== "late") return standing;
    }
    if (this.votedAfter(rank, signed)) return "contradicts";
    this.answers.set(rank, signed);
    return "good";
  }

  /** Votes of every round after the last that is settled here, if it is as far as this rank is. */
  private covers({ lastVoted, votes, headSlot }: SealAnswerMessage): boolean {
    let next = votes.length > 0 ? votes[0].round : lastVoted + 1;
    const isAhead = headSlot > this.rank.chain.slot;
    if (next > this.rank.core.settled + 1 && !isAhead) return false;
    for (const { round } of votes) if (round !== next++) return false;
    return next === lastVoted + 1;
  }

  /** It has voted in a round after the one that it says was its last. */
  private votedAfter(rank: number, answer: SignedAnswer): boolean {
    for (const [round, { votes }] of this.rounds) {
      const said = votes[rank];
      if (said === undefined || round <= answer.lastVoted) continue;
      this.contradiction(rank, { kind: "frozen", first: answer, second: signedVote(round, said) });
      return true;
    }
    return false;
  }

  private isAfterAnswer(vote: VoteMessage, signature: Uint8Array): boolean {
    const answer = this.answers.get(vote.rank);
    if (answer === undefined || vote.round <= answer.lastVoted) return false;
    const second = signedVote(vote.round, { ...vote, signature });
    this.contradiction(vote.rank, { kind: "frozen", first: answer, second });
    return true;
  }

  /** What a SEAL carries for `answers`: signed by each of them, by this rank as well. */
  signedAnswers(
    answers: readonly number[],
    settlement: readonly RoundSettlement[],
  ): SignedAnswer[] | undefined {
    const { signing, session } = this.rank;
    if (signing === undefined) return undefined;
    return answers.map((rank) => {
      if (rank !== session.self) return this.answers.get(rank)!;
      const statement = { rank, lastVoted: this.ownLastVoted, ...this.ownEffects(settlement) };
      const { lastVoted, effectsSlot, effectsDigest } = statement;
      const signature = signing.signAnswer(statement);
      return { lastVoted, effectsSlot, effectsDigest, signature };
    });
  }

  hasAnswerOf(rank: number): boolean {
    return rank === this.rank.session.self || this.answers.has(rank);
  }

  private get ownLastVoted(): number {
    return Math.max(this.ownLast, this.rank.core.settled);
  }

  /** As the core told of them where it has this rank be ⊥; else the newest. */
  private ownEffects(settlement: readonly RoundSettlement[]) {
    const { session, chain } = this.rank;
    for (const { votes } of settlement) {
      const silent = votes.find(
        (vote) => vote.rank === session.self && this.signatureOf(vote) === undefined,
      );
      if (silent === undefined) continue;
      const { effectsSlot, effectsDigest } = silent;
      return { effectsSlot, effectsDigest: fromHex(effectsDigest) };
    }
    return { effectsSlot: Math.max(0, chain.slot), effectsDigest: fromHex(chain.effectsDigest) };
  }

  // What is kept.

  private window(round: number): Standing {
    const { settled } = this.rank.core;
    if (round <= settled) return "late";
    return round > settled + UNRECORDED_ROUNDS_MAX ? "early" : "good";
  }

  private of(round: number): SaidInRound {
    let said = this.rounds.get(round);
    if (said === undefined) {
      const { settled } = this.rank.core;
      for (const known of this.rounds.keys()) if (known <= settled) this.rounds.delete(known);
      const { ranks } = this.rank.session;
      const nobody = () => new Array(ranks).fill(undefined);
      said = { votes: nobody(), proposals: nobody(), asked: new Set() };
      this.rounds.set(round, said);
    }
    return said;
  }

  private contradiction(rank: number, how: Contradiction): void {
    const { session, chain } = this.rank;
    const member = session.members[rank];
    this.convict({ chainId: chain.chainId, member, epoch: session.epoch, ...how } as Evidence);
  }
}

function sameVote(said: SaidVote, vote: SaidVote): boolean {
  return (
    said.digest === vote.digest &&
    said.effectsSlot === vote.effectsSlot &&
    said.effectsDigest === vote.effectsDigest
  );
}

function signedVote(round: number, said: SaidVote): SignedVote {
  return {
    round,
    digest: fromHex(said.digest),
    effectsSlot: said.effectsSlot,
    effectsDigest: fromHex(said.effectsDigest),
    signature: said.signature!,
  };
}

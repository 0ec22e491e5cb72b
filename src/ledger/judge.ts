/**
 * Whether an intact record counts (protocol.md, "A record is valid"): judged from its bytes and the
 * chain alone, so that everybody judges alike. What does not count is a NOOP: it takes the slot and
 * settles nothing. Its bytes, checksums and puzzle were judged before (record.ts).
 *
 * `verify/judgement.ts` is the same judgement written a second time: change both, or neither.
 */
import { equalBytes, toHex } from "../base/bytes.ts";
import type { Chain } from "./chain.ts";
import type { Quorum } from "./genesis.ts";
import {
  type Answers,
  carriesSignatures,
  isSignedRestart,
  NO_ANSWERS,
  signedAnswers,
  unsignedVote,
} from "./judge-signatures.ts";
import { verifyMember } from "./keys.ts";
import { proposalHash } from "./proposal.ts";
import { embeddedAuthorKey, type LedgerRecord, type RecordHeader, verifyRecord } from "./record.ts";
import {
  ANSWER,
  answerOf,
  countVoters,
  hashIndexOf,
  isVoter,
  type Member,
  type Seal,
  type SettledRound,
} from "./settlement.ts";

export type Judgement =
  | { readonly counts: true }
  | { readonly counts: false; readonly reason: string };

const GOOD: Judgement = { counts: true };
const no = (reason: string): Judgement => ({ counts: false, reason });

/** f: members that may lie in an epoch of `ranks`. */
export function liarsMax(ranks: number, quorum: Quorum): number {
  return quorum === "byzantine" ? Math.max(0, Math.floor((ranks - 1) / 3)) : 0;
}

/**
 * w: yes-votes that win.
 *
 * byzantine: N - f, which is 2f+1 where N = 3f+1. For N = 3f+2 and 3f+3 fewer would not do: of two
 * sets of N - f members each the intersection has N - 2f >= f+1, so an honest member is in both;
 * and N - f > 2f, so that of two proposals of one rank at most one can still be called possible by
 * R votes, and a proposal that only liars said yes to is always shown to be lost (2f < N - f).
 * More than N - f would wait for liars.
 */
export function winVotes(ranks: number, quorum: Quorum = "majority"): number {
  return quorum === "byzantine" ? ranks - liarsMax(ranks, quorum) : Math.floor(ranks / 2) + 1;
}

/** R: members of whom one (byzantine: an honest one) is in every set that can win. w + R > N. */
export function answersMin(ranks: number, quorum: Quorum = "majority"): number {
  return quorum === "byzantine" ? ranks - liarsMax(ranks, quorum) : Math.ceil(ranks / 2);
}

/** `bytes` are the record's own, for its signature. */
export function judgeRecord(chain: Chain, record: LedgerRecord, bytes: Uint8Array): Judgement {
  const { header, body } = record;
  if (toHex(header.epoch) !== chain.epoch.hash) return no("it belongs to another epoch");
  const key = authorOf(chain, header)?.publicKey ?? embeddedAuthorKey(record);
  if (key === undefined) return no("its author is not a member");
  if (!verifyRecord(bytes, key)) return no("its signature is not its author's");
  if (header.heightBefore !== chain.height) return no("its height is not the chain's");
  switch (body.kind) {
    case "QUORUM":
    case "STORAGE":
      if (body.rounds.length === 0) return no("it settles no round");
      if (chain.genesis.quorum === "majority" && carriesSignatures(body.rounds))
        return no("it carries signatures that nobody asks for");
      return judgeRounds(chain, body.rounds, { onlyWon: body.kind === "QUORUM" });
    case "SEAL":
      return judgeSeal(chain, header, body.seal);
    case "INTENT":
      if (embeddedAuthorKey(record) === undefined) return no("it introduces somebody else");
      return certified(chain, [body.intent.member]);
    case "NOOP":
      return GOOD;
  }
}

type RecordAuthor = Pick<RecordHeader, "authorRank" | "authorIncarnation">;
/** What the judgement of a SEAL asks of its header. */
export type SealAuthor = RecordAuthor & Pick<RecordHeader, "prevHash">;

/** The member of the epoch that wrote it; undefined for a newcomer. */
function authorOf(chain: Chain, header: RecordAuthor): Member | undefined {
  const member = chain.epoch.members[header.authorRank];
  const isAuthor = member !== undefined && equalBytes(member.incarnation, header.authorIncarnation);
  return isAuthor ? member : undefined;
}

function certified(chain: Chain, members: readonly Member[]): Judgement {
  const incarnations = new Set(members.map(({ incarnation }) => toHex(incarnation)));
  if (incarnations.size !== members.length) return no("an incarnation is a member twice");
  for (const member of members) {
    if (!verifyMember(chain.genesis.ledgerKey, chain.chainId, member)) {
      return no(`the certificate of member ${member.rank} is not the ledger key's`);
    }
  }
  return GOOD;
}

/**
 * A SEAL by a member settles what its answerers voted on; by fewer than R of them it must be the
 * child of its author's own INTENT, and hold the answers of all that the INTENT lists: these members
 * kept still because they were heard. A newcomer takes over only what was left cleanly, or what did
 * not refute its own INTENT. Whom a SEAL admits and leaves out is free.
 */
export function judgeSeal(chain: Chain, header: SealAuthor, seal: Seal): Judgement {
  const { answers, rounds, members } = seal;
  const { quorum } = chain.genesis;
  const enough = answersMin(chain.ranks, quorum);
  const intent = chain.intentOf(header.authorIncarnation);
  let votersMin = enough;
  if (authorOf(chain, header) === undefined) {
    if (chain.ranks > 0 && intent === undefined) {
      return no("it is by a newcomer and not the child of its author's own INTENT");
    }
  } else if (answers.length < enough) {
    if (quorum !== "majority") return no(`${answers.length} answers, ${enough} are needed`);
    if (intent === undefined) {
      return no("too few members answered, and it is not the child of its author's own INTENT");
    }
    const left = intent.answered.find((rank) => !answers.includes(rank));
    if (left !== undefined) return no(`it leaves out rank ${left}, which its INTENT lists`);
    votersMin = Math.max(1, answers.length);
  }
  const list = certified(chain, members);
  if (!list.counts) return list;
  const signed = signaturesOf(chain, header, seal);
  if (typeof signed === "string") return no(signed);
  return judgeRounds(chain, rounds, { onlyWon: false, answers, votersMin, signed });
}

/** What answerers of a byzantine epoch signed; a sentence where a signature is missing, or one too many. */
function signaturesOf(chain: Chain, header: SealAuthor, seal: Seal): Answers | string {
  if (chain.genesis.quorum === "majority") {
    const tooMany = carriesSignatures(seal.rounds, seal);
    return tooMany ? "it carries signatures that nobody asks for" : NO_ANSWERS;
  }
  if (authorOf(chain, header) !== undefined) return signedAnswers(chain, seal);
  const restarts = isSignedRestart(chain, header, seal);
  return restarts ? NO_ANSWERS : "it is by a newcomer, and the ledger key did not sign it";
}

interface RoundRules {
  /** QUORUM: everything that is in has w yes. Else one yes is enough to be in. */
  readonly onlyWon: boolean;
  /** Members whose votes are in every round. */
  readonly answers?: readonly number[];
  /** Votes that a round needs; R unless told otherwise. */
  readonly votersMin?: number;
  /** What answerers of a byzantine epoch signed. */
  readonly signed?: Answers;
}

function judgeRounds(chain: Chain, rounds: readonly SettledRound[], rules: RoundRules): Judgement {
  if (rounds.length === 0) return GOOD;
  if (chain.ranks === 0) return no("it settles rounds of an epoch without members");
  if (rounds[0].round !== chain.settledRound + 1)
    return no("its rounds do not follow the settled ones");
  for (const round of rounds) {
    const reason = judgeRound(chain, round, rules);
    if (reason !== undefined) return no(`round ${round.round}: ${reason}`);
  }
  return GOOD;
}

function judgeRound(chain: Chain, round: SettledRound, rules: RoundRules): string | undefined {
  const { ranks } = chain;
  const { quorum } = chain.genesis;
  const { onlyWon, answers = [], votersMin = answersMin(ranks, quorum) } = rules;
  const { signed = NO_ANSWERS } = rules;
  let voters = 0;
  for (const group of round.votes) voters += countVoters(group.voters);
  if (voters < votersMin) return `${voters} votes, ${votersMin} are needed`;
  const silent = answers.find((rank) => !round.votes.some((group) => isVoter(group.voters, rank)));
  if (silent !== undefined) return `rank ${silent} answered, and its vote is not there`;
  const w = winVotes(ranks, quorum);
  for (const { rank, included, named } of hashesByRank(round)) {
    if (new Set(named).size !== named.length) return `a hash of rank ${rank} is named twice`;
    for (let index = 0; index < named.length; index++) {
      const yes = yesVotes(round, rank, index);
      if (index < included) {
        if (onlyWon && yes < w) return `${yes} yes for rank ${rank}, ${w} are needed`;
        if (yes === 0) return `no yes for rank ${rank}`;
      } else if (yes > 0 && yes + (ranks - voters) >= w) {
        return `a proposal of rank ${rank} is left out but not shown to be lost`;
      }
    }
  }
  return quorum === "majority" ? undefined : unsignedVote(chain, round, signed);
}

/** The hashes that answers may name, in the order of their indices: included ones first. */
function hashesByRank(round: SettledRound) {
  const byRank = new Map<number, { rank: number; included: number; named: string[] }>();
  for (const { rank, hash } of namesOf(round))
    byRank.set(rank, { rank, included: 1, named: [hash] });
  for (const { rank, proposalHash: hash } of round.lost) {
    const known = byRank.get(rank);
    if (known === undefined) byRank.set(rank, { rank, included: 0, named: [toHex(hash)] });
    else known.named.push(toHex(hash));
  }
  return byRank.values();
}

function yesVotes(round: SettledRound, rank: number, index: number): number {
  let yes = 0;
  for (const { answers, voters } of round.votes) {
    const answer = answers[rank];
    if (answerOf(answer) === ANSWER.YES && hashIndexOf(answer) === index)
      yes += countVoters(voters);
  }
  return yes;
}

/** What a record includes, by name: the hashes that the votes are about. */
export function namesOf(round: SettledRound): { rank: number; hash: string }[] {
  return round.proposals.map(({ rank, header }) => ({ rank, hash: toHex(proposalHash(header)) }));
}

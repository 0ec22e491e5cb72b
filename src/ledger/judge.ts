/**
 * Whether an intact record counts (protocol.md, "A record is valid"): judged from its bytes and the
 * chain alone, so that everybody judges alike. What does not count is a NOOP: it takes the slot and
 * settles nothing. Its bytes, checksums and puzzle were judged before (record.ts).
 */
import { equalRange, toHex } from "../base/bytes.ts";
import type { Chain } from "./chain.ts";
import { verifyMember } from "./keys.ts";
import { proposalHash } from "./proposal.ts";
import { embeddedAuthorKey, type LedgerRecord, verifyRecord } from "./record.ts";
import {
  ANSWER,
  answerOf,
  countVoters,
  hashIndexOf,
  isVoter,
  type Member,
  type SettledRound,
} from "./settlement.ts";

export type Judgement =
  | { readonly counts: true }
  | { readonly counts: false; readonly reason: string };

const GOOD: Judgement = { counts: true };
const no = (reason: string): Judgement => ({ counts: false, reason });

export function winVotes(ranks: number): number {
  return Math.floor(ranks / 2) + 1;
}

export function answersMin(ranks: number): number {
  return Math.ceil(ranks / 2);
}

/** `bytes` are the record's own, for its signature. */
export function judgeRecord(chain: Chain, record: LedgerRecord, bytes: Uint8Array): Judgement {
  const { header, body } = record;
  if (toHex(header.epoch) !== chain.epoch.hash) return no("it belongs to another epoch");
  const key = authorKey(chain, record);
  if (key === undefined) return no("its author is not a member");
  if (!verifyRecord(bytes, key)) return no("its signature is not its author's");
  if (header.heightBefore !== chain.height) return no("its height is not the chain's");
  switch (body.kind) {
    case "QUORUM":
    case "STORAGE":
      return judgeRounds(chain, body.rounds, body.kind);
    case "SEAL":
      return judgeSeal(chain, record, body.seal.members, body.seal.rounds, body.seal.answers);
    case "INTENT":
      return verifyMember(chain.genesis.ledgerKey, chain.chainId, body.intent.member)
        ? GOOD
        : no("its author's certificate is not the ledger key's");
    case "NOOP":
      return GOOD;
  }
}

function authorKey(chain: Chain, record: LedgerRecord): Uint8Array | undefined {
  const { authorRank, authorIncarnation } = record.header;
  const member = chain.epoch.members[authorRank];
  if (member !== undefined && equalRange(member.incarnation, 0, authorIncarnation, 0, 8)) {
    return member.publicKey;
  }
  return embeddedAuthorKey(record);
}

function judgeSeal(
  chain: Chain,
  record: LedgerRecord,
  members: readonly Member[],
  rounds: readonly SettledRound[],
  answers: readonly number[],
): Judgement {
  const current = chain.epoch.members;
  const { authorRank, authorIncarnation } = record.header;
  const author = current[authorRank];
  const isMember =
    author !== undefined && equalRange(author.incarnation, 0, authorIncarnation, 0, 8);
  if (isMember && answers.length < answersMin(current.length))
    return no("too few members answered");
  // A newcomer takes over only what was left cleanly, or what did not answer its own INTENT.
  if (!isMember && current.length > 0 && !chain.intentOf(authorIncarnation)) {
    return no("it is not the child of its author's own INTENT");
  }
  for (const member of members) {
    if (!verifyMember(chain.genesis.ledgerKey, chain.chainId, member)) {
      return no(`the certificate of member ${member.rank} is not the ledger key's`);
    }
  }
  return rounds.length === 0 ? GOOD : judgeRounds(chain, rounds, "STORAGE");
}

function judgeRounds(
  chain: Chain,
  rounds: readonly SettledRound[],
  kind: "QUORUM" | "STORAGE",
): Judgement {
  if (rounds.length === 0) return no("it settles no round");
  if (rounds[0].round !== chain.settledRound + 1)
    return no("its rounds do not follow the settled ones");
  for (const round of rounds) {
    const reason = judgeRound(chain.ranks, round, kind);
    if (reason !== undefined) return no(`round ${round.round}: ${reason}`);
  }
  return GOOD;
}

function judgeRound(
  ranks: number,
  round: SettledRound,
  kind: "QUORUM" | "STORAGE",
): string | undefined {
  let voters = 0;
  for (const group of round.votes) voters += countVoters(group.voters);
  if (voters < answersMin(ranks)) return `${voters} votes, ${answersMin(ranks)} are needed`;
  const w = winVotes(ranks);
  for (let rank = 0; rank < ranks; rank++) {
    const included = round.proposals.filter((proposal) => proposal.rank === rank).length;
    const named = included + round.lost.filter((lost) => lost.rank === rank).length;
    for (let index = 0; index < named; index++) {
      const yes = yesVotes(round, rank, index);
      if (index < included) {
        if (kind === "QUORUM" && yes < w) return `${yes} yes for rank ${rank}, ${w} are needed`;
        if (yes === 0) return `no yes for rank ${rank}`;
      } else if (yes > 0 && yes + (ranks - voters) >= w) {
        return `a proposal of rank ${rank} is left out but not shown to be lost`;
      }
    }
  }
  return undefined;
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

/** Which members voted in a round, for reports. */
export function votersOf(round: SettledRound, ranks: number): number[] {
  const all: number[] = [];
  for (let rank = 0; rank < ranks; rank++)
    if (round.votes.some(({ voters }) => isVoter(voters, rank))) all.push(rank);
  return all;
}

/** What a record includes, by name: the hashes that the votes are about. */
export function namesOf(round: SettledRound): { rank: number; hash: string }[] {
  return round.proposals.map(({ rank, header }) => ({ rank, hash: toHex(proposalHash(header)) }));
}

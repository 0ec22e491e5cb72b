/**
 * The epochs of the log as the oracle reads them: who was in, how each one ended and whether it might
 * end so (S4 of a SEAL, S9), counted here once more, without the production judge.
 */
import { toHex } from "../base/bytes.ts";
import type { Quorum } from "../ledger/genesis.ts";
import { answersMin, winVotes } from "../ledger/judge.ts";
import { readProposalHeader } from "../ledger/proposal.ts";
import type { LedgerRecord } from "../ledger/record.ts";
import {
  ANSWER,
  answerOf,
  hashIndexOf,
  isVoter,
  type Member,
  type SettledRound,
} from "../ledger/settlement.ts";
import { Presence } from "./presence.ts";
import { Violation } from "./trace.ts";
import type { Ways } from "./ways.ts";

export interface Epoch {
  /** Of the SEAL that installed it. */
  readonly hash: string;
  readonly slot: number;
  /** Incarnations by member. */
  readonly members: readonly string[];
  readonly hosts: readonly string[];
  end: EpochEnd | undefined;
}

export interface EpochEnd {
  readonly slot: number;
  /** By answers of R members, of fewer, by another job, or by closing the ledger. */
  readonly kind: "answers" | "minority" | "foreign" | "clean";
  /** Members that kept still because the author heard them. */
  readonly listed: readonly string[];
  readonly evicted: readonly string[];
  readonly admitted: readonly string[];
  /** When its author wrote it, in virtual milliseconds. */
  readonly at: number;
}

interface Announced {
  readonly author: string;
  readonly answered: readonly number[];
  readonly at: number;
  readonly deadlineMs: number;
}

export class Epochs {
  readonly all: Epoch[] = [];
  private readonly quorum: Quorum;
  private readonly ways: Ways;
  private readonly presence: Presence;
  private readonly onEnd: (epoch: Epoch, end: EpochEnd) => void;
  /** Of the record before, if it is an INTENT. */
  private intent: Announced | undefined;

  constructor(options: {
    quorum: Quorum;
    ways: Ways;
    /** Tells by how much whose clock is wrong. */
    presence?: Presence | undefined;
    onEpochEnd(epoch: Epoch, end: EpochEnd): void;
  }) {
    this.quorum = options.quorum;
    this.ways = options.ways;
    this.presence = options.presence ?? new Presence();
    this.onEnd = (epoch, end) => options.onEpochEnd(epoch, end);
  }

  get newest(): Epoch | undefined {
    return this.all.at(-1);
  }

  of(hash: string): Epoch | undefined {
    return this.all.find((epoch) => epoch.hash === hash);
  }

  /** A record that counts, in the order of the log. */
  take(record: LedgerRecord): void {
    const { header, body, hash } = record;
    const { slot } = header;
    const epoch = this.newest;
    if (epoch !== undefined && toHex(header.epoch) !== epoch.hash)
      throw new Violation("S9", `slot ${slot} is of another epoch than the one in force`);
    if (body.kind === "STORAGE") this.ways.took("STORAGE record");
    if (body.kind === "QUORUM" || body.kind === "STORAGE")
      for (const round of body.rounds) this.checkVoters(slot, body.kind, round);
    if (body.kind === "SEAL") this.checkSeal(record, body.seal);
    if (this.intent !== undefined && !this.isByIntent(record)) this.refuted(record);
    this.intent = undefined;
    if (body.kind === "INTENT") {
      const { answered, deadlineMs } = body.intent;
      const author = toHex(header.authorIncarnation);
      this.intent = {
        author,
        answered,
        deadlineMs,
        at: this.presence.virtualTime(author, header.creationTime),
      };
    }
    if (body.kind === "SEAL") this.install(slot, toHex(hash), body.seal.members);
  }

  /** A record that takes the slot and nothing else. */
  pass(): void {
    if (this.intent !== undefined) this.ways.took("INTENT refuted");
    this.intent = undefined;
  }

  private isByIntent({ header, body }: LedgerRecord): boolean {
    return body.kind === "SEAL" && this.intent?.author === toHex(header.authorIncarnation);
  }

  private refuted({ body }: LedgerRecord): void {
    this.ways.took("INTENT refuted");
    if (body.kind === "NOOP") this.ways.took("NOOP after an INTENT");
  }

  private install(slot: number, hash: string, members: readonly Member[]): void {
    this.all.push({
      hash,
      slot,
      members: members.map(({ incarnation }) => toHex(incarnation)),
      hosts: members.map(({ host }) => host),
      end: undefined,
    });
  }

  private checkSeal(
    { header }: LedgerRecord,
    seal: {
      members: readonly Member[];
      rounds: readonly SettledRound[];
      answers: readonly number[];
    },
  ): void {
    const epoch = this.newest;
    if (epoch === undefined || epoch.members.length === 0) return;
    const { slot } = header;
    const { answers } = seal;
    const author = toHex(header.authorIncarnation);
    const at = this.presence.virtualTime(author, header.creationTime);
    const isMember = epoch.members.includes(author);
    const enough = isMember && answers.length >= answersMin(epoch.members.length, this.quorum);
    if (!enough) this.ways.took("INTENT unanswered");
    if (!enough) this.checkIntent(slot, { author, at, answers: isMember ? answers : [] });
    for (const round of seal.rounds) {
      this.checkRound(slot, round);
      for (const rank of answers)
        if (!round.votes.some(({ voters }) => isVoter(voters, rank)))
          throw new Violation("S4", `the SEAL of slot ${slot} lacks a vote of rank ${rank}`);
    }
    const after = seal.members.map(({ incarnation }) => toHex(incarnation));
    const evicted = epoch.members.filter((one) => !after.includes(one));
    const heard = answers.map((rank) => epoch.members[rank]);
    const left = after.length === 0 ? undefined : evicted.find((one) => heard.includes(one));
    if (isMember && left !== undefined)
      throw new Violation("S4", `the SEAL of slot ${slot} evicts ${left}, which answered`);
    const end: EpochEnd = {
      slot,
      kind: !isMember ? "foreign" : after.length === 0 ? "clean" : enough ? "answers" : "minority",
      listed: this.intent?.answered.map((rank) => epoch.members[rank]) ?? [],
      evicted,
      admitted: after.filter((one) => !epoch.members.includes(one)),
      at,
    };
    epoch.end = end;
    this.count(epoch, end, seal.rounds.length);
    this.onEnd(epoch, end);
  }

  /** Fewer than R answers, or none: the SEAL follows its author's own INTENT, after its deadline. */
  private checkIntent(
    slot: number,
    seal: { author: string; at: number; answers: readonly number[] },
  ): void {
    const { intent } = this;
    if (intent?.author !== seal.author)
      throw new Violation("S4", `the SEAL of slot ${slot} has too few answers and no INTENT`);
    if (!intent.answered.every((rank) => seal.answers.includes(rank)))
      throw new Violation("S4", `the SEAL of slot ${slot} leaves out whom its INTENT lists`);
    // Its author counts from the end of the sync, which comes after it wrote the INTENT.
    if (seal.at < intent.at + intent.deadlineMs - 1)
      throw new Violation("S9", `the SEAL of slot ${slot} comes before the deadline of its INTENT`);
  }

  private count(epoch: Epoch, end: EpochEnd, rounds: number): void {
    const { ways } = this;
    if (end.kind === "foreign") return ways.took("foreign take-over");
    if (end.kind === "clean") return ways.took("clean SEAL");
    ways.took(end.kind === "minority" ? "SEAL by a minority" : "SEAL by R");
    ways.took(rounds > 0 ? "SEAL with rounds" : "SEAL without rounds");
    ways.took("member evicted", end.evicted.length);
    ways.took("member admitted", end.admitted.length);
    if (end.evicted.length + end.admitted.length === 0) ways.took("SEAL that thaws");
    for (const host of new Set(epoch.hosts)) {
      const there = epoch.members.filter((_, rank) => epoch.hosts[rank] === host);
      const gone = there.length > 1 && there.every((one) => end.evicted.includes(one));
      if (gone && there.length < epoch.members.length) ways.took("host in one SEAL");
    }
  }

  /** S4: the votes of R members for each round that no SEAL settles. */
  private checkVoters(slot: number, kind: string, round: SettledRound): void {
    const { members } = this.newest!;
    let voters = 0;
    for (let rank = 0; rank < members.length; rank++)
      if (round.votes.some((group) => isVoter(group.voters, rank))) voters++;
    if (voters < answersMin(members.length, this.quorum))
      throw new Violation("S4", `slot ${slot} is a ${kind} with the votes of ${voters} members`);
    this.checkRound(slot, round);
  }

  /** What a round includes was proposed in this epoch, and what it leaves out is shown to be lost. */
  private checkRound(slot: number, round: SettledRound): void {
    const { hash, members } = this.newest!;
    const voters = members.filter((_, rank) =>
      round.votes.some((group) => isVoter(group.voters, rank)),
    ).length;
    for (const { rank, header } of round.proposals) {
      const { epoch, incarnation } = readProposalHeader(header);
      if (toHex(epoch) !== hash || toHex(incarnation) !== members[rank])
        throw new Violation("S9", `slot ${slot} includes a proposal of another epoch`);
    }
    for (const { rank } of round.lost) {
      const included = round.proposals.some((proposal) => proposal.rank === rank) ? 1 : 0;
      const named = included + round.lost.filter((lost) => lost.rank === rank).length;
      for (let index = included; index < named; index++) {
        const yes = yesVoters(round, rank, index, members.length);
        if (yes > 0 && yes + members.length - voters >= winVotes(members.length, this.quorum))
          throw new Violation("S4", `slot ${slot} leaves out what rank ${rank} may have won`);
      }
    }
  }
}

/** How many said yes to this hash of that rank, counted one by one. */
export function yesVoters(round: SettledRound, rank: number, index: number, ranks: number): number {
  let yes = 0;
  for (let voter = 0; voter < ranks; voter++) {
    const group = round.votes.find(({ voters }) => isVoter(voters, voter));
    const answer = group?.answers[rank] ?? 0;
    if (answerOf(answer) === ANSWER.YES && hashIndexOf(answer) === index) yes++;
  }
  return yes;
}

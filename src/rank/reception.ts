/**
 * What comes from other members of one epoch: envelopes are opened, bodies decoded, and each becomes
 * an input of the core, of the monitor, or a word for the loop. Whatever is not authentic or not
 * well formed is dropped and counted; nothing is believed before it is checked. Main thread.
 */
import type { Pull, SealPull } from "../consensus/effects.ts";
import { liarsMax } from "../ledger/judge.ts";
import { UNRECORDED_ROUNDS_MAX } from "../limits.ts";
import type { RankContext } from "./context.ts";
import {
  authenticProposal,
  decodeDecided,
  decodePull,
  decodeRing,
  decodeStatus,
  decodeVote,
  MESSAGE,
  messageBytesMax,
  type Status,
  type VoteMessage,
} from "./envelope.ts";
import { LogHints } from "./log-hints.ts";
import {
  decodeAccusation,
  decodeHeal,
  decodeLanes,
  decodeSealAnswer,
  decodeSealPull,
  EMPTY_BODY,
  type Heal,
  type SealAnswerMessage,
} from "./membership-messages.ts";
import type { Monitoring } from "./monitoring.ts";
import type { Performer } from "./perform.ts";
import { ProposalReception } from "./proposal-reception.ts";

/** Who has sent so much in a byzantine epoch that no honest member sends is not listened to. */
const OFFENCES_MAX = 16;

/** Who takes what is not the core's or the monitor's. */
export interface Recipients {
  status(from: number, status: Status): void;
  heal(heal: Heal): void;
  card(bytes: Uint8Array): void;
  /** False when malformed. */
  cardPull(from: number, body: Uint8Array): boolean;
  /** False when malformed. */
  propagated(from: number, body: Uint8Array): boolean;
  recordPull(from: number, body: Uint8Array): boolean;
  record(body: Uint8Array): boolean;
  /** False when it proves nothing. */
  evidence(body: Uint8Array): boolean;
  /** This rank, too, sees a reason for such a SEAL. */
  wantsSeal(pull: SealPull): boolean;
}

export class Reception {
  private readonly rank: RankContext;
  private readonly performer: Performer;
  private readonly monitoring: Monitoring;
  private readonly to: Recipients;
  private readonly proposals: ProposalReception;
  private readonly hints: LogHints;
  /** By member: what no honest one sends. */
  private readonly offences: Uint32Array;
  /** Who has asked for a SEAL, and since when. */
  private readonly sealPullers = new Map<number, number>();
  private readonly stoppers = new Set<number>();
  /** By round: who asked for votes at once. */
  private readonly forcers = new Map<number, Set<number>>();

  constructor(rank: RankContext, performer: Performer, monitoring: Monitoring, to: Recipients) {
    this.rank = rank;
    this.performer = performer;
    this.monitoring = monitoring;
    this.to = to;
    this.hints = new LogHints(rank);
    this.offences = new Uint32Array(rank.session.ranks);
    this.proposals = new ProposalReception(rank, performer, {
      drop: (reason) => this.drop(reason),
      misdeed: (from, reason, bytes) => this.misdeed(from, reason, bytes),
      forged: (from, bytes) => this.forged(from, bytes),
    });
  }

  /** One message of `process`. False when it is not authentic in this epoch. */
  message(process: number, bytes: Uint8Array): boolean {
    const { session } = this.rank;
    const from = session.member(process);
    if (from === undefined) return false;
    if (this.isIgnored(from)) {
      this.drop("IGNORED_MEMBER");
      return true;
    }
    if (bytes.length > messageBytesMax(bytes[0])) {
      this.misdeed(from, "OVERSIZE", bytes);
      return true;
    }
    if (bytes[0] === MESSAGE.proposal) return this.onProposal(from, bytes);
    const body = session.seal.unwrap(bytes);
    if (body === undefined) return false;
    this.monitoring.heard(from);
    const good = this.take(from, bytes[0], body);
    if (!good) this.misdeed(from, `BAD_${NAMES[bytes[0]] ?? "TYPE"}`, bytes);
    return true;
  }

  /** It is convicted, or has done too much that no honest member does. */
  private isIgnored(from: number): boolean {
    const { signing, convictions, session } = this.rank;
    if (signing === undefined) return false;
    return (
      this.offences[from] >= OFFENCES_MAX || convictions.has(session.members[from].incarnation)
    );
  }

  /** False when the body is malformed. */
  private take(from: number, type: number, body: Uint8Array): boolean {
    const { session, emit, signing, settings } = this.rank;
    const { ranks } = session;
    switch (type) {
      case MESSAGE.vote: {
        const vote = decodeVote(body, ranks);
        if (vote === undefined || !this.isInForm(vote)) return false;
        this.takeVote(from, vote, body);
        return true;
      }
      case MESSAGE.pull: {
        const pull = decodePull(body, ranks);
        if (pull !== undefined) emit({ type: "pull", from, pull: this.believable(from, pull) });
        return pull !== undefined;
      }
      case MESSAGE.ring: {
        const round = decodeRing(body);
        if (round !== undefined) emit({ type: "ring", round });
        return round !== undefined;
      }
      case MESSAGE.decided:
      case MESSAGE.hearsay: {
        const decided = decodeDecided(body);
        if (decided === undefined) return false;
        if (type === MESSAGE.decided) this.performer.decided(decided, from);
        this.performer.announcing.heard(decided);
        if (signing === undefined) emit({ type: "decided", decided });
        else this.hints.hint(from, decided.slot);
        return true;
      }
      case MESSAGE.status: {
        const status = decodeStatus(body);
        if (status !== undefined) this.takeStatus(from, status);
        return status !== undefined;
      }
      case MESSAGE.heartbeat:
        return true;
      case MESSAGE.probe:
        this.performer.send([from], MESSAGE.heartbeat, EMPTY_BODY);
        return true;
      case MESSAGE.accuse: {
        const accusation = decodeAccusation(body, ranks);
        if (accusation !== undefined) this.monitoring.accused(from, accusation);
        return accusation !== undefined;
      }
      case MESSAGE.sealPull: {
        const pull = decodeSealPull(body, ranks);
        if (pull !== undefined) this.takeSealPull(from, pull);
        return pull !== undefined;
      }
      case MESSAGE.sealAnswer: {
        const answer = decodeSealAnswer(body, ranks);
        if (answer?.rank !== from || !this.isInForm(answer)) return false;
        if (!answer.votes.every((vote) => this.isInForm(vote))) return false;
        this.takeAnswer(from, answer, body);
        return true;
      }
      case MESSAGE.heal: {
        const heal = decodeHeal(body);
        // The lowest member has it done, and never beyond the size that the job wants.
        const isDue = from === 0 && (heal?.count ?? 0) <= settings.ranksWanted - ranks;
        if (heal !== undefined && isDue) this.to.heal(heal);
        return heal !== undefined && isDue;
      }
      case MESSAGE.evidence:
        return signing !== undefined && this.to.evidence(body);
      case MESSAGE.propagate:
        return this.to.propagated(from, body);
      case MESSAGE.recordPull:
        return this.to.recordPull(from, body);
      case MESSAGE.record:
        return this.to.record(body);
      case MESSAGE.cardPull:
        return this.to.cardPull(from, body);
      case MESSAGE.card:
        this.to.card(body);
        return true;
      case MESSAGE.lanes: {
        const lanes = decodeLanes(body);
        if (lanes === undefined || (lanes.round !== undefined && from !== 0)) return false;
        this.performer.lanes.onMessage(from, lanes.round);
        return true;
      }
      default:
        return false;
    }
  }

  private onProposal(from: number, envelope: Uint8Array): boolean {
    if (!authenticProposal(this.rank.session.seal, envelope)) return false;
    this.monitoring.heard(from);
    this.proposals.take(from, envelope);
    return true;
  }

  /** A vote from its author: what contradicts what it said before, or is forged, goes no further. */
  private takeVote(from: number, vote: VoteMessage, bytes: Uint8Array): void {
    if (vote.rank !== from) return this.misdeed(from, "WRONG_RANK", bytes);
    const standing = this.rank.watch.vote(vote);
    if (standing === "forged") return this.forged(from, bytes);
    if (standing === "contradicts") return this.misdeed(from, "DOUBLE_VOTE", bytes);
    const bodies = this.rank.watch.clashes(vote);
    if (bodies.length > 0)
      this.performer.pull([from], { round: vote.round, vote: false, force: false, bodies });
    this.rank.emit({ type: "votes", votes: [vote] });
  }

  private takeAnswer(from: number, answer: SealAnswerMessage, bytes: Uint8Array): void {
    const standing = this.rank.watch.answer(answer);
    if (standing === "forged") return this.forged(from, bytes);
    if (standing === "contradicts") return this.misdeed(from, "DOUBLE_VOTE", bytes);
    if (standing !== "good") return this.drop("ANSWER_NOT_USED");
    this.rank.emit({ type: "seal-answer", from, answer });
  }

  /**
   * Whoever answers is frozen, so in a byzantine epoch one liar must not have it its way: this rank
   * sees a reason for a SEAL itself, or f+1 members do, or one has asked for it for long.
   */
  private takeSealPull(from: number, pull: SealPull): void {
    const { core, emit, signing, session, clock } = this.rank;
    if (!this.sealPullers.has(from)) this.sealPullers.set(from, clock.now());
    const agreed = this.sealPullers.size > liarsMax(session.ranks, "byzantine");
    const suspected = (rank: number) => this.monitoring.suspects.includes(rank);
    const justified =
      signing === undefined ||
      core.isFrozen ||
      agreed ||
      (pull.evict.length > 0 && pull.evict.every(suspected)) ||
      this.to.wantsSeal(pull) ||
      this.insists(from);
    if (justified) emit({ type: "seal-pull", from, pull });
    else this.drop("SEAL_WITHOUT_REASON");
  }

  /**
   * It froze for reasons of its own, deaf for a while perhaps, and only a SEAL thaws it. Each time it
   * has to wait for twice as long: a liar brings few epochs to their end.
   */
  private insists(from: number): boolean {
    const { clock, session, settings, sealPatience } = this.rank;
    const process = session.process(from);
    const since = this.sealPullers.get(from) ?? clock.now();
    if (process === undefined) return false;
    const patienceMs = sealPatience.get(process) ?? settings.monitoring.evictMs;
    if (clock.now() - since < patienceMs) return false;
    sealPatience.set(process, 2 * patienceMs);
    return true;
  }

  /**
   * Who is made to vote before the proposals have come has nothing to say yes to: one liar must not
   * bring that about, so the storage validators of f+1 turns have to ask.
   */
  private believable(from: number, pull: Pull): Pull {
    const { signing, session, core } = this.rank;
    if (signing === undefined || !pull.force) return pull;
    for (const round of this.forcers.keys()) if (round <= core.settled) this.forcers.delete(round);
    if (pull.round > core.settled + UNRECORDED_ROUNDS_MAX) return pull;
    let forcers = this.forcers.get(pull.round);
    if (forcers === undefined) this.forcers.set(pull.round, (forcers = new Set()));
    forcers.add(from);
    return { ...pull, force: forcers.size > liarsMax(session.ranks, "byzantine") };
  }

  /** One member alone does not stop a byzantine job. */
  private takeStatus(from: number, status: Status): void {
    const { signing, session } = this.rank;
    if (status.kind === "stop" && signing !== undefined) {
      this.stoppers.add(from);
      if (this.stoppers.size <= liarsMax(session.ranks, "byzantine")) return;
    }
    this.to.status(from, status);
  }

  /** What the members contributed to one collective, by member. */
  gathered(lane: number, parts: readonly Uint8Array[]): void {
    const areProposals = this.performer.lanes.ended(lane);
    // Of an epoch before this one: its last collectives may end late.
    if (parts.length !== this.rank.session.ranks) return;
    if (areProposals) this.gatheredProposals(parts);
    else this.votes(parts);
  }

  private gatheredProposals(parts: readonly Uint8Array[]): void {
    for (const [from, part] of parts.entries()) {
      if (from === this.rank.session.self || part.length === 0) continue;
      const isProposal = part[0] === MESSAGE.proposal;
      if (!isProposal || !this.onProposal(from, part)) this.misdeed(from, "BAD_PROPOSAL");
    }
  }

  private votes(parts: readonly Uint8Array[]): void {
    const { session } = this.rank;
    const votes = [];
    for (const [from, part] of parts.entries()) {
      if (from === session.self || part.length === 0) continue;
      const body = part[0] === MESSAGE.vote ? session.seal.unwrap(part) : undefined;
      const vote = body && decodeVote(body, session.ranks);
      if (vote?.rank !== from || !this.isInForm(vote)) {
        this.misdeed(from, "BAD_VOTE");
        continue;
      }
      this.monitoring.heard(from);
      if (this.rank.watch.vote(vote) === "contradicts") this.misdeed(from, "DOUBLE_VOTE", part);
      else votes.push(vote);
    }
    if (votes.length > 0) this.rank.emit({ type: "votes", votes });
  }

  /** A byzantine epoch has everything signed, a majority epoch nothing. */
  private isInForm({ signature }: { signature?: Uint8Array | undefined }): boolean {
    return (signature !== undefined) === (this.rank.signing !== undefined);
  }

  private forged(from: number, bytes: Uint8Array): void {
    this.misdeed(from, "FORGED_SIGNATURE", bytes);
  }

  /** No honest member sends that. `bytes`: nobody will ever accept it. */
  private misdeed(from: number, reason: string, bytes?: Uint8Array): void {
    this.drop(reason);
    if (bytes !== undefined) this.offences[from]++;
    const process = this.rank.session.process(from);
    if (process !== undefined) this.rank.misdeeds.note(process, reason, bytes);
  }

  private drop(reason: string): void {
    const { dropped } = this.rank.counters;
    dropped.set(reason, (dropped.get(reason) ?? 0) + 1);
  }
}

/** Message type → its name, for counters. */
const NAMES: Readonly<Record<number, string>> = Object.fromEntries(
  Object.entries(MESSAGE).map(([name, type]) => [type, name.toUpperCase()]),
);

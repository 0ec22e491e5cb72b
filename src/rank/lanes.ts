/**
 * What goes by collective in an epoch: votes, and in large jobs small proposals. An epoch begins without
 * lanes, and all goes point-to-point; meanwhile its members regroup. When all have fresh lanes, the
 * lowest member names the round from which on they are used.
 *
 * Proposals point-to-point are N - 1 messages a rank and round. Gathered they are ⌈log2 N⌉, but one
 * member that is slow holds up everybody's: so whoever suspects one sends its own point-to-point.
 */
import { UNRECORDED_ROUNDS_MAX } from "../limits.ts";
import { REGROUP_ATTEMPTS } from "../transport/transport.ts";
import type { RankContext } from "./context.ts";
import { MESSAGE, voteBytesMax } from "./envelope.ts";
import { LaneRow } from "./lane-row.ts";
import { encodeLanes } from "./membership-messages.ts";

/** Lanes for proposals, behind those for votes. */
export const PROPOSAL_LANES = 2;

export class Lanes {
  private readonly rank: RankContext;
  private readonly send: (to: readonly number[], type: number, body: Uint8Array) => void;
  private readonly votes: LaneRow;
  /** Undefined where proposals always go point-to-point. */
  private readonly proposals: LaneRow | undefined;
  private suspicious = false;
  private used = false;
  private ready = false;
  private readonly readyMembers = new Set<number>();

  constructor(
    rank: RankContext,
    send: (to: readonly number[], type: number, body: Uint8Array) => void,
  ) {
    this.rank = rank;
    this.send = send;
    const { transport, settings, session, chain } = rank;
    const { lanes, collectiveTimeoutMs, gatherBytes, timing } = settings;
    const settled = chain.settledRound;
    this.votes = new LaneRow({
      ...{ transport, settled, first: 0, count: lanes },
      bytesMax: voteBytesMax(session.ranks),
      deadlineMs: collectiveTimeoutMs,
    });
    if (transport.lanes < lanes + PROPOSAL_LANES || session.ranks < settings.gatherFrom) return;
    this.proposals = new LaneRow({
      ...{ transport, settled, first: lanes, count: PROPOSAL_LANES },
      bytesMax: gatherBytes,
      // Its round is over by then: whoever is that late is waited for no longer.
      deadlineMs: Math.min(collectiveTimeoutMs, 2 * timing.proposalTimeoutMs),
    });
  }

  /** The lanes of the transport are this epoch's members' already: the first epoch of a job. */
  useAtOnce(): void {
    if (!this.isOff) this.use(0);
  }

  /** One liar would hold up every collective: a byzantine epoch votes point-to-point. */
  private get isOff(): boolean {
    return this.rank.signing !== undefined;
  }

  /** Makes fresh lanes; until then, and should it fail, all goes point-to-point. */
  async regroup(): Promise<void> {
    const { session, transport, settings, chain, events } = this.rank;
    if (session.ranks < 2 || !session.complete || this.ready || this.used) return;
    if (this.isOff) return;
    this.ready = true;
    const members = session.processesOf(session.members.map(({ rank }) => rank));
    const attempt = chain.slot % REGROUP_ATTEMPTS;
    const deadlineMs = settings.regroupTimeoutMs;
    try {
      await transport.regroup({ members, attempt, deadlineMs });
    } catch (error) {
      events.onAlert({ code: "NO_LANES", message: String(error) });
      return;
    }
    if (session.self === 0) this.memberReady(0);
    else this.send([0], MESSAGE.lanes, encodeLanes(undefined));
  }

  onMessage(from: number, round: number | undefined): void {
    if (this.isOff) return;
    if (round !== undefined) this.use(round);
    else this.memberReady(from);
  }

  private memberReady(member: number): void {
    const { session, core } = this.rank;
    this.readyMembers.add(member);
    if (session.self !== 0 || this.readyMembers.size < session.ranks) return;
    const round = core.settled + UNRECORDED_ROUNDS_MAX + 1;
    this.send(session.others, MESSAGE.lanes, encodeLanes(round));
    this.use(round);
  }

  private use(round: number): void {
    this.used = true;
    this.votes.use(round);
    this.proposals?.use(round);
  }

  /** True when the vote went by collective; else it is the caller's to send. */
  vote(round: number, bytes: Uint8Array): boolean {
    this.proposals?.skipTo(round);
    return this.votes.contribute(round, bytes);
  }

  /** The round was settled before this rank voted in it. */
  skip(round: number): void {
    this.proposals?.skipTo(round);
    this.votes.skipTo(round);
  }

  /** True when the proposal went by collective; else it is the caller's to send. */
  propose(round: number, envelope: Uint8Array): boolean {
    if (this.proposals === undefined) return false;
    if (!this.suspicious) return this.proposals.contribute(round, envelope);
    this.proposals.skipTo(round);
    return false;
  }

  /** Whether others may have to be told that the round is open: a gathered proposal tells nobody. */
  gathers(round: number): boolean {
    return this.proposals?.isUsed(round) === true && !this.suspicious;
  }

  /** True: the parts are proposals; false: votes. */
  ended(lane: number): boolean {
    const areVotes = this.votes.has(lane);
    (areVotes ? this.votes : this.proposals)?.ended(lane);
    return !areVotes;
  }

  /** A lane was lost. Answers the rounds whose proposals it had. */
  lost(): readonly number[] {
    return this.proposals?.takeLost() ?? [];
  }

  /** Who is suspected may hold up every collective. Answers the rounds whose proposals wait in one. */
  suspects(isSuspicious: boolean): readonly number[] {
    const news = isSuspicious && !this.suspicious;
    this.suspicious = isSuspicious;
    return news ? (this.proposals?.open ?? []) : [];
  }
}

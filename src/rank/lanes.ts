/**
 * Which votes go by collective. An epoch begins without lanes, and its votes go point-to-point;
 * meanwhile its members regroup. When all have fresh lanes, the lowest member names the round from
 * which on votes use them. Every member contributes to each lane once a round, in round order: who
 * hears of the round late makes up for what it missed with empty contributions.
 */
import { UNRECORDED_ROUNDS_MAX } from "../limits.ts";
import { REGROUP_ATTEMPTS } from "../transport/transport.ts";
import type { RankContext } from "./context.ts";
import { MESSAGE, voteBytesMax } from "./envelope.ts";
import { encodeLanes } from "./membership-messages.ts";

const NEVER = Number.POSITIVE_INFINITY;

export class Lanes {
  private readonly rank: RankContext;
  private readonly send: (to: readonly number[], type: number, body: Uint8Array) => void;
  /** First round whose votes go by collective. */
  private from = NEVER;
  /** Newest round that this rank voted in or passed over. */
  private newest: number;
  private ready = false;
  private readonly readyMembers = new Set<number>();

  constructor(
    rank: RankContext,
    send: (to: readonly number[], type: number, body: Uint8Array) => void,
  ) {
    this.rank = rank;
    this.send = send;
    this.newest = rank.chain.settledRound;
  }

  /** The lanes of the transport are this epoch's members' already: the first epoch of a job. */
  useAtOnce(): void {
    if (this.isOff) return;
    this.from = 0;
  }

  /** One liar would hold up every collective: a byzantine epoch votes point-to-point. */
  private get isOff(): boolean {
    return this.rank.signing !== undefined;
  }

  /** Makes fresh lanes; until then, and should it fail, votes go point-to-point. */
  async regroup(): Promise<void> {
    const { session, transport, settings, chain, events } = this.rank;
    if (session.ranks < 2 || !session.complete || this.ready || this.from !== NEVER) return;
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
    if (this.from !== NEVER) return;
    this.from = round;
    for (let missed = round; missed <= this.newest; missed++) this.gather(missed, NOTHING);
  }

  /** True when the vote went by collective; else it is the caller's to send. */
  vote(round: number, wrap: () => Uint8Array): boolean {
    this.newest = round;
    if (round < this.from || this.poisoned(round)) return false;
    const bytes = wrap();
    const fits = bytes.length <= voteBytesMax(this.rank.session.ranks);
    this.gather(round, fits ? bytes : NOTHING);
    return fits;
  }

  /** The round was settled before this rank voted in it. */
  skip(round: number): void {
    this.newest = round;
    if (round >= this.from && !this.poisoned(round)) this.gather(round, NOTHING);
  }

  private gather(round: number, bytes: Uint8Array): void {
    const { transport, settings, session } = this.rank;
    if (this.poisoned(round)) return;
    const bytesMax = voteBytesMax(session.ranks);
    transport.allgather(this.lane(round), bytes, bytesMax, settings.collectiveTimeoutMs);
  }

  private poisoned(round: number): boolean {
    return this.rank.transport.lanePoisoned(this.lane(round));
  }

  private lane(round: number): number {
    return round % this.rank.settings.lanes;
  }
}

const NOTHING = new Uint8Array(0);

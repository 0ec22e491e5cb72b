/**
 * S5 and S10, asked of every byte that leaves a process: one vote for each (epoch, round,
 * incarnation), none after freezing, none before a durable SEAL admits the voter.
 */
import { toHex } from "../base/bytes.ts";
import type { Vote } from "../consensus/effects.ts";
import { decodeVote, ENVELOPE_BYTES, MESSAGE } from "../rank/envelope.ts";
import { decodeSealAnswer } from "../rank/membership-messages.ts";
import type { Session } from "../rank/session.ts";
import type { LogOracle } from "./log-oracle.ts";
import { Violation } from "./trace.ts";

const VOTING: ReadonlySet<number> = new Set([MESSAGE.vote, MESSAGE.sealAnswer, MESSAGE.sealPull]);

export class VoteChecker {
  /** Votes seen leaving their author. */
  votes = 0;
  private readonly oracle: LogOracle;
  /** "incarnation epoch round" → what it said. */
  private readonly said = new Map<string, string>();
  /** "incarnation epoch": it asked for a SEAL's votes or answered. */
  private readonly frozen = new Set<string>();

  private readonly onVote: (process: string, round: number) => void;

  constructor(oracle: LogOracle, onVote: (process: string, round: number) => void = () => {}) {
    this.oracle = oracle;
    this.onVote = onVote;
  }

  /** `sessions`: those of the process, newest first; a message is of the one that authenticates it. */
  sent(process: string, sessions: Iterable<Session>, bytes: Uint8Array): void {
    if (!VOTING.has(bytes[0]) || bytes.length <= ENVELOPE_BYTES) return;
    for (const session of sessions) {
      const body = session.seal.unwrap(bytes);
      if (body !== undefined) return this.judge(process, session, bytes[0], body);
    }
    throw new Violation("S10", `${process} sends what no epoch of its own authenticates`);
  }

  private judge(process: string, session: Session, type: number, body: Uint8Array): void {
    const { ranks, self } = session;
    const voter = `${toHex(session.incarnation)} ${toHex(session.epoch)}`;
    if (type === MESSAGE.vote) {
      const vote = decodeVote(body, ranks);
      if (vote?.rank === self) this.vote(process, session, voter, vote); // others' are passed on
      return;
    }
    const votes = type === MESSAGE.sealAnswer ? decodeSealAnswer(body, ranks)?.votes : [];
    for (const vote of votes ?? []) this.vote(process, session, voter, vote);
    this.frozen.add(voter);
  }

  private vote(process: string, session: Session, voter: string, vote: Vote): void {
    this.votes++;
    const { round, digest, effectsSlot, effectsDigest } = vote;
    const key = `${voter} ${round}`;
    const said = `${digest}:${effectsSlot}:${effectsDigest}`;
    const known = this.said.get(key);
    if (known !== undefined) {
      if (known !== said) throw new Violation("S5", `${process} votes twice in round ${round}`);
      return;
    }
    if (this.frozen.has(voter))
      throw new Violation("S5", `${process} votes in round ${round} though it is frozen`);
    this.admitted(process, session, round);
    this.said.set(key, said);
    this.onVote(process, round);
  }

  private admitted(process: string, session: Session, round: number): void {
    const epoch = toHex(session.epoch);
    this.oracle.advance();
    const members = this.oracle.epochs.of(epoch)?.members ?? [];
    if (members[session.self] !== toHex(session.incarnation))
      throw new Violation("S10", `${process} votes in round ${round} and no SEAL lets it in`);
  }
}

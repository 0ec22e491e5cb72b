/**
 * Steps 6 and 8 between core and writer: drafts become records, and records that others linked are
 * judged and handed to the core. Main thread; the writer works on its own.
 */
import { assert } from "../base/assert.ts";
import { fromHex, toHex } from "../base/bytes.ts";
import { BaashError, errorCode, exitCodeOf } from "../base/errors.ts";
import type { Effect, RecordSummary, RoundSettlement, Vote } from "../consensus/effects.ts";
import { answersMin, judgeSeal, namesOf } from "../ledger/judge.ts";
import type { LedgerRecord } from "../ledger/record.ts";
import { readNext, settledBy } from "../ledger/replay.ts";
import { countVoters, encodeIntent, type Member } from "../ledger/settlement.ts";
import { verdictName } from "../ledger/verdict.ts";
import type { RecordDraft } from "../storage/ledger-writer.ts";
import { reactionTo } from "../storage/storage-errors.ts";
import type { EpochEnd, RankContext } from "./context.ts";
import { draftRound } from "./draft.ts";
import { copyMembers, nextMembers } from "./next-members.ts";

/** A record of this rank's own that nobody would count. */
const NOT_VALID = "RECORD_NOT_VALID";

export class Recording {
  private readonly rank: RankContext;
  /** Records read from storage and not executed yet, by slot. */
  private readonly readRecords = new Map<number, LedgerRecord>();
  private appending = false;
  private readonly forgetLater: number[] = [];

  constructor(rank: RankContext) {
    this.rank = rank;
  }

  /** The record of `slot` where it was read from storage; it is executed now. */
  takeRead(slot: number): LedgerRecord | undefined {
    const record = this.readRecords.get(slot);
    this.readRecords.delete(slot);
    return record;
  }

  link(effect: Extract<Effect, { type: "link" }>): void {
    const { chain, session, storage, proposals, clock, signing, watch, events } = this.rank;
    const settlement = this.shown(effect);
    const signatureOf = signing && ((vote: Vote) => watch.signatureOf(vote));
    const rounds = settlement.map((round) =>
      draftRound(round, proposals, session.ranks, signatureOf),
    );
    this.appending = true;
    // What an earlier draft of the slot said, which storage refused, is not what this one says.
    this.ownSeal = undefined;
    this.ownIntent = undefined;
    const draft: RecordDraft = {
      kind: effect.kind,
      slot: effect.slot,
      prevHash: fromHex(effect.prevHash),
      epoch: session.epoch,
      authorRank: session.self,
      urgent: this.rank.draining(),
      firstRound: rounds[0]?.round ?? chain.settledRound + 1,
      lastRound: rounds.at(-1)?.round ?? chain.settledRound,
      heightBefore: chain.height,
      creationTime: Math.floor(clock.wall()),
      rounds,
    };
    this.completed(draft, { ...effect, settlement }, (record) => storage.append(record)).then(
      (result) => {
        this.appendEnded();
        this.failingSince.append = undefined;
        if (result.won) {
          this.won = toHex(result.hash);
          this.rank.emit({ type: "linked", slot: effect.slot, hash: toHex(result.hash) });
        } else {
          if (effect.slot === chain.slot + 1) this.found(effect.slot, result.winner);
          this.rank.emit({ type: "link-lost", slot: effect.slot });
        }
      },
      (error) => {
        this.appendEnded();
        const isInvalid = errorCode(error) === NOT_VALID;
        if (isInvalid) events.onAlert({ code: NOT_VALID, message: String(error) });
        else if (!this.survives(error, "append")) return;
        if (!isInvalid && (signing === undefined || effect.kind !== "SEAL"))
          return this.rank.emit({ type: "link-failed", slot: effect.slot });
        // Rounds must not go ahead of a SEAL, as the core would have it when storage refuses one: the
        // ⊥ of its answerers are signed in it alone.
        const { turnDelayMs } = this.rank.settings.timing;
        clock.schedule(clock.now() + turnDelayMs, () =>
          this.rank.emit({ type: "link-lost", slot: effect.slot }),
        );
      },
    );
  }

  /**
   * The votes that the record shows: in a byzantine epoch those that are signed, and the ⊥ of frozen
   * members whose signed answers go with it.
   */
  private shown(effect: Extract<Effect, { type: "link" }>): readonly RoundSettlement[] {
    const { signing, watch } = this.rank;
    if (signing === undefined) return effect.settlement;
    const answers = effect.kind === "SEAL" ? effect.answers : [];
    const isShown = (vote: Vote) =>
      watch.signatureOf(vote) !== undefined || answers.includes(vote.rank);
    return effect.settlement.map((round) => ({ ...round, votes: round.votes.filter(isShown) }));
  }

  /** Hands the draft on with what its kind says beside rounds; rejects if nobody would count it. */
  private completed<T>(
    draft: RecordDraft,
    effect: Extract<Effect, { type: "link" }>,
    append: (draft: RecordDraft) => Promise<T>,
  ): Promise<T> {
    const more = this.membershipOf(effect);
    if (more instanceof Promise) return more.then((part) => this.judged(draft, part, append));
    return this.judged(draft, more, append);
  }

  /** What this rank links it takes for valid, and so do all others: what may not be is not linked. */
  private judged<T>(
    draft: RecordDraft,
    more: Partial<RecordDraft>,
    append: (draft: RecordDraft) => Promise<T>,
  ): Promise<T> {
    const whole = { ...draft, ...more };
    const flaw = this.rank.signing === undefined ? undefined : this.flawOf(whole);
    if (flaw === undefined) return append(whole);
    const message = `this rank's ${draft.kind} at slot ${draft.slot} would not count: ${flaw}`;
    return Promise.reject(new BaashError(NOT_VALID, message));
  }

  private flawOf({ kind, rounds, prevHash, seal }: RecordDraft): string | undefined {
    const { chain, session } = this.rank;
    const settled = rounds.map((round) => ({
      ...round,
      proposals: round.proposals.map(({ rank, header }) => ({ rank, header, blocks: [] })),
    }));
    if (kind === "SEAL" && seal !== undefined) {
      const author = { authorRank: session.self, authorIncarnation: session.incarnation, prevHash };
      const { members, answers, signedAnswers = [] } = seal;
      const whole = {
        ...{ members: [...members], rounds: settled },
        ...{ answers: [...answers], signedAnswers: [...signedAnswers] },
      };
      const judgement = judgeSeal(chain, author, whole);
      return judgement.counts ? undefined : judgement.reason;
    }
    // Votes were verified when they came; the ⊥ of a frozen member is signed in a SEAL alone.
    const few = settled.find(({ votes }) => {
      const voters = votes.reduce((sum, group) => sum + countVoters(group.voters), 0);
      return voters < answersMin(session.ranks, chain.genesis.quorum);
    });
    return few === undefined ? undefined : `round ${few.round} has too few signed votes`;
  }

  /** When storage began to refuse, by what it was asked. */
  private readonly failingSince: Record<"append" | "read", number | undefined> = {
    append: undefined,
    read: undefined,
  };

  /** An error of storage: false when this rank cannot go on, and has said so. */
  private survives(error: unknown, access: "append" | "read"): boolean {
    const { events, session } = this.rank;
    const code = errorCode(error);
    events.onAlert({ code, message: String(error) });
    const { host } = session.members[session.self];
    const alone = session.members.every((member) => member.host === host);
    const reaction = reactionTo(error);
    // A name that may or may not be durable is settled by another host's sync, if there is one.
    if (reaction === "stop" || (reaction === "withhold" && alone)) {
      events.onHalt(code, (error as Error).message, exitCodeOf(error));
      return false;
    }
    const forLong = this.failedForLong(access);
    if (reaction === "wait" || reaction === "drop") return !(forLong && this.lost());
    if (reaction === "repair") this.rank.wantRecord(error);
    else this.inDoubt = true;
    if (!forLong) return true;
    events.onHalt(code, (error as Error).message, exitCodeOf(error));
    return false;
  }

  /** A record may or may not be durable here; the word of another host tells. */
  private inDoubt = false;

  /** A member said that a record is final: settles a doubt of this host's. */
  heardOf(slot: number, hash: string, member: number): void {
    const { session, storage, events } = this.rank;
    if (!this.inDoubt || session.members[member].host === session.members[session.self].host)
      return;
    this.inDoubt = false;
    storage.announced(slot, fromHex(hash)).catch((error) => {
      events.onAlert({ code: errorCode(error), message: String(error) });
    });
  }

  private failedForLong(access: "append" | "read"): boolean {
    const { clock, settings } = this.rank;
    const since = (this.failingSince[access] ??= clock.now());
    return clock.now() - since >= settings.storageLostMs;
  }

  /**
   * Storage away alone is waited for, a lost majority alone goes on through storage; with both gone
   * nothing can go on here, and a new job has to (protocol.md, Membership and faults).
   */
  private lost(): boolean {
    if (!this.rank.inMinority()) return false;
    const seconds = Math.round(this.rank.settings.storageLostMs / 1000);
    const reason = `most members are gone, and storage has taken no record for ${seconds} s`;
    this.rank.events.onHalt("STORAGE_AND_MAJORITY_LOST", reason);
    return true;
  }

  /** What SEAL and INTENT say beside rounds. */
  private membershipOf(
    effect: Extract<Effect, { type: "link" }>,
  ): Partial<RecordDraft> | Promise<Partial<RecordDraft>> {
    const { session, authority, roster } = this.rank;
    if (effect.kind === "SEAL") {
      const next = this.rank.closes() ? [] : nextMembers(session.members, effect, { roster });
      const members = authority.certify(next);
      if (!(members instanceof Promise)) return this.sealOf(effect, members);
      return members.then((certified) => this.sealOf(effect, certified));
    }
    if (effect.kind === "INTENT") {
      const { answered, deadlineMs } = effect;
      this.ownIntent = { slot: effect.slot, answered };
      const intent = { member: session.members[session.self], answered: [...answered], deadlineMs };
      return { payload: Buffer.concat(encodeIntent(intent).parts) };
    }
    return {};
  }

  private sealOf(
    effect: Extract<Effect, { type: "link"; kind: "SEAL" }>,
    members: readonly Member[],
  ): Partial<RecordDraft> {
    const { slot, answers, settlement } = effect;
    const signedAnswers = this.rank.watch.signedAnswers(answers, settlement);
    this.ownSeal = { slot, members };
    return { seal: { members, answers, signedAnswers } };
  }

  /**
   * The record of `slot` is the chain's head: a SEAL installs its members, an INTENT is announced.
   * Before anybody looks at the head: a checkpoint there must know the new epoch.
   */
  takeEffect(
    place: { slot: number; prevHash: string },
    hash: string,
    record: LedgerRecord | undefined,
  ): void {
    const { slot, prevHash } = place;
    const { chain, session } = this.rank;
    const { ownSeal, ownIntent } = this;
    const isOwn = record === undefined && hash === this.won;
    if (record?.body.kind === "INTENT") {
      chain.announce(record.header.authorIncarnation, record.body.intent.answered);
    } else if (isOwn && ownIntent?.slot === slot) {
      chain.announce(session.incarnation, ownIntent.answered);
    }
    if (record?.body.kind === "SEAL") {
      const { header, body } = record;
      const author = session.members[header.authorRank];
      const foreign =
        author === undefined || toHex(author.incarnation) !== toHex(header.authorIncarnation);
      const own = toHex(header.authorIncarnation) === toHex(session.incarnation);
      this.end = { slot, prevHash, hash, members: copyMembers(body.seal.members), foreign, own };
    } else if (isOwn && ownSeal?.slot === slot) {
      this.end = { slot, prevHash, hash, members: ownSeal.members, foreign: false, own: true };
    } else return;
    chain.install(this.end.members);
  }

  /** How the SEAL of `slot`, which took effect, ends the epoch. */
  epochEnd(slot: number): EpochEnd {
    assert(this.end?.slot === slot, "a SEAL was read, or written here");
    return this.end;
  }

  /** Hash of the newest record that this rank linked. */
  private won: string | undefined;
  private end: EpochEnd | undefined;
  private ownSeal: { slot: number; members: readonly Member[] } | undefined;
  private ownIntent: { slot: number; answered: readonly number[] } | undefined;
  private retired = false;

  /** The epoch is over: its proposals go, as soon as the writer lets go of them. */
  retire(): void {
    this.retired = true;
    if (!this.appending) this.rank.proposals.forgetAll();
  }

  /** The round is settled. The writer may still read its blocks. */
  forget(round: number): void {
    if (this.appending) this.forgetLater.push(round);
    else this.rank.proposals.forget(round);
  }

  /** The writer no longer reads the blocks of rounds that were settled meanwhile. */
  private appendEnded(): void {
    this.appending = false;
    for (const round of this.forgetLater.splice(0)) this.rank.proposals.forget(round);
    if (this.retired) this.rank.proposals.forgetAll();
  }

  read(slot: number, prevHash: string): void {
    this.rank.storage.child(slot, fromHex(prevHash)).then(
      (bytes) => {
        this.failingSince.read = undefined;
        if (bytes === undefined) this.rank.emit({ type: "no-record", slot });
        else this.found(slot, bytes);
      },
      (error) => {
        if (this.survives(error, "read")) this.rank.emit({ type: "no-record", slot, failed: true });
      },
    );
  }

  /** A record that another writer linked after our head. */
  private found(slot: number, bytes: Uint8Array): void {
    const { chain, session, emit } = this.rank;
    if (slot !== chain.slot + 1) return emit({ type: "no-record", slot });
    const next = readNext(chain, bytes);
    if (!next.ok) {
      const reason = `the record of slot ${slot} cannot be read: ${verdictName(next.verdict)}`;
      return this.rank.events.onHalt("RECORD_UNREADABLE", reason);
    }
    const { header, hash, record } = next.value;
    const rounds = record === undefined ? [] : settledBy(record);
    const summary: RecordSummary = {
      slot,
      hash: toHex(hash),
      kind: header.kind,
      valid: record !== undefined,
      firstRound: header.firstRound,
      lastRound: header.lastRound,
      rounds: rounds.map((round) => ({ round: round.round, included: namesOf(round) })),
      ...(record?.body.kind === "INTENT" && {
        intent: {
          answered: record.body.intent.answered,
          own: toHex(header.authorIncarnation) === toHex(session.incarnation),
          deadlineMs: record.body.intent.deadlineMs,
        },
      }),
    };
    if (record !== undefined) this.readRecords.set(slot, record);
    for (const round of rounds) this.rank.watch.recorded(round);
    emit({ type: "record", record: summary });
  }
}

/**
 * Steps 6 and 8 between core and writer: drafts become records, and records that others linked are
 * judged and handed to the core. Main thread; the writer works on its own.
 */
import { fromHex, toHex } from "../base/bytes.ts";
import { errorCode } from "../base/errors.ts";
import type { Effect, RecordSummary, RoundSettlement } from "../consensus/effects.ts";
import { namesOf } from "../ledger/judge.ts";
import type { LedgerRecord } from "../ledger/record.ts";
import { readNext, settledBy } from "../ledger/replay.ts";
import { verdictName } from "../ledger/verdict.ts";
import type { RankContext } from "./context.ts";
import { draftRound } from "./draft.ts";

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
    const { chain, session, storage, proposals, clock } = this.rank;
    const rounds = effect.settlement.map((settlement: RoundSettlement) =>
      draftRound(settlement, proposals, session.ranks),
    );
    this.appending = true;
    const draft = {
      kind: effect.kind,
      slot: effect.slot,
      prevHash: fromHex(effect.prevHash),
      epoch: session.epoch,
      firstRound: rounds[0]?.round ?? chain.settledRound + 1,
      lastRound: rounds.at(-1)?.round ?? chain.settledRound,
      heightBefore: chain.height,
      creationTime: Math.floor(clock.wall()),
      rounds,
    };
    storage.append(draft).then(
      (result) => {
        this.appendEnded();
        if (result.won) {
          this.rank.emit({ type: "linked", slot: effect.slot, hash: toHex(result.hash) });
        } else {
          if (effect.slot === chain.slot + 1) this.found(effect.slot, result.winner);
          this.rank.emit({ type: "link-lost", slot: effect.slot });
        }
      },
      (error) => {
        this.appendEnded();
        this.rank.events.onAlert({ code: errorCode(error), message: String(error) });
        this.rank.emit({ type: "link-failed", slot: effect.slot });
      },
    );
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
  }

  read(slot: number, prevHash: string): void {
    this.rank.storage.child(slot, fromHex(prevHash)).then(
      (bytes) => {
        if (bytes === undefined) this.rank.emit({ type: "no-record", slot });
        else this.found(slot, bytes);
      },
      (error) => {
        this.rank.events.onAlert({ code: errorCode(error), message: String(error) });
        this.rank.emit({ type: "no-record", slot });
      },
    );
  }

  /** A record that another writer linked after our head. */
  private found(slot: number, bytes: Uint8Array): void {
    const { chain, emit } = this.rank;
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
    };
    if (record?.body.kind === "SEAL") {
      const { members, rounds: settled } = record.body.seal;
      if (members.length + settled.length === 0) return this.rank.sealed(slot, summary.hash);
    }
    if (record !== undefined) this.readRecords.set(slot, record);
    emit({ type: "record", record: summary });
  }
}

/**
 * The promises of protocol.md as questions about a running cluster. Each throws a Violation that
 * names the rule; the ledger on the disk (log-oracle.ts) is what everything is held against.
 */
import { equalBytes, toHex } from "../base/bytes.ts";
import type { Chain } from "../ledger/chain.ts";
import { outcomeName } from "../ledger/receipt.ts";
import { decodeRecordHeader } from "../ledger/record.ts";
import type { Session } from "../rank/session.ts";
import type { Epoch, EpochEnd } from "./epochs.ts";
import type { LogOracle } from "./log-oracle.ts";
import type { Presence } from "./presence.ts";
import { ReceiptHistory } from "./receipt-history.ts";
import { Violation } from "./trace.ts";
import { VoteChecker } from "./vote-checker.ts";

export class Checkers {
  readonly oracle: LogOracle;
  private readonly voting: VoteChecker;
  private readonly roots = new Map<number, string>();
  /** txnID → outcomes told as final. */
  private readonly toldFinal = new Map<string, Set<number>>();
  private readonly history = new ReceiptHistory();
  private readonly fail: (error: unknown) => void;
  private readonly asked = { finals: 0, receipts: 0, agreed: 0, excused: 0 };

  /** `fail` is told; nothing is thrown into the rank that asks, which might swallow it. `onVote`: of its own. */
  constructor(
    oracle: LogOracle,
    fail: (error: unknown) => void,
    onVote?: (process: string, round: number) => void,
  ) {
    this.oracle = oracle;
    this.voting = new VoteChecker(oracle, onVote);
    this.fail = fail;
  }

  get counts() {
    return { ...this.asked, votes: this.voting.votes };
  }

  private check(question: () => void): void {
    try {
      question();
    } catch (error) {
      this.fail(error);
    }
  }

  /** A rank has executed the record of its head: S1, S2, S7, S8. */
  final(name: string, chain: Chain, checkpointRecords: number): void {
    this.check(() => this.judgeFinal(name, chain, checkpointRecords));
  }

  private judgeFinal(name: string, chain: Chain, checkpointRecords: number): void {
    this.oracle.advance();
    this.asked.finals++;
    const { slot, hash } = chain;
    const record = this.oracle.records[slot];
    if (record === undefined) {
      throw new Violation(
        "S2",
        `${name} calls slot ${slot} final, storage ends at ${this.oracle.head?.slot}`,
      );
    }
    if (record.hash !== hash) {
      throw new Violation(
        "S1",
        `${name} has ${hash.slice(0, 8)} in slot ${slot}, storage ${record.hash.slice(0, 8)}`,
      );
    }
    if (record.height !== chain.height) {
      throw new Violation(
        "S8",
        `${name} has height ${chain.height} at slot ${slot}, it is ${record.height}`,
      );
    }
    if (record.settledRound !== chain.settledRound) {
      throw new Violation(
        "S8",
        `${name} has settled round ${chain.settledRound} at slot ${slot}, it is ${record.settledRound}`,
      );
    }
    if (record.epoch !== chain.epoch.hash) {
      throw new Violation("S9", `${name} is in another epoch at slot ${slot} than the log`);
    }
    if (record.effectsDigest !== chain.effectsDigest) {
      throw new Violation("S7", `${name} has other effects than the model at slot ${slot}`);
    }
    if (slot % checkpointRecords === 0) this.judgeRoot(name, chain);
  }

  root(name: string, chain: Chain): void {
    this.check(() => this.judgeRoot(name, chain));
  }

  private judgeRoot(name: string, chain: Chain): void {
    const root = toHex(chain.state.root());
    const known = this.roots.get(chain.slot);
    if (known !== undefined && known !== root) {
      throw new Violation(
        "S7",
        `${name} has another state root than its peers at slot ${chain.slot}`,
      );
    }
    this.roots.set(chain.slot, root);
    const supply = chain.genesis.supply;
    if (chain.state.total() !== supply) {
      throw new Violation(
        "S7",
        `${name} has ${chain.state.total()} of ${supply} at slot ${chain.slot}`,
      );
    }
  }

  /** Bytes that a process sends: S5, S10. */
  sent(process: string, sessions: Iterable<Session>, bytes: Uint8Array): void {
    this.check(() => this.voting.sent(process, sessions, bytes));
  }

  /**
   * S11: fewer than R answers, or a newcomer, may end an epoch only if nobody else was there to
   * refute the INTENT. `inTime`: storage answers everybody within its deadline.
   */
  epochEnded(
    epoch: Epoch,
    end: EpochEnd,
    by: { presence: Presence; deadlineMs: number; inTime: boolean },
  ): void {
    if (!by.inTime || (end.kind !== "minority" && end.kind !== "foreign")) return;
    const span = { from: end.at - by.deadlineMs, to: end.at };
    const awake = epoch.members.find(
      (one) => !end.listed.includes(one) && by.presence.couldAct(one, epoch.hash, span),
    );
    if (awake === undefined) return;
    const { name } = by.presence.processOf(awake)!;
    const how = end.kind === "minority" ? "a minority" : "another job";
    this.check(() => {
      throw new Violation("S11", `slot ${end.slot}: ${how} goes on though ${name} lives and looks`);
    });
  }

  /** A client submits these for the first time, or again. */
  submitted(ids: readonly string[]): void {
    this.check(() => this.oracle.advance());
    const head = this.oracle.head?.slot ?? -1;
    for (const id of ids) this.history.submit(id, head);
  }

  /** S12: storage hands a record over to a rank, on its way or as the child of a place. */
  handedOver(name: string, bytes: Uint8Array, place?: { slot: number; parent: string }): void {
    this.check(() => {
      this.oracle.advance();
      const header = decodeRecordHeader(bytes);
      const slot = place?.slot ?? (header.ok ? header.value.slot : -1);
      const written = this.oracle.bytesOf(slot);
      // On the way of a recovery the newest one is made durable afterwards.
      if (place === undefined && header.ok && written === undefined) return;
      const isInChain = place === undefined || this.oracle.records[slot - 1]?.hash === place.parent;
      if (isInChain && !(written !== undefined && equalBytes(written, bytes)))
        throw new Violation("S12", `${name} is handed something else than was written in ${slot}`);
    });
  }

  /** L6: who starts replays what came after the newest checkpoint, and no more. */
  replayed(name: string, fromSlot: number, checkpoint: number): void {
    if (fromSlot >= checkpoint) return;
    const what = `${name} replays from slot ${fromSlot}, there is a checkpoint of ${checkpoint}`;
    this.fail(new Violation("L6", what));
  }

  /** A client is told a final outcome: it must be in durable storage now. S11. */
  toldAsFinal(name: string, id: string, outcome: number): void {
    this.check(() => this.judgeToldAsFinal(name, id, outcome));
  }

  private judgeToldAsFinal(name: string, id: string, outcome: number): void {
    this.oracle.advance();
    this.asked.receipts++;
    const logged = this.oracle.transactions.get(id);
    if (logged === undefined || !logged.outcomes.includes(outcome)) {
      const told = outcomeName(outcome);
      const has = logged?.outcomes.map(outcomeName).join() ?? "nothing";
      throw new Violation(
        "S11",
        `${name} tells ${told} as final of ${id.slice(0, 8)}, the log has ${has}`,
      );
    }
    let told = this.toldFinal.get(id);
    if (told === undefined) this.toldFinal.set(id, (told = new Set()));
    told.add(outcome);
    this.history.told(id, outcome, logged);
  }

  /** The ledger as a fresh reader finds it at the end, against everything that was told. */
  recovered(chain: Chain): void {
    this.check(() => this.judgeRecovered(chain));
  }

  private judgeRecovered(chain: Chain): void {
    const { oracle } = this;
    this.oracle.advance();
    const head = oracle.head;
    if (head === undefined || head.hash !== chain.hash || head.slot !== chain.slot) {
      throw new Violation("S3", `recovery ends at slot ${chain.slot}, storage at ${head?.slot}`);
    }
    this.judgeFinal("recovery", chain, 1);
    const { model } = oracle;
    for (const [account, balance] of model.balances) {
      const found = chain.state.balance(account);
      if (found !== balance || found < 0) {
        throw new Violation("S7", `account ${account} has ${found}, it must have ${balance}`);
      }
    }
    for (const [key, fields] of model.records) {
      const found = chain.state.read(Uint8Array.from(Buffer.from(key, "hex")));
      const text = found?.map(({ name, value }) => `${toHex(name)}=${toHex(value)}`).sort();
      const wanted = [...fields].map(([name, value]) => `${name}=${value}`).sort();
      if (text?.join() !== wanted.join()) throw new Violation("S7", `record ${key} differs`);
    }
    if (chain.state.size().records !== model.records.size) {
      throw new Violation(
        "S7",
        `${chain.state.size().records} records, the model has ${model.records.size}`,
      );
    }
    for (const [id, outcomes] of this.toldFinal) {
      const logged = oracle.transactions.get(id);
      for (const outcome of outcomes) {
        if (!logged?.outcomes.includes(outcome)) {
          throw new Violation("S11", `${id.slice(0, 8)} was told final and is not in the log`);
        }
      }
    }
  }

  /** Agreed is inclusion promised, unless the epoch went on without R of its members. */
  agreedIsIn(id: string, epoch: string): void {
    this.check(() => this.judgeAgreedIsIn(id, epoch));
  }

  private judgeAgreedIsIn(id: string, epoch: string): void {
    const end = this.oracle.epochs.of(epoch)?.end;
    if (end?.kind === "minority" || end?.kind === "foreign") this.asked.excused++;
    else {
      this.asked.agreed++;
      if (this.oracle.transactions.has(id)) return;
      throw new Violation("S11", `${id.slice(0, 8)} was told agreed and is not in the log`);
    }
  }
}

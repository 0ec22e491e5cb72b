/**
 * The promises of protocol.md as questions about a running cluster. Each throws a Violation that
 * names the rule; the ledger on the disk (log-oracle.ts) is what everything is held against.
 */
import { toHex } from "../base/bytes.ts";
import type { Chain } from "../ledger/chain.ts";
import { outcomeName } from "../ledger/receipt.ts";
import { decodeVote, ENVELOPE_BYTES, MESSAGE } from "../rank/envelope.ts";
import type { LogOracle } from "./log-oracle.ts";
import { Violation } from "./trace.ts";

export class Checkers {
  readonly oracle: LogOracle;
  private readonly votes = new Map<string, string>();
  private readonly roots = new Map<number, string>();
  /** txnID → outcomes told as final. */
  private readonly toldFinal = new Map<string, Set<number>>();
  private readonly fail: (error: unknown) => void;
  counts = { finals: 0, receipts: 0, votes: 0, agreed: 0 };

  /** `fail` is told; nothing is thrown into the rank that asks, which might swallow it. */
  constructor(oracle: LogOracle, fail: (error: unknown) => void) {
    this.oracle = oracle;
    this.fail = fail;
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
    this.counts.finals++;
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

  /** Bytes that a process sends: S5, one vote per (epoch, round, incarnation). */
  sent(process: string, rank: number, ranks: number, bytes: Uint8Array): void {
    this.check(() => this.judgeSent(process, rank, ranks, bytes));
  }

  private judgeSent(process: string, rank: number, ranks: number, bytes: Uint8Array): void {
    if (bytes[0] !== MESSAGE.vote || bytes.length <= ENVELOPE_BYTES) return;
    const vote = decodeVote(bytes.subarray(ENVELOPE_BYTES), ranks);
    if (vote === undefined || vote.rank !== rank) return; // votes of others are passed on
    this.counts.votes++;
    const key = `${process}:${vote.round}`;
    const said = `${vote.digest}:${vote.effectsSlot}:${vote.effectsDigest}`;
    const known = this.votes.get(key);
    if (known !== undefined && known !== said) {
      throw new Violation("S5", `${process} votes twice in round ${vote.round}`);
    }
    this.votes.set(key, said);
  }

  /** A client is told a final outcome: it must be in durable storage now. S11. */
  toldAsFinal(name: string, id: string, outcome: number): void {
    this.check(() => this.judgeToldAsFinal(name, id, outcome));
  }

  private judgeToldAsFinal(name: string, id: string, outcome: number): void {
    this.oracle.advance();
    this.counts.receipts++;
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

  /** Agreed is inclusion promised: asked at the end, where R members of the epoch lived on. */
  agreedIsIn(id: string): void {
    this.check(() => this.judgeAgreedIsIn(id));
  }

  private judgeAgreedIsIn(id: string): void {
    this.counts.agreed++;
    if (!this.oracle.transactions.has(id)) {
      throw new Violation("S11", `${id.slice(0, 8)} was told agreed and is not in the log`);
    }
  }
}

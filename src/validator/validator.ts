/**
 * The isolated storage validator: alone it may write the ledger directory and holds the ledger key.
 * It follows the log with a chain of its own, judges every record that a rank hands in by its bytes,
 * its bodies and the policy, and only then links it. It certifies members, signs restarts, writes
 * checkpoints and folds. Requests are handled one after the other.
 *
 * Nothing that a rank says is believed: a request that is malformed or refused is answered with a
 * code, and an error of storage ends that request alone.
 */
import type { KeyObject } from "node:crypto";
import { equalBytes, fromHex, toHex } from "../base/bytes.ts";
import { BaashError, errorCode } from "../base/errors.ts";
import type { Chain } from "../ledger/chain.ts";
import type { Packable } from "../ledger/codec.ts";
import { decodeEvidence, evidenceFlaw, evidenceName } from "../ledger/evidence.ts";
import { judgeRecord } from "../ledger/judge.ts";
import { certifyMember, signMessage, verifyMember, verifySignature } from "../ledger/keys.ts";
import { decodeRecord, type LedgerRecord } from "../ledger/record.ts";
import { settledBy, step } from "../ledger/replay.ts";
import type { Member } from "../ledger/settlement.ts";
import { restartMessage } from "../ledger/statements.ts";
import { verdictName } from "../ledger/verdict.ts";
import { SEGMENT_RECORDS } from "../limits.ts";
import type { Certifiable } from "../storage/certifiable.ts";
import type { StorageService } from "../storage/storage-service.ts";
import { badBody } from "./bodies.ts";
import { type HeadIntent, objection } from "./policy.ts";
import {
  isBytes,
  isCount,
  type Operation,
  proofMessage,
  unpackMembers,
  WIRE_VERSION,
} from "./wire.ts";

/** Hashes of so many newest records are answered from memory; older ones are read as they lie. */
const HASHES_KEPT = 4096;
/** New incarnations that may be certified at once, and one more a second after that. */
const NEWCOMERS_MAX = 2048;
/** Dead letters that the ranks of all jobs leave while this validator runs. */
const QUARANTINED_MAX = 64;
const QUARANTINED_BYTES_MAX = 1 << 20;
/** Folded so many segments after their end. */
const SEGMENTS_KEPT = 1;

export interface ValidatorOptions {
  readonly chain: Chain;
  readonly storage: StorageService;
  readonly ledgerKey: KeyObject;
  /** Milliseconds; never goes back. */
  now(): number;
  readonly takeoverMsMin: number;
  readonly checkpointRecords: number;
  /** A sentence for whoever reads the log of the validator. */
  say(code: string, sentence: string): void;
  /** It can no longer follow the log: the process ends. */
  onFatal(error: unknown): void;
}

/** What was refused, by code. */
export type ValidatorCounters = Record<string, number>;

const refuse = (code: string, message: string): never => {
  throw new BaashError(code, message);
};

export class Validator {
  private readonly options: ValidatorOptions;
  private queue: Promise<unknown> = Promise.resolve();
  private readonly afterwards: (() => Promise<void>)[] = [];
  private readonly hashes = new Map<number, string>();
  private headAt: number;
  private headIntent: HeadIntent | undefined;
  private ranksMax: number;
  private readonly convicted = new Set<string>();
  private readonly segmentParents = new Map<number, Uint8Array>();
  private newcomers = NEWCOMERS_MAX;
  private newcomersAt: number;
  private quarantined = 0;
  readonly counters: ValidatorCounters = { linked: 0, lost: 0, refused: 0 };

  constructor(options: ValidatorOptions) {
    const { chain, now } = options;
    this.options = options;
    this.headAt = now();
    this.newcomersAt = now();
    // How the epoch in force began was before this validator's time.
    this.ranksMax = Number.POSITIVE_INFINITY;
    this.hashes.set(chain.slot, chain.hash);
  }

  /** One request; its answer, or a coded error. */
  handle(operation: Operation, args: readonly unknown[]): Promise<Packable[]> {
    const answer = this.queue.then(() => this.perform(operation, args));
    this.queue = answer.then(
      () => this.finish(),
      () => this.finish(),
    );
    return answer;
  }

  /** What follows from a request, before the next one. */
  private async finish(): Promise<void> {
    try {
      for (let next = this.afterwards.shift(); next !== undefined; next = this.afterwards.shift())
        await next();
    } catch (error) {
      // What it has linked and cannot follow ends it: a chain of its own is its whole worth.
      this.options.onFatal(error);
    }
  }

  /** Nothing is under way. */
  idle(): Promise<unknown> {
    return this.queue;
  }

  private async perform(operation: Operation, args: readonly unknown[]): Promise<Packable[]> {
    const { chain, storage } = this.options;
    switch (operation) {
      case "hello":
        if (args[0] !== WIRE_VERSION) refuse("WIRE_VERSION", "another version of BAASH");
        return [chain.chainId, chain.slot + 1];
      case "certify":
        return [this.certify(unpackMembers(args[0]) ?? malformed())];
      case "restart":
        return [this.signRestart(args)];
      case "append":
        return await this.append(args[0] instanceof Uint8Array ? args[0] : malformed());
      case "child":
        return this.child(args);
      case "bytes":
        return await this.bytes(args);
      case "checkpoint":
        return [];
      case "evidence":
        return [await this.keepEvidence(args[1])];
      case "quarantine":
        return [await this.quarantine(args)];
      case "repair": {
        const [slot, prevHash, hash, bytes] = args;
        if (!isCount(slot) || !isBytes(prevHash, 32) || !isBytes(hash, 32)) return malformed();
        if (!(bytes instanceof Uint8Array)) return malformed();
        if (this.hashes.get(slot) !== toHex(hash)) return [0];
        return [(await storage.repair({ slot, prevHash, hash }, bytes.slice())) ? 1 : 0];
      }
    }
  }

  // Records.

  private async append(bytes: Uint8Array): Promise<Packable[]> {
    const { chain, storage } = this.options;
    const record = this.judged(bytes);
    if (!("body" in record)) return [0, fromHex(record.winner)];
    const { header } = record;
    const place = { slot: header.slot, prevHash: fromHex(chain.hash), kind: header.kind };
    const result = await storage.appendWhole(bytes.slice(), place);
    if (!result.won) {
      // Nobody else should write here: what is there counts all the same.
      this.counters.lost++;
      this.options.say("SLOT_TAKEN", `slot ${header.slot} was written by somebody else`);
      this.stepOver(result.winner);
      return [0, fromHex(chain.hash)];
    }
    this.counters.linked++;
    // Answered first: the others wait for it, and for nothing of what comes now.
    this.afterwards.push(async () => this.stepOver(bytes, record));
    return [1, result.hash];
  }

  /** The record if it may be linked, or the hash of the one that has its place. Throws what it lacks. */
  private judged(bytes: Uint8Array): LedgerRecord | { readonly winner: string } {
    const { chain } = this.options;
    const decoded = decodeRecord(bytes, chain.ranks, {
      chainId: chain.chainId,
      storageDifficulty: chain.genesis.storageDifficulty,
    });
    if (!decoded.ok) return this.refused(`${decoded.where}: ${verdictName(decoded.verdict)}`);
    const record = decoded.value;
    const { slot, prevHash } = record.header;
    if (slot !== chain.slot + 1 || toHex(prevHash) !== chain.hash) {
      const isOn = this.hashes.get(slot - 1) === toHex(prevHash);
      const winner = isOn ? this.hashes.get(slot) : undefined;
      return winner === undefined ? this.refused("its parent is not the head") : { winner };
    }
    const judgement = judgeRecord(chain, record, bytes);
    if (!judgement.counts) return this.refused(judgement.reason);
    const reason = this.objectionTo(record) ?? badBody(chain, settledBy(record));
    return reason === undefined ? record : this.refused(reason);
  }

  private objectionTo(record: LedgerRecord): string | undefined {
    const { chain, now, takeoverMsMin } = this.options;
    return objection(record, {
      chain,
      headIntent: this.headIntent,
      headAgeMs: now() - this.headAt,
      takeoverMsMin,
      ranksMax: this.ranksMax,
      isConvicted: (incarnation) => this.convicted.has(incarnation),
    });
  }

  private refused(reason: string): never {
    this.counters.refused++;
    this.options.say("RECORD_REFUSED", reason);
    return refuse("RECORD_REFUSED", `The storage validator does not link this record: ${reason}.`);
  }

  private stepOver(bytes: Uint8Array, record?: LedgerRecord): void {
    const { chain, now } = this.options;
    const slot = chain.slot + 1;
    if (slot % SEGMENT_RECORDS === 0)
      this.segmentParents.set(slot / SEGMENT_RECORDS, fromHex(chain.hash));
    const { ranks } = chain;
    const wasMember = record !== undefined && isMemberOf(chain, record);
    step(chain, bytes);
    this.hashes.set(slot, chain.hash);
    this.hashes.delete(slot - HASHES_KEPT);
    this.headAt = now();
    this.headIntent = undefined;
    if (record?.body.kind === "INTENT") {
      const { answered, deadlineMs } = record.body.intent;
      this.headIntent = { author: toHex(record.header.authorIncarnation), answered, deadlineMs };
    }
    if (record?.body.kind === "SEAL" && (!wasMember || ranks === 0)) this.ranksMax = chain.ranks;
    this.tidy(slot);
  }

  /** Checkpoints and folds, when they are due: nobody else here may write them. */
  private tidy(slot: number): void {
    const { chain, storage, checkpointRecords, say } = this.options;
    const isClosed = chain.ranks === 0;
    if (slot > 0 && (isClosed || slot % checkpointRecords === 0)) {
      const draft = {
        slot,
        recordHash: fromHex(chain.hash),
        stateRoot: chain.state.root(),
        size: chain.height,
        root: chain.treeRoot(),
        payload: chain.snapshot(),
      };
      this.aside(() => storage.checkpoint(draft));
    }
    const segment = slot / SEGMENT_RECORDS - 1 - SEGMENTS_KEPT;
    const parent = segment === 0 ? new Uint8Array(32) : this.segmentParents.get(segment);
    if (!Number.isInteger(segment) || segment < 0 || parent === undefined) return;
    this.aside(async () => {
      if (await storage.fold(segment, parent)) say("FOLDED", `segment ${segment} is folded`);
    });
  }

  /** A checkpoint or a fold that fails costs time later, nothing else. */
  private aside(work: () => Promise<void>): void {
    this.afterwards.push(() =>
      work().catch((error) => this.options.say(errorCode(error), String(error))),
    );
  }

  /** Only what is durable is told: this process itself has linked it. */
  private child([slot, prevHash]: readonly unknown[]): Packable[] {
    if (!isCount(slot) || !isBytes(prevHash, 32)) return malformed();
    const { chain } = this.options;
    const parent = toHex(prevHash);
    if (slot === chain.slot + 1 && parent === chain.hash) return [];
    if (this.hashes.get(slot - 1) === parent) return [fromHex(this.hashes.get(slot)!)];
    // Older than what is remembered: final for long.
    const oldest = Math.min(...this.hashes.keys());
    return slot <= oldest ? [1] : [];
  }

  private async bytes([slot, hash]: readonly unknown[]): Promise<Packable[]> {
    if (!isCount(slot) || !isBytes(hash, 32)) return malformed();
    if (this.hashes.get(slot) !== toHex(hash)) return [];
    const bytes = await this.options.storage.recordBytes(slot, hash.slice());
    return bytes === undefined ? [] : [bytes];
  }

  // Who is let in.

  /** A member is certified anew by an old certificate, a newcomer by its own key's signature. */
  private certify(members: readonly Certifiable[]): Packable[] {
    const { chain, ledgerKey } = this.options;
    const certificates: Packable[] = [];
    for (const { former, proof, ...bare } of members) {
      const incarnation = toHex(bare.incarnation);
      if (this.convicted.has(incarnation)) refuse("CONVICTED", "a member that contradicts itself");
      if (former !== undefined) {
        const { rank, certificate } = former;
        if (!verifyMember(chain.genesis.ledgerKey, chain.chainId, { ...bare, rank, certificate }))
          refuse("NOT_CERTIFIED", `member ${bare.rank} shows a certificate that is not ours`);
      } else {
        const message = proofMessage(chain.chainId, bare);
        if (proof === undefined || !verifySignature(bare.publicKey, message, proof))
          refuse("NOT_PROVEN", "a newcomer has to sign with its own key");
        this.countNewcomer();
      }
      certificates.push(certifyMember(ledgerKey, chain.chainId, bare).certificate);
    }
    return certificates;
  }

  private countNewcomer(): void {
    const now = this.options.now();
    const more = (now - this.newcomersAt) / 1000;
    this.newcomers = Math.min(NEWCOMERS_MAX, this.newcomers + more);
    this.newcomersAt = now;
    if (this.newcomers < 1) refuse("TOO_MANY_NEWCOMERS", "too many newcomers: try again later");
    this.newcomers--;
  }

  /** For a newcomer's SEAL after a closed ledger, or after its own INTENT that nobody answered. */
  private signRestart([epoch, prevHash, list]: readonly unknown[]): Uint8Array {
    const { chain, ledgerKey, now } = this.options;
    if (!isBytes(epoch, 32) || !isBytes(prevHash, 32)) return malformed();
    const members = (unpackMembers(list) ?? malformed()).map(certified);
    if (toHex(epoch) !== chain.epoch.hash || toHex(prevHash) !== chain.hash)
      refuse("NOT_THE_HEAD", "the log has gone on meanwhile");
    for (const member of members)
      if (!verifyMember(chain.genesis.ledgerKey, chain.chainId, member))
        refuse("NOT_CERTIFIED", `member ${member.rank} shows a certificate that is not ours`);
    if (chain.ranks > 0) {
      const { headIntent } = this;
      const isAuthor = (member: Member) => toHex(member.incarnation) === headIntent?.author;
      if (headIntent === undefined || !members.some(isAuthor))
        refuse(
          "LEDGER_IN_USE",
          "the ledger is open, and its head is not an INTENT of these members",
        );
      else if (now() - this.headAt < headIntent.deadlineMs)
        refuse("TOO_EARLY", "the INTENT has not had its time");
    }
    const place = { chainId: chain.chainId, epoch: epoch.slice() };
    return signMessage(ledgerKey, restartMessage(place, prevHash.slice(), members));
  }

  // What is kept.

  private async keepEvidence(bytes: unknown): Promise<string> {
    if (!(bytes instanceof Uint8Array)) return malformed();
    const evidence = decodeEvidence(bytes.slice());
    if (!evidence.ok) return refuse("NO_EVIDENCE", verdictName(evidence.verdict));
    const flaw = evidenceFlaw(evidence.value, this.options.chain.genesis);
    if (flaw !== undefined) refuse("NO_EVIDENCE", flaw);
    this.convicted.add(toHex(evidence.value.member.incarnation));
    return await this.options.storage.storeEvidence(evidenceName(evidence.value), bytes.slice());
  }

  private async quarantine([name, bytes]: readonly unknown[]): Promise<string> {
    const isNamed = typeof name === "string" && /^[a-z0-9][a-z0-9.-]{0,63}$/.test(name);
    if (!isNamed || !(bytes instanceof Uint8Array)) return malformed();
    if (this.quarantined >= QUARANTINED_MAX || bytes.length > QUARANTINED_BYTES_MAX)
      refuse("STORAGE_KEPT_ENOUGH", "enough dead letters are kept: look at them first");
    this.quarantined++;
    return await this.options.storage.quarantine(name, bytes.slice());
  }
}

function malformed(): never {
  return refuse("MALFORMED", "a request that is malformed");
}

function certified({ former, proof: _, ...bare }: Certifiable): Member {
  return { ...bare, certificate: former?.certificate ?? new Uint8Array(64) };
}

function isMemberOf(chain: Chain, { header }: LedgerRecord): boolean {
  const member = chain.epoch.members[header.authorRank];
  return member !== undefined && equalBytes(member.incarnation, header.authorIncarnation);
}

/**
 * Writes real ledger directories for tests of readers: every byte by the production codecs, state
 * and digests by the production state, files by plain synchronous calls. Deterministic but for
 * keys. What a test wants to be wrong it changes through the hooks, before things are signed.
 */

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { writeU64 } from "../../src/base/bytes.ts";
import { sha256 } from "../../src/base/sha256.ts";
import { chainHash, createBlockLocation, locateBlock } from "../../src/ledger/block.ts";
import { createGenesis, type Genesis, type Quorum } from "../../src/ledger/genesis.ts";
import { certifyMember, generateSigningKey, type KeyPair } from "../../src/ledger/keys.ts";
import { CompactRange } from "../../src/ledger/merkle.ts";
import { encodeRecord, type RecordFields, type RecordKind } from "../../src/ledger/record.ts";
import {
  addVoter,
  encodeIntent,
  encodeNoop,
  encodeSeal,
  encodeSettlement,
  type Member,
  makeAnswer,
  type PayloadParts,
  type Seal,
  type SettledRound,
  votersBytes,
} from "../../src/ledger/settlement.ts";
import { State } from "../../src/ledger/state.ts";
import { encodeTransaction, type TransactionInput } from "../../src/ledger/transaction-object.ts";
import { LEDGER_DIRECTORIES, recordName, segmentName } from "../../src/storage/paths.ts";
import { executeBlock } from "./execute-block.ts";
import { foldSegment, writeCheckpoint } from "./ledger-files.ts";
import { type Blocks, type MadeProposal, makeProposal } from "./make-proposal.ts";
import { type Sign, signerOf, signRestart, signSeal, signVotes } from "./sign-records.ts";

export type TransactionDraft = Omit<
  TransactionInput,
  "chainId" | "creationTime" | "lastValidRound"
> & { lastValidRound?: number };

export interface MakeOptions {
  ranks?: number;
  supply?: number;
  difficulty?: number;
  storageDifficulty?: number;
  segmentRecords?: number;
  quorum?: Quorum;
}

export interface Hooks {
  /** Changes the settlement of a record before it is signed. */
  rounds?: (rounds: SettledRound[]) => void;
  fields?: (fields: RecordFields) => void;
  /** Signs in the author's stead. */
  sign?: (message: Uint8Array) => Uint8Array;
}

/** A member with its key. */
export interface Made {
  member: Member;
  key: KeyPair;
}

export interface SealPlan {
  /** Ranks of the epoch that ends which are not in the next. */
  evict?: readonly number[];
  /** How many new members come in. */
  admit?: number;
  /** Rounds that it settles, run after the record before. */
  rounds?: SettledRound[];
  /** Ranks that answered; all, unless told otherwise. */
  answers?: number[];
  /** Byzantine: last round in which each of `answers` voted; the last one run, unless told otherwise. */
  lastVoted?: number[];
  author?: number;
}

/** Who writes a record, and what of it differs from what an honest author would write. */
export interface By {
  author?: number;
  newcomer?: Made;
  hooks?: Hooks;
}

const CREATED = 1_700_000_000_000;

export class LedgerMaker {
  readonly dir: string;
  readonly genesis: Genesis;
  readonly ledgerKey: KeyPair = generateSigningKey();
  readonly state: State;
  readonly tree = new CompactRange();
  readonly segmentRecords: number;
  members: Member[] = [];
  keys: KeyPair[] = [];
  slot = 0;
  round = 0;
  height = 0;
  head: Uint8Array = new Uint8Array(32);
  epoch: Uint8Array = new Uint8Array(32);
  /** Outcomes in order of execution, and the txnIDs with them. */
  readonly executed: { id: Uint8Array; outcome: number }[] = [];
  private tip: Uint8Array;
  private effectsSlot = 0;
  private effectsDigest: Uint8Array = new Uint8Array(32);
  private incarnations = 0;

  constructor(dir: string, options: MakeOptions = {}) {
    this.dir = dir;
    this.segmentRecords = options.segmentRecords ?? 1024;
    const { genesis, bytes } = createGenesis(
      {
        created: CREATED,
        nonce: new Uint8Array(16).fill(7),
        difficulty: options.difficulty ?? 4,
        storageDifficulty: options.storageDifficulty ?? 8,
        blockTransactionsMax: 4096,
        supply: options.supply ?? 1_000_000,
        quorum: options.quorum ?? "majority",
      },
      this.ledgerKey,
    );
    this.genesis = genesis;
    this.state = new State({ supply: genesis.supply });
    this.tip = sha256(bytes.subarray(0, bytes.lastIndexOf("}".charCodeAt(0)) + 2));
    mkdirSync(dir, { recursive: true });
    for (const name of LEDGER_DIRECTORIES) mkdirSync(join(dir, name));
    writeFileSync(join(dir, "genesis"), bytes);
    this.seal(options.ranks ?? 4);
  }

  transaction(draft: TransactionDraft): Uint8Array {
    return encodeTransaction({
      chainId: this.genesis.chainId,
      creationTime: CREATED,
      lastValidRound: this.round + 1000,
      ...draft,
    });
  }

  transfer(sequence: number, txnAmount: number, receiverID = 1, senderID = 0): Uint8Array {
    return this.transaction({ kind: "transfer", senderID, sequence, receiverID, txnAmount });
  }

  /** A proposal for the next round, or `ahead` rounds after it. */
  propose(rank: number, blocks: Blocks, ahead = 0): MadeProposal {
    const round = this.round + 1 + ahead;
    const { chainId, difficulty } = this.genesis;
    const { incarnation } = this.members[rank];
    const setting = { chainId, epoch: this.epoch, anchor: this.head, round, rank, incarnation };
    return makeProposal(blocks, { ...setting, creationTime: CREATED }, difficulty);
  }

  /** A settled round in which the ranks of `proposals` proposed and all (or `voters`) said yes. */
  settled(proposals: ReadonlyMap<number, MadeProposal>, voters?: readonly number[]): SettledRound {
    const ranks = this.members.length;
    const answers = new Uint8Array(ranks);
    for (const rank of proposals.keys()) answers[rank] = makeAnswer(2, 0);
    const bitmap = new Uint8Array(votersBytes(ranks));
    for (const voter of voters ?? this.members.keys()) addVoter(bitmap, voter);
    const { effectsSlot, effectsDigest } = this;
    const sorted = [...proposals].sort(([a], [b]) => a - b);
    return {
      round: this.round + 1,
      proposals: sorted.map(([rank, { header, blocks }]) => ({ rank, header, blocks })),
      lost: [],
      votes: [{ answers, effectsSlot, effectsDigest, voters: bitmap }],
    };
  }

  /** Proposes, settles and executes one round; `blocks[rank]` undefined = ⊥, [] = EMPTY. */
  run(blocks: readonly (Blocks | undefined)[], voters?: readonly number[]): SettledRound {
    const proposals = new Map<number, MadeProposal>();
    for (const [rank, list] of blocks.entries()) {
      if (list !== undefined) proposals.set(rank, this.propose(rank, list));
    }
    const settled = this.settled(proposals, voters);
    this.execute(proposals);
    return settled;
  }

  execute(proposals: ReadonlyMap<number, MadeProposal>): void {
    const ranks = this.members.length;
    const round = this.round + 1;
    for (let i = 0; i < ranks; i++) {
      const proposal = proposals.get((round + i) % ranks);
      if (proposal === undefined) continue;
      for (const [b, bytes] of proposal.blocks.entries()) {
        this.executeBlock(round, bytes, proposal.ids[b]);
      }
    }
    this.state.endRound(round);
    this.round = round;
  }

  private executeBlock(round: number, bytes: Uint8Array, ids: Uint8Array): void {
    const at = createBlockLocation();
    locateBlock(bytes, 0, bytes.length, at);
    const hash = sha256(bytes.subarray(at.headerOffset, at.headerOffset + 160));
    const next = new Uint8Array(32);
    chainHash(hash, 0, this.tip, 0, ++this.height, next, 0);
    this.tip = next;
    this.tree.append(sha256(Uint8Array.of(0), next));
    const count = at.txnCounter;
    const outcomes = new Uint8Array(count);
    const { bodyOffset, bodyLength } = at;
    const place = { bytes, bodyOffset, bodyLength, count, ids, idsOffset: 0 };
    executeBlock(this.state, { ...place, round, chainHash: next, outcomes });
    for (let i = 0; i < count; i++) {
      this.executed.push({ id: ids.subarray(32 * i, 32 * i + 32), outcome: outcomes[i] });
    }
  }

  /** Appends a record that settles `rounds`, which were run after the record before. */
  record(kind: "QUORUM" | "STORAGE", rounds: SettledRound[], hooks: Hooks = {}, author = 0): void {
    let blocks = 0;
    for (const { proposals } of rounds) for (const each of proposals) blocks += each.blocks.length;
    this.signVotes(rounds);
    hooks.rounds?.(rounds);
    const first = this.round - rounds.length + 1;
    this.append(kind, encodeSettlement(rounds), { author, first, blocks, hooks });
  }

  /** Appends any record as it is; of what it settles or installs nothing is taken in here. */
  put(
    kind: RecordKind,
    payload: PayloadParts,
    by: By & { rounds?: readonly SettledRound[] },
  ): void {
    const { rounds = [] } = by;
    const first = rounds.length > 0 ? rounds[0].round : this.round + 1;
    this.append(kind, payload, { ...by, first, last: first + rounds.length - 1 });
  }

  noop(author = 0): void {
    this.append("NOOP", encodeNoop(), { author });
  }

  /** An INTENT by a process that is no member; answers what `seal` needs to take over. */
  intent(): Made {
    const newcomer = this.newMember(0);
    const payload = encodeIntent({ member: newcomer.member, answered: [], deadlineMs: 3000 });
    this.append("INTENT", payload, { newcomer });
    return newcomer;
  }

  /** An INTENT by a member that heard only `answered`. */
  memberIntent(author: number, answered: number[]): void {
    const payload = encodeIntent({ member: this.members[author], answered, deadlineMs: 3000 });
    this.append("INTENT", payload, { author });
  }

  /** Installs `ranks` new members; none is a clean stop. The first of them, or rank 0, signs. */
  seal(ranks: number, from?: Made): void {
    const made = Array.from({ length: ranks }, (_, rank) =>
      rank === 0 && from !== undefined ? from : this.newMember(rank),
    );
    const isTakeover = from !== undefined || this.members.length === 0;
    const answers = isTakeover ? [] : [...this.members.keys()];
    const seal = { members: made.map(({ member }) => member), rounds: [], answers };
    const payload = encodeSeal(isTakeover ? this.signRestart(seal) : this.signSeal(seal));
    this.append("SEAL", payload, isTakeover ? { newcomer: made[0] } : { author: 0 });
    this.install(made);
  }

  /** A SEAL by a member: some go, some come, and what was run since the last record is settled. */
  change(plan: SealPlan = {}): void {
    const { rounds = [], answers = [...this.members.keys()], author = 0, lastVoted } = plan;
    const made = this.successors(plan);
    const seal = { members: made.map(({ member }) => member), rounds, answers };
    const payload = encodeSeal(this.signSeal(seal, lastVoted));
    let blocks = 0;
    for (const { proposals } of rounds) for (const each of proposals) blocks += each.blocks.length;
    this.append("SEAL", payload, { author, first: this.round - rounds.length + 1, blocks });
    this.install(made);
  }

  /** The members after a SEAL with this plan: who stays is numbered anew and certified anew. */
  successors({ evict = [], admit = 0 }: SealPlan): Made[] {
    const stay = [...this.members.keys()].filter((rank) => !evict.includes(rank));
    const made = stay.map((old, rank) => {
      const bare = { ...this.members[old], rank };
      return { member: this.certify(bare), key: this.keys[old] };
    });
    for (let i = 0; i < admit; i++) made.push(this.newMember(made.length));
    return made;
  }

  /** Where statements of this epoch hold. */
  get place() {
    return { chainId: this.genesis.chainId, epoch: this.epoch };
  }

  /** Byzantine: every voter signs its vote, in place. */
  signVotes(rounds: readonly SettledRound[]): void {
    if (this.genesis.quorum === "byzantine") signVotes(rounds, this.place, this.signers());
  }

  /** Byzantine: votes and answers of a member's SEAL. `lastVoted` is by place in `answers`. */
  signSeal(seal: Seal, lastVoted: readonly number[] = []): Seal {
    if (this.genesis.quorum === "majority") return seal;
    const { effectsSlot, effectsDigest } = this;
    const byRank: number[] = [];
    for (const [i, rank] of seal.answers.entries()) byRank[rank] = lastVoted[i] ?? this.round;
    const by = { signers: this.signers(), lastVoted: byRank, effectsSlot, effectsDigest };
    return signSeal(seal, this.place, by);
  }

  /** Byzantine: the ledger key signs a newcomer's SEAL. */
  signRestart(seal: Seal): Seal {
    if (this.genesis.quorum === "majority") return seal;
    return signRestart(seal, this.place, this.head, signerOf(this.ledgerKey));
  }

  private signers(): Sign[] {
    return this.keys.map(signerOf);
  }

  private install(made: readonly Made[]): void {
    this.epoch = this.head;
    this.members = made.map(({ member }) => member);
    this.keys = made.map(({ key }) => key);
  }

  /** Signs as the member of that rank. */
  signAs(rank: number): Sign {
    return signerOf(this.keys[rank]);
  }

  certify(member: Omit<Member, "certificate">): Member {
    return certifyMember(this.ledgerKey.privateKey, this.genesis.chainId, member);
  }

  newMember(rank: number): Made {
    const key = generateSigningKey();
    const incarnation = new Uint8Array(8);
    writeU64(incarnation, 0, 1_000_000 + this.incarnations++);
    const bare = { rank, incarnation, publicKey: key.publicKey, host: `host-${rank}` };
    return { member: this.certify(bare), key };
  }

  private append(
    kind: RecordKind,
    payload: PayloadParts,
    by: By & { first?: number; last?: number; blocks?: number },
  ): void {
    const author = by.newcomer?.member ?? this.members[by.author ?? 0];
    const key = by.newcomer?.key ?? this.keys[by.author ?? 0];
    const fields: RecordFields = {
      kind,
      puzzleBits: kind === "STORAGE" ? this.genesis.storageDifficulty : 0,
      slot: this.slot,
      chainId: this.genesis.chainId,
      prevHash: this.head,
      epoch: this.epoch,
      firstRound: by.first ?? this.round + 1,
      lastRound: by.last ?? this.round,
      authorRank: author.rank,
      authorIncarnation: author.incarnation,
      creationTime: CREATED,
      heightBefore: this.height - (by.blocks ?? 0),
    };
    by.hooks?.fields?.(fields);
    const sign = by.hooks?.sign ?? signerOf(key);
    const record = encodeRecord(fields, payload, sign);
    const tail = join(this.dir, "log", segmentName(Math.floor(this.slot / this.segmentRecords)));
    mkdirSync(tail, { recursive: true });
    const bytes = Buffer.concat(record.parts);
    writeFileSync(join(tail, recordName(this.slot, this.head)), bytes);
    this.head = record.hash;
    this.effectsSlot = this.slot;
    this.effectsDigest = this.state.effectsDigest;
    this.slot++;
  }

  /** Folds the directory of a segment, complete or not, into one file. */
  fold(segment: number): void {
    foldSegment(this.dir, segment, this.segmentRecords);
  }

  /** A signed head and snapshot of the last record; `change` makes the head say something else. */
  async checkpoint(change: Partial<{ size: number; stateRoot: Uint8Array }> = {}): Promise<void> {
    const { state, tree, genesis, ledgerKey } = this;
    const head = {
      slot: this.slot - 1,
      size: tree.size,
      root: tree.root(),
      recordHash: this.head,
      stateRoot: state.root(),
      ...change,
    };
    await writeCheckpoint(this.dir, head, { state, ledgerKey, chainId: genesis.chainId });
  }
}

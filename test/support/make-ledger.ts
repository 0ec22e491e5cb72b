/**
 * Writes real ledger directories for tests of readers: every byte by the production codecs, state
 * and digests by the production state, files by plain synchronous calls. Deterministic but for
 * keys. What a test wants to be wrong it changes through the hooks, before things are signed.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { writeU16, writeU64 } from "../../src/base/bytes.ts";
import { kernels } from "../../src/base/kernels.ts";
import { sha256 } from "../../src/base/sha256.ts";
import {
  assembleBlock,
  blockMessageBytes,
  bodyBytes,
  chainHash,
  createBlockLocation,
  locateBlock,
  mineBlock,
} from "../../src/ledger/block.ts";
import { createGenesis, type Genesis } from "../../src/ledger/genesis.ts";
import {
  certifyMember,
  generateSigningKey,
  type KeyPair,
  signMessage,
} from "../../src/ledger/keys.ts";
import { CompactRange } from "../../src/ledger/merkle.ts";
import { blocksRoot, encodeProposalHeader, proposalHash } from "../../src/ledger/proposal.ts";
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
  type SettledRound,
  votersBytes,
} from "../../src/ledger/settlement.ts";
import { State } from "../../src/ledger/state.ts";
import { encodeTransaction, type TransactionInput } from "../../src/ledger/transaction-object.ts";
import { encodeHead } from "../../src/storage/checkpoint-head.ts";
import { SNAPSHOT_HEADER_BYTES, SNAPSHOT_MAGIC } from "../../src/storage/format.ts";
import { LEDGER_DIRECTORIES, recordName, segmentName } from "../../src/storage/paths.ts";
import { SegmentBuilder } from "../../src/storage/segments.ts";

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
}

/** Blocks of one rank in one round, each a list of encoded transactions. */
export type Blocks = readonly (readonly Uint8Array[])[];

/** One rank's proposal as it goes into a record: its header and its block messages. */
export interface MadeProposal {
  header: Uint8Array;
  blocks: Uint8Array[];
  ids: Uint8Array[];
}

export interface Hooks {
  /** Changes the settlement of a record before it is signed. */
  rounds?: (rounds: SettledRound[]) => void;
  fields?: (fields: RecordFields) => void;
  /** Signs in the author's stead. */
  sign?: (message: Uint8Array) => Uint8Array;
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
    const { incarnation } = this.members[rank];
    const common = { chainId: this.genesis.chainId, epoch: this.epoch, anchor: this.head };
    const place = { ...common, round, rank, incarnation, creationTime: CREATED };
    const made = blocks.map((txns, index) => this.block(txns, { ...place, index }));
    const hashes = new Uint8Array(32 * made.length);
    for (const [i, { hash }] of made.entries()) hashes.set(hash, 32 * i);
    const header = encodeProposalHeader({
      ...place,
      blockCount: blocks.length,
      txnCount: blocks.reduce((sum, txns) => sum + txns.length, 0),
      blocksRoot: blocksRoot(hashes, blocks.length),
    });
    return { header, blocks: made.map(({ bytes }) => bytes), ids: made.map(({ ids }) => ids) };
  }

  private block(
    txns: readonly Uint8Array[],
    place: Omit<Parameters<typeof assembleBlock>[2], "puzzleDifficulty">,
  ) {
    const count = txns.length;
    const bytes = new Uint8Array(Buffer.concat(txns));
    const spans = new Uint32Array(2 * count);
    for (let i = 0, at = 0; i < count; at += txns[i++].length) {
      spans.set([at, txns[i].length], 2 * i);
    }
    const ids = new Uint8Array(32 * count);
    kernels.leafHashes(bytes, spans, count, ids, 0);
    const out = new Uint8Array(blockMessageBytes(bodyBytes(spans, count)));
    const puzzleDifficulty = this.genesis.difficulty;
    const source = { bytes, spans, count, ids, idsOffset: 0 };
    assembleBlock(out, 0, { ...place, puzzleDifficulty }, source);
    const hash = mine(out, puzzleDifficulty);
    return { bytes: out, ids, hash };
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
    this.state.executeBlock({ ...place, round, chainHash: next, outcomes });
    for (let i = 0; i < count; i++) {
      this.executed.push({ id: ids.subarray(32 * i, 32 * i + 32), outcome: outcomes[i] });
    }
  }

  /** Appends a record that settles `rounds`, which were run after the record before. */
  record(kind: "QUORUM" | "STORAGE", rounds: SettledRound[], hooks: Hooks = {}, author = 0): void {
    let blocks = 0;
    for (const { proposals } of rounds) for (const each of proposals) blocks += each.blocks.length;
    hooks.rounds?.(rounds);
    const first = this.round - rounds.length + 1;
    this.append(kind, encodeSettlement(rounds), { author, first, blocks, hooks });
  }

  noop(author = 0): void {
    this.append("NOOP", encodeNoop(), { author });
  }

  /** An INTENT by a process that is no member; answers what `seal` needs to take over. */
  intent(): { member: Member; key: KeyPair } {
    const newcomer = this.newMember(0);
    const payload = encodeIntent({ member: newcomer.member, answered: [], deadlineMs: 3000 });
    this.append("INTENT", payload, { newcomer });
    return newcomer;
  }

  /** Installs `ranks` new members; none is a clean stop. The first of them, or rank 0, signs. */
  seal(ranks: number, from?: { member: Member; key: KeyPair }): void {
    const made = Array.from({ length: ranks }, (_, rank) =>
      rank === 0 && from !== undefined ? from : this.newMember(rank),
    );
    const members = made.map(({ member }) => member);
    const isTakeover = from !== undefined || this.members.length === 0;
    const answers = isTakeover ? [] : [...this.members.keys()];
    const payload = encodeSeal({ members, rounds: [], answers });
    this.append("SEAL", payload, isTakeover ? { newcomer: made[0] } : { author: 0 });
    this.epoch = this.head;
    this.members = members;
    this.keys = made.map(({ key }) => key);
  }

  private newMember(rank: number): { member: Member; key: KeyPair } {
    const key = generateSigningKey();
    const incarnation = new Uint8Array(8);
    writeU64(incarnation, 0, 1_000_000 + this.incarnations++);
    const bare = { rank, incarnation, publicKey: key.publicKey, host: `host-${rank}` };
    return { member: certifyMember(this.ledgerKey.privateKey, this.genesis.chainId, bare), key };
  }

  private append(
    kind: RecordKind,
    payload: PayloadParts,
    by: {
      author?: number;
      newcomer?: { member: Member; key: KeyPair };
      first?: number;
      blocks?: number;
      hooks?: Hooks;
    },
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
      lastRound: this.round,
      authorRank: author.rank,
      authorIncarnation: author.incarnation,
      creationTime: CREATED,
      heightBefore: this.height - (by.blocks ?? 0),
    };
    by.hooks?.fields?.(fields);
    const sign = by.hooks?.sign ?? ((message) => signMessage(key.privateKey, message));
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
    const tail = join(this.dir, "log", segmentName(segment));
    const builder = new SegmentBuilder(segment, segment * this.segmentRecords);
    const records: Uint8Array[] = [];
    for (const name of readdirSync(tail).sort()) {
      const bytes = new Uint8Array(readFileSync(join(tail, name)));
      const hash = sha256(bytes.subarray(0, 256));
      builder.add({ prevHash: bytes.slice(48, 80), hash, bytes });
      records.push(bytes);
    }
    const content = Buffer.concat([builder.header, ...records, ...builder.finish()]);
    writeFileSync(join(this.dir, "segments", segmentName(segment)), content);
    rmSync(tail, { recursive: true });
  }

  /** A signed head and snapshot of the last record; `change` makes the head say something else. */
  async checkpoint(change: Partial<{ size: number; stateRoot: Uint8Array }> = {}): Promise<void> {
    const slot = this.slot - 1;
    const payload = Buffer.concat(this.state.snapshot());
    const header = Buffer.alloc(SNAPSHOT_HEADER_BYTES);
    header.write(SNAPSHOT_MAGIC, "latin1");
    writeU16(header, 8, 1);
    writeU64(header, 16, slot);
    writeU64(header, 24, payload.length);
    const file = Buffer.concat([header, payload]);
    const head = {
      slot,
      size: this.tree.size,
      root: this.tree.root(),
      recordHash: this.head,
      stateRoot: this.state.root(),
      snapshot: sha256(file),
      ...change,
    };
    const note = await encodeHead(head, {
      chainId: this.genesis.chainId,
      publicKey: this.ledgerKey.publicKey,
      sign: (text) => signMessage(this.ledgerKey.privateKey, text),
      verify: () => true,
    });
    const base = join(this.dir, "checkpoints", String(slot).padStart(10, "0"));
    writeFileSync(`${base}.state`, file);
    writeFileSync(`${base}.head`, note);
  }
}

/** Solves a block's puzzle in place; answers its hash. */
export function mine(block: Uint8Array, bits: number): Uint8Array {
  for (let first = 0, tries = 1 << 20; mineBlock(block, 3, bits, first, tries) < 0; first += tries);
  return sha256(block.subarray(3, 163));
}

export function hashOf(proposal: MadeProposal): Uint8Array {
  return proposalHash(proposal.header);
}

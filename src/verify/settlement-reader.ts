/**
 * Checks the settlement that a record carries: for each round the proposals by their own bytes,
 * the votes and their counts, and that every hash with a yes is included or shown to be lost.
 *
 * A block can be in one record only: its header names epoch, round, rank and place, each checked
 * here against where the block lies, and rounds are settled once, in order.
 */
import { equalRange, readU32, readU64, toHex } from "../base/bytes.ts";
import { kernels } from "../base/kernels.ts";
import { PROPOSAL_BLOCKS_MAX, UNRECORDED_ROUNDS_MAX } from "../limits.ts";
import { ADVICE_REPORT, fail } from "./damage.ts";
import { answersMin, type Epoch, winVotes } from "./epoch-reader.ts";
import { sha256 } from "./genesis-reader.ts";
import { KIND, PROPOSAL, RECORD } from "./layout.ts";
import type { ProposalEntry, RoundEntry } from "./payload-reader.ts";
import type { RecordView } from "./record-reader.ts";

const AT = PROPOSAL.at;

export interface SettlementRules {
  chainId: Uint8Array;
  epoch: Epoch;
  anchors: AnchorWindow;
  /** A SEAL by fewer than R answers, above its author's own INTENT: R is not asked for. */
  minority: boolean;
}

/** The records that a block may be anchored in, with the last round settled after each. */
export class AnchorWindow {
  private readonly settledAfter = new Map<string, number>();
  private readonly lastBytes = new Uint8Array(32);
  private lastSettled = -1;

  add(hash: Uint8Array, settled: number): void {
    this.settledAfter.set(toHex(hash), settled);
    // The map keeps insertion order, and settled rounds only grow.
    for (const [old, oldSettled] of this.settledAfter) {
      if (oldSettled >= settled - UNRECORDED_ROUNDS_MAX) break;
      this.settledAfter.delete(old);
    }
    this.lastSettled = -1;
  }

  /** Undefined when the anchor fits a block of `round`; otherwise what is wrong. */
  check(bytes: Uint8Array, offset: number, round: number): string | undefined {
    if (this.lastSettled < 0 || !equalRange(bytes, offset, this.lastBytes, 0, 32)) {
      const settled = this.settledAfter.get(toHex(bytes, offset, offset + 32));
      if (settled === undefined) return "an anchor that is not on the chain, or too old";
      this.lastBytes.set(bytes.subarray(offset, offset + 32));
      this.lastSettled = settled;
    }
    const age = round - this.lastSettled;
    if (age <= UNRECORDED_ROUNDS_MAX) return undefined;
    return `an anchor ${age} rounds old, of at most ${UNRECORDED_ROUNDS_MAX}`;
  }
}

/** Checks one round; its blocks are read by the caller afterwards. */
export function checkRound(record: RecordView, entry: RoundEntry, rules: SettlementRules): void {
  const members = rules.epoch.members.length;
  let before = -1;
  const hashesOfRank = new Map<number, string[]>();
  for (const proposal of entry.proposals) {
    if (proposal.rank <= before) {
      bad("PROPOSAL_ORDER", `round ${entry.round} lists rank ${proposal.rank} out of order`);
    }
    before = proposal.rank;
    checkProposal(record, entry.round, proposal, rules);
    hashesOfRank.set(proposal.rank, [toHex(sha256(proposal.header))]);
  }
  for (const { rank, hash } of entry.lost) {
    if (rank >= members) bad("LOST", `round ${entry.round} names a lost hash of rank ${rank}`);
    const hashes = hashesOfRank.get(rank) ?? [];
    if (hashes.includes(toHex(hash))) bad("LOST", `round ${entry.round} names a hash twice`);
    hashesOfRank.set(rank, [...hashes, toHex(hash)]);
  }
  checkVotes(record, entry, hashesOfRank, rules);

  function bad(code: string, what: string): never {
    return fail(record.origin, { code, offset: RECORD.headerBytes, what, advice: ADVICE_REPORT });
  }
}

/** Typed, so that the compiler knows that code after a call is not reached. */
type Bad = (at: number, what: string, expected?: unknown, found?: unknown) => never;

function checkProposal(
  record: RecordView,
  round: number,
  proposal: ProposalEntry,
  rules: SettlementRules,
): void {
  const { header, blocks, rank } = proposal;
  const base = header.byteOffset - record.bytes.byteOffset;
  const bad: Bad = (at, what, expected, found) =>
    fail(record.origin, {
      code: "PROPOSAL",
      offset: base + at,
      what: `proposal of rank ${rank} in round ${round}: ${what}`,
      advice: ADVICE_REPORT,
      ...(expected === undefined ? {} : { expected: String(expected), found: String(found) }),
    });
  const same = (at: number, expected: Uint8Array, what: string) => {
    if (equalRange(header, at, expected, 0, expected.length)) return;
    bad(at, what, toHex(expected), toHex(header, at, at + expected.length));
  };
  const number = (at: number, found: number, expected: number, what: string) => {
    if (found !== expected) bad(at, what, expected, found);
  };
  const member = rules.epoch.members[rank];
  if (member === undefined) bad(AT.rank, "its rank is no member of the epoch");
  same(AT.chainId, rules.chainId, "another chain");
  same(AT.epoch, rules.epoch.hashBytes, "another epoch");
  number(AT.round, readU64(header, AT.round), round, "another round");
  number(AT.rank, readU32(header, AT.rank), rank, "another rank");
  same(AT.incarnation, member.incarnationBytes, "another incarnation");
  number(AT.blockCount, readU32(header, AT.blockCount), blocks.length, "wrong number of blocks");
  if (blocks.length > PROPOSAL_BLOCKS_MAX)
    bad(AT.blockCount, `${blocks.length} blocks are too many`);
  number(AT.zero, readU32(header, AT.zero), 0, "not zero");
  if (Number.isNaN(readU64(header, AT.creationTime))) bad(AT.creationTime, "time beyond 2^53");
  const stale = rules.anchors.check(header, AT.anchor, round);
  if (stale !== undefined) bad(AT.anchor, stale);
}

/** Called with the blocks' hashes and the count of transactions, once the blocks were read. */
export function checkProposalTotals(
  record: RecordView,
  proposal: ProposalEntry,
  totals: { blockHashes: Uint8Array; txnCount: number },
): void {
  const { header, blocks } = proposal;
  const spans = new Uint32Array(2 * blocks.length);
  for (let i = 0; i < blocks.length; i++) {
    spans[2 * i] = 32 * i;
    spans[2 * i + 1] = 32;
  }
  const leaves = new Uint8Array(32 * blocks.length);
  const root = new Uint8Array(32);
  kernels.leafHashes(totals.blockHashes, spans, blocks.length, leaves, 0);
  kernels.merkleRoot(leaves, 0, blocks.length, root, 0);
  const wrong = (at: number, what: string, expected: unknown, found: unknown) =>
    fail(record.origin, {
      code: "PROPOSAL_TOTALS",
      offset: header.byteOffset - record.bytes.byteOffset + at,
      what: `proposal of rank ${proposal.rank}: ${what}`,
      expected: String(expected),
      found: String(found),
      advice: ADVICE_REPORT,
    });
  if (!equalRange(root, 0, header, AT.blocksRoot, 32)) {
    wrong(
      AT.blocksRoot,
      "wrong root over its blocks",
      toHex(root),
      toHex(header, AT.blocksRoot, 152),
    );
  }
  const claimed = readU32(header, AT.txnCount);
  if (claimed !== totals.txnCount) {
    wrong(AT.txnCount, "wrong count of transactions", totals.txnCount, claimed);
  }
}

function checkVotes(
  record: RecordView,
  entry: RoundEntry,
  hashesOfRank: Map<number, string[]>,
  rules: SettlementRules,
): void {
  const members = rules.epoch.members.length;
  const bad: (code: string, what: string) => never = (code, what) =>
    fail(record.origin, {
      code,
      offset: RECORD.headerBytes,
      what: `round ${entry.round}: ${what}`,
      advice: ADVICE_REPORT,
    });
  const voted = new Set<number>();
  /** Yes-votes by hash. */
  const yes = new Map<string, number>();
  for (const group of entry.votes) {
    for (const voter of group.voters) {
      if (voted.has(voter)) bad("VOTE_TWICE", `rank ${voter} votes twice`);
      voted.add(voter);
    }
    for (let rank = 0; rank < members; rank++) {
      const answer = group.answers[rank] & 3;
      if (answer === 3 || (answer === 0 && group.answers[rank] !== 0)) {
        bad("ANSWER", `an answer about rank ${rank} is neither yes, no nor ⊥`);
      }
      if (answer === 0) continue;
      const hash = hashesOfRank.get(rank)?.[group.answers[rank] >>> 2];
      if (hash === undefined) {
        bad("HASH_MISSING", `a vote names a hash of rank ${rank} that the record lacks`);
      }
      if (answer === 2) yes.set(hash, (yes.get(hash) ?? 0) + group.voters.length);
    }
  }
  const asked = rules.minority ? 0 : answersMin(members);
  if (voted.size < asked) bad("VOTES_FEW", `votes of ${voted.size} members, ${asked} are needed`);
  const needed = record.kind === KIND.quorum ? winVotes(members) : 1;
  for (const { rank } of entry.proposals) {
    const count = yes.get(hashesOfRank.get(rank)![0]) ?? 0;
    if (count < needed) bad("YES_FEW", `rank ${rank} has ${count} yes, ${needed} are needed`);
  }
  for (const { rank, hash } of entry.lost) {
    // Lost: even if all who are not heard here said yes, it could not win.
    const heard = yes.get(toHex(hash)) ?? 0;
    const possible = members - voted.size + heard;
    if (heard > 0 && possible >= winVotes(members)) {
      bad("NOT_LOST", `a hash of rank ${rank} is called lost and could have ${possible} yes`);
    }
  }
}

/**
 * Checks the proposals that a record which counts includes, by their own bytes. Members voted for
 * them, so what is wrong here is damage, not a record that does not count.
 *
 * A block can be in one record only: its header names epoch, round, rank and place, each checked
 * here against where the block lies, and rounds are settled once, in order.
 */
import { equalRange, readU32, readU64, toHex } from "../base/bytes.ts";
import { kernels } from "../base/kernels.ts";
import { UNRECORDED_ROUNDS_MAX } from "../limits.ts";
import { ADVICE_REPORT, fail } from "./damage.ts";
import type { Epoch } from "./epoch-reader.ts";
import { PROPOSAL } from "./layout.ts";
import type { ProposalEntry, RoundEntry } from "./payload-reader.ts";
import type { RecordView } from "./record-reader.ts";

const AT = PROPOSAL.at;

export interface ProposalRules {
  chainId: Uint8Array;
  epoch: Epoch;
  anchors: AnchorWindow;
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

/** Checks the proposals of one round; their blocks are read by the caller afterwards. */
export function checkProposals(record: RecordView, entry: RoundEntry, rules: ProposalRules): void {
  for (const proposal of entry.proposals) checkProposal(record, entry.round, proposal, rules);
}

/** Typed, so that the compiler knows that code after a call is not reached. */
type Bad = (at: number, what: string, expected?: unknown, found?: unknown) => never;

function checkProposal(
  record: RecordView,
  round: number,
  proposal: ProposalEntry,
  rules: ProposalRules,
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
  same(AT.chainId, rules.chainId, "another chain");
  same(AT.epoch, rules.epoch.hashBytes, "another epoch");
  number(AT.round, readU64(header, AT.round), round, "another round");
  number(AT.rank, readU32(header, AT.rank), rank, "another rank");
  same(AT.incarnation, member.incarnationBytes, "another incarnation");
  number(AT.blockCount, readU32(header, AT.blockCount), blocks.length, "wrong number of blocks");
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

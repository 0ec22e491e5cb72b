/**
 * Proposals of other members: header, roots and, in a byzantine epoch, the signature are judged here;
 * the blocks go to the incoming queue for the pool. Held are a member's first proposal of a round,
 * from itself, and what this rank has asked for, from whomever: so nobody can fill the queue with
 * proposals that nobody votes on, nor put a damaged copy in another one's place. Main thread.
 */
import { equalRange, readU32, readU64, toHex } from "../base/bytes.ts";
import {
  BLOCK_OFFSET,
  createBlockLocation,
  INCARNATION_BYTES,
  locateBlock,
} from "../ledger/block.ts";
import { SIGNATURE_BYTES } from "../ledger/keys.ts";
import { checkProposal, decodeProposal, type Proposal, proposalHash } from "../ledger/proposal.ts";
import { VERDICT, verdictName } from "../ledger/verdict.ts";
import { PROPOSAL_BLOCKS_MAX, UNRECORDED_ROUNDS_MAX } from "../limits.ts";
import type { RankContext } from "./context.ts";
import { ENVELOPE_BYTES } from "./envelope.ts";
import type { Performer } from "./perform.ts";

const hashes = new Uint8Array(32 * PROPOSAL_BLOCKS_MAX);
const location = createBlockLocation();
const NO_SIGNATURE = 0;

/** Why a message of this rank's is not taken. */
export interface Refusals {
  /** Late, or no room: nobody's fault. */
  drop(reason: string): void;
  /** No honest member sends that. `bytes`: nobody will ever accept it. */
  misdeed(from: number, reason: string, bytes?: Uint8Array): void;
  /** Signed by somebody else than it says. */
  forged(from: number, bytes: Uint8Array): void;
}

export class ProposalReception {
  private readonly rank: RankContext;
  private readonly performer: Performer;
  private readonly refusals: Refusals;

  constructor(rank: RankContext, performer: Performer, refusals: Refusals) {
    this.rank = rank;
    this.performer = performer;
    this.refusals = refusals;
  }

  /** An envelope whose header is authentic. */
  take(from: number, envelope: Uint8Array): void {
    const { session, chain, proposals, core, watch, signing } = this.rank;
    const { refusals } = this;
    const signatureBytes = signing === undefined ? NO_SIGNATURE : SIGNATURE_BYTES;
    const end = envelope.length - signatureBytes;
    const proposal = decodeProposal(envelope, ENVELOPE_BYTES, end - ENVELOPE_BYTES);
    if (!proposal.ok) return refusals.misdeed(from, verdictName(proposal.verdict), envelope);
    const { header, headerBytes } = proposal.value;
    const member = chain.epoch.members[header.rank];
    if (member === undefined) return refusals.misdeed(from, "WRONG_RANK", envelope);
    if (header.round <= core.settled) return refusals.drop("SETTLED_ROUND");
    const hash = proposalHash(headerBytes);
    const name = { round: header.round, rank: header.rank, hash: toHex(hash) };
    const ahead = header.round > core.settled + UNRECORDED_ROUNDS_MAX;
    if (!ahead && proposals.get(name.round, name.rank, name.hash) === undefined) {
      const expected = {
        chainId: chain.chainId,
        epoch: session.epoch,
        round: header.round,
        rank: header.rank,
        incarnation: member.incarnation,
      };
      let verdict = checkProposal(proposal.value, expected, hashes);
      if (verdict === VERDICT.OK) verdict = checkOrigin(proposal.value);
      if (verdict !== VERDICT.OK) return refusals.misdeed(from, verdictName(verdict), envelope);
      const signature = signing === undefined ? undefined : envelope.subarray(end);
      const standing = watch.proposal(name, headerBytes, signature);
      if (standing === "forged") return refusals.forged(from, envelope);
      if (standing === "contradicts") refusals.misdeed(header.rank, "EQUIVOCATION", envelope);
      if (!this.mayHold(from, name)) return;
      if (proposals.exceedsShare(header.rank, end))
        return refusals.misdeed(from, "MORE_THAN_ITS_SHARE");
      const mac = envelope.subarray(1, ENVELOPE_BYTES);
      const held = proposals.hold(proposal.value, {
        mac,
        hash,
        blockHashes: hashes,
        source: envelope,
        sender: from,
        signature,
      });
      // No room now: it counts as not received, and is pulled when it is needed.
      if (held === undefined) return refusals.drop("INCOMING_FULL");
      if (this.performer.validation.cameAgain(name)) return;
    }
    this.rank.emit({ type: "proposal", ...name });
  }

  private mayHold(from: number, name: { round: number; rank: number; hash: string }): boolean {
    const { proposals } = this.rank;
    if (proposals.wasAsked(name)) return true;
    if (name.rank !== from) {
      this.refusals.misdeed(from, "UNASKED_BODY");
      return false;
    }
    return proposals.ofRank(name.round, name.rank) === undefined;
  }
}

/**
 * The blocks of a proposal are of its round and rank: somebody else's, sent as one's own, would take
 * their place in the queue.
 */
function checkOrigin({ header, headerBytes, blocks }: Proposal) {
  const { round, rank } = header;
  for (const block of blocks) {
    locateBlock(block, 0, block.length, location);
    const at = location.headerOffset;
    if (readU64(block, at + BLOCK_OFFSET.round) !== round) return VERDICT.WRONG_ROUND;
    if (readU32(block, at + BLOCK_OFFSET.rank) !== rank) return VERDICT.WRONG_RANK;
    const incarnationAt = at + BLOCK_OFFSET.incarnation;
    if (!equalRange(block, incarnationAt, headerBytes, 96, INCARNATION_BYTES))
      return VERDICT.WRONG_INCARNATION;
  }
  return VERDICT.OK;
}

/**
 * Blocks that no honest rank mines: each has its verdict in both kinds of ledger, is voted down or
 * waited for in vain, and settles nothing, while the others go on (faults.md, rows 37, 38, 42, 45, 46).
 */
import { describe, expect, test } from "bun:test";
import { sha256 } from "../../../src/base/sha256.ts";
import { BLOCK_OFFSET, createBlockLocation, locateBlock } from "../../../src/ledger/block.ts";
import { SIGNATURE_BYTES } from "../../../src/ledger/keys.ts";
import {
  blocksRoot,
  decodeProposal,
  encodeProposalHeader,
  encodeProposalParts,
} from "../../../src/ledger/proposal.ts";
import type { RankContext } from "../../../src/rank/context.ts";
import { ENVELOPE_BYTES, MESSAGE, PROPOSAL_HEADER_AT } from "../../../src/rank/envelope.ts";
import { expectProgress, LIAR, worldWith } from "../../support/liar-checks.ts";
import { mouthOf } from "../../support/lies.ts";

const TIMEOUT_MS = 60_000;
const location = createBlockLocation();

interface Change {
  /** The block message, and where its header begins. */
  readonly block?: (block: Uint8Array, at: number) => void;
  readonly anchor?: Uint8Array;
}

/** The liar's own proposal with other blocks under a root that fits them. */
function rebuilt(envelope: Uint8Array, context: RankContext, change: Change): Uint8Array {
  const { signing, session } = context;
  const end = envelope.length - (signing === undefined ? 0 : SIGNATURE_BYTES);
  const decoded = decodeProposal(envelope.slice(0, end), ENVELOPE_BYTES);
  if (!decoded.ok || decoded.value.header.rank !== session.self) return envelope;
  const { header, blocks } = decoded.value;
  const hashes = new Uint8Array(32 * blocks.length);
  for (const [i, block] of blocks.entries()) {
    locateBlock(block, 0, block.length, location);
    const at = location.headerOffset;
    if (change.anchor !== undefined) block.set(change.anchor, at + BLOCK_OFFSET.anchor);
    change.block?.(block, at);
    hashes.set(sha256(block.subarray(at, at + 160)), 32 * i);
  }
  const anchor = change.anchor ?? header.anchor;
  const root = blocksRoot(hashes, blocks.length);
  const bytes = encodeProposalHeader({ ...header, anchor, blocksRoot: root });
  const { parts } = encodeProposalParts(bytes, blocks);
  const signature = signing?.signProposal(bytes) ?? new Uint8Array(0);
  const whole = Buffer.concat([envelope.subarray(0, ENVELOPE_BYTES), ...parts, signature]);
  session.seal.sign(whole, MESSAGE.proposal, PROPOSAL_HEADER_AT, bytes.length);
  return new Uint8Array(whole);
}

const lieWith =
  (change: Change): Parameters<typeof worldWith>[0] =>
  (liar) => {
    mouthOf(liar, {
      [MESSAGE.proposal]: (bytes, to, context) => [[to, rebuilt(bytes, context, change)]],
    });
  };

/** Nonces until the puzzle of one bit is not solved. */
function unsolve(block: Uint8Array, at: number): void {
  do block[at + BLOCK_OFFSET.nonce]++;
  while ((sha256(block.subarray(at, at + 160))[0] & 0x80) === 0);
}

describe.each(["byzantine", "majority"] as const)("in a %s ledger", (quorum) => {
  const bad: readonly (readonly [string, Change, string])[] = [
    ["a puzzle that is not solved", { block: unsolve }, "PUZZLE_UNSOLVED"],
    [
      "a difficulty that the block declares itself",
      {
        block: (block, at) => {
          block[at + BLOCK_OFFSET.puzzleDifficulty] = 0;
        },
      },
      "WRONG_DIFFICULTY",
    ],
    ["an anchor that is in no log", { anchor: new Uint8Array(32).fill(0xaa) }, "UNKNOWN_ANCHOR"],
    [
      "a body that its header does not cover",
      {
        block: (block) => {
          block[block.length - 1] ^= 1;
        },
      },
      "DAMAGED_BODY",
    ],
  ];

  test.each(bad)(
    "%s",
    async (_what, change, reason) => {
      const world = await worldWith(lieWith(change), { quorum, feedsLiars: true, loadMs: 150 });
      expectProgress(world);
      expect(world.misdeeds(LIAR)[reason]).toBeGreaterThan(0);
      // Nothing of it is in the log: all that is there was proposed by somebody else.
      const isPermanent = reason === "PUZZLE_UNSOLVED" || reason === "WRONG_DIFFICULTY";
      const name = `3.${reason.toLowerCase().replaceAll("_", "-")}`;
      expect(world.files("quarantine").some((file) => file.startsWith(name))).toBe(isPermanent);
    },
    TIMEOUT_MS,
  );

  test(
    "blocks of somebody else, and proposals in somebody else's name",
    async () => {
      let seen: Uint8Array | undefined;
      const world = await worldWith(
        (liar) => {
          const { loop } = liar;
          const open = loop as unknown as { onMessage(from: number, bytes: Uint8Array): void };
          const hear = open.onMessage.bind(loop);
          const send = mouthOf(liar, {});
          open.onMessage = (from, bytes) => {
            const context = liar.loop?.context;
            if (bytes[0] === MESSAGE.proposal && context !== undefined) {
              seen = bytes.slice();
              for (const to of context.session.processesOf(context.session.others)) {
                send(to, seen);
                send(to, stolen(seen, context));
              }
            }
            hear(from, bytes);
          };
        },
        { quorum, feedsLiars: true, loadMs: 150 },
      );
      expectProgress(world);
      const { UNASKED_BODY = 0, WRONG_RANK = 0 } = world.misdeeds(LIAR);
      expect(UNASKED_BODY).toBeGreaterThan(0);
      expect(WRONG_RANK).toBeGreaterThan(0);
    },
    TIMEOUT_MS,
  );
});

/** Somebody else's blocks as the liar's own proposal: their place in the queue would be taken. */
function stolen(envelope: Uint8Array, context: RankContext): Uint8Array {
  const { signing, session } = context;
  const end = envelope.length - (signing === undefined ? 0 : SIGNATURE_BYTES);
  const decoded = decodeProposal(envelope.slice(0, end), ENVELOPE_BYTES);
  if (!decoded.ok) return envelope;
  const { incarnation, self } = session;
  const header = encodeProposalHeader({ ...decoded.value.header, rank: self, incarnation });
  const { parts } = encodeProposalParts(header, decoded.value.blocks);
  const signature = signing?.signProposal(header) ?? new Uint8Array(0);
  const whole = Buffer.concat([envelope.subarray(0, ENVELOPE_BYTES), ...parts, signature]);
  session.seal.sign(whole, MESSAGE.proposal, PROPOSAL_HEADER_AT, header.length);
  return new Uint8Array(whole);
}

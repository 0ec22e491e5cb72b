import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { toHex } from "../../../src/base/bytes.ts";
import { voteDigest } from "../../../src/consensus/vote.ts";
import { proposalHash } from "../../../src/ledger/proposal.ts";
import { makeAnswer, type SettledRound } from "../../../src/ledger/settlement.ts";
import {
  answerMessage,
  proposalMessage,
  recordedVoteDigest,
  restartMessage,
  voteMessage,
} from "../../../src/ledger/statements.ts";
import { CHAIN_ID, filled, member, settledRound } from "./samples.ts";

const PLACE = { chainId: CHAIN_ID, epoch: filled(32, 0xe0) };
const EFFECTS = { effectsSlot: 5, effectsDigest: filled(32, 0xef) };
const hex = (text: string) => toHex(new TextEncoder().encode(text));

describe("what is signed", () => {
  test("a vote", () => {
    const vote = { round: 42, rank: 3, digest: filled(32, 0xd1), ...EFFECTS };
    expect(toHex(voteMessage(PLACE, vote))).toBe(
      hex("baash vote\n") +
        "c1".repeat(16) +
        "e0".repeat(32) +
        "2a00000000000000" +
        "03000000" +
        "d1".repeat(32) +
        "0500000000000000" +
        "ef".repeat(32),
    );
  });

  test("an answer to a SEAL's pull", () => {
    expect(toHex(answerMessage(PLACE, { rank: 3, lastVoted: 42, ...EFFECTS }))).toBe(
      hex("baash answer\n") +
        "c1".repeat(16) +
        "e0".repeat(32) +
        "03000000" +
        "2a00000000000000" +
        "0500000000000000" +
        "ef".repeat(32),
    );
  });

  test("a proposal and a restart", () => {
    const header = filled(152, 7);
    expect(toHex(proposalMessage(header))).toBe(hex("baash proposal\n") + "07".repeat(152));
    const members = [member(0), member(1)];
    const certificates = createHash("sha256");
    for (const { certificate } of members) certificates.update(certificate);
    expect(toHex(restartMessage(PLACE, filled(32, 9), members))).toBe(
      hex("baash restart\n") +
        "c1".repeat(16) +
        "e0".repeat(32) +
        "09".repeat(32) +
        certificates.digest("hex"),
    );
  });

  test("the digest of a recorded vote is the one that its voter sent", () => {
    const round: SettledRound = settledRound(42);
    // Two more hashes of ranks 1 and 3: an answer's upper bits say which is meant.
    round.lost.push({ rank: 3, proposalHash: filled(32, 0x33) });
    round.lost.push({ rank: 1, proposalHash: filled(32, 0x12) });
    const included = round.proposals.map(({ header }) => toHex(proposalHash(header)));
    const cases: [number[], string[]][] = [
      [
        [2, 1, 2, 2],
        [included[0], "11".repeat(32), included[1], included[2]],
      ],
      [
        [2, makeAnswer(2, 1), 0, makeAnswer(1, 1)],
        [included[0], "12".repeat(32), "", "33".repeat(32)],
      ],
      [
        [0, 0, 0, 0],
        ["", "", "", ""],
      ],
    ];
    for (const [answers, hashes] of cases) {
      const plain = Uint8Array.from(answers, (answer) => answer & 3);
      expect(toHex(recordedVoteDigest(round, Uint8Array.from(answers)))).toBe(
        voteDigest(42, plain, hashes),
      );
    }
  });
});

import { describe, expect, test } from "bun:test";
import { concatBytes } from "../../../src/base/bytes.ts";
import { pack } from "../../../src/ledger/codec.ts";
import {
  ANSWER,
  addVoter,
  answerOf,
  countVoters,
  encodeIntent,
  encodeSeal,
  encodeSettlement,
  hashIndexOf,
  isVoter,
  makeAnswer,
  type Seal,
  type SettledRound,
  votersBytes,
} from "../../../src/ledger/settlement.ts";
import {
  decodeIntent,
  decodeSeal,
  decodeSettlement,
} from "../../../src/ledger/settlement-decoding.ts";
import { VERDICT, type Verdict } from "../../../src/ledger/verdict.ts";
import { filled, member, settledRound } from "./samples.ts";

const ROUND = settledRound(42);

function judge(change: (round: SettledRound) => void, members = 4): Verdict {
  const round = structuredClone(ROUND);
  change(round);
  const read = decodeSettlement(concatBytes(encodeSettlement([round]).parts), members);
  return read.ok ? VERDICT.OK : read.verdict;
}

describe("settlement", () => {
  test("answers keep their two parts", () => {
    for (const answer of Object.values(ANSWER)) {
      for (const index of [0, 1, 63]) {
        const value = makeAnswer(answer, index);
        expect(value).toBeLessThan(256);
        expect([answerOf(value), hashIndexOf(value)]).toEqual([answer, index]);
      }
    }
  });

  test("voters are bits", () => {
    const voters = new Uint8Array(votersBytes(17));
    for (const rank of [0, 7, 8, 16]) addVoter(voters, rank);
    expect(voters).toEqual(Uint8Array.of(0x81, 0x01, 0x01));
    expect(countVoters(voters)).toBe(4);
    expect([isVoter(voters, 16), isVoter(voters, 15)]).toEqual([true, false]);
  });

  test("an honest round is good, with and without its optional part", () => {
    expect(judge(() => {})).toBe(VERDICT.OK);
    expect(judge((round) => (round.effectsAbove = filled(32, 1)))).toBe(VERDICT.OK);
    expect(judge((round) => (round.effectsAbove = filled(31, 1)))).toBe(VERDICT.BAD_SHAPE);
  });

  test("rounds are contiguous", () => {
    const gap = encodeSettlement([settledRound(42), settledRound(44)]);
    expect(decodeSettlement(concatBytes(gap.parts), 4)).toMatchObject({
      verdict: VERDICT.WRONG_ROUND,
    });
  });

  test("proposals and losses are of members, in order and of the right size", () => {
    expect(judge(() => {}, 3)).not.toBe(VERDICT.OK);
    expect(judge((round) => round.proposals.reverse())).toBe(VERDICT.WRONG_RANK);
    expect(judge((round) => (round.proposals[1].rank = 0))).toBe(VERDICT.WRONG_RANK);
    expect(judge((round) => (round.proposals[2].rank = 4))).toBe(VERDICT.BAD_NUMBER);
    expect(judge((round) => (round.lost[0].rank = 4))).toBe(VERDICT.BAD_NUMBER);
    expect(judge((round) => (round.proposals[0].header = filled(151, 0)))).toBe(VERDICT.BAD_SHAPE);
    expect(judge((round) => (round.lost[0].proposalHash = filled(31, 0)))).toBe(VERDICT.BAD_SHAPE);
  });

  test("votes name only hashes that are there, and each member votes once", () => {
    const answer = (value: number, rank = 1) =>
      judge((round) => {
        round.votes[0].answers[rank] = value;
      });
    expect(answer(makeAnswer(ANSWER.YES, 0))).toBe(VERDICT.OK);
    expect(answer(makeAnswer(ANSWER.YES, 1))).toBe(VERDICT.BAD_VOTES);
    expect(answer(makeAnswer(ANSWER.NO, 1))).toBe(VERDICT.BAD_VOTES);
    expect(answer(makeAnswer(ANSWER.NONE, 1))).toBe(VERDICT.BAD_VOTES);
    expect(answer(3)).toBe(VERDICT.BAD_VOTES);
    const voters = (group: number, bits: number) =>
      judge((round) => {
        round.votes[group].voters[0] = bits;
      });
    expect(voters(0, 0)).toBe(VERDICT.BAD_VOTES);
    expect(voters(0, 0b1100)).toBe(VERDICT.BAD_VOTES);
    expect(voters(0, 0b1_0000)).toBe(VERDICT.BAD_VOTES);
    expect(judge((round) => (round.votes[0].voters = filled(2, 1)))).toBe(VERDICT.BAD_SHAPE);
    expect(judge((round) => (round.votes[0].answers = filled(3, 0)))).toBe(VERDICT.BAD_SHAPE);
  });

  test("the members of a SEAL are numbered from 0, its answers ascend", () => {
    const judgeSeal = (members: number[], answers: number[]) => {
      const seal = { members: members.map(member), rounds: [], answers };
      const read = decodeSeal(concatBytes(encodeSeal(seal).parts), 4);
      return read.ok ? VERDICT.OK : read.verdict;
    };
    expect(judgeSeal([0, 1, 2], [0, 3])).toBe(VERDICT.OK);
    expect(judgeSeal([], [])).toBe(VERDICT.OK);
    expect(judgeSeal([0, 2], [])).toBe(VERDICT.WRONG_RANK);
    expect(judgeSeal([0], [3, 1])).toBe(VERDICT.BAD_SHAPE);
    expect(judgeSeal([0], [4])).toBe(VERDICT.BAD_NUMBER);
  });

  test("signatures are one a voter, and one an answer or one of the ledger key", () => {
    const signatures = (bytes: number) =>
      judge(({ votes }) => {
        votes[0].signatures = filled(bytes, 1);
      });
    expect(signatures(128)).toBe(VERDICT.OK);
    expect(signatures(64)).toBe(VERDICT.BAD_SHAPE);
    expect(signatures(0)).toBe(VERDICT.BAD_SHAPE);
    const seal = { members: [member(0)], rounds: [], answers: [1] };
    const answer = { lastVoted: 3, effectsSlot: 1, effectsDigest: filled(32, 1) };
    const judgeSeal = (more: Partial<Seal>) => {
      const read = decodeSeal(concatBytes(encodeSeal({ ...seal, ...more }).parts), 4);
      return read.ok ? VERDICT.OK : read.verdict;
    };
    const signed = (change: object) =>
      judgeSeal({ signedAnswers: [{ ...answer, signature: filled(64, 1), ...change }] });
    expect(signed({})).toBe(VERDICT.OK);
    expect(signed({ signature: filled(63, 1) })).toBe(VERDICT.BAD_SHAPE);
    expect(signed({ effectsDigest: filled(33, 1) })).toBe(VERDICT.BAD_SHAPE);
    expect(signed({ lastVoted: 2 ** 48 })).toBe(VERDICT.BAD_NUMBER);
    expect(judgeSeal({ restartSignature: filled(64, 1) })).toBe(VERDICT.OK);
    expect(judgeSeal({ restartSignature: filled(65, 1) })).toBe(VERDICT.BAD_SHAPE);
  });

  test("the first SEAL needs no epoch before it", () => {
    const seal = { members: [member(0)], rounds: [], answers: [] };
    expect(decodeSeal(concatBytes(encodeSeal(seal).parts), 0).ok).toBe(true);
  });

  test("an INTENT's member has all its parts", () => {
    const intent = { member: member(1), answered: [], deadlineMs: 3000 };
    expect(decodeIntent(concatBytes(encodeIntent(intent).parts), 4).ok).toBe(true);
    const cut = pack([[1, filled(7, 0), filled(32, 0), "n1", filled(64, 0)], [], 3000]);
    expect(decodeIntent(cut, 4)).toMatchObject({ verdict: VERDICT.BAD_SHAPE });
  });
});

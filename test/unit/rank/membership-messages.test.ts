/** What members tell each other about who takes part: it arrives as it was sent, or not at all. */
import { describe, expect, test } from "bun:test";
import { Random } from "../../../src/base/random.ts";
import type { Vote } from "../../../src/consensus/effects.ts";
import { voteDigest } from "../../../src/consensus/vote.ts";
import { MESSAGE } from "../../../src/rank/envelope.ts";
import {
  decodeAccusation,
  decodeHeal,
  decodeLanes,
  decodeSealAnswer,
  decodeSealPull,
  decodeWelcome,
  encodeAccusation,
  encodeHeal,
  encodeLanes,
  encodeSealAnswer,
  encodeSealPull,
  encodeWelcome,
} from "../../../src/rank/membership-messages.ts";

const RANKS = 4;
const HASH = "ab".repeat(32);

function vote(round: number, answers: number[]): Vote {
  const hashes = answers.map((answer) => (answer === 0 ? "" : HASH));
  const bytes = Uint8Array.from(answers);
  return {
    round,
    rank: 2,
    answers: bytes,
    digest: voteDigest(round, bytes, hashes),
    effectsSlot: 7,
    effectsDigest: "cd".repeat(32),
    hashes,
  };
}

const answer = {
  rank: 2,
  headSlot: 9,
  lastVoted: 12,
  votes: [vote(11, [2, 0, 1, 2]), vote(12, [0, 0, 0, 0])],
  effectsSlot: 9,
  effectsDigest: "ef".repeat(32),
};
const pull = { evict: [1, 3], admit: ["0011223344556677"], lastRound: 12 };
const welcome = {
  slot: 5,
  epoch: new Uint8Array(32).fill(1),
  box: new Uint8Array(80).fill(2),
  cards: [new Uint8Array(100).fill(3), new Uint8Array(90).fill(4)],
};

test("every type of message has a number of its own", () => {
  const numbers = Object.values(MESSAGE);
  expect(new Set(numbers).size).toBe(numbers.length);
});

describe("round trips", () => {
  test("the pull of a SEAL", () => {
    expect(decodeSealPull(encodeSealPull(pull), RANKS)).toEqual(pull);
  });
  test("an answer keeps its votes opened, also the one that says ⊥ to all", () => {
    expect(decodeSealAnswer(encodeSealAnswer(answer), RANKS)).toEqual(answer);
  });
  test("a welcome", () => {
    expect(decodeWelcome(encodeWelcome(welcome))).toEqual(welcome);
  });
  test.each([
    { rank: 3, certain: true, withdrawn: false },
    { rank: 0, certain: false, withdrawn: true },
  ])("an accusation", (accusation) => {
    expect(decodeAccusation(encodeAccusation(accusation), RANKS)).toEqual(accusation);
  });
  test("heal and lanes", () => {
    expect(decodeHeal(encodeHeal({ attempt: 3, count: 2 }))).toEqual({ attempt: 3, count: 2 });
    expect(decodeLanes(encodeLanes(undefined))).toEqual({ round: undefined });
    expect(decodeLanes(encodeLanes(77))).toEqual({ round: 77 });
  });
});

describe("refused", () => {
  test("a rank that is no member, in each place", () => {
    expect(decodeSealPull(encodeSealPull({ ...pull, evict: [RANKS] }), RANKS)).toBeUndefined();
    expect(decodeSealAnswer(encodeSealAnswer({ ...answer, rank: RANKS }), RANKS)).toBeUndefined();
    const accusation = { rank: RANKS, certain: true, withdrawn: false };
    expect(decodeAccusation(encodeAccusation(accusation), RANKS)).toBeUndefined();
  });
  test("an answer with another member's vote", () => {
    const votes = [{ ...answer.votes[0], rank: 1 }];
    expect(decodeSealAnswer(encodeSealAnswer({ ...answer, votes }), RANKS)).toBeUndefined();
  });
  test("no replacement at all, or more than an epoch can hold", () => {
    expect(decodeHeal(encodeHeal({ attempt: 0, count: 0 }))).toBeUndefined();
    expect(decodeHeal(encodeHeal({ attempt: 0, count: 1e6 }))).toBeUndefined();
  });

  test("any bytes are decoded or refused, never thrown at", () => {
    const random = new Random(7);
    const good = [
      encodeSealPull(pull),
      encodeSealAnswer(answer),
      encodeWelcome(welcome),
      encodeHeal({ attempt: 3, count: 2 }),
      encodeLanes(77),
    ];
    const decoders = [
      (bytes: Uint8Array) => decodeSealPull(bytes, RANKS),
      (bytes: Uint8Array) => decodeSealAnswer(bytes, RANKS),
      decodeWelcome,
      decodeHeal,
      decodeLanes,
      (bytes: Uint8Array) => decodeAccusation(bytes, RANKS),
    ];
    let refused = 0;
    for (let run = 0; run < 3000; run++) {
      const bytes = good[random.nextBelow(good.length)].slice();
      for (let flips = 1 + random.nextBelow(3); flips > 0; flips--)
        bytes[random.nextBelow(bytes.length)] = random.nextBelow(256);
      const cut = random.nextBelow(4) === 0 ? random.nextBelow(bytes.length) : bytes.length;
      for (const decode of decoders) if (decode(bytes.subarray(0, cut)) === undefined) refused++;
    }
    expect(refused).toBeGreaterThan(10_000);
  });
});

import { describe, expect, test } from "bun:test";
import { toHex } from "../../../src/base/bytes.ts";
import { ANSWER, type RoundSettlement, type Vote } from "../../../src/consensus/effects.ts";
import { voteDigest } from "../../../src/consensus/vote.ts";
import { type Evidence, evidenceFlaw } from "../../../src/ledger/evidence.ts";
import { createGenesis } from "../../../src/ledger/genesis.ts";
import { certifyMember, generateSigningKey } from "../../../src/ledger/keys.ts";
import { encodeProposalHeader, proposalHash } from "../../../src/ledger/proposal.ts";
import { makeAnswer } from "../../../src/ledger/settlement.ts";
import { UNRECORDED_ROUNDS_MAX } from "../../../src/limits.ts";
import type { VoteMessage } from "../../../src/rank/envelope.ts";
import { EvidenceWatch } from "../../../src/rank/evidence-watch.ts";
import type { SealAnswerMessage } from "../../../src/rank/membership-messages.ts";
import { Signing, statementOf } from "../../../src/rank/signing.ts";

const RANKS = 4;
const SELF = 0;
const OTHER = 2;
const SETTLED = 10;
const ledgerKey = generateSigningKey();
const { genesis } = createGenesis(
  {
    ...{ created: 1, nonce: new Uint8Array(16), difficulty: 0, storageDifficulty: 0 },
    ...{ blockTransactionsMax: 4, supply: 1, quorum: "byzantine" },
  },
  ledgerKey,
);
const { chainId } = genesis;
const keys = Array.from({ length: RANKS }, generateSigningKey);
const members = keys.map(({ publicKey }, rank) => {
  const incarnation = new Uint8Array(8).fill(rank + 1);
  return certifyMember(ledgerKey.privateKey, chainId, { rank, incarnation, publicKey, host: "h" });
});
const epoch = new Uint8Array(32).fill(9);
const session = { self: SELF, ranks: RANKS, epoch, members };
const signingOf = (rank: number) =>
  new Signing(chainId, session as never, { signing: keys[rank] } as never);

function watchOf({ byzantine = true } = {}) {
  const convicted: Evidence[] = [];
  const core = { settled: SETTLED };
  const chain = { chainId, slot: 5, effectsDigest: "11".repeat(32) };
  const signing = byzantine ? signingOf(SELF) : undefined;
  const parts = { core, session, chain, signing } as never;
  return { watch: new EvidenceWatch(parts, (one) => convicted.push(one)), convicted, core };
}

const HASH = "ab".repeat(32);

function vote(
  round: number,
  options: Partial<Vote> & { answer?: number; rank?: number } = {},
): Vote {
  const { answer = ANSWER.yes, rank = OTHER } = options;
  const answers = new Uint8Array(RANKS);
  answers[1] = answer;
  const hashes = ["", answer === ANSWER.none ? "" : HASH, "", ""];
  const effects = { effectsSlot: 4, effectsDigest: "22".repeat(32) };
  const digest = voteDigest(round, answers, hashes);
  return { round, rank, answers, hashes, digest, ...effects, ...options };
}

const signed = (plain: Vote): VoteMessage => ({
  ...plain,
  signature: signingOf(plain.rank).signVote(plain),
});

function answer(lastVoted: number, votes: VoteMessage[], more = {}): SealAnswerMessage {
  const effects = { effectsSlot: 4, effectsDigest: "22".repeat(32) };
  const plain = { rank: OTHER, headSlot: 5, lastVoted, votes, ...effects, ...more };
  return { ...plain, signature: signingOf(OTHER).signAnswer(statementOf(plain)) };
}

function header(creationTime: number): { bytes: Uint8Array; hash: string } {
  const bytes = encodeProposalHeader({
    ...{ chainId, epoch, anchor: new Uint8Array(32), round: SETTLED + 1, rank: OTHER },
    ...{ blockCount: 0, incarnation: members[OTHER].incarnation, creationTime, txnCount: 0 },
    blocksRoot: new Uint8Array(32),
  });
  return { bytes, hash: toHex(proposalHash(bytes)) };
}

describe("votes", () => {
  test("the first one counts, again and again; another one convicts", () => {
    const { watch, convicted } = watchOf();
    const first = signed(vote(SETTLED + 1));
    expect(watch.vote(first)).toBe("good");
    expect(watch.vote(first)).toBe("good");
    expect(watch.signatureOf(first)).toEqual(first.signature!);
    expect(watch.vote(signed(vote(SETTLED + 1, { answer: ANSWER.no })))).toBe("contradicts");
    expect(convicted).toHaveLength(1);
    expect(evidenceFlaw(convicted[0], genesis)).toBeUndefined();
    expect(convicted[0].member.rank).toBe(OTHER);
  });

  test("other effects at one slot convict, a newer slot does not", () => {
    const { watch, convicted } = watchOf();
    watch.vote(signed(vote(SETTLED + 1)));
    expect(watch.vote(signed(vote(SETTLED + 1, { effectsSlot: 5 })))).toBe("good");
    expect(convicted).toEqual([]);
    const other = { effectsDigest: "33".repeat(32) };
    expect(watch.vote(signed(vote(SETTLED + 1, other)))).toBe("contradicts");
    expect(evidenceFlaw(convicted[0], genesis)).toBeUndefined();
  });

  test("a signature that is missing, or of somebody else, or of another vote, is refused", () => {
    const { watch, convicted } = watchOf();
    const plain = vote(SETTLED + 1);
    expect(watch.vote(plain)).toBe("forged");
    expect(watch.vote({ ...plain, signature: signingOf(1).signVote(plain) })).toBe("forged");
    const other = signed(vote(SETTLED + 1, { answer: ANSWER.no }));
    expect(watch.vote({ ...plain, signature: other.signature })).toBe("forged");
    expect(convicted).toEqual([]);
    // What was refused is not remembered.
    expect(watch.vote(signed(plain))).toBe("good");
  });

  test("of rounds that are settled, or too far ahead, nothing is kept or verified", () => {
    const { watch } = watchOf();
    expect(watch.vote(vote(SETTLED))).toBe("late");
    expect(watch.vote(vote(SETTLED + UNRECORDED_ROUNDS_MAX + 1))).toBe("early");
    expect(watch.signatureOf(vote(SETTLED))).toBeUndefined();
  });

  test("own votes are signed once and never convict", () => {
    const { watch, convicted } = watchOf();
    const own = vote(SETTLED + 1, { rank: SELF });
    const signature = watch.ownVote(own)!;
    expect(signingOf(SELF).signedVote(own, signature)).toBe(true);
    expect(watch.ownVote(own)).toBe(signature);
    expect(convicted).toEqual([]);
  });

  test("a record may show another vote than the one that came", () => {
    const { watch, convicted } = watchOf();
    watch.vote(signed(vote(SETTLED + 1)));
    const shown = signed(vote(SETTLED + 1, { answer: ANSWER.no }));
    const answers = new Uint8Array(RANKS);
    answers[1] = makeAnswer(1, 0);
    const hash = Uint8Array.from(Buffer.from(HASH, "hex"));
    const group = {
      answers,
      ...{ effectsSlot: shown.effectsSlot, voters: Uint8Array.of(1 << OTHER) },
      effectsDigest: Uint8Array.from(Buffer.from(shown.effectsDigest, "hex")),
      signatures: shown.signature!,
    };
    const lost = [{ rank: 1, proposalHash: hash }];
    watch.recorded({ round: SETTLED + 1, proposals: [], lost, votes: [group] });
    expect(convicted).toHaveLength(1);
    expect(evidenceFlaw(convicted[0], genesis)).toBeUndefined();
  });

  test("memory is bounded by the open rounds", () => {
    const { watch, core } = watchOf({ byzantine: false });
    const { rounds } = watch as unknown as { rounds: Map<number, unknown> };
    for (let round = SETTLED + 1; round < SETTLED + 1000; round++) {
      watch.vote(vote(round));
      core.settled = round - 5;
    }
    expect(rounds.size).toBeLessThanOrEqual(7);
  });
});

describe("proposals", () => {
  const name = (hash: string) => ({ round: SETTLED + 1, rank: OTHER, hash });
  const sign = (bytes: Uint8Array) => signingOf(OTHER).signProposal(bytes);

  test("two of one round convict, from whomever they come", () => {
    const { watch, convicted } = watchOf();
    const [one, two] = [header(1), header(2)];
    expect(watch.proposal(name(one.hash), one.bytes, sign(one.bytes))).toBe("good");
    expect(watch.proposal(name(one.hash), one.bytes, undefined)).toBe("good");
    expect(watch.proposal(name(two.hash), two.bytes, sign(one.bytes))).toBe("forged");
    expect(watch.proposal(name(two.hash), two.bytes, sign(two.bytes))).toBe("contradicts");
    expect(evidenceFlaw(convicted[0], genesis)).toBeUndefined();
  });

  test("a vote about another one than is known here is asked about, once", () => {
    const { watch } = watchOf();
    const one = header(1);
    watch.proposal(name(one.hash), one.bytes, sign(one.bytes));
    const hashes = ["", "", HASH, ""];
    const told = { ...signed(vote(SETTLED + 1, { rank: 1 })), hashes };
    expect(watch.clashes(told)).toEqual([{ rank: OTHER, hash: HASH }]);
    expect(watch.clashes(told)).toEqual([]);
  });
});

describe("answers to the pull of a SEAL", () => {
  const votes = () => [signed(vote(SETTLED + 1)), signed(vote(SETTLED + 2))];

  test("count when this rank asked, and show every vote", () => {
    const { watch } = watchOf();
    const good = answer(SETTLED + 2, votes());
    expect(watch.answer(good)).toBe("late");
    watch.askForAnswers();
    expect(watch.answer(answer(SETTLED + 3, votes()))).toBe("late");
    expect(watch.answer(answer(SETTLED + 2, votes().slice(1)))).toBe("late");
    expect(watch.answer({ ...good, signature: new Uint8Array(64) })).toBe("forged");
    expect(watch.answer(good)).toBe("good");
    expect(watch.answer(good)).toBe("good");
    // Another one would not be what the SEAL carries.
    expect(watch.answer(answer(SETTLED + 2, votes(), { effectsSlot: 5 }))).toBe("late");
    const [carried] = watch.signedAnswers([OTHER], [])!;
    expect(carried.signature).toEqual(good.signature!);
  });

  test("a vote after the last one convicts, whichever comes first", () => {
    for (const answerFirst of [true, false]) {
      const { watch, convicted } = watchOf();
      watch.askForAnswers();
      const after = signed(vote(SETTLED + 2));
      const frozen = answer(SETTLED + 1, votes().slice(0, 1));
      if (answerFirst) {
        expect(watch.answer(frozen)).toBe("good");
        expect(watch.vote(after)).toBe("contradicts");
      } else {
        expect(watch.vote(after)).toBe("good");
        expect(watch.answer(frozen)).toBe("contradicts");
      }
      expect(convicted.map(({ kind }) => kind)).toEqual(["frozen"]);
      expect(evidenceFlaw(convicted[0], genesis)).toBeUndefined();
    }
  });

  test("an answer whose votes contradict what came before is not used", () => {
    const { watch, convicted } = watchOf();
    watch.askForAnswers();
    watch.vote(signed(vote(SETTLED + 1, { answer: ANSWER.no })));
    expect(watch.answer(answer(SETTLED + 2, votes()))).toBe("contradicts");
    expect(convicted).toHaveLength(1);
  });

  test("own answer tells of the state that the core had when it froze", () => {
    const { watch } = watchOf();
    const silent = vote(SETTLED + 1, { rank: SELF, answer: ANSWER.none, effectsSlot: 3 });
    const round: RoundSettlement = { round: SETTLED + 1, included: [], lost: [], votes: [silent] };
    const [own] = watch.signedAnswers([SELF], [round])!;
    expect(own).toMatchObject({ lastVoted: SETTLED, effectsSlot: 3 });
    const { signature, effectsDigest, ...rest } = own;
    const statement = { rank: SELF, ...rest, effectsDigest };
    expect(signingOf(SELF).signedAnswer(statement, signature)).toBe(true);
  });
});

test("a majority epoch verifies nothing, and still takes one vote a member", () => {
  const { watch, convicted } = watchOf({ byzantine: false });
  expect(watch.vote(vote(SETTLED + 1))).toBe("good");
  expect(watch.vote(vote(SETTLED + 1, { answer: ANSWER.no }))).toBe("contradicts");
  expect(watch.ownVote(vote(SETTLED + 1, { rank: SELF }))).toBeUndefined();
  expect(watch.signedAnswers([OTHER], [])).toBeUndefined();
  expect(convicted).toEqual([]);
});

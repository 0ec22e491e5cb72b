import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import type { EpochView, Vote } from "../../../src/consensus/effects.ts";
import { EffectsWatch } from "../../../src/consensus/effects-watch.ts";
import { Round } from "../../../src/consensus/round.ts";
import { inRoundOrder, opensVote, standingOf, voteDigest } from "../../../src/consensus/vote.ts";
import { checkSettlement } from "../../support/consensus-checks.ts";

const hashOf = (text: string) => createHash("sha256").update(text).digest("hex");
const epoch = (ranks: number, self = 0): EpochView => ({
  self,
  ranks,
  winVotes: Math.floor(ranks / 2) + 1,
  answersMin: Math.ceil(ranks / 2),
});

/** A vote written as one letter a rank: Y, N or -; a lower-case letter is about the rank's twin. */
function vote(rank: number, letters: string, opened = true): Vote {
  const answers = Uint8Array.from(letters, (letter) => "-ny".indexOf(letter.toLowerCase()));
  const hashes = [...letters].map((letter, of) => {
    if (letter === "-") return "";
    return hashOf(letter === letter.toUpperCase() ? `${of}` : `${of} twin`);
  });
  return {
    round: 1,
    rank,
    answers,
    digest: voteDigest(1, answers, hashes),
    effectsSlot: 0,
    effectsDigest: hashOf("effects"),
    hashes: opened ? hashes : undefined,
  };
}

describe("votes", () => {
  test("the digest is SHA-256 over round, answers and the hashes of all that is not ⊥", () => {
    const { answers, hashes, digest } = vote(0, "Y-N");
    const bytes = Buffer.concat([
      Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]),
      answers,
      Buffer.from(hashes![0], "hex"),
      Buffer.from(hashes![2], "hex"),
    ]);
    expect(digest).toBe(createHash("sha256").update(bytes).digest("hex"));
  });

  test("other hashes, other answers or missing hashes do not open it", () => {
    const one = vote(1, "YY-");
    expect(opensVote(one, one.hashes!)).toBe(true);
    expect(opensVote(one, [one.hashes![0], hashOf("other"), ""])).toBe(false);
    expect(opensVote(one, [one.hashes![0], "", ""])).toBe(false);
    expect(opensVote({ ...one, answers: vote(1, "YN-").answers }, one.hashes!)).toBe(false);
  });

  test.each([
    [1, 1, 1],
    [2, 2, 1],
    [3, 2, 2],
    [4, 3, 2],
    [5, 3, 3],
    [16, 9, 8],
  ])("%i ranks: w = %i, and any R = %i meet every winning set", (ranks, win, answers) => {
    const { winVotes, answersMin } = epoch(ranks);
    expect([winVotes, answersMin]).toEqual([win, answers]);
    expect(winVotes + answersMin).toBeGreaterThan(ranks);
    // With R answers and no yes among them it is lost; with one yes fewer than w it is pending.
    expect(standingOf(0, answersMin, epoch(ranks))).toBe("lost");
    expect(standingOf(winVotes, winVotes, epoch(ranks))).toBe("won");
    if (ranks > 1) expect(standingOf(winVotes - 1, winVotes - 1, epoch(ranks))).toBe("pending");
    if (ranks % 2 === 0) expect(standingOf(ranks / 2, ranks, epoch(ranks))).toBe("lost");
  });

  test("the order rotates with the round", () => {
    const names = [0, 1, 3].map((rank) => ({ rank, hash: "" }));
    expect(inRoundOrder(2, names, 4).map(({ rank }) => rank)).toEqual([3, 0, 1]);
  });
});

describe("a round", () => {
  const round = (ranks: number, self = 0) => new Round(1, 0, epoch(ranks, self));

  test("a vote opens when the proposals that it names come", () => {
    const one = round(3);
    one.addVote(vote(1, "YY-", false));
    one.addVote(vote(2, "YY-", false));
    expect(one.opened).toBe(0);
    one.hold(0, hashOf("0"));
    expect(one.opened).toBe(0);
    one.hold(1, hashOf("1"));
    expect(one.opened).toBe(2);
    expect(one.won().map(({ rank }) => rank)).toEqual([0, 1]);
  });

  test("the first vote of a member stands, whatever else it sends", () => {
    const one = round(3);
    one.addVote(vote(1, "YYY"));
    one.addVote(vote(1, "NNN"));
    expect(one.opened).toBe(1);
    expect(one.noVotes(0, hashOf("0"))).toBe(0);
  });

  test("a vote whose answers are not those of its digest is never opened", () => {
    const one = round(3);
    one.addVote(vote(1, "YY-"));
    one.addVote({ ...vote(2, "YY-", false), answers: vote(2, "YYY").answers });
    for (const rank of [0, 1, 2]) one.hold(rank, hashOf(`${rank}`));
    expect(one.opened).toBe(1);
  });

  test("it does not close below R opened votes, even if nothing is named", () => {
    const one = round(4);
    one.addVote(vote(1, "----"));
    expect(one.mayClose()).toBe(false);
    one.addVote(vote(2, "----"));
    expect(one.mayClose()).toBe(true);
  });

  test("another proposal of a rank is kept only when a vote names it", () => {
    const one = round(3);
    expect(one.hold(1, hashOf("1"))).toBe(true);
    expect(one.hold(1, hashOf("1 twin"))).toBe(false);
    one.addVote(vote(2, "-y-"));
    expect(one.hold(1, hashOf("1 twin"))).toBe(true);
    expect(one.hold(1, hashOf("1 twin"))).toBe(false);
  });
});

describe("what storage may record", () => {
  const answered = (ranks: number, votes: readonly Vote[]) => {
    const round = new Round(1, 0, epoch(ranks));
    for (const one of votes) round.addVote(one);
    return round;
  };

  test("everything that may have been agreed, and nothing that is lost", () => {
    const round = answered(4, [vote(0, "YY--"), vote(1, "YYN-")]);
    expect(round.possibleFit()).toBe(false);
    for (const rank of [0, 1]) round.hold(rank, hashOf(`${rank}`));
    round.judge(0, hashOf("0"), "yes");
    round.judge(1, hashOf("1"), "abstain");
    expect(round.possibleFit()).toBe(false);
    // What this rank abstained on is judged anew before it is recorded.
    expect(round.bodyState({ rank: 1, hash: hashOf("1") })).toBe("abstain");
    round.judgeAgain({ rank: 1, hash: hashOf("1") });
    round.judge(1, hashOf("1"), "yes");
    expect(round.possibleFit()).toBe(true);
    const settled = round.settle(round.possible());
    expect(settled.included.map(({ rank }) => rank)).toEqual([0, 1]);
    expect(settled.lost.map(({ rank }) => rank)).toEqual([2]);
    checkSettlement(4, "STORAGE", settled);
  });

  test("nothing that this rank found bad, nor two proposals of one rank", () => {
    const bad = answered(3, [vote(0, "Y--"), vote(1, "N--")]);
    bad.hold(0, hashOf("0"));
    bad.judge(0, hashOf("0"), "no");
    expect(bad.possibleFit()).toBe(false);
    const twins = answered(3, [vote(0, "Y--"), vote(1, "y--")]);
    for (const text of ["0", "0 twin"]) {
      twins.hold(0, hashOf(text));
      twins.judge(0, hashOf(text), "yes");
    }
    expect(twins.possibleFit()).toBe(false);
  });

  test("leaving out answers would not help: with R others the hash is lost already", () => {
    for (let ranks = 1; ranks <= 100; ranks++) {
      const { winVotes, answersMin } = epoch(ranks);
      expect(winVotes + answersMin).toBe(ranks + 1);
      for (let yes = 1; yes <= ranks - answersMin; yes++)
        expect(standingOf(yes, answersMin + yes, epoch(ranks))).toBe("lost");
    }
  });
});

describe("effects", () => {
  test("a majority of equal digests against this rank's is told, whenever they come", () => {
    const watch = new EffectsWatch(3);
    watch.claimed(1, 1, "theirs"); // ahead of this rank
    watch.executed(1, "mine");
    watch.claimed(2, 1, "theirs");
    watch.claimed(2, 1, "theirs");
    watch.claimed(3, 1, "others");
    expect(watch.differsAt).toBeUndefined();
    watch.claimed(4, 1, "theirs");
    expect(watch.differsAt).toBe(1);
  });

  test("claims of far slots are not kept", () => {
    const watch = new EffectsWatch(2);
    for (let slot = 1; slot < 1000; slot++) watch.executed(slot, "mine");
    watch.claimed(1, 3, "theirs");
    watch.claimed(2, 3, "theirs");
    watch.claimed(1, 1_000_000, "theirs");
    expect(watch.mismatches).toBe(0);
  });
});

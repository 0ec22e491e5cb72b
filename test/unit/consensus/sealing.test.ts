/** What stories and storms do not single out: one core, its inputs by hand. */
import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import type {
  Effect,
  EpochView,
  Input,
  LinkEffect,
  SealAnswer,
  Vote,
} from "../../../src/consensus/effects.ts";
import { HyBE } from "../../../src/consensus/hybe.ts";
import { Round } from "../../../src/consensus/round.ts";
import { planSeal, silentVote } from "../../../src/consensus/seal-plan.ts";
import { voteDigest } from "../../../src/consensus/vote.ts";
import { UNRECORDED_ROUNDS_MAX } from "../../../src/limits.ts";
import { checkSettlement } from "../../support/consensus-checks.ts";
import { TIMING } from "../../support/consensus-parts.ts";

const hashOf = (text: string) => createHash("sha256").update(text).digest("hex");
const epoch = (ranks: number, self = 0): EpochView => ({
  self,
  ranks,
  winVotes: Math.floor(ranks / 2) + 1,
  answersMin: Math.ceil(ranks / 2),
});

/** One core, with a clock and the effects of its newest steps. */
class Bench {
  now = 0;
  readonly core: HyBE;
  effects: Effect[] = [];

  constructor(ranks: number, minoritySeals = true) {
    this.core = new HyBE({
      epoch: epoch(ranks),
      timing: TIMING,
      pipelineDepth: 4,
      head: { slot: 0, hash: hashOf("genesis") },
      settled: 0,
      storageOn: "alert",
      minoritySeals,
    });
    this.core.executed(0, hashOf("effects"));
  }

  step(input: Input): Effect[] {
    this.effects = this.core.step(input, this.now);
    return this.effects;
  }

  /** Time passes, tick by tick; storage is found empty at once. Ends at the first append. */
  runToLink(until = this.now + 100_000): LinkEffect | undefined {
    for (;;) {
      const link = this.effects.find((effect) => effect.type === "link");
      if (link?.type === "link") return link;
      const read = this.effects.find((effect) => effect.type === "read");
      if (read?.type === "read") {
        this.step({ type: "no-record", slot: read.slot });
        continue;
      }
      const next = this.core.nextDeadline();
      if (next > until) return undefined;
      this.now = next;
      this.step({ type: "tick" });
    }
  }

  /** Told to seal: it has looked at storage, is frozen, and has pulled. */
  begin(evict: readonly number[] = []): Effect[] {
    expect(this.step({ type: "change", evict, admit: [] })).toEqual([
      { type: "read", slot: 1, prevHash: hashOf("genesis") },
    ]);
    return this.step({ type: "no-record", slot: 1 });
  }

  answer(rank: number, more: Partial<SealAnswer> = {}): Effect[] {
    const none = { headSlot: 0, lastVoted: 0, votes: [], effectsSlot: 0, effectsDigest: "" };
    return this.step({ type: "seal-answer", from: rank, answer: { rank, ...none, ...more } });
  }
}

const linkOf = (effects: readonly Effect[]) => effects.find((effect) => effect.type === "link");

/** An opened vote: one letter a rank, Y, N or -. */
function vote(rank: number, letters: string, round = 1): Vote {
  const answers = Uint8Array.from(letters, (letter) => "-NY".indexOf(letter));
  const hashes = [...letters].map((letter, of) => (letter === "-" ? "" : hashOf(`${of} ${round}`)));
  const digest = voteDigest(round, answers, hashes);
  return { round, rank, answers, digest, effectsSlot: 0, effectsDigest: "", hashes };
}

describe("freezing", () => {
  test("nobody is frozen before storage has been seen, and failed reads are paced", () => {
    const bench = new Bench(3);
    bench.step({ type: "change", evict: [2], admit: [] });
    for (let i = 0; i < 5; i++) {
      expect(bench.step({ type: "no-record", slot: 1, failed: true })).toEqual([]);
      expect(bench.core.isFrozen).toBe(false);
      expect(bench.core.nextDeadline()).toBe(bench.now + TIMING.readDelayMs);
      bench.now += TIMING.readDelayMs;
      expect(bench.step({ type: "tick" }).map(({ type }) => type)).toEqual(["read"]);
    }
    const effects = bench.step({ type: "no-record", slot: 1 });
    expect(effects).toEqual([
      { type: "send-seal-pull", to: [1, 2], pull: { evict: [2], admit: [], lastRound: 0 } },
    ]);
    expect(bench.core.isFrozen).toBe(true);
    expect(bench.core.mayOpen).toBe(false);
  });

  test("who is pulled votes up to the author's newest round, opened here or not, and not again", () => {
    const bench = new Bench(3);
    bench.step({ type: "demand" });
    const pull = { evict: [], admit: [], lastRound: 3 };
    const effects = bench.step({ type: "seal-pull", from: 1, pull });
    expect(effects.map(({ type }) => type)).toEqual(["vote", "vote", "vote", "send-seal-answer"]);
    const answer = effects.at(-1) as Extract<Effect, { type: "send-seal-answer" }>;
    expect(answer.to).toBe(1);
    expect(answer.answer.lastVoted).toBe(3);
    expect(answer.answer.votes.map(({ round }) => round)).toEqual([1, 2, 3]);
    // Asked again, by this author or another, it says the same; a demand or a proposal opens nothing.
    const again = bench.step({ type: "seal-pull", from: 2, pull: { ...pull, lastRound: 9 } });
    expect(again).toEqual([{ ...answer, to: 2 }]);
    expect(bench.step({ type: "demand" })).toEqual([]);
    const proposal = { type: "proposal", round: 4, rank: 1, hash: hashOf("1 4") } as const;
    expect(bench.step(proposal).map(({ type }) => type)).toEqual(["validate"]);
    const force = { round: 4, vote: true, force: true, bodies: [] };
    expect(bench.step({ type: "pull", from: 1, pull: force })).toEqual([]);
  });

  test("a pull from rounds that cannot be is answered within the bounds of this rank", () => {
    const bench = new Bench(2);
    const pull = { evict: [], admit: [], lastRound: 1e9 };
    const effects = bench.step({ type: "seal-pull", from: 1, pull });
    const votes = effects.filter(({ type }) => type === "vote");
    expect(votes.length).toBe(UNRECORDED_ROUNDS_MAX);
  });
});

describe("answers", () => {
  test("count once from whom they are, and only with the log that they know of", () => {
    const bench = new Bench(4);
    bench.begin();
    expect(bench.answer(2, { rank: 1 })).toEqual([]);
    const votes = Array.from({ length: UNRECORDED_ROUNDS_MAX + 1 }, () => vote(1, "----"));
    expect(bench.answer(1, { votes })).toEqual([]);
    // Rank 1 has seen slot 2: this rank reads until it is there as well.
    const ahead = bench.answer(1, { headSlot: 2, lastVoted: 7 });
    expect(ahead.map(({ type }) => type)).toEqual(["read"]);
    for (const slot of [1, 2]) {
      const rounds = { firstRound: 1, lastRound: 0, rounds: [] };
      const noop = { slot, hash: hashOf(`${slot}`), kind: "NOOP", valid: true, ...rounds } as const;
      bench.step({ type: "record", record: noop });
      expect(linkOf(bench.effects)).toBeUndefined();
    }
    // It says that it voted up to round 7, and has not opened these votes: it is as if it were silent.
    const link = bench.runToLink();
    expect(link?.kind).toBe("INTENT");
    expect(link?.kind === "INTENT" && link.answered).toEqual([0]);
  });

  test("of all that are not suspected are waited for, but not for ever", () => {
    const bench = new Bench(4);
    bench.step({ type: "suspects", ranks: [3] });
    bench.begin([3]);
    expect(linkOf(bench.answer(1))).toBeUndefined();
    expect(linkOf(bench.answer(2))).toMatchObject({ kind: "SEAL", answers: [0, 1, 2], evict: [3] });
    const other = new Bench(4);
    other.begin([3]);
    other.answer(1);
    expect(other.runToLink()).toMatchObject({ kind: "SEAL", answers: [0, 1], evict: [3] });
    expect(other.now).toBe(TIMING.sealWaitMs);
  });

  test("who answered stays, whoever was to be evicted", () => {
    const bench = new Bench(3);
    bench.begin([1, 2]);
    bench.answer(2);
    bench.answer(1);
    expect(linkOf(bench.effects)).toMatchObject({ kind: "SEAL", answers: [0, 1, 2], evict: [] });
  });
});

describe("a minority", () => {
  test("never seals where it may not, and goes on asking", () => {
    const bench = new Bench(4, false);
    bench.begin([1, 2, 3]);
    expect(bench.runToLink(60_000)).toBeUndefined();
    expect(bench.core.nextDeadline()).toBeLessThan(Number.POSITIVE_INFINITY);
    bench.answer(2);
    expect(bench.runToLink()).toMatchObject({ kind: "SEAL", answers: [0, 2], evict: [1, 3] });
  });

  test("waits longer each time that its INTENT is refuted, up to half a minute", () => {
    const bench = new Bench(3);
    bench.begin([1, 2]);
    const pauses: number[] = [];
    let refutedAt = 0;
    for (let slot = 1; slot < 26; slot += 2) {
      expect(bench.runToLink()?.kind).toBe("INTENT");
      pauses.push(bench.now - refutedAt);
      bench.step({ type: "linked", slot, hash: hashOf(`${slot}`) });
      bench.now += 10;
      const rounds = { firstRound: 1, lastRound: 0, rounds: [] };
      const hash = hashOf(`${slot + 1}`);
      const noop = { slot: slot + 1, hash, kind: "NOOP", valid: true, ...rounds } as const;
      bench.step({ type: "record", record: noop });
      refutedAt = bench.now;
    }
    const [first, second, third] = pauses;
    expect([first, second, third]).toEqual([150, 150, 300]);
    expect(pauses.at(-1)).toBe(30_000);
  });

  test("seals a deadline after its INTENT; one that it finds in the log counts from then", () => {
    const bench = new Bench(3);
    bench.begin([1, 2]);
    expect(bench.runToLink()).toMatchObject({ kind: "INTENT", answered: [0] });
    // Storage says that it failed; yet the record is there.
    bench.step({ type: "link-failed", slot: 1 });
    bench.now += 1000;
    const intent = { answered: [0], own: true, deadlineMs: TIMING.takeoverMs };
    const rounds = { firstRound: 1, lastRound: 0, rounds: [] };
    const record = { slot: 1, hash: hashOf("1"), kind: "INTENT", valid: true, ...rounds, intent };
    const foundAt = bench.now;
    bench.step({ type: "record", record } as Input);
    expect(bench.runToLink()).toMatchObject({ kind: "SEAL", slot: 2, answers: [0] });
    expect(bench.now).toBe(foundAt + TIMING.takeoverMs);
  });

  test("leaves the INTENT of another its time when it is listed, and refutes it when it is not", () => {
    const rounds = { firstRound: 1, lastRound: 0, rounds: [] };
    const deadlineMs = 5000;
    for (const answered of [[0, 1], [1]]) {
      const bench = new Bench(5);
      bench.begin([2, 3, 4]);
      bench.answer(1);
      const intent = { answered, own: false, deadlineMs };
      const record = { slot: 1, hash: hashOf("1"), kind: "INTENT", valid: true, ...rounds, intent };
      bench.step({ type: "record", record } as Input);
      const link = bench.runToLink();
      if (answered.includes(0)) {
        expect(link).toMatchObject({ kind: "INTENT", slot: 2, answered: [0, 1] });
        expect(bench.now).toBeGreaterThan(deadlineMs);
      } else {
        expect(link).toMatchObject({ kind: "NOOP", slot: 2 });
        expect(bench.now).toBe(0);
      }
    }
  });
});

describe("the SEAL", () => {
  test("ends the machine: no step does anything, no deadline is left", () => {
    const bench = new Bench(1);
    bench.begin();
    expect(linkOf(bench.effects)).toMatchObject({ kind: "SEAL", answers: [0] });
    const effects = bench.step({ type: "linked", slot: 1, hash: hashOf("seal") });
    expect(effects.map(({ type }) => type)).toEqual(["send-decided", "finalize", "sealed"]);
    expect(bench.core.nextDeadline()).toBe(Number.POSITIVE_INFINITY);
    expect(bench.core.idle).toBe(true);
    for (const type of ["tick", "demand", "poll", "alert"] as const)
      expect(bench.step({ type })).toEqual([]);
    expect(bench.step({ type: "change", evict: [], admit: [] })).toEqual([]);
  });

  test("that storage refuses sends rounds ahead of it, as it may be too large", () => {
    const bench = new Bench(2);
    for (const round of [1, 2]) {
      bench.step({ type: "demand" });
      bench.step({ type: "mined", round, hash: hashOf(`0 ${round}`) });
    }
    bench.begin([1]);
    const first = bench.runToLink()!;
    expect(first).toMatchObject({ kind: "SEAL" });
    expect(first.settlement.map(({ round }) => round)).toEqual([1, 2]);
    bench.step({ type: "link-failed", slot: 1 });
    const half = bench.runToLink()!;
    expect(half).toMatchObject({ kind: "STORAGE", slot: 1 });
    expect(half.settlement.map(({ round }) => round)).toEqual([1]);
    bench.step({ type: "linked", slot: 1, hash: hashOf("1") });
    const rest = bench.runToLink()!;
    expect(rest).toMatchObject({ kind: "SEAL", slot: 2, answers: [0], evict: [1] });
    expect(rest.settlement.map(({ round }) => round)).toEqual([2]);
  });

  test("read while the own one is on its way is told to all, as nobody else may do it", () => {
    const bench = new Bench(1);
    bench.begin();
    const rounds = { firstRound: 1, lastRound: 0, rounds: [] };
    const record = { slot: 1, hash: hashOf("1"), kind: "SEAL", valid: true, ...rounds } as const;
    const effects = bench.step({ type: "record", record });
    expect(effects.map(({ type }) => type)).toEqual(["finalize", "send-decided", "sealed"]);
    expect(bench.step({ type: "linked", slot: 1, hash: hashOf("1") })).toEqual([]);
  });

  test("that is not valid is an empty record: the epoch goes on", () => {
    const bench = new Bench(2);
    const rounds = { firstRound: 1, lastRound: 0, rounds: [] };
    const record = { slot: 1, hash: hashOf("1"), kind: "SEAL", valid: false, ...rounds } as const;
    const effects = bench.step({ type: "record", record });
    expect(effects.map(({ type }) => type)).toEqual(["finalize"]);
    expect(bench.step({ type: "demand" }).map(({ type }) => type)).toEqual(["mine"]);
  });
});

describe("what a SEAL settles", () => {
  const roundOf = (ranks: number, votes: readonly Vote[], held: readonly number[]) => {
    const round = new Round(1, 0, epoch(ranks));
    for (const rank of held) {
      round.hold(rank, hashOf(`${rank} 1`));
      round.judge(rank, hashOf(`${rank} 1`), "yes");
    }
    for (const one of votes) round.addVote(one);
    return round;
  };

  test("an answer says ⊥ in each round above its last vote, with the digest that anybody recomputes", () => {
    const answer = { rank: 2, headSlot: 4, lastVoted: 6, votes: [] };
    const silent = silentVote(7, 3, { ...answer, effectsSlot: 4, effectsDigest: hashOf("e") });
    expect(silent.digest).toBe(voteDigest(7, new Uint8Array(3), []));
    expect(silent).toMatchObject({ round: 7, rank: 2, effectsSlot: 4, hashes: ["", "", ""] });
  });

  test("all that may be agreed as far as the carried votes tell, bodies that are missing included", () => {
    const round = roundOf(4, [vote(0, "YY--"), vote(1, "YYYN")], [0, 1]);
    const plan = planSeal([round], new Set([0, 1]), epoch(4));
    const [settled] = plan.settlement;
    expect(settled.included.map(({ rank }) => rank)).toEqual([0, 1, 2]);
    expect(settled.lost.map(({ rank }) => rank)).toEqual([3]);
    expect(plan.missing.map(({ names }) => names.map(({ rank }) => rank))).toEqual([[2]]);
    expect(plan.fits).toBe(true);
    checkSettlement(4, "SEAL", settled);
  });

  test("votes of those who did not answer are carried where their bodies are here", () => {
    const votes = [vote(0, "YY--"), vote(1, "YY--"), vote(2, "YYY-"), vote(3, "YY--")];
    const round = roundOf(4, votes, [0, 1]);
    const plan = planSeal([round], new Set([0, 1]), epoch(4));
    expect(plan.settlement[0].votes.map(({ rank }) => rank)).toEqual([0, 1, 3]);
    expect(plan.missing).toEqual([]);
  });

  test("not two proposals of one rank: more answers are needed to tell which is lost", () => {
    const round = new Round(1, 0, epoch(3));
    const twin = vote(1, "--Y");
    const hashes = ["", "", hashOf("twin")];
    round.addVote(vote(0, "--Y"));
    round.addVote({ ...twin, hashes, digest: voteDigest(1, twin.answers, hashes) });
    expect(planSeal([round], new Set([0, 1]), epoch(3)).fits).toBe(false);
  });
});

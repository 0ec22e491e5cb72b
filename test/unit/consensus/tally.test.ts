/** The tally counts ballots, not votes: it must come to what counting each vote by itself does. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { ANSWER, type ProposalName, type Vote } from "../../../src/consensus/effects.ts";
import { Tally } from "../../../src/consensus/tally.ts";
import { standingOf, voteDigest } from "../../../src/consensus/vote.ts";

const RANKS = 7;
const EPOCH = { self: 0, ranks: RANKS, winVotes: 4, answersMin: 4 };
const hashOf = (rank: number, version: number) => `${rank}${version}`.padStart(64, "a");

/** What a voter says of each rank: which of two proposals, and how. */
type Says = ReadonlyArray<readonly [version: number, answer: number]>;

function voteOf(rank: number, says: Says): Vote {
  const answers = Uint8Array.from(says, ([, answer]) => answer);
  const hashes = says.map(([version, answer], of) =>
    answer === ANSWER.none ? "" : hashOf(of, version),
  );
  const digest = voteDigest(1, answers, hashes);
  return { round: 1, rank, answers, digest, effectsSlot: 0, effectsDigest: "", hashes };
}

/** Counts each vote by itself, and tells what has won as it goes. */
class Counted {
  private readonly named: { name: ProposalName; yes: number; no: number; told: boolean }[][] =
    Array.from({ length: RANKS }, () => []);
  private votes = 0;

  add({ answers, hashes }: Vote): void {
    this.votes++;
    for (const [rank, answer] of answers.entries()) {
      if (answer === ANSWER.none) continue;
      const hash = hashes![rank];
      let found = this.named[rank].find(({ name }) => name.hash === hash);
      if (found === undefined)
        this.named[rank].push((found = { name: { rank, hash }, yes: 0, no: 0, told: false }));
      if (answer === ANSWER.yes) found.yes++;
      else found.no++;
    }
  }

  private standing = ({ yes }: { yes: number }) => standingOf(yes, this.votes, EPOCH);

  get all() {
    const all = this.named.flat();
    return {
      won: all.filter((each) => this.standing(each) === "won").map(({ name }) => name),
      possible: all
        .filter((each) => each.yes > 0 && this.standing(each) !== "lost")
        .map(({ name }) => name),
      decided: all.every((each) => this.standing(each) !== "pending"),
      no: all.map(({ name, no }) => [name.hash, no]),
      names: all.map(({ name }) => name),
    };
  }

  newlyWon(): ProposalName[] {
    const fresh = this.named.flat().filter(({ yes, told }) => yes >= EPOCH.winVotes && !told);
    for (const each of fresh) each.told = true;
    return fresh.map(({ name }) => name);
  }
}

/** Few kinds of votes, cast by all, in any order: equal ones, and ones that part what others join. */
const kinds = fc.array(
  fc.array(fc.tuple(fc.integer({ min: 0, max: 1 }), fc.integer({ min: 0, max: 2 })), {
    minLength: RANKS,
    maxLength: RANKS,
  }),
  { minLength: 1, maxLength: 4 },
);
const casts = fc.array(fc.nat(), { minLength: 1, maxLength: RANKS });

describe("the tally", () => {
  test("is that of the votes one by one, after each of them", () => {
    fc.assert(
      fc.property(kinds, casts, (all, cast) => {
        const tally = new Tally(EPOCH);
        const counted = new Counted();
        for (const [rank, kind] of cast.entries()) {
          const vote = voteOf(rank, all[kind % all.length]);
          tally.add(vote);
          counted.add(vote);
          const { won, possible, decided, no, names } = counted.all;
          expect(tally.won()).toEqual(won);
          expect(tally.possible()).toEqual(possible);
          expect(tally.decided()).toBe(decided);
          expect(tally.newlyWon()).toEqual(counted.newlyWon());
          expect(tally.select(() => true)).toEqual(names);
          for (const name of names)
            expect([name.hash, tally.noVotes(name.rank, name.hash)] as unknown[]).toEqual(
              no.find(([hash]) => hash === name.hash)!,
            );
        }
      }),
      { numRuns: 500 },
    );
  });

  test("what is asked of possible names is asked anew once something changed", () => {
    fc.assert(
      fc.property(kinds, casts, fc.func(fc.boolean()), (all, cast, holds) => {
        const tally = new Tally(EPOCH);
        const held = new Set<string>();
        for (const [rank, kind] of cast.entries()) {
          tally.add(voteOf(rank, all[kind % all.length]));
          for (const { hash } of tally.possible()) if (holds(rank, hash)) held.add(hash);
          tally.changed();
          const is = ({ hash }: ProposalName) => held.has(hash);
          expect(tally.everyPossible(is)).toBe(tally.possible().every(is));
          expect(tally.everyPossible(is)).toBe(tally.possible().every(is));
        }
      }),
    );
  });
});

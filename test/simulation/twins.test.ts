/**
 * Twins of an identity: the same incarnation and keys run twice, beside each other, or again after the
 * first one has died and forgotten. So it proposes twice, votes twice and forgets its votes, without a
 * line of code that lies. One of four may; of a majority ledger everything holds as well, since votes
 * are counted once and storage takes one record a slot. Two of four are one too many.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { decodeEvidence } from "../../src/ledger/evidence.ts";
import type { Quorum } from "../../src/ledger/genesis.ts";
import { type LiarsOptions, LiarsWorld } from "../support/liars-world.ts";

/** A twin need not contradict itself: seeds go on until one did. */
const SEEDS_MIN = 2;
const SEEDS_MAX = 40;
const TIMEOUT_MS = 120_000;
/** Who is silent is out before the load ends. */
const settings = {
  monitoring: { heartbeatMs: 15, suspectMs: 80, evictMs: 160, turnDelayMs: 20, scale: 1 },
};
const told: string[] = [];

async function worldOf(options: Partial<LiarsOptions>): Promise<LiarsWorld> {
  const fixed = { liars: [3], loadMs: 400, settings, feedsLiars: true };
  return await new LiarsWorld({ ...fixed, ...options }).run();
}

/** S14: whom the files of evidence/ name. */
function accusedIn(world: LiarsWorld): number[] {
  return world.files("evidence").map((name) => {
    const evidence = decodeEvidence(world.fileBytes("evidence", name));
    if (!evidence.ok) throw new Error(evidence.where);
    return evidence.value.member.rank;
  });
}

const HOLDS: readonly (readonly [Quorum, "beside" | "after"])[] = [
  ...[["byzantine", "beside"] as const, ["byzantine", "after"] as const],
  ...[["majority", "beside"] as const, ["majority", "after"] as const],
];

describe("one of four contradicts itself, and every promise holds", () => {
  for (const [quorum, twins] of HOLDS)
    test(
      `${quorum}, the twin ${twins} the first`,
      async () => {
        const misdeeds: Record<string, number> = {};
        const contradicted = () => (misdeeds.DOUBLE_VOTE ?? 0) + (misdeeds.EQUIVOCATION ?? 0) > 0;
        let seed = 0;
        while (++seed <= SEEDS_MIN || (!contradicted() && seed <= SEEDS_MAX)) {
          const world = await worldOf({ seed, twins, quorum });
          expect(world.violation && `seed ${seed}: ${world.violation.message}`).toBeUndefined();
          expect(world.world.users.counts.finals).toBeGreaterThan(20);
          expect(world.twins.every(({ sessions }) => sessions.length > 0)).toBe(true);
          expect(accusedIn(world).every((rank) => rank === 3)).toBe(true);
          for (const [reason, count] of Object.entries(world.misdeeds(3)))
            misdeeds[reason] = (misdeeds[reason] ?? 0) + count;
        }
        told.push(`${quorum}, ${twins}: ${JSON.stringify(misdeeds)} in ${seed - 1} seeds`);
        expect(contradicted()).toBe(true);
      },
      TIMEOUT_MS,
    );
});

test(
  "two of four are one too many, and a checker says so",
  async () => {
    const broken: string[] = [];
    let seed = 0;
    while (broken.length === 0 && ++seed <= 20) {
      const world = await worldOf({ seed, twins: "beside", quorum: "byzantine", liars: [2, 3] });
      if (world.violation !== undefined) broken.push(world.violation.rule);
    }
    told.push(`two twins of four: ${broken[0]} after ${seed} seeds`);
    expect(broken[0]).toMatch(/^(S|L)\d+$/);
  },
  TIMEOUT_MS,
);

afterAll(() => {
  for (const line of told) console.log(line);
});

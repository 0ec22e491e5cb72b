/**
 * The end of an epoch of 2 to 5 ranks, whenever it falls in two rounds under way: somebody is dead or
 * wrongly suspected, the author dies after any of its effects, pulls and answers are lost. Each run
 * must be safe, the epoch must end, and the next one must go on; all runs together must reach every
 * branch of sealing.
 */
import { expect, test } from "bun:test";
import type { Effect, Input } from "../../../src/consensus/effects.ts";
import { checkSafety } from "../../support/consensus-checks.ts";
import { Cluster } from "../../support/consensus-cluster.ts";

/** When the author is told to seal: before the rounds, at each of their steps, after them. */
const TIMES = [0, 3, 5, 6, 7, 8, 10, 13, 18];
const AUTHOR_EFFECTS_MAX = 9;
const NOTICED_MS = 60;
const SETTLE_MS = 20_000;

interface Case {
  readonly ranks: number;
  readonly at: number;
  /** Ranks that die before the author is told; it is to evict them. */
  readonly dead: number;
  /** The author dies after so many of its effects; never if it is more than it has. */
  readonly authorDiesAfter: number;
  /** What does not arrive in the first 300 ms: to or from the author, as a mask of other ranks. */
  readonly lost: "none" | "pulls" | "answers" | "proposals";
  readonly lostRanks: number;
}

function* cases(ranks: number): Generator<Case> {
  for (const at of TIMES) {
    for (let dead = 0; dead < ranks; dead++)
      for (let after = 1; after <= AUTHOR_EFFECTS_MAX + 1; after++)
        yield { ranks, at, dead, authorDiesAfter: after, lost: "none", lostRanks: 0 };
    for (const lost of ["pulls", "answers", "proposals"] as const)
      for (let lostRanks = 2; lostRanks < 1 << ranks; lostRanks += 2)
        for (const dead of [0, 1]) yield { ranks, at, dead, authorDiesAfter: 99, lost, lostRanks };
  }
}

const LOST = { none: "", pulls: "seal-pull", answers: "seal-answer", proposals: "proposal" };

type Branches = Map<string, number>;

function tellBranch(cluster: Cluster, rank: number, effect: Effect, cause: Input): string[] {
  const part = cluster.members[rank].parts.at(-1)!;
  switch (effect.type) {
    case "vote": {
      if (cause.type === "seal-pull") return ["froze: voted at once when pulled"];
      return part.core.isFrozen ? ["froze: the author voted at once"] : [];
    }
    case "send-seal-answer":
      return part.votesWhenFrozen === undefined ? ["froze: answered"] : ["answered again"];
    case "link": {
      if (effect.kind === "INTENT") return ["INTENT"];
      if (effect.kind !== "SEAL") return [];
      const enough = effect.answers.length >= Math.ceil(part.epoch.processes.length / 2);
      const told = [`SEAL by ${enough ? "R answers" : "a minority"}`];
      if (effect.settlement.length === 0) told.push("SEAL settles nothing");
      for (const { included, lost, votes } of effect.settlement) {
        if (included.length === 0) told.push("SEAL settles a round as empty");
        if (lost.length > 0) told.push("SEAL shows a proposal to be lost");
        if (votes.some((vote) => !effect.answers.includes(vote.rank)))
          told.push("SEAL carries the vote of somebody who did not answer");
        const silent = votes.some(
          ({ rank: voter, round }) =>
            !cluster.members[part.epoch.processes[voter]].parts
              .at(-1)!
              .votes.some((vote) => vote.round === round),
        );
        if (silent) told.push("SEAL says ⊥ for an answerer that never voted");
        const win = Math.floor(part.epoch.processes.length / 2) + 1;
        for (const name of included) {
          const yes = votes.filter((vote) => vote.hashes?.[name.rank] === name.hash).length;
          told.push(yes >= win ? "SEAL includes what has won" : "SEAL includes what may be agreed");
        }
      }
      return told;
    }
    case "send-pull":
      return part.core.isFrozen && effect.pull.bodies.length > 0
        ? ["a body pulled for a SEAL"]
        : [];
    case "sealed":
      return [cause.type === "linked" ? "left by its own SEAL" : "left by a SEAL that it read"];
    case "returned":
      return cause.type === "linked" || cause.type === "record" ? ["own proposal returned"] : [];
  }
  return [];
}

function runCase(one: Case, branches: Branches): void {
  const { ranks, at, dead, authorDiesAfter, lost, lostRanks } = one;
  const saw = (branch: string) => branches.set(branch, (branches.get(branch) ?? 0) + 1);
  const cluster = new Cluster({ ranks });
  const author = 0;
  let effects = -1;
  cluster.onEffect = (rank, effect, cause) => {
    for (const branch of tellBranch(cluster, rank, effect, cause)) saw(branch);
    const { epoch, place, core } = cluster.members[rank].parts.at(-1)!;
    if (effect.type === "send-seal-pull" && rank !== author && epoch.number === 0)
      saw("a frozen rank seals by itself");
    if (effect.type === "send-seal-pull") expect(effect.to).not.toContain(place);
    if (effect.type === "vote") expect(core.idle).toBe(false);
    if (rank !== author || effects < 0 || epoch.number > 0) return;
    if (++effects === authorDiesAfter) cluster.crash(author);
  };
  cluster.onNote = (_rank, note) => {
    if (note.startsWith("loses")) saw("lost the link to another SEAL or record");
  };
  cluster.network = ({ kind, from, to, at }) => {
    if (at >= 300 || kind !== LOST[lost]) return 1;
    const other = lost === "pulls" ? from === author && to : to === author && from;
    return other !== false && lostRanks & (1 << other) ? undefined : 1;
  };
  const suspects = () => cluster.members.filter((member) => member.dead).map(({ rank }) => rank);
  const tell = () => {
    if (cluster.records.newestEpoch.number > 0) return;
    for (const { rank } of cluster.members)
      cluster.input(rank, { type: "suspects", ranks: suspects() });
  };
  cluster.input(ranks - 1, { type: "demand" });
  cluster.after(4, () => cluster.input(ranks - 1, { type: "demand" }));
  cluster.run(Math.max(0, at - 1));
  for (let rank = ranks - dead; rank < ranks; rank++) cluster.crash(rank);
  tell();
  effects = 0;
  cluster.input(author, { type: "change", evict: suspects(), admit: [] });
  cluster.after(NOTICED_MS, tell);
  // Nobody is frozen when the author died too early: the next one is told.
  cluster.after(2 * NOTICED_MS, () => {
    const [next] = cluster.living();
    if (next === undefined || cluster.records.newestEpoch.number > 0) return;
    if (!next.parts[0].core.isFrozen)
      cluster.input(next.rank, { type: "change", evict: suspects(), admit: [] });
  });
  const done = () =>
    cluster.living().length === 0 || (cluster.records.newestEpoch.number > 0 && cluster.quiet());
  if (!cluster.run(SETTLE_MS, done)) throw new Error("the epoch does not end");
  checkSafety(cluster);
  const [survivor] = cluster.living();
  if (survivor === undefined) return;
  // The next epoch goes on: where a dead member is still in it, after its proposalTimeout.
  const { settled } = survivor.parts.at(-1)!.core;
  cluster.input(survivor.rank, { type: "demand" });
  const goesOn = () => survivor.parts.at(-1)!.core.settled > settled && cluster.quiet();
  const left = cluster.records.newestEpoch.processes.length;
  const enough = cluster.living().length >= Math.ceil(left / 2);
  expect(cluster.run(cluster.now + 2000, goesOn)).toBe(enough);
  checkSafety(cluster);
}

const EXPECTED = [
  "INTENT",
  "SEAL by R answers",
  "SEAL by a minority",
  "SEAL carries the vote of somebody who did not answer",
  "SEAL includes what has won",
  "SEAL includes what may be agreed",
  "SEAL says ⊥ for an answerer that never voted",
  "SEAL settles a round as empty",
  "SEAL settles nothing",
  "SEAL shows a proposal to be lost",
  "a body pulled for a SEAL",
  "a frozen rank seals by itself",
  "answered again",
  "froze: answered",
  "froze: the author voted at once",
  "froze: voted at once when pulled",
  "left by a SEAL that it read",
  "left by its own SEAL",
  "lost the link to another SEAL or record",
  "own proposal returned",
];

const branches: Branches = new Map();

for (const ranks of [2, 3, 4, 5]) {
  test(`${ranks} ranks`, () => {
    for (const one of cases(ranks)) {
      try {
        runCase(one, branches);
      } catch (error) {
        throw new Error(JSON.stringify(one), { cause: error });
      }
    }
  }, 60_000);
}

test("every branch of sealing was reached", () => {
  expect([...branches.keys()].sort()).toEqual(EXPECTED);
});

/**
 * One round of 2, 3 and 4 ranks in which each proposal and each vote is on time, late, or withheld
 * from some: every case of up to a few deviations. Each run must be safe and settle once nothing is
 * withheld any more; all runs together must reach every branch of steps 5 to 9.
 */
import { expect, test } from "bun:test";
import { checkSafety } from "../../support/consensus-checks.ts";
import { Cluster } from "../../support/consensus-cluster.ts";
import type { Message } from "../../support/consensus-parts.ts";

const LATE_MS = 130;
const HEAL_MS = 900;
const SETTLE_MS = 3000;

/** What happens to one rank's proposal or vote: for each receiver on time, late or never. */
type Fate = ReadonlyMap<number, "late" | "never">;
interface Case {
  readonly ranks: number;
  /** By item: 2·rank is its proposal, 2·rank + 1 its vote. */
  readonly fates: ReadonlyMap<number, Fate>;
  /** The recorder takes longer than a turn, or its word never arrives. */
  readonly recorder: "prompt" | "slow" | "mute";
}

/** Late or never, for each choice of receivers that is not empty. */
function deviations(ranks: number, author: number): Fate[] {
  const others = Array.from({ length: ranks }, (_, rank) => rank).filter((rank) => rank !== author);
  const fates: Fate[] = [];
  for (let mask = 1; mask < 1 << others.length; mask++) {
    const to = others.filter((_, bit) => mask & (1 << bit));
    for (const how of ["late", "never"] as const)
      fates.push(new Map(to.map((rank) => [rank, how])));
  }
  return fates;
}

interface Sweep {
  readonly ranks: number;
  /** Which items may deviate, and how many at once. */
  readonly what: "proposals" | "votes" | "both";
  readonly most: number;
  readonly recorder: Case["recorder"];
}

function* cases({ ranks, what, most, recorder }: Sweep): Generator<Case> {
  const choices = Array.from({ length: 2 * ranks }, (_, item) => {
    const fixed = (what === "proposals" && item & 1) || (what === "votes" && !(item & 1));
    return fixed ? [] : deviations(ranks, item >> 1);
  });
  function* from(item: number, fates: Map<number, Fate>): Generator<Case> {
    if (item === choices.length) return yield { ranks, fates: new Map(fates), recorder };
    yield* from(item + 1, fates);
    if (fates.size === most) return;
    for (const fate of choices[item]) {
      yield* from(item + 1, fates.set(item, fate));
      fates.delete(item);
    }
  }
  yield* from(0, new Map());
}

type Branches = Map<string, number>;

function runCase({ ranks, fates, recorder }: Case, branches: Branches): void {
  const saw = (branch: string) => branches.set(branch, (branches.get(branch) ?? 0) + 1);
  const delays = recorder === "slow" ? { link: () => 60, sync: () => 60 } : {};
  const cluster = new Cluster({ ranks, delays });
  const delivered = new Set<string>();
  const fateOf = ({ kind, from, to }: Message) => {
    if (kind === "proposal" || kind === "body") return fates.get(2 * from)?.get(to);
    if (kind === "vote" || kind === "answer") return fates.get(2 * from + 1)?.get(to);
    return kind === "decided" && recorder === "mute" ? "never" : undefined;
  };
  cluster.network = (message) => {
    const fate = fateOf(message);
    if (fate === "never") return undefined;
    const ms = fate === "late" && ["proposal", "vote"].includes(message.kind) ? LATE_MS : 1;
    if (message.kind === "vote") delivered.add(`${message.from} ${message.to} ${ms}`);
    return ms;
  };
  let asked = false;
  cluster.onNote = (_rank, note) => {
    if (note.startsWith("loses")) saw("6: lost the link and adopted the winner");
  };
  cluster.onEffect = (rank, effect, cause) => {
    switch (effect.type) {
      case "agreed": {
        saw("5: won");
        if (cause.type === "votes" && cause.votes[0].hashes)
          saw("5: pending, won by a pulled vote");
        return;
      }
      case "send-pull": {
        if (effect.pull.force) asked = true;
        if (effect.pull.vote && effect.to.some((to) => delivered.has(`${to} ${rank} 1`)))
          saw("5: unopened vote pulled");
        return;
      }
      case "send-body":
        return saw("5: missing body pulled");
      case "vote": {
        if (cause.type === "pull" && cause.pull.force) saw("8: voted at once when asked");
        if (cause.type === "tick") saw("4: voted at the deadline");
        return;
      }
      case "link": {
        if (effect.kind === "STORAGE") return saw("8: storage decides");
        saw(effect.settlement[0].round % ranks === rank ? "6: recorded by turn" : "6: by a backup");
        const [{ included, lost, votes }] = effect.settlement;
        if (included.length === 0) saw("6: round recorded as empty");
        for (const name of lost) {
          saw("5: lost");
          const yes = votes.filter((vote) => vote.hashes?.[name.rank] === name.hash).length;
          if (votes.length === ranks && 2 * yes === ranks) saw("5: lost by an even split");
        }
        return;
      }
      case "finalize": {
        if (cause.type === "decided") saw("7: DECIDED spares the read");
        else if (cause.type === "record") saw("7: record adopted by reading it");
        return;
      }
      case "returned":
        return saw("9: own proposal returned");
      case "skip-vote":
        return saw("4: settled before this rank voted");
    }
  };
  cluster.input(0, { type: "demand" });
  if (!cluster.run(HEAL_MS, () => cluster.quiet())) {
    if (asked && cluster.log().length === 0) saw("8: fewer than R answers, waits");
    cluster.network = () => 1;
    for (const { rank } of cluster.members) cluster.input(rank, { type: "poll" });
    if (!cluster.run(HEAL_MS + SETTLE_MS, () => cluster.quiet())) throw new Error("not settled");
  }
  checkSafety(cluster);
  expect(cluster.log().length).toBe(1);
}

const EXPECTED = [
  "4: settled before this rank voted",
  "4: voted at the deadline",
  "5: lost",
  "5: lost by an even split",
  "5: missing body pulled",
  "5: pending, won by a pulled vote",
  "5: unopened vote pulled",
  "5: won",
  "6: by a backup",
  "6: lost the link and adopted the winner",
  "6: recorded by turn",
  "6: round recorded as empty",
  "7: DECIDED spares the read",
  "7: record adopted by reading it",
  "8: fewer than R answers, waits",
  "8: storage decides",
  "8: voted at once when asked",
  "9: own proposal returned",
];

const branches: Branches = new Map();

/** Everything at once for two ranks; above, as much as the gate has time for. */
const SWEEPS: readonly Sweep[] = [
  { ranks: 2, what: "both", most: 4, recorder: "prompt" },
  { ranks: 2, what: "both", most: 4, recorder: "slow" },
  { ranks: 2, what: "both", most: 4, recorder: "mute" },
  { ranks: 3, what: "proposals", most: 3, recorder: "prompt" },
  { ranks: 3, what: "votes", most: 3, recorder: "prompt" },
  { ranks: 3, what: "both", most: 3, recorder: "prompt" },
  { ranks: 3, what: "both", most: 3, recorder: "slow" },
  { ranks: 3, what: "both", most: 3, recorder: "mute" },
  { ranks: 4, what: "both", most: 2, recorder: "prompt" },
  { ranks: 4, what: "both", most: 1, recorder: "slow" },
  { ranks: 4, what: "both", most: 1, recorder: "mute" },
];

for (const sweep of SWEEPS) {
  const { ranks, what, most, recorder } = sweep;
  test(`${ranks} ranks, ${what}, up to ${most} deviations, ${recorder} recorder`, () => {
    for (const one of cases(sweep)) {
      try {
        runCase(one, branches);
      } catch (error) {
        const fates = [...one.fates].map(([item, fate]) => {
          const what = item & 1 ? "vote" : "proposal";
          return `${what} of ${item >> 1}: ${[...fate].map(([to, how]) => `${how} to ${to}`)}`;
        });
        throw new Error(`${recorder} recorder; ${fates.join("; ")}`, { cause: error });
      }
    }
  }, 60_000);
}

test("every branch of steps 4 to 9 was reached", () => {
  expect([...branches.keys()].sort()).toEqual(EXPECTED);
  for (const count of branches.values()) expect(count).toBeGreaterThan(0);
});

/**
 * Cost of the consensus core at one rank: a whole round each, with the proposals and validations of
 * all others one by one, their votes as one batch, and the record. The target is below 300 µs a
 * round at 16 ranks. Run: bun test/bench/consensus.bench.ts [ranks] [rounds]
 */
import { createHash } from "node:crypto";
import type { Decided, Input, Vote } from "../../src/consensus/effects.ts";
import { HyBE } from "../../src/consensus/hybe.ts";
import { inRoundOrder, orderDigest, voteDigest } from "../../src/consensus/vote.ts";

const ranks = Number(process.argv[2] ?? 16);
const rounds = Number(process.argv[3] ?? 4000);
const SELF = 0;
const hashOf = (text: string) => createHash("sha256").update(text).digest("hex");

const core = new HyBE({
  epoch: {
    self: SELF,
    ranks,
    winVotes: Math.floor(ranks / 2) + 1,
    answersMin: Math.ceil(ranks / 2),
  },
  timing: {
    proposalTimeoutMs: 2000,
    voteTimeoutMs: 2000,
    turnDelayMs: 500,
    readDelayMs: 500,
    pullIntervalMs: 250,
    sealWaitMs: 500,
    takeoverMs: 2000,
  },
  pipelineDepth: 2,
  head: { slot: 0, hash: hashOf("genesis") },
  settled: 0,
  storageOn: "alert",
  minoritySeals: true,
});
const effects = hashOf("effects");
core.executed(0, effects);

/** Strings as they come off the wire: equal to one another but not the same object. */
const fresh = (text: string) => Buffer.from(text).toString();

interface Prepared {
  readonly own: string;
  readonly inputs: Input[];
  readonly record: Input;
}

function prepare(round: number): Prepared {
  const hashes = Array.from({ length: ranks }, (_, rank) => hashOf(`${round} ${rank}`));
  const inputs: Input[] = [];
  for (let rank = 1; rank < ranks; rank++) {
    const hash = fresh(hashes[rank]);
    inputs.push({ type: "proposal", round, rank, hash });
    inputs.push({ type: "validated", round, rank, hash, verdict: "yes" });
  }
  const answers = new Uint8Array(ranks).fill(2);
  const digest = voteDigest(round, answers, hashes);
  const votes: Vote[] = [];
  for (let rank = 1; rank < ranks; rank++) {
    votes.push({
      round,
      rank,
      answers: answers.slice(),
      digest: fresh(digest),
      effectsSlot: round - 1,
      effectsDigest: fresh(effects),
      hashes: undefined,
    });
  }
  inputs.push({ type: "votes", votes });
  const included = hashes.map((hash, rank) => ({ rank, hash }));
  const decided: Decided = {
    slot: round,
    hash: hashOf(`record ${round}`),
    kind: "QUORUM",
    firstRound: round,
    lastRound: round,
    orderDigest: orderDigest([{ round, order: inRoundOrder(round, included, ranks) }]),
  };
  const linked = { type: "linked", slot: round, hash: decided.hash } as const;
  const record: Input = round % ranks === SELF ? linked : { type: "decided", decided };
  return { own: hashes[SELF], inputs, record };
}

const prepared = Array.from({ length: rounds }, (_, i) => prepare(i + 1));
let now = 0;
let steps = 0;
const step = (input: Input) => {
  steps++;
  core.step(input, now);
  core.nextDeadline();
};
const costs: number[] = [];
for (const [index, { own, inputs, record }] of prepared.entries()) {
  const round = index + 1;
  const started = performance.now();
  now += 5;
  step({ type: "demand" });
  step({ type: "mined", round, hash: own });
  for (const input of inputs) step(input);
  step(record);
  core.executed(round, effects);
  costs.push(1000 * (performance.now() - started));
  if (core.settled !== round) throw new Error(`round ${round} is not settled`);
}
costs.splice(0, Math.floor(rounds / 4)); // while the compiler warms up
costs.sort((a, b) => a - b);
const at = (q: number) => costs[Math.floor(q * (costs.length - 1))].toFixed(1);
const mean = costs.reduce((sum, cost) => sum + cost, 0) / costs.length;
console.log(
  `${ranks} ranks, ${(steps / rounds).toFixed(0)} steps a round: ` +
    `${mean.toFixed(1)} µs a round (median ${at(0.5)}, p99 ${at(0.99)})`,
);

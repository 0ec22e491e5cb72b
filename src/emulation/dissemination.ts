/**
 * How rounds, proposals, votes and the word of a record reach all members, and what that costs one
 * rank. `direct`: proposals and DECIDED go point-to-point to everybody, votes by the library's
 * nonblocking all-gather: N - 1 messages each. `gathered`, in epochs of 65 members and more: rounds are
 * rung and records told on to the members 1, 2, 4, … places on, proposals and votes go by all-gathers of
 * log2 N messages; proposals are padded to an agreed slot, and a larger one goes point-to-point. Pure.
 */
import { type AllgatherChoice, allgatherCost } from "./collectives.ts";

/** What one exchange costs one rank on average; it receives as much as it sends. */
export interface Traffic {
  /** Messages that a rank sends. */
  readonly messages: number;
  readonly bytes: number;
  /** Messages on the longest chain of those that wait for each other. */
  readonly steps: number;
  /** Messages that the busiest rank sends one after the other. */
  readonly busiest: number;
}

export const NO_TRAFFIC: Traffic = { messages: 0, bytes: 0, steps: 0, busiest: 0 };

export interface Dissemination {
  readonly name: "direct" | "gathered";
  /** A rank that has something to propose has all others join, before its own proposal is ready. */
  ring(ranks: number): Traffic;
  /** Every rank's proposal to every other one. `slotBytes`: agreed; `larger`: ranks that exceed it. */
  proposals(ranks: number, proposal: ProposalSizes): Traffic;
  /** Every rank's vote to every other one. */
  votes(ranks: number, voteBytes: number): Traffic;
  /** One rank's word to all others. */
  announcement(ranks: number, bytes: number): Traffic;
}

export interface ProposalSizes {
  /** Mean of all ranks. */
  readonly bytes: number;
  readonly slotBytes: number;
  /** Share of the ranks whose proposal does not fit the slot. */
  readonly larger: number;
}

/** A message that rings a round: type, MAC, round. */
const RING_BYTES = 32;
/** Up to here `direct` is the quicker one. */
export const DIRECT_RANKS_MAX = 64;

/** Every rank sends to every other one. */
export function everyToEvery(ranks: number, bytes: number): Traffic {
  const messages = ranks - 1;
  return { messages, bytes: messages * bytes, steps: Math.min(1, messages), busiest: messages };
}

function gather(choice: AllgatherChoice, ranks: number, bytes: number): Traffic {
  const { messages, bytes: all, steps } = allgatherCost(choice, ranks, bytes);
  return { messages, bytes: all, steps, busiest: messages };
}

/** One rank tells all others itself. */
function oneToEvery(ranks: number, bytes: number): Traffic {
  const share = (ranks - 1) / ranks;
  const steps = Math.min(1, ranks - 1);
  return { messages: share, bytes: share * bytes, steps, busiest: ranks - 1 };
}

/** Who was told tells the ranks 1, 2, 4, … places on: all hear of it after log2 N messages at most. */
function byPlaces(ranks: number, bytes: number): Traffic {
  const steps = Math.ceil(Math.log2(ranks));
  return { messages: steps, bytes: steps * bytes, steps, busiest: steps };
}

export const DIRECT: Dissemination = {
  name: "direct",
  // The proposal itself rings.
  ring: () => NO_TRAFFIC,
  proposals: (ranks, { bytes }) => everyToEvery(ranks, bytes),
  votes: (ranks, voteBytes) => gather("linear", ranks, voteBytes),
  announcement: oneToEvery,
};

export const GATHERED: Dissemination = {
  name: "gathered",
  ring: (ranks) => byPlaces(ranks, RING_BYTES),
  proposals(ranks, { bytes, slotBytes, larger }) {
    const gathered = gather("logarithmic", ranks, slotBytes);
    if (larger === 0) return gathered;
    const extra = larger * (ranks - 1);
    return {
      messages: gathered.messages + extra,
      bytes: gathered.bytes + extra * bytes,
      steps: gathered.steps,
      busiest: gathered.messages + ranks - 1,
    };
  },
  votes: (ranks, voteBytes) => gather("logarithmic", ranks, voteBytes),
  announcement: byPlaces,
};

export function disseminationFor(ranks: number, asked: "auto" | "direct" | "gathered") {
  if (asked === "direct") return DIRECT;
  if (asked === "gathered") return GATHERED;
  return ranks > DIRECT_RANKS_MAX ? GATHERED : DIRECT;
}

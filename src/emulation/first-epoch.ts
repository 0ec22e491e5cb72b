/** How an emulation begins: who is on time, who is late, and what is asked of each. */
import { proposalBlocksMax } from "../rank/context.ts";
import { Cohort, type Judge } from "./cohort.ts";
import { quorumOf } from "./failures.ts";
import { Load } from "./load.ts";
import { coreOptions, type Epoch, type World } from "./world.ts";

/** Fills `world.loads` as well. */
export function firstEpoch(world: Pick<World, "options" | "loads" | "log" | "timing">): Epoch {
  const { options, loads, log } = world;
  const { ranks } = options;
  const late = options.late?.ranks ?? 0;
  const all = Array.from({ length: ranks }, (_, rank) => rank);
  const quorum = quorumOf(ranks);
  const core = coreOptions(world, { head: log.head, settled: 0 });
  // The late ones are in the middle: the lowest ones seal, the highest ones die.
  const from = Math.floor((ranks - late) / 2);
  const isLate = (rank: number) => rank >= from && rank < from + late;
  const groups = [
    { name: "on time", members: all.filter((rank) => !isLate(rank)), delayMs: 0 },
    { name: "late", members: all.filter(isLate), delayMs: options.late?.delayMs ?? 0 },
  ].filter(({ members }) => members.length > 0);
  const cohorts = groups.map((parts) => new Cohort({ ...parts, quorum, ids: all }, core));
  for (const { name, size } of cohorts) {
    const { load: perRank, blockTransactions, blockDelayMs } = options;
    const blocksMax = proposalBlocksMax(ranks, blockTransactions);
    const own = { perRank, ranks: size, blockTransactions, blockDelayMs };
    loads.set(name, new Load({ ...own, proposalBlocksMax: blocksMax }, 0));
  }
  return {
    ...{ number: 1, ranks, cohorts, dead: new Set<number>(), suspected: false },
    ...{ lanesFrom: 0, alone: new Set<Judge>(), over: false },
  };
}

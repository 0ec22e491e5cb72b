/**
 * One random run from a seed: networks with their own temper, storage troubles, deaths of a
 * minority. Safety is checked at the end, and that everything pending gets settled within bounded
 * virtual time once the faults stop.
 */
import { Random } from "../../src/base/random.ts";
import { checkSafety } from "./consensus-checks.ts";
import { Cluster, type Network } from "./consensus-cluster.ts";

const FAULTS_END = 1500;
/** Virtual time for what is pending: each open round may need every timeout and every turn. */
const SETTLE_MS = 20_000;
const POLL_MS = 200;

/** A random temper of the network: how often messages of each link are late or lost. */
function stormy(random: Random, ranks: number): Network {
  const below = (n: number) => Math.floor(random.nextFloat() * n);
  const lossy = random.nextFloat() < 0.7 ? random.nextFloat() ** 2 : 0;
  const late = random.nextFloat() * 0.4;
  const span = 1 + below(200);
  const cut = random.nextFloat() < 0.3 ? below(ranks) : -1;
  const deaf = random.nextFloat() < 0.2 ? below(ranks) : -1;
  return ({ from, to }) => {
    if (from === cut || to === deaf || random.nextFloat() < lossy) return undefined;
    return random.nextFloat() < late ? 1 + below(span) : 1 + below(4);
  };
}

export function runSeed(seed: number, watch?: (cluster: Cluster) => void): Cluster {
  const random = new Random(seed);
  const below = (n: number) => Math.floor(random.nextFloat() * n);
  const ranks = 1 + below(6);
  const cluster = new Cluster({
    ranks,
    depth: 1 + below(4),
    network: stormy(random, ranks),
    delays: {
      mine: () => 1 + below(random.nextFloat() < 0.1 ? 400 : 8),
      validate: () => below(random.nextFloat() < 0.1 ? 150 : 3),
      link: () => 1 + below(random.nextFloat() < 0.2 ? 120 : 6),
      sync: () => 1 + below(random.nextFloat() < 0.2 ? 120 : 6),
      read: () => 1 + below(10),
    },
  });
  watch?.(cluster);
  const { members } = cluster;
  const killed = below(ranks - Math.ceil(ranks / 2) + 1);
  // An equivocator, and an author who says yes to what all others find bad, are faults beyond those
  // of majority mode: harmless to safety, but with members dead as well too few answers are left.
  const permanent = killed === 0;
  if (random.nextFloat() < 0.3) {
    cluster.verdict = (_rank, round, author) => {
      if (permanent && (author + round) % 7 === 3) return "no";
      // Now and then a copy is damaged on its way to one rank.
      if (permanent && random.nextFloat() < 0.03) return "no";
      return random.nextFloat() < 0.1 ? "abstain" : "yes";
    };
  }
  if (permanent && random.nextFloat() < 0.3) {
    const liar = below(ranks);
    cluster.twin = (author, round, to) => author === liar && (to + round) % 2 === 0;
  }
  for (let rank = 0; rank < killed; rank++) {
    const how = below(3);
    cluster.after(below(FAULTS_END), () => {
      if (how === 0) cluster.crash(rank);
      else members[rank].dieAt = how === 1 ? "link" : "linked";
    });
  }
  for (const member of members) {
    if (random.nextFloat() < 0.2) {
      const from = below(FAULTS_END);
      cluster.after(from, () => (member.storageOff = true));
      cluster.after(from + below(FAULTS_END - from), () => (member.storageOff = false));
    }
    member.mumbles = random.nextFloat() < 0.1;
  }
  const demands = 1 + below(24);
  for (let i = 0; i < demands; i++)
    cluster.after(below(FAULTS_END), () => cluster.input(below(ranks), { type: "demand" }));
  const poll = () => {
    for (let rank = 0; rank < ranks; rank++) cluster.input(rank, { type: "poll" });
    cluster.after(POLL_MS, poll);
  };
  cluster.after(POLL_MS, poll);

  cluster.run(FAULTS_END);
  cluster.network = () => 1 + below(4);
  for (const member of members) {
    member.storageOff = false;
    member.mumbles = false;
    // A rank that is to die in its next append may never get to it: it dies now.
    if (member.dieAt !== undefined && !member.dead) cluster.crash(member.rank);
  }
  const settled = cluster.run(FAULTS_END + SETTLE_MS, () => cluster.quiet());
  checkSafety(cluster);
  if (!settled) {
    const where = members.map(
      ({ dead, halted, core }) =>
        `${dead ? "dead" : (halted ?? "")} slot ${core.headSlot} settled ${core.settled} open ${core.unsettled}`,
    );
    throw new Error(`not settled ${SETTLE_MS} ms after the faults: ${where.join("; ")}`);
  }
  return cluster;
}

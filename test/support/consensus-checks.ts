/**
 * What must hold of every run of a cluster, whatever the network did (protocol.md, Safety). Written
 * from the protocol, without the core's own tally: a mistake there shows up as a difference here.
 */
import type { RoundSettlement } from "../../src/consensus/effects.ts";
import type { Cluster, LogRecord } from "./consensus-cluster.ts";

const YES = 2;

function fail(message: string): never {
  throw new Error(message);
}

/** S4, as judge.ts reads a record: w yes, votes of R members, every yes included or shown lost. */
export function checkSettlement(ranks: number, kind: string, settlement: RoundSettlement): void {
  const win = Math.floor(ranks / 2) + 1;
  const { round, included, lost, votes } = settlement;
  const voters = new Set(votes.map((vote) => vote.rank));
  const where = `round ${round}, ${kind}`;
  if (voters.size !== votes.length) fail(`${where}: a member votes twice in one record`);
  if (voters.size < Math.ceil(ranks / 2)) fail(`${where}: ${voters.size} votes are too few`);
  const ranksIn = new Set(included.map((name) => name.rank));
  if (ranksIn.size !== included.length) fail(`${where}: two proposals of one rank`);
  const yesOf = (rank: number, hash: string) =>
    votes.filter((vote) => vote.answers[rank] === YES && vote.hashes?.[rank] === hash).length;
  for (const { rank, hash } of included) {
    const yes = yesOf(rank, hash);
    if (kind === "QUORUM" && yes < win) fail(`${where}: ${yes} yes for rank ${rank}`);
    if (yes === 0) fail(`${where}: no yes for rank ${rank}`);
  }
  for (const { rank, hash } of lost)
    if (yesOf(rank, hash) + ranks - voters.size >= win) fail(`${where}: rank ${rank} is not lost`);
  for (const vote of votes) {
    for (let rank = 0; rank < ranks; rank++) {
      if (vote.answers[rank] === 0) continue;
      const hash = vote.hashes?.[rank];
      const named = [...included, ...lost].some((name) => name.rank === rank && name.hash === hash);
      if (!named)
        fail(`${where}: a vote names a proposal of rank ${rank} that the record does not`);
    }
  }
}

function checkLog(cluster: Cluster, log: readonly LogRecord[]): void {
  let next = 1;
  for (const [index, { slot, kind, settlement }] of log.entries()) {
    if (slot !== index + 1) fail(`slot ${slot} stands at ${index + 1}`);
    for (const settled of settlement) {
      if (settled.round !== next++) fail(`slot ${slot}: round ${settled.round} is out of order`);
      checkSettlement(cluster.options.ranks, kind, settled);
    }
  }
}

/** Final logs are prefixes of storage's, each round once, in the order of step 7. */
function checkFinals(cluster: Cluster, log: readonly LogRecord[]): void {
  const { ranks } = cluster.options;
  for (const { rank, finals } of cluster.members) {
    for (const [index, final] of finals.entries()) {
      const record = log[index];
      if (record?.hash !== final.hash) fail(`rank ${rank}: slot ${final.slot} is not storage's`);
      const expected = record.settlement.map(({ round, included }) => {
        const order: string[] = [];
        for (let i = 0; i < ranks; i++)
          for (const name of included) if (name.rank === (round + i) % ranks) order.push(name.hash);
        return `${round}:${order}`;
      });
      const got = final.rounds.map(({ round, order }) => `${round}:${order.map((n) => n.hash)}`);
      if (got.join() !== expected.join()) fail(`rank ${rank}: slot ${final.slot} has other blocks`);
    }
  }
}

function checkVotes(cluster: Cluster): void {
  for (const { rank, lane, votes } of cluster.members) {
    for (const [index, round] of lane.entries())
      if (round !== index + 1)
        fail(`rank ${rank}: round ${round} is number ${index + 1} on its lane`);
    const rounds = new Set(votes.map((vote) => vote.round));
    if (rounds.size !== votes.length) fail(`rank ${rank} voted twice in a round`);
  }
}

/** S11 and step 9: agreed is included; own is settled or returned, one of them and once. */
function checkPromises(cluster: Cluster, log: readonly LogRecord[]): void {
  const included = new Set<string>();
  let settled = 0;
  for (const { settlement } of log) {
    for (const round of settlement) {
      settled = round.round;
      for (const { hash } of round.included) included.add(hash);
    }
  }
  for (const member of cluster.members) {
    for (const { round, name } of member.agreed)
      if (round <= settled && !included.has(name.hash))
        fail(`rank ${member.rank}: round ${round} of rank ${name.rank} was agreed and is not in`);
    const returned = new Set(member.returned);
    if (returned.size !== member.returned.length) fail(`rank ${member.rank}: returned twice`);
    for (const [round, hash] of member.mined) {
      const final = member.core.settled >= round;
      if (returned.has(round) && included.has(hash))
        fail(`rank ${member.rank}: own round ${round} is settled and returned`);
      if (!final && returned.has(round)) fail(`rank ${member.rank}: round ${round} returned early`);
      if (final && !member.dead && !returned.has(round) && !included.has(hash))
        fail(`rank ${member.rank}: own round ${round} is neither settled nor returned`);
    }
  }
}

export function checkSafety(cluster: Cluster): void {
  const log = cluster.log();
  checkLog(cluster, log);
  checkFinals(cluster, log);
  checkVotes(cluster);
  checkPromises(cluster, log);
}

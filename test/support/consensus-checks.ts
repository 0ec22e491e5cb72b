/**
 * What must hold of every run of a cluster, whatever the network did (protocol.md, Safety). Written
 * from the protocol, without the core's own tally: a mistake there shows up as a difference here.
 */
import type { RoundSettlement, Vote } from "../../src/consensus/effects.ts";
import type { Cluster } from "./consensus-cluster.ts";
import { type Epoch, type LogRecord, OUTSIDER } from "./consensus-log.ts";
import type { Member, Part } from "./consensus-parts.ts";

const NONE = 0;
const YES = 2;
const winVotes = (ranks: number) => Math.floor(ranks / 2) + 1;
const answersMin = (ranks: number) => Math.ceil(ranks / 2);

function fail(message: string): never {
  throw new Error(message);
}

/**
 * S4, as judge.ts reads a record: w yes, enough votes, every yes included or shown lost. A SEAL is
 * judged as STORAGE is, with a vote of everybody who answered it.
 */
export function checkSettlement(
  ranks: number,
  kind: string,
  settlement: RoundSettlement,
  votersMin = answersMin(ranks),
): void {
  const win = winVotes(ranks);
  const { round, included, lost, votes } = settlement;
  const voters = new Set(votes.map((vote) => vote.rank));
  const where = `round ${round}, ${kind}`;
  if (voters.size !== votes.length) fail(`${where}: a member votes twice in one record`);
  if (voters.size < votersMin) fail(`${where}: ${voters.size} votes are too few`);
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
    if (yesOf(rank, hash) > 0 && yesOf(rank, hash) + ranks - voters.size >= win)
      fail(`${where}: rank ${rank} is not lost`);
  for (const vote of votes) {
    for (let rank = 0; rank < ranks; rank++) {
      if (vote.answers[rank] === NONE) continue;
      const hash = vote.hashes?.[rank];
      const named = [...included, ...lost].some((name) => name.rank === rank && name.hash === hash);
      if (!named)
        fail(`${where}: a vote names a proposal of rank ${rank} that the record does not`);
    }
  }
}

const isMinority = ({ answers = [], epoch }: LogRecord) =>
  answers.length < answersMin(epoch.processes.length);

/** Who is in a SEAL, and under which conditions fewer than R answers are enough. */
function checkSeal(record: LogRecord, parent: LogRecord | undefined): void {
  const { slot, author, epoch, answers = [], evict = [] } = record;
  const where = `slot ${slot}, SEAL by ${author}`;
  if (!epoch.processes.includes(author)) fail(`${where}: not a member of its epoch`);
  const place = epoch.processes.indexOf(author);
  if (!answers.includes(place)) fail(`${where}: its author did not answer itself`);
  if (answers.some((rank, i) => i > 0 && rank <= answers[i - 1])) fail(`${where}: answers twice`);
  const gone = evict.find((rank) => answers.includes(rank));
  if (gone !== undefined) fail(`${where}: rank ${gone} answered and is evicted`);
  for (const { round, votes } of record.settlement)
    for (const rank of answers)
      if (!votes.some((vote) => vote.rank === rank))
        fail(`${where}: round ${round} lacks the vote of rank ${rank}, which answered`);
  if (!isMinority(record)) return;
  if (parent?.kind !== "INTENT" || parent.author !== author || parent.epoch !== epoch)
    fail(`${where}: ${answers.length} answers, and not the child of its own INTENT`);
  const left = parent.answered!.find((rank) => !answers.includes(rank));
  if (left !== undefined) fail(`${where}: without rank ${left}, which its INTENT lists`);
  if (record.at < parent.at + parent.deadlineMs!) fail(`${where}: before the INTENT's deadline`);
}

/** S1, S9: slots and rounds are contiguous, across epochs too; each record is valid in its own. */
function checkLog(cluster: Cluster, log: readonly LogRecord[]): void {
  let next = 1;
  for (const [index, record] of log.entries()) {
    const { slot, kind, settlement, epoch, author } = record;
    if (slot !== index + 1) fail(`slot ${slot} stands at ${index + 1}`);
    if (author === OUTSIDER) continue;
    if (!epoch.processes.includes(author)) fail(`slot ${slot}: process ${author} is no member`);
    const parent = log[index - 1];
    if (kind === "SEAL") checkSeal(record, parent);
    if (kind === "INTENT") {
      if (settlement.length > 0) fail(`slot ${slot}: an INTENT settles nothing`);
      // Unless its deadline has passed, another INTENT in its place is no answer to it.
      if (parent?.kind === "INTENT" && record.at < parent.at + (parent.deadlineMs ?? 0))
        fail(`slot ${slot}: an INTENT on top of an INTENT`);
    }
    const ranks = epoch.processes.length;
    const least = kind === "SEAL" ? record.answers!.length : undefined;
    for (const settled of settlement) {
      if (settled.round !== next++) fail(`slot ${slot}: round ${settled.round} is out of order`);
      checkSettlement(ranks, kind, settled, least);
      for (const vote of settled.votes) checkCarried(cluster, record, settled.round, vote);
    }
  }
}

/** A record carries what was cast; ⊥ for who has not, if it never will. */
function checkCarried(cluster: Cluster, record: LogRecord, round: number, vote: Vote): void {
  const { slot, epoch } = record;
  const process = epoch.processes[vote.rank];
  const part = partIn(cluster.members[process], epoch);
  const cast = part?.votes.find((own) => own.round === round);
  if (cast?.digest === vote.digest) return;
  const where = `slot ${slot}, round ${round}, rank ${vote.rank}`;
  if (cast !== undefined) fail(`${where}: the vote carried is not the one cast`);
  if (part?.votesWhenFrozen === undefined) fail(`${where}: it has not voted and still may`);
  if (vote.answers.some((answer) => answer !== NONE)) fail(`${where}: a vote that nobody cast`);
}

function partIn(member: Member | undefined, epoch: Epoch): Part | undefined {
  return member?.parts.find((part) => part.epoch === epoch);
}

/** S2: final logs are prefixes of storage's, each round once, in the order of step 7. */
function checkFinals(cluster: Cluster, log: readonly LogRecord[]): void {
  for (const { rank, finals } of cluster.members) {
    for (const [index, final] of finals.entries()) {
      const record = log[final.slot - 1];
      if (
        index > 0 &&
        final.slot !== finals[index - 1].slot + 1 &&
        !joinsAt(cluster, rank, final.slot)
      )
        fail(`rank ${rank}: slot ${final.slot} follows ${finals[index - 1].slot}`);
      if (record?.hash !== final.hash) fail(`rank ${rank}: slot ${final.slot} is not storage's`);
      const ranks = record.epoch.processes.length;
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

/** A process that was let in has replayed what came before. */
function joinsAt(cluster: Cluster, rank: number, slot: number): boolean {
  return cluster.members[rank].parts.some(({ epoch }) => epoch.slot === slot - 1);
}

/** S5, S10: one vote a round, in order, from the first round of the epoch, none once frozen. */
function checkVotes(cluster: Cluster): void {
  for (const { rank, parts } of cluster.members) {
    for (const { epoch, lane, votes, votesWhenFrozen } of parts) {
      const where = `rank ${rank}, epoch ${epoch.number}`;
      for (const [index, round] of lane.entries())
        if (round !== epoch.settled + index + 1)
          fail(`${where}: round ${round} is number ${index + 1} on its lane`);
      const rounds = new Set(votes.map((vote) => vote.round));
      if (rounds.size !== votes.length) fail(`${where}: two votes in a round`);
      if (votesWhenFrozen !== undefined && votes.length > votesWhenFrozen)
        fail(`${where}: a vote after it was frozen`);
    }
  }
}

interface Settled {
  readonly included: Set<string>;
  /** Newest settled round by epoch, and by what the epoch ended. */
  readonly until: Map<Epoch, number>;
  readonly sealedBy: Map<Epoch, LogRecord>;
}

function settledBy(log: readonly LogRecord[]): Settled {
  const included = new Set<string>();
  const until = new Map<Epoch, number>();
  const sealedBy = new Map<Epoch, LogRecord>();
  for (const record of log) {
    const { epoch, kind, settlement } = record;
    for (const round of settlement) for (const { hash } of round.included) included.add(hash);
    if (kind === "SEAL") sealedBy.set(epoch, record);
    // A minority may settle less than what others had agreed: that is what `until` is about.
    if (kind !== "SEAL" || !isMinority(record)) {
      const last = settlement.at(-1)?.round;
      if (last !== undefined) until.set(epoch, last);
    }
  }
  return { included, until, sealedBy };
}

/** S11 and step 9: agreed is included; own is settled or returned, one of them and once. */
function checkPromises(cluster: Cluster, log: readonly LogRecord[]): void {
  const { included, until, sealedBy } = settledBy(log);
  for (const { rank, parts, dead, halted } of cluster.members) {
    for (const { epoch, agreed, returned, mined, core, sealed } of parts) {
      const where = `rank ${rank}, epoch ${epoch.number}`;
      const seal = sealedBy.get(epoch);
      const keeps = seal !== undefined && seal.author !== OUTSIDER && !isMinority(seal);
      for (const { round, name } of agreed)
        if ((keeps || round <= (until.get(epoch) ?? 0)) && !included.has(name.hash))
          fail(`${where}: round ${round} of rank ${name.rank} was agreed and is not in`);
      const back = new Set(returned);
      if (back.size !== returned.length) fail(`${where}: returned twice`);
      for (const [round, hash] of mined) {
        const final = sealed || core.settled >= round;
        if (back.has(round) && included.has(hash))
          fail(`${where}: own round ${round} is settled and returned`);
        if (!final && back.has(round)) fail(`${where}: round ${round} returned early`);
        const settled = back.has(round) || included.has(hash);
        if (final && !dead && halted === undefined && !settled)
          fail(`${where}: own round ${round} is neither settled nor returned`);
      }
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

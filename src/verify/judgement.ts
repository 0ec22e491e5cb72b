/**
 * Whether an intact record counts, judged from its bytes and the records before it: the rules by
 * which the ranks judge too (protocol.md, "A record is valid"), written a second time. What does not
 * count takes its slot and settles nothing. Blocks and transactions are not looked at here.
 */
import { toHex } from "../base/bytes.ts";
import {
  answersMin,
  type Epoch,
  type Member,
  NO_EPOCH,
  readMembers,
  winVotes,
} from "./epoch-reader.ts";
import { type Genesis, isSignedBy, sha256 } from "./genesis-reader.ts";
import { KIND, KIND_NAMES, RECORD } from "./layout.ts";
import { NotValid, refuse } from "./not-valid.ts";
import {
  type MemberEntry,
  type RoundEntry,
  readIntent,
  readNoop,
  readRounds,
  readSeal,
  type SealEntry,
  unpackPayload,
} from "./payload-reader.ts";
import { leadingZeroBits, type RecordView, signedPart } from "./record-reader.ts";
import { type Answers, refuseSignatures, SignedVotes } from "./signed-votes.ts";

/** What a record that counts does. */
export interface Ruling {
  rounds: RoundEntry[];
  /** The next epoch's members, where the record is a SEAL. */
  installs?: Member[];
  /** Ranks that an INTENT lists. */
  answered?: number[];
}

interface RoundRules {
  /** Everything included has w yes, not only one. */
  onlyWon: boolean;
  votesMin: number;
  /** Members that must be among the voters of each round. */
  answers: readonly number[];
  /** What they signed, in a byzantine epoch. */
  signed: Answers;
}

const NO_ANSWERS: Answers = new Map();

/** Walks along with the log: `judge` a record, then `advance` over it. */
export class LogJudge {
  epoch: Epoch = NO_EPOCH;
  settled = 0;
  /** Blocks so far. */
  height = 0;
  /** The record before, if it is an INTENT that counts. */
  private intent: { by: string; answered: readonly number[] } | undefined;

  constructor(private readonly genesis: Genesis) {}

  /** A NotValid says why the record does not count. */
  judge(record: RecordView): Ruling | NotValid {
    try {
      return this.rule(record);
    } catch (error) {
      if (error instanceof NotValid) return error;
      throw error;
    }
  }

  advance(record: RecordView, ruling: Ruling | NotValid): void {
    this.intent = undefined;
    if (ruling instanceof NotValid) return;
    this.settled += ruling.rounds.length;
    for (const { proposals } of ruling.rounds) {
      for (const { blocks } of proposals) this.height += blocks.length;
    }
    if (ruling.answered !== undefined) {
      this.intent = { by: record.incarnation, answered: ruling.answered };
    }
    if (ruling.installs !== undefined) {
      const members = ruling.installs;
      this.epoch = { hash: toHex(record.hash), hashBytes: record.hash, members };
    }
  }

  private rule(record: RecordView): Ruling {
    const { genesis, epoch } = this;
    checkHeader(record, genesis);
    if (record.epoch !== epoch.hash) {
      refuse("EPOCH", "the record belongs to another epoch than the one in force");
    }
    const payload = unpackPayload(record.bytes);
    const members = epoch.members.length;
    switch (record.kind) {
      case KIND.quorum:
      case KIND.storage: {
        const rounds = readRounds(payload, members);
        checkRange(record, rounds);
        this.checkAuthor(record, []);
        if (rounds.length === 0) refuse("ROUNDS", "it settles no round");
        const onlyWon = record.kind === KIND.quorum;
        const votesMin = answersMin(members, genesis.quorum);
        if (genesis.quorum === "majority") refuseSignatures(rounds);
        this.checkRounds(rounds, { onlyWon, votesMin, answers: [], signed: NO_ANSWERS });
        return { rounds };
      }
      case KIND.seal:
        return this.ruleOnSeal(record, payload);
      case KIND.intent: {
        const { member, answered } = readIntent(payload, members);
        checkRange(record, []);
        this.checkAuthor(record, [member]);
        if (!isAuthor(record, member)) refuse("AUTHOR", "an INTENT that introduces somebody else");
        readMembers([member], genesis);
        return { rounds: [], answered };
      }
      default:
        readNoop(payload);
        checkRange(record, []);
        this.checkAuthor(record, []);
        return { rounds: [] };
    }
  }

  /** The author is a member of the epoch, or is introduced by the record itself, and signed it. */
  private checkAuthor(record: RecordView, introduced: readonly MemberEntry[]): void {
    const key = this.author(record)?.publicKey;
    const author = key ?? introduced.find((entry) => isAuthor(record, entry))?.publicKey;
    if (author === undefined) {
      const who = `rank ${record.rank}, incarnation ${record.incarnation}`;
      return refuse("AUTHOR", `the author (${who}) is not a member of the epoch`);
    }
    const at = RECORD.at.signature;
    if (!isSignedBy(author, signedPart(record.bytes), record.bytes.subarray(at, at + 64))) {
      refuse("RECORD_SIGNATURE", `rank ${record.rank} did not sign this record`);
    }
    if (record.heightBefore !== this.height) {
      refuse("HEIGHT", `the height before is ${record.heightBefore}, here it is ${this.height}`);
    }
  }

  private author(record: RecordView): Member | undefined {
    const member = this.epoch.members[record.rank];
    return member?.incarnation === record.incarnation ? member : undefined;
  }

  private ruleOnSeal(record: RecordView, payload: unknown): Ruling {
    const { genesis, epoch } = this;
    const current = epoch.members.length;
    const seal = readSeal(payload, current);
    const { members, rounds, answers } = seal;
    checkRange(record, rounds);
    this.checkAuthor(record, members);
    const asked = answersMin(current, genesis.quorum);
    const intent = this.intent?.by === record.incarnation ? this.intent : undefined;
    let votesMin = asked;
    if (this.author(record) === undefined) {
      if (current > 0 && intent === undefined) {
        refuse("SEAL_NEWCOMER", "a newcomer's SEAL that is not above its own INTENT");
      }
    } else if (answers.length < asked) {
      const few = `a SEAL by ${answers.length} answers of the ${asked} that are needed`;
      if (genesis.quorum !== "majority") refuse("SEAL_ANSWERS", few);
      if (intent === undefined) {
        return refuse("SEAL_ANSWERS", `${few}, and not above its author's own INTENT`);
      }
      for (const rank of intent.answered) {
        if (answers.includes(rank)) continue;
        refuse("SEAL_LISTED", `the INTENT lists rank ${rank}, and the SEAL has no answer of it`);
      }
      votesMin = Math.max(1, answers.length);
    }
    const installs = readMembers(members, genesis);
    const signed = this.signaturesOf(record, seal);
    this.checkRounds(rounds, { onlyWon: false, votesMin, answers, signed });
    return { rounds, installs };
  }

  private signaturesOf(record: RecordView, seal: SealEntry): Answers {
    const { genesis, epoch, settled } = this;
    if (genesis.quorum === "majority") {
      refuseSignatures(seal.rounds, seal);
      return NO_ANSWERS;
    }
    const signed = new SignedVotes(genesis, epoch);
    if (this.author(record) !== undefined) return signed.answersOf(seal, settled);
    signed.checkRestart(record, seal);
    return NO_ANSWERS;
  }

  private checkRounds(rounds: readonly RoundEntry[], rules: RoundRules): void {
    if (rounds.length === 0) return;
    if (this.epoch.members.length === 0) refuse("ROUNDS", "rounds of an epoch without members");
    if (rounds[0].round !== this.settled + 1) {
      const what = `rounds from ${rounds[0].round} are settled after round ${this.settled}`;
      refuse("ROUNDS_GAP", what);
    }
    for (const round of rounds) this.checkVotes(round, rules);
  }

  private checkVotes(entry: RoundEntry, rules: RoundRules): void {
    const members = this.epoch.members.length;
    const win = winVotes(members, this.genesis.quorum);
    const bad: (code: string, what: string) => never = (code, what) =>
      refuse(code, `round ${entry.round}: ${what}`);
    const hashes = hashesOfRanks(entry);
    const { voted, yes } = countVotes(entry, hashes, members);
    if (voted.size < rules.votesMin) {
      bad("VOTES_FEW", `votes of ${voted.size} members, ${rules.votesMin} are needed`);
    }
    for (const rank of rules.answers) {
      if (!voted.has(rank)) bad("ANSWER_MISSING", `rank ${rank} answered and has no vote`);
    }
    for (const { rank } of entry.proposals) {
      const count = yes.get(hashes.get(rank)![0]) ?? 0;
      const needed = rules.onlyWon ? win : 1;
      if (count < needed) bad("YES_FEW", `rank ${rank} has ${count} yes, ${needed} are needed`);
    }
    for (const { rank, hash } of entry.lost) {
      // Lost: even if all who are not heard here said yes, it could not win.
      const heard = yes.get(toHex(hash)) ?? 0;
      const possible = members - voted.size + heard;
      if (heard > 0 && possible >= win) {
        bad("NOT_LOST", `a hash of rank ${rank} is called lost and could have ${possible} yes`);
      }
    }
    if (this.genesis.quorum === "majority") return;
    new SignedVotes(this.genesis, this.epoch).checkRound(entry, hashes, rules.signed);
  }
}

/** Hashes that answers about a rank may name, in the order of their indices. */
function hashesOfRanks(entry: RoundEntry): Map<number, string[]> {
  const hashes = new Map<number, string[]>();
  for (const { rank, header } of entry.proposals) hashes.set(rank, [toHex(sha256(header))]);
  for (const { rank, hash } of entry.lost) {
    const known = hashes.get(rank) ?? [];
    const name = toHex(hash);
    if (known.includes(name)) refuse("LOST", `round ${entry.round} names a hash twice`);
    hashes.set(rank, [...known, name]);
  }
  return hashes;
}

/** Who voted, and the yes-votes by hash. */
function countVotes(entry: RoundEntry, hashes: Map<number, string[]>, members: number) {
  const voted = new Set<number>();
  const yes = new Map<string, number>();
  const bad: (code: string, what: string) => never = (code, what) =>
    refuse(code, `round ${entry.round}: ${what}`);
  for (const group of entry.votes) {
    for (const voter of group.voters) {
      if (voted.has(voter)) bad("VOTE_TWICE", `rank ${voter} votes twice`);
      voted.add(voter);
    }
    for (let rank = 0; rank < members; rank++) {
      const answer = group.answers[rank] & 3;
      if (answer === 3 || (answer === 0 && group.answers[rank] !== 0)) {
        bad("ANSWER", `an answer about rank ${rank} is neither yes, no nor ⊥`);
      }
      if (answer === 0) continue;
      const hash = hashes.get(rank)?.[group.answers[rank] >>> 2];
      if (hash === undefined) {
        return bad("HASH_MISSING", `a vote names a hash of rank ${rank} that the record lacks`);
      }
      if (answer === 2) yes.set(hash, (yes.get(hash) ?? 0) + group.voters.length);
    }
  }
  return { voted, yes };
}

/** What the header says, whoever wrote it. */
function checkHeader(record: RecordView, genesis: Genesis): void {
  const { kind, firstRound, lastRound } = record;
  if (kind === 0 || kind >= KIND_NAMES.length)
    refuse("RECORD_KIND", `${kind} is no kind of record`);
  if (!record.numbersFit) refuse("RECORD_NUMBER", "a number of the header is beyond 2^53");
  if (firstRound < 1 || lastRound < firstRound - 1) {
    refuse("ROUNDS", `rounds ${firstRound} to ${lastRound} are no range`);
  }
  if (record.chainId !== toHex(genesis.chainId)) refuse("CHAIN_ID", "another ledger's record");
  const asked = kind === KIND.storage ? genesis.storageDifficulty : 0;
  const puzzle = sha256(signedPart(record.bytes).subarray(RECORD.signDomain.length));
  const bits = leadingZeroBits(puzzle);
  if (record.puzzleBits !== asked || bits < asked) {
    const found = `${bits} bits, ${record.puzzleBits} claimed`;
    refuse("STORAGE_PUZZLE", `the puzzle asks for ${asked} bits and has ${found}`);
  }
}

/** The payload settles the rounds that the header states. */
function checkRange(record: RecordView, rounds: readonly RoundEntry[]): void {
  const { firstRound, lastRound } = record;
  const same = rounds.length === 0 || rounds[0].round === firstRound;
  if (same && rounds.length === lastRound - firstRound + 1) return;
  const what = `the payload settles ${rounds.length} rounds, the header states`;
  refuse("ROUNDS", `${what} ${firstRound} to ${lastRound}`);
}

function isAuthor(record: RecordView, entry: MemberEntry): boolean {
  return entry.rank === record.rank && toHex(entry.incarnation) === record.incarnation;
}

/**
 * What a byzantine epoch asks for beside the rules of every epoch: the voters' signatures on the votes
 * of a record, the answerers' on a SEAL, the ledger key's on a newcomer's SEAL.
 */
import { equalBytes, writeU32, writeU64 } from "../base/bytes.ts";
import type { Epoch } from "./epoch-reader.ts";
import { type Genesis, isSignedBy, sha256 } from "./genesis-reader.ts";
import { RECORD } from "./layout.ts";
import { refuse } from "./not-valid.ts";
import type { RoundEntry, SealEntry, SignedAnswer, VoteGroup } from "./payload-reader.ts";
import type { RecordView } from "./record-reader.ts";

/** What each rank that answered has signed. */
export type Answers = ReadonlyMap<number, SignedAnswer>;

export class SignedVotes {
  constructor(
    private readonly genesis: Genesis,
    private readonly epoch: Epoch,
  ) {}

  /** `hashes`: what an answer about a rank may mean, by index. */
  checkRound(entry: RoundEntry, hashes: Map<number, string[]>, answers: Answers): void {
    for (const group of entry.votes) {
      const { signatures } = group;
      if (signatures === undefined) {
        return refuse("VOTE_UNSIGNED", `round ${entry.round}: votes without signatures`);
      }
      const digest = digestOf(entry.round, group, hashes);
      for (const [i, rank] of group.voters.entries()) {
        const signature = signatures.subarray(64 * i, 64 * i + 64);
        if (signature.some((byte) => byte !== 0))
          this.checkVote(entry, rank, { group, digest, signature });
        else if (!isSilence(answers.get(rank), entry.round, group)) {
          refuse("VOTE_UNSIGNED", `round ${entry.round}: rank ${rank} did not sign, nor answer ⊥`);
        }
      }
    }
  }

  private checkVote(
    entry: RoundEntry,
    rank: number,
    vote: { group: VoteGroup; digest: Uint8Array; signature: Uint8Array },
  ): void {
    const { effectsSlot, effectsDigest } = vote.group;
    const said = Buffer.concat([
      ...this.domain("baash vote\n"),
      number(entry.round, 8),
      number(rank, 4),
      vote.digest,
      number(effectsSlot, 8),
      effectsDigest,
    ]);
    if (isSignedBy(this.epoch.members[rank].publicKey, said, vote.signature)) return;
    refuse("VOTE_SIGNATURE", `round ${entry.round}: rank ${rank} did not sign this vote`);
  }

  /** The answers that a member's SEAL carries; it settles all rounds in which an answerer voted. */
  answersOf(seal: SealEntry, settledBefore: number): Answers {
    const { answers, signed } = seal;
    if (!Array.isArray(signed) || signed.length !== answers.length) {
      return refuse("ANSWER_UNSIGNED", "a SEAL without a signature of each that answered");
    }
    const byRank = new Map<number, SignedAnswer>();
    for (const [i, answer] of signed.entries()) {
      const rank = answers[i];
      const said = Buffer.concat([
        ...this.domain("baash answer\n"),
        number(rank, 4),
        number(answer.lastVoted, 8),
        number(answer.effectsSlot, 8),
        answer.effectsDigest,
      ]);
      if (!isSignedBy(this.epoch.members[rank].publicKey, said, answer.signature)) {
        refuse("ANSWER_SIGNATURE", `rank ${rank} did not sign its answer`);
      }
      if (answer.lastVoted > settledBefore + seal.rounds.length) {
        refuse("ROUNDS_LEFT", `rank ${rank} voted in round ${answer.lastVoted}, which is left out`);
      }
      byRank.set(rank, answer);
    }
    return byRank;
  }

  checkRestart(record: RecordView, seal: SealEntry): void {
    const { signed, answers, members } = seal;
    const at = RECORD.at.prevHash;
    const said = Buffer.concat([
      ...this.domain("baash restart\n"),
      record.bytes.subarray(at, at + 32),
      sha256(Buffer.concat(members.map(({ certificate }) => certificate))),
    ]);
    if (answers.length > 0) refuse("RESTART", "a newcomer's SEAL with answers");
    if (signed instanceof Uint8Array && isSignedBy(this.genesis.ledgerKey, said, signed)) return;
    refuse("RESTART", "a newcomer's SEAL that the ledger key did not sign");
  }

  private domain(name: string): Uint8Array[] {
    return [Buffer.from(name), this.genesis.chainId, this.epoch.hashBytes];
  }
}

/** SHA-256 over the round, an answer a rank, and the hashes that the answers are about. */
function digestOf(round: number, group: VoteGroup, hashes: Map<number, string[]>): Uint8Array {
  const parts: Uint8Array[] = [
    number(round, 8),
    Uint8Array.from(group.answers, (each) => each & 3),
  ];
  for (const [rank, answer] of group.answers.entries()) {
    if (answer !== 0) parts.push(Buffer.from(hashes.get(rank)![answer >>> 2], "hex"));
  }
  return sha256(Buffer.concat(parts));
}

/** ⊥ about everybody, by a member that froze before this round. */
function isSilence(answer: SignedAnswer | undefined, round: number, group: VoteGroup): boolean {
  if (answer === undefined || round <= answer.lastVoted) return false;
  if (group.answers.some((each) => each !== 0)) return false;
  const same = group.effectsSlot === answer.effectsSlot;
  return same && equalBytes(group.effectsDigest, answer.effectsDigest);
}

/** Signatures in a ledger that does not ask for them: a record has one form only. */
export function refuseSignatures(rounds: readonly RoundEntry[], seal?: SealEntry): void {
  const some = rounds.some(({ votes }) => votes.some(({ signatures }) => signatures !== undefined));
  if (some || seal?.signed !== undefined) refuse("SIGNATURES", "signatures that nobody asks for");
}

function number(value: number, bytes: 4 | 8): Uint8Array {
  const out = new Uint8Array(bytes);
  if (bytes === 4) writeU32(out, 0, value);
  else writeU64(out, 0, value);
  return out;
}

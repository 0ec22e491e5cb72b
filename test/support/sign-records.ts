/** Signs what records of a byzantine ledger carry, as honest members and the ledger key would. */
import { concatBytes } from "../../src/base/bytes.ts";
import { type KeyPair, signMessage } from "../../src/ledger/keys.ts";
import { isVoter, type Seal, type SettledRound } from "../../src/ledger/settlement.ts";
import {
  answerMessage,
  recordedVoteDigest,
  restartMessage,
  type StatementPlace,
  voteMessage,
} from "../../src/ledger/statements.ts";

export type Sign = (message: Uint8Array) => Uint8Array;

export function signerOf({ privateKey }: KeyPair): Sign {
  return (message) => signMessage(privateKey, message);
}

/**
 * Every voter signs its vote, in place; `signers[rank]` signs for a rank. A vote of a round after
 * `lastVoted[rank]` follows from its voter's answer and bears zeros.
 */
export function signVotes(
  rounds: readonly SettledRound[],
  place: StatementPlace,
  signers: readonly Sign[],
  lastVoted: readonly number[] = [],
): void {
  for (const round of rounds) {
    for (const group of round.votes) {
      const { effectsSlot, effectsDigest } = group;
      const digest = recordedVoteDigest(round, group.answers);
      const vote = { round: round.round, digest, effectsSlot, effectsDigest };
      const signatures = signers.flatMap((sign, rank) => {
        if (!isVoter(group.voters, rank)) return [];
        const isFrozen = round.round > (lastVoted[rank] ?? Number.POSITIVE_INFINITY);
        return [isFrozen ? new Uint8Array(64) : sign(voteMessage(place, { ...vote, rank }))];
      });
      group.signatures = concatBytes(signatures);
    }
  }
}

/** The SEAL with its votes signed and with signed answers; `lastVoted` is by rank. */
export function signSeal(
  seal: Seal,
  place: StatementPlace,
  by: {
    signers: readonly Sign[];
    lastVoted: readonly number[];
    effectsSlot: number;
    effectsDigest: Uint8Array;
  },
): Seal {
  const { signers, lastVoted, effectsSlot, effectsDigest } = by;
  signVotes(seal.rounds, place, signers, lastVoted);
  const signedAnswers = seal.answers.map((rank) => {
    const answer = { lastVoted: lastVoted[rank], effectsSlot, effectsDigest };
    return { ...answer, signature: signers[rank](answerMessage(place, { rank, ...answer })) };
  });
  return { ...seal, signedAnswers };
}

export function signRestart(
  seal: Seal,
  place: StatementPlace,
  prevHash: Uint8Array,
  sign: Sign,
): Seal {
  return { ...seal, restartSignature: sign(restartMessage(place, prevHash, seal.members)) };
}

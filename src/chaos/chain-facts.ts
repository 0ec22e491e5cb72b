/**
 * The chain of a ledger directory as names and times: the hash of each record and the epochs. Read with
 * verify's own reader of files; hashes are computed, not believed.
 */
import { readU64, toHex } from "../base/bytes.ts";
import { sha256 } from "../base/sha256.ts";
import { Damage } from "../verify/damage.ts";
import { RECORD } from "../verify/layout.ts";
import { RecordSource } from "../verify/record-source.ts";
import { surveyLedger } from "../verify/survey.ts";

export interface EpochFacts {
  readonly slot: number;
  /** Hash of the SEAL, hex. */
  readonly hash: string;
  /** When its author made it, ms since 1970. */
  readonly at: number;
  /** Incarnations, by rank. None after a clean stop. */
  readonly members: readonly string[];
}

export interface ChainFacts {
  /** By slot, hex. */
  readonly hashes: readonly string[];
  readonly epochs: readonly EpochFacts[];
}

/** Until the first damage: what comes after it is not known. */
export function readChainFacts(dir: string): ChainFacts {
  const hashes: string[] = [];
  const times: number[] = [];
  try {
    const head = () => hashes.at(-1) ?? "0".repeat(64);
    for (const { bytes } of new RecordSource(dir).records(head)) {
      hashes.push(toHex(sha256(bytes.subarray(0, RECORD.headerBytes))));
      times.push(readU64(bytes, RECORD.at.creationTime));
    }
  } catch (error) {
    if (!(error instanceof Damage)) throw error;
  }
  const epochs = surveyLedger(dir).epochs.map(({ slot, hash, members }) => ({
    slot,
    hash,
    at: times[slot],
    members: members.map(({ incarnation }) => incarnation),
  }));
  return { hashes, epochs };
}

/** A process of the job that was killed, stopped or went away. */
export interface Loss {
  readonly at: number;
  /** When it went on, if it only had been stopped. */
  until?: number;
  /** Its incarnation, where the job's status told which process that is. */
  readonly incarnation: string | undefined;
}

/** A client hears a little later than an epoch ends, and by another clock than its author's. */
const HEARD_LATER_MS = 5000;
const CLOCK_MS = 100;

/**
 * Whether what was agreed at some time may be lost: protocol.md promises it only while R members of the
 * epoch live. A loss that nobody can name counts for the epoch in force, and for the one after it,
 * which may have been sealed with the dead one still in it.
 */
export function agreedAtRisk(
  epochs: readonly EpochFacts[],
  losses: readonly Loss[],
): (agreedAt: number) => boolean {
  const risky = epochs.flatMap(({ members, at }, i) => {
    const next = epochs[i + 1]?.at ?? Number.POSITIVE_INFINITY;
    const before = i === 0 ? Number.NEGATIVE_INFINITY : epochs[i - 1].at;
    const own = losses.filter((loss) => {
      if (loss.at >= next || (loss.until ?? next) <= at) return false;
      return loss.incarnation === undefined
        ? loss.at >= before
        : members.includes(loss.incarnation);
    });
    const answersMin = Math.ceil(members.length / 2);
    const isRisky = members.length - mostAtOnce(own) < answersMin;
    return isRisky ? [{ from: at - CLOCK_MS, to: next + HEARD_LATER_MS }] : [];
  });
  return (agreedAt) => risky.some(({ from, to }) => agreedAt >= from && agreedAt < to);
}

function mostAtOnce(losses: readonly Loss[]): number {
  const counts = losses.map(
    ({ at }) =>
      losses.filter((other) => other.at <= at && at < (other.until ?? Number.POSITIVE_INFINITY))
        .length,
  );
  return Math.max(0, ...counts);
}

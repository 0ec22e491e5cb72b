/**
 * Who may write: the members that a SEAL installs, each certified by the ledger key, and how many of
 * them win a vote.
 */
import { toHex, writeU32 } from "../base/bytes.ts";
import { type Genesis, isSignedBy } from "./genesis-reader.ts";
import { refuse } from "./not-valid.ts";
import type { MemberEntry } from "./payload-reader.ts";

export interface Member {
  rank: number;
  incarnation: string;
  incarnationBytes: Uint8Array;
  host: string;
  publicKey: Uint8Array;
}

export interface Epoch {
  /** Hash of the SEAL that installed it, as hex; 64 zeros before slot 0. */
  hash: string;
  hashBytes: Uint8Array;
  members: readonly Member[];
}

export const NO_EPOCH: Epoch = {
  hash: "0".repeat(64),
  hashBytes: new Uint8Array(32),
  members: [],
};

type Quorum = Genesis["quorum"];

/** w: yes-votes that win. N - f of a byzantine quorum, f being less than a third. */
export function winVotes(members: number, quorum: Quorum): number {
  return quorum === "majority" ? Math.floor(members / 2) + 1 : byzantineQuorum(members);
}

/** R: members that meet every winning set. */
export function answersMin(members: number, quorum: Quorum): number {
  return quorum === "majority" ? Math.ceil(members / 2) : byzantineQuorum(members);
}

function byzantineQuorum(members: number): number {
  return members === 0 ? 0 : members - Math.floor((members - 1) / 3);
}

/** The members of a SEAL, or the one of an INTENT: certified by the ledger key, none twice. */
export function readMembers(entries: readonly MemberEntry[], genesis: Genesis): Member[] {
  const members = entries.map((entry) => {
    if (!isSignedBy(genesis.ledgerKey, certificateOf(entry, genesis), entry.certificate)) {
      refuse("MEMBER", `member ${entry.rank} (${entry.host}) is not certified by the ledger key`);
    }
    return {
      rank: entry.rank,
      incarnation: toHex(entry.incarnation),
      // Copies: the record's buffer is used again.
      incarnationBytes: entry.incarnation.slice(),
      host: entry.host,
      publicKey: entry.publicKey.slice(),
    };
  });
  const incarnations = new Set(members.map((member) => member.incarnation));
  if (incarnations.size !== members.length) refuse("MEMBERS", "an incarnation is a member twice");
  return members;
}

function certificateOf(entry: MemberEntry, { chainId }: Genesis): Uint8Array {
  const rank = new Uint8Array(4);
  writeU32(rank, 0, entry.rank);
  return Buffer.concat([
    Buffer.from("baash member\n"),
    chainId,
    entry.incarnation,
    entry.publicKey,
    rank,
    Buffer.from(entry.host),
  ]);
}

/**
 * Who may write: the members that a SEAL installs, each certified by the ledger key, and the author
 * of each record among them.
 */
import { type KeyObject, verify } from "node:crypto";
import { toHex, writeU32 } from "../base/bytes.ts";
import { ADVICE_REPORT, fail } from "./damage.ts";
import { publicKeyOf } from "./genesis-reader.ts";
import { KIND, RECORD } from "./layout.ts";
import { type RecordView, signedPart } from "./record-reader.ts";

export interface Member {
  rank: number;
  incarnation: string;
  incarnationBytes: Uint8Array;
  host: string;
  key: KeyObject;
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

/** w of the majority quorum: yes-votes that win. */
export const winVotes = (members: number) => Math.floor(members / 2) + 1;
/** R of the majority quorum: members that meet every winning set. */
export const answersMin = (members: number) => Math.ceil(members / 2);

export interface Authority {
  chainId: Uint8Array;
  ledgerKey: KeyObject;
}

/** Reads [rank, incarnation, publicKey, host, certificate] and checks the certificate. */
export function readMember(record: RecordView, value: unknown, authority: Authority): Member {
  const bad = (what: string) =>
    fail(record.origin, {
      code: "MEMBER",
      offset: RECORD.headerBytes,
      what,
      advice: ADVICE_REPORT,
    });
  if (!Array.isArray(value) || value.length !== 5) bad("a member is not a list of five");
  const [rank, incarnation, publicKey, host, certificate] = value as unknown[];
  if (!Number.isInteger(rank) || (rank as number) < 0) bad(`a member's rank is ${String(rank)}`);
  const name = `member ${String(rank)}`;
  if (!isBytes(incarnation, 8)) bad(`${name} has no incarnation of 8 bytes`);
  if (!isBytes(publicKey, 32)) bad(`${name} has no public key of 32 bytes`);
  if (!isBytes(certificate, 64)) bad(`${name} has no certificate of 64 bytes`);
  if (typeof host !== "string") bad(`${name} has no host name`);
  const number = new Uint8Array(4);
  writeU32(number, 0, rank as number);
  const signed = Buffer.concat([
    Buffer.from("baash member\n"),
    authority.chainId,
    incarnation as Uint8Array,
    publicKey as Uint8Array,
    number,
    Buffer.from(host as string),
  ]);
  if (!verify(null, signed, authority.ledgerKey, certificate as Uint8Array)) {
    bad(`${name} (${host}) is not certified by the ledger key`);
  }
  return {
    rank: rank as number,
    incarnation: toHex(incarnation as Uint8Array),
    // A copy: the record's buffer is used again.
    incarnationBytes: (incarnation as Uint8Array).slice(),
    host: host as string,
    key: publicKeyOf(publicKey as Uint8Array),
  };
}

/** The members of a SEAL: ranks 0 to N-1 in order, no incarnation twice. */
export function readMembers(record: RecordView, value: unknown, authority: Authority): Member[] {
  const bad = (what: string) =>
    fail(record.origin, {
      code: "MEMBERS",
      offset: RECORD.headerBytes,
      what,
      advice: ADVICE_REPORT,
    });
  if (!Array.isArray(value)) return bad("a SEAL without a list of members");
  const members = value.map((member) => readMember(record, member, authority));
  const incarnations = new Set(members.map((member) => member.incarnation));
  if (incarnations.size !== members.length) bad("an incarnation is a member twice");
  for (const [i, member] of members.entries()) {
    if (member.rank !== i) bad(`the member in place ${i} has rank ${member.rank}`);
  }
  return members;
}

/**
 * Finds the author among the members of the epoch, or among `introduced` (a SEAL's or INTENT's own
 * list), and checks the record's signature by that member's key.
 */
export function checkAuthor(record: RecordView, epoch: Epoch, introduced: readonly Member[]): void {
  const at = RECORD.at;
  const is = (member: Member) =>
    member.incarnation === record.incarnation && member.rank === record.rank;
  const canIntroduce = record.kind === KIND.seal || record.kind === KIND.intent;
  const author = epoch.members.find(is) ?? (canIntroduce ? introduced.find(is) : undefined);
  if (author === undefined) {
    fail(record.origin, {
      code: "AUTHOR",
      offset: at.incarnation,
      what: "the author is not a member of the epoch",
      found: `rank ${record.rank}, incarnation ${record.incarnation}`,
      advice: ADVICE_REPORT,
    });
  }
  const signature = record.bytes.subarray(at.signature, at.signature + 64);
  if (!verify(null, signedPart(record.bytes), author.key, signature)) {
    fail(record.origin, {
      code: "RECORD_SIGNATURE",
      offset: at.signature,
      what: `rank ${author.rank} (${author.host}) did not sign this record`,
    });
  }
}

export function isBytes(value: unknown, length: number): value is Uint8Array {
  return value instanceof Uint8Array && value.length === length;
}

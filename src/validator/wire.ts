/**
 * What ranks and the storage validator say to each other over its Unix socket: frames of u32 length
 * (little-endian) and one msgpack array. A request is [id, operation, …], its answer [id, "", …] or
 * [id, code, sentence]. Requests of one connection are answered in order.
 *
 *     hello       version                          → chainId, head slot
 *     certify     [member, …]                      → [certificate, …]
 *     restart     epoch, parent, [member, …]       → signature
 *     append      record                           → 1, hash | 0, hash of the winner
 *     child       slot, parent                     → hash | nothing
 *     bytes       slot, hash                       → record | nothing
 *     checkpoint  slot                             → (the validator writes its own, when one is due)
 *     evidence    name, bytes                      → path
 *     quarantine  name, bytes                      → path
 *     repair      slot, parent, hash, record       → 0 | 1
 */
import { concatBytes, writeU32 } from "../base/bytes.ts";
import {
  type Packable,
  pack,
  type ScanLimits,
  scanMessagePack,
  unpackScanned,
} from "../ledger/codec.ts";
import type { Member } from "../ledger/settlement.ts";
import { VERDICT } from "../ledger/verdict.ts";
import { MEMBERS_MAX, RECORD_BYTES_MAX } from "../limits.ts";
import type { Certifiable } from "../storage/certifiable.ts";

export const WIRE_VERSION = 1;
export const OPERATIONS = [
  ...["hello", "certify", "restart", "append", "child", "bytes", "checkpoint"],
  ...["evidence", "quarantine", "repair"],
] as const;
export type Operation =
  | "hello"
  | "certify"
  | "restart"
  | "append"
  | "child"
  | "bytes"
  | "checkpoint"
  | "evidence"
  | "quarantine"
  | "repair";

/** A record, and what is said beside it. */
export const FRAME_BYTES_MAX = RECORD_BYTES_MAX + 4096;
export const LENGTH_BYTES = 4;
const LIMITS: ScanLimits = {
  depthMax: 4,
  itemsMax: 16 + 10 * MEMBERS_MAX,
  bytesMax: FRAME_BYTES_MAX,
};

export function encodeFrame(value: readonly Packable[]): Uint8Array {
  const body = pack(value);
  const frame = new Uint8Array(LENGTH_BYTES + body.length);
  writeU32(frame, 0, body.length);
  frame.set(body, LENGTH_BYTES);
  return frame;
}

/** The array in the body of a frame; undefined when it is malformed. Byte strings are views. */
export function decodeFrame(body: Uint8Array): unknown[] | undefined {
  if (scanMessagePack(body, 0, body.length, LIMITS) !== VERDICT.OK) return undefined;
  const value = unpackScanned(body);
  return Array.isArray(value) && value.length >= 2 ? value : undefined;
}

const PROOF_DOMAIN = new TextEncoder().encode("baash certify\n");

/** What a newcomer signs with its own key, so that nobody has another one's key certified. */
export function proofMessage(chainId: Uint8Array, member: Omit<Member, "certificate">): Uint8Array {
  const { rank, incarnation, publicKey, host } = member;
  const number = new Uint8Array(4);
  writeU32(number, 0, rank);
  const name = new TextEncoder().encode(host);
  return concatBytes([PROOF_DOMAIN, chainId, incarnation, publicKey, number, name]);
}

const isBytes = (value: unknown, length: number): value is Uint8Array =>
  value instanceof Uint8Array && value.length === length;
const isCount = (value: unknown): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 0;

export function packMember(member: Member): Packable {
  const { rank, incarnation, publicKey, host, certificate } = member;
  return [rank, incarnation, publicKey, host, certificate];
}

export function packCertifiable(member: Certifiable): Packable {
  const { rank, incarnation, publicKey, host, former, proof } = member;
  const shown: Packable = former ? [former.rank, former.certificate] : [proof ?? new Uint8Array(0)];
  return [rank, incarnation, publicKey, host, shown];
}

/** The members in a request; undefined when one is malformed. What they show is not judged here. */
export function unpackMembers(value: unknown): Certifiable[] | undefined {
  if (!Array.isArray(value) || value.length > MEMBERS_MAX) return undefined;
  const members: Certifiable[] = [];
  for (const item of value) {
    if (!Array.isArray(item) || item.length !== 5) return undefined;
    const [rank, incarnation, publicKey, host, shown] = item;
    const isNamed = typeof host === "string" && host.length <= 255;
    if (!isCount(rank) || rank >= 2 ** 32 || !isNamed) return undefined;
    if (!isBytes(incarnation, 8) || !isBytes(publicKey, 32)) return undefined;
    const bare = { rank, incarnation: incarnation.slice(), publicKey: publicKey.slice(), host };
    if (isBytes(shown, 64)) {
      members.push({ ...bare, former: { rank, certificate: shown.slice() } });
    } else if (Array.isArray(shown) && shown.length === 2) {
      const [number, certificate] = shown;
      if (!isCount(number) || number >= 2 ** 32 || !isBytes(certificate, 64)) return undefined;
      members.push({ ...bare, former: { rank: number, certificate: certificate.slice() } });
    } else if (Array.isArray(shown) && shown.length === 1 && isBytes(shown[0], 64)) {
      members.push({ ...bare, proof: shown[0].slice() });
    } else return undefined;
  }
  return members;
}

export { isBytes, isCount };

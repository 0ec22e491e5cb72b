/**
 * The cards of all processes of the job: who each one is in the ledger, where it runs, and how a
 * secret is boxed for it. A card is believed because the ledger key certifies it.
 */
import type { KeyObject } from "node:crypto";
import { toHex } from "../base/bytes.ts";
import { BaashError, EXIT } from "../base/errors.ts";
import { pack, scanMessagePack, unpackScanned } from "../ledger/codec.ts";
import {
  certifyMember,
  generateBoxKey,
  generateSigningKey,
  type KeyPair,
  verifyMember,
} from "../ledger/keys.ts";
import { HOST_BYTES_MAX, type Member } from "../ledger/settlement.ts";
import { VERDICT } from "../ledger/verdict.ts";
import type { BareMember } from "./authority.ts";

export const CARD_BYTES_MAX = 1024;

/** How a host's process is told from a later one of the same number. */
export interface ProcessMark {
  readonly pid: number;
  /** Clock ticks after the host's start at which it began; 0 where that is not known. */
  readonly startTicks: number;
}

export interface Card {
  /** Number of the process in the job. */
  readonly process: number;
  /** As the process certified itself; a SEAL gives it its number. */
  readonly member: Member;
  /** Raw X25519: secrets are boxed for it. */
  readonly box: Uint8Array;
  readonly mark: ProcessMark;
}

/** A participation of this process: its incarnation, its keys and its card. */
export interface Identity {
  readonly incarnation: Uint8Array;
  readonly signing: KeyPair;
  readonly box: KeyPair;
  readonly card: Card;
  /** The card as it travels. */
  readonly cardBytes: Uint8Array;
}

/** What is drawn for a participation, and where it runs. */
export interface Drawn {
  incarnation: Uint8Array;
  process: number;
  host: string;
  mark: ProcessMark;
  chainId: Uint8Array;
  /** The simulator's, from its seed; drawn afresh otherwise. */
  keys?: { readonly signing: KeyPair; readonly box: KeyPair } | undefined;
}

/** Certified by the key at hand. */
export function drawIdentity(options: Drawn & { ledgerKey: KeyObject }): Identity {
  const { keys, bare } = draw(options);
  return identityOf(options, keys, certifyMember(options.ledgerKey, options.chainId, bare));
}

/** Certified by whoever has the key. Rejects with a coded error when it is refused. */
export async function requestIdentity(
  options: Drawn & { certify(member: BareMember, keys: KeyPair): Promise<Member> },
): Promise<Identity> {
  const { keys, bare } = draw(options);
  return identityOf(options, keys, await options.certify(bare, keys.signing));
}

function draw({ incarnation, process, host, keys }: Drawn) {
  const signing = keys?.signing ?? generateSigningKey();
  const box = keys?.box ?? generateBoxKey();
  const bare = { rank: process, incarnation, publicKey: signing.publicKey, host };
  return { keys: { signing, box }, bare };
}

function identityOf(
  { incarnation, process, mark, chainId }: Drawn,
  { signing, box }: { signing: KeyPair; box: KeyPair },
  member: Member,
): Identity {
  const card: Card = { process, member, box: box.publicKey, mark };
  return { incarnation, signing, box, card, cardBytes: encodeCard(card, chainId) };
}

function encodeCard({ process, member, box, mark }: Card, chainId: Uint8Array): Uint8Array {
  const { incarnation, publicKey, host, certificate } = member;
  const { pid, startTicks } = mark;
  return pack([
    chainId,
    process,
    incarnation,
    publicKey,
    host,
    certificate,
    box,
    [pid, startTicks],
  ]);
}

const isBytes = (value: unknown, length: number): value is Uint8Array =>
  value instanceof Uint8Array && value.length === length;
const isCount = (value: unknown): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 0;

/** The card in `bytes`, or what is wrong with it. */
export function decodeCard(
  bytes: Uint8Array,
  chain: { chainId: Uint8Array; genesis: { ledgerKey: Uint8Array } },
): Card | string {
  const limits = { depthMax: 2, itemsMax: 16, bytesMax: CARD_BYTES_MAX };
  if (scanMessagePack(bytes, 0, bytes.length, limits) !== VERDICT.OK) return "is malformed";
  const fields = unpackScanned(bytes);
  if (!Array.isArray(fields) || fields.length !== 8) return "is malformed";
  const [chainId, process, incarnation, publicKey, host, certificate, box, mark] = fields;
  const shaped =
    isBytes(chainId, 16) &&
    isCount(process) &&
    isBytes(incarnation, 8) &&
    isBytes(publicKey, 32) &&
    typeof host === "string" &&
    host.length <= HOST_BYTES_MAX &&
    isBytes(certificate, 64) &&
    isBytes(box, 32) &&
    Array.isArray(mark) &&
    mark.length === 2 &&
    mark.every(isCount);
  if (!shaped) return "is malformed";
  if (toHex(chainId) !== toHex(chain.chainId)) return "is about another ledger";
  const member: Member = { rank: process, incarnation, publicKey, host, certificate };
  if (!verifyMember(chain.genesis.ledgerKey, chain.chainId, member))
    return "is not certified by the ledger key";
  const copy = (part: Uint8Array) => part.slice();
  return {
    process,
    member: {
      rank: process,
      incarnation: copy(incarnation),
      publicKey: copy(publicKey),
      host,
      certificate: copy(certificate),
    },
    box: copy(box),
    mark: { pid: mark[0], startTicks: mark[1] },
  };
}

export function badCard(process: number, what: string): BaashError {
  return new BaashError(
    "BAD_MEMBER",
    `What rank ${process} says of itself ${what}: do all ranks use the same ledger directory and key?`,
    { exitCode: EXIT.configuration },
  );
}

export class Roster {
  private readonly cards = new Map<string, Card>();

  add(card: Card): void {
    this.cards.set(toHex(card.member.incarnation), card);
  }

  /** By incarnation, hex. */
  get(incarnation: string): Card | undefined {
    return this.cards.get(incarnation);
  }

  processOf(incarnation: string): number | undefined {
    return this.cards.get(incarnation)?.process;
  }

  /** Keeps those alone: cards of incarnations that are gone for good are of no further use. */
  retain(incarnations: ReadonlySet<string>): void {
    for (const incarnation of this.cards.keys())
      if (!incarnations.has(incarnation)) this.cards.delete(incarnation);
  }
}

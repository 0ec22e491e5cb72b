/**
 * How a job becomes an epoch of the ledger: the ranks tell each other who they are, rank 0 links
 * the SEAL that installs them, and hands everybody the session key in a box that only they open.
 * A ledger that was not closed cleanly is taken over by an INTENT and a deadline (protocol.md,
 * Membership): whoever still writes to it answers by linking a record.
 */

import type { KeyObject } from "node:crypto";
import { fromHex, toHex } from "../base/bytes.ts";
import { BaashError, EXIT } from "../base/errors.ts";
import type { Chain } from "../ledger/chain.ts";
import { pack, scanMessagePack, unpackScanned } from "../ledger/codec.ts";
import {
  certifyMember,
  generateBoxKey,
  generateSigningKey,
  type KeyPair,
  unwrapKey,
  verifyMember,
  wrapKey,
} from "../ledger/keys.ts";
import { step } from "../ledger/replay.ts";
import { encodeIntent, encodeSeal, type Member } from "../ledger/settlement.ts";
import { VERDICT } from "../ledger/verdict.ts";
import type { LedgerStorage } from "../storage/storage-service.ts";
import type { Transport } from "../transport/transport.ts";
import type { Session } from "./context.ts";
import { Seal } from "./envelope.ts";
import type { Handshake } from "./handshake.ts";
import type { Clock, Entropy } from "./ports.ts";

export interface EpochParts {
  readonly transport: Transport;
  readonly handshake: Handshake;
  readonly storage: LedgerStorage;
  readonly chain: Chain;
  readonly clock: Clock;
  readonly entropy: Entropy;
  readonly ledgerKey: KeyObject;
  readonly incarnation: Uint8Array;
  /** The simulator's, from its seed; drawn afresh otherwise. */
  readonly keys?: { readonly signing: KeyPair; readonly box: KeyPair };
  /** Three times (poll + visibility lag + link and sync) of whoever might still be there. */
  readonly takeoverMs: number;
  /** Told when there is something to wait for. */
  readonly onWait: (sentence: string) => void;
}

const MEMBER_BYTES_MAX = 1024;
const BOX_BYTES = 96;

export async function formEpoch(parts: EpochParts): Promise<Session> {
  const { transport, handshake, chain, ledgerKey, incarnation, entropy, storage } = parts;
  const signing = parts.keys?.signing ?? generateSigningKey();
  const box = parts.keys?.box ?? generateBoxKey();
  const self = certifyMember(ledgerKey, chain.chainId, {
    rank: transport.rank,
    incarnation,
    publicKey: signing.publicKey,
    host: transport.host,
  });
  await storage.writeAs({
    rank: transport.rank,
    incarnation,
    memberKey: exportKey(signing.privateKey),
    ledgerKey: exportKey(ledgerKey),
  });
  const cards = await handshake.gather(
    "telling each other who takes part",
    encodeCard(self, box, chain),
    MEMBER_BYTES_MAX,
  );
  const members = readCards(cards, chain);
  let sessionKey: Uint8Array = new Uint8Array(32);
  let letters: Uint8Array<ArrayBufferLike> = new Uint8Array(0);
  if (transport.rank === 0) {
    sessionKey = entropy.bytes(32);
    letters = await sealOrExplain(parts, self, members, sessionKey);
  }
  const bytesMax = 256 + (BOX_BYTES + 8) * transport.size + 1024;
  const [fromFirst] = await handshake.gather("the SEAL of the first rank", letters, bytesMax);
  const opened = openLetters(fromFirst, transport.rank, box);
  if (transport.rank !== 0) await catchUp(parts);
  if (chain.hash !== toHex(opened.sealHash)) {
    throw new BaashError(
      "EPOCH_DIFFERS",
      `Rank ${transport.rank} does not see the SEAL that rank 0 linked: do all ranks share one file system?`,
      {
        exitCode: EXIT.configuration,
      },
    );
  }
  return {
    self: transport.rank,
    ranks: transport.size,
    incarnation,
    epoch: fromHex(chain.epoch.hash),
    seal: new Seal(opened.sessionKey),
  };
}

function exportKey(key: KeyObject): Uint8Array {
  return new Uint8Array(key.export({ format: "der", type: "pkcs8" }));
}

// A card: who I am, where to box a secret for me, and which ledger I have open.

function encodeCard(member: Member, box: KeyPair, chain: Chain): Uint8Array {
  const { rank, incarnation, publicKey, host, certificate } = member;
  return pack([chain.chainId, rank, incarnation, publicKey, host, certificate, box.publicKey]);
}

function readCards(
  cards: readonly Uint8Array[],
  chain: Chain,
): { member: Member; box: Uint8Array }[] {
  return cards.map((card, index) => {
    const limits = { depthMax: 1, itemsMax: 16, bytesMax: MEMBER_BYTES_MAX };
    if (scanMessagePack(card, 0, card.length, limits) !== VERDICT.OK)
      throw badCard(index, "is malformed");
    const fields = unpackScanned(card) as [
      Uint8Array,
      number,
      Uint8Array,
      Uint8Array,
      string,
      Uint8Array,
      Uint8Array,
    ];
    const [chainId, rank, incarnation, publicKey, host, certificate, box] = fields;
    if (toHex(chainId) !== toHex(chain.chainId)) throw badCard(index, "is about another ledger");
    const member = { rank, incarnation, publicKey, host, certificate };
    if (rank !== index || !verifyMember(chain.genesis.ledgerKey, chain.chainId, member))
      throw badCard(index, "is not certified by the ledger key");
    return { member, box };
  });
}

function badCard(rank: number, what: string): BaashError {
  return new BaashError(
    "BAD_MEMBER",
    `What rank ${rank} says of itself ${what}: do all ranks use the same ledger directory and key?`,
    {
      exitCode: EXIT.configuration,
    },
  );
}

/** Rank 0's word to all: either the SEAL and everybody's box, or why there is none. */
async function sealOrExplain(
  parts: EpochParts,
  self: Member,
  members: readonly { member: Member; box: Uint8Array }[],
  sessionKey: Uint8Array,
): Promise<Uint8Array> {
  try {
    if (parts.chain.ranks > 0) await takeOver(parts, self);
    await linkSeal(
      parts,
      members.map(({ member }) => member),
    );
    const boxes = members.map(({ box }) => wrapKey(box, sessionKey));
    return pack([fromHex(parts.chain.hash), boxes]);
  } catch (error) {
    if (!(error instanceof BaashError)) throw error;
    return pack([error.code, error.message.slice(0, 900), error.exitCode]);
  }
}

function openLetters(
  letters: Uint8Array,
  rank: number,
  box: KeyPair,
): { sealHash: Uint8Array; sessionKey: Uint8Array } {
  const [first, second, third] = unpackScanned(letters) as [unknown, unknown, unknown];
  if (typeof first === "string") {
    throw new BaashError(first, String(second), { exitCode: third as 70 });
  }
  const sessionKey = unwrapKey(box, (second as Uint8Array[])[rank]);
  if (sessionKey === undefined) {
    throw new BaashError(
      "SESSION_KEY",
      `Rank ${rank} cannot open the session key that rank 0 sent: its message was damaged; start the job again.`,
    );
  }
  return { sealHash: first as Uint8Array, sessionKey };
}

async function linkSeal(parts: EpochParts, members: readonly Member[]): Promise<void> {
  const payload = encodeSeal({ members: [...members], rounds: [], answers: [] });
  if (!(await append(parts, "SEAL", Buffer.concat(payload.parts)))) throw inUse(parts);
}

/** The ledger was left without a clean stop: ask, wait, and only then take it over. */
async function takeOver(parts: EpochParts, self: Member): Promise<void> {
  const { chain, clock, takeoverMs, storage, onWait } = parts;
  onWait(
    `the ledger was not closed: waiting ${takeoverMs / 1000} s for an answer of ${describe(chain)}`,
  );
  const payload = encodeIntent({ member: self, answered: [], deadlineMs: takeoverMs });
  if (!(await append(parts, "INTENT", Buffer.concat(payload.parts)))) throw inUse(parts);
  await new Promise<void>((resolve) => clock.schedule(clock.now() + takeoverMs, resolve));
  if ((await storage.child(chain.slot + 1, fromHex(chain.hash))) !== undefined) throw inUse(parts);
}

function describe(chain: Chain): string {
  const hosts = [...new Set(chain.epoch.members.map(({ host }) => host))];
  return `the ${chain.ranks} ranks that had it open on ${hosts.slice(0, 4).join(", ")}`;
}

function inUse({ chain }: EpochParts): BaashError {
  return new BaashError(
    "LEDGER_IN_USE",
    `The ledger is in use by ${describe(chain)}: end that job, or name another directory.`,
    {
      exitCode: EXIT.busy,
    },
  );
}

/** True when the record took the slot; the chain has stepped over it. */
async function append(
  parts: EpochParts,
  kind: "SEAL" | "INTENT",
  payload: Uint8Array,
): Promise<boolean> {
  const { chain, storage, clock } = parts;
  const prevHash = fromHex(chain.hash);
  const result = await storage.append({
    kind,
    slot: chain.slot + 1,
    prevHash,
    epoch: fromHex(chain.epoch.hash),
    firstRound: chain.settledRound + 1,
    lastRound: chain.settledRound,
    heightBefore: chain.height,
    creationTime: Math.floor(clock.wall()),
    rounds: [],
    payload,
  });
  if (!result.won) return false;
  const bytes = await storage.child(chain.slot + 1, prevHash);
  if (bytes === undefined) return false;
  step(chain, bytes);
  return true;
}

/** Steps over every record up to the end of the log. */
async function catchUp({ chain, storage }: EpochParts): Promise<void> {
  for (;;) {
    const bytes = await storage.child(chain.slot + 1, fromHex(chain.hash));
    if (bytes === undefined) return;
    step(chain, bytes);
  }
}

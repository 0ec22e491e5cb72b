/**
 * How a job becomes an epoch of the ledger: the ranks tell each other who they are, rank 0 links
 * the SEAL that installs them, and hands everybody the session key in a box that only they open.
 * A ledger that was not closed cleanly is taken over by an INTENT and a deadline (protocol.md,
 * Membership): whoever still writes to it answers by linking a record.
 */

import { fromHex, toHex } from "../base/bytes.ts";
import { BaashError, EXIT } from "../base/errors.ts";
import type { Chain } from "../ledger/chain.ts";
import { pack, unpackScanned } from "../ledger/codec.ts";
import { unwrapKey, wrapKey } from "../ledger/keys.ts";
import { step } from "../ledger/replay.ts";
import { encodeIntent, encodeSeal, type Member, type Seal } from "../ledger/settlement.ts";
import type { LedgerStorage } from "../storage/storage-service.ts";
import type { Transport } from "../transport/transport.ts";
import type { Authority } from "./authority.ts";
import type { Handshake } from "./handshake.ts";
import type { Clock, Entropy } from "./ports.ts";
import { badCard, CARD_BYTES_MAX, decodeCard, type Identity, Roster } from "./roster.ts";
import { Session } from "./session.ts";

export interface EpochParts {
  readonly transport: Transport;
  readonly handshake: Handshake;
  readonly storage: LedgerStorage;
  readonly chain: Chain;
  readonly clock: Clock;
  readonly entropy: Entropy;
  readonly identity: Identity;
  readonly authority: Authority;
  /** Three times (poll + visibility lag + link and sync) of whoever might still be there. */
  readonly takeoverMs: number;
  /** Told when there is something to wait for. */
  readonly onWait: (sentence: string) => void;
}

/** The first epoch of a job, and what the later ones need of it. */
export interface FormedEpoch {
  readonly session: Session;
  readonly roster: Roster;
  /** The secret of this job, from which each epoch's key comes. */
  readonly master: Uint8Array;
  /** Everybody's card as it travelled, by rank. */
  readonly cards: readonly Uint8Array[];
}

const BOX_BYTES = 96;

export async function formEpoch(parts: EpochParts): Promise<FormedEpoch> {
  const { transport, handshake, chain, entropy, identity } = parts;
  const cards = await handshake.gather(
    "telling each other who takes part",
    identity.cardBytes,
    CARD_BYTES_MAX,
  );
  const roster = new Roster();
  const members: { member: Member; box: Uint8Array }[] = [];
  for (const [index, bytes] of cards.entries()) {
    const card = decodeCard(bytes, chain);
    if (typeof card === "string") throw badCard(index, card);
    if (card.process !== index) throw badCard(index, "names another rank");
    roster.add(card);
    members.push(card);
  }
  let master: Uint8Array = new Uint8Array(32);
  let letters: Uint8Array<ArrayBufferLike> = new Uint8Array(0);
  if (transport.rank === 0) {
    master = entropy.bytes(32);
    letters = await sealOrExplain(parts, members, master);
  }
  const bytesMax = 256 + (BOX_BYTES + 8) * transport.size + 1024;
  const [fromFirst] = await handshake.gather("the SEAL of the first rank", letters, bytesMax);
  const opened = openLetters(fromFirst, transport.rank, identity);
  if (transport.rank !== 0) await catchUp(parts);
  // Others may have recorded rounds by the time that this rank has read the SEAL.
  if (chain.epoch.hash !== toHex(opened.sealHash)) {
    throw new BaashError(
      "EPOCH_DIFFERS",
      `Rank ${transport.rank} does not see the SEAL that rank 0 linked: do all ranks share one file system?`,
      {
        exitCode: EXIT.configuration,
      },
    );
  }
  master = opened.master;
  const session = new Session({
    incarnation: identity.incarnation,
    epoch: fromHex(chain.epoch.hash),
    members: chain.epoch.members,
    master,
    roster,
  });
  return { session, roster, master, cards };
}

/** Rank 0's word to all: either the SEAL and everybody's box, or why there is none. */
async function sealOrExplain(
  parts: EpochParts,
  members: readonly { member: Member; box: Uint8Array }[],
  master: Uint8Array,
): Promise<Uint8Array> {
  try {
    if (parts.chain.ranks > 0) await takeOver(parts);
    await linkSeal(
      parts,
      members.map(({ member }) => member),
    );
    const boxes = members.map(({ box }) => wrapKey(box, master));
    return pack([fromHex(parts.chain.hash), boxes]);
  } catch (error) {
    if (!(error instanceof BaashError)) throw error;
    return pack([error.code, error.message.slice(0, 900), error.exitCode]);
  }
}

function openLetters(
  letters: Uint8Array,
  rank: number,
  { box }: Identity,
): { sealHash: Uint8Array; master: Uint8Array } {
  const [first, second, third] = unpackScanned(letters) as [unknown, unknown, unknown];
  if (typeof first === "string") {
    throw new BaashError(first, String(second), { exitCode: third as 70 });
  }
  const master = unwrapKey(box, (second as Uint8Array[])[rank]);
  if (master === undefined) {
    throw new BaashError(
      "SESSION_KEY",
      `Rank ${rank} cannot open the session key that rank 0 sent: its message was damaged; start the job again.`,
    );
  }
  return { sealHash: first as Uint8Array, master };
}

async function linkSeal(parts: EpochParts, members: readonly Member[]): Promise<void> {
  const { chain, authority } = parts;
  const seal: Seal = { members: [...members], rounds: [], answers: [] };
  if (chain.genesis.quorum === "byzantine") {
    // No member of the epoch before speaks for it: the ledger key does.
    const place = { chainId: chain.chainId, epoch: fromHex(chain.epoch.hash) };
    seal.restartSignature = await authority.signRestart(place, fromHex(chain.hash), members);
  }
  const payload = encodeSeal(seal);
  if (!(await append(parts, "SEAL", Buffer.concat(payload.parts)))) throw inUse(parts);
}

/** The ledger was left without a clean stop: ask, wait, and only then take it over. */
async function takeOver(parts: EpochParts): Promise<void> {
  const { chain, clock, takeoverMs, storage, onWait } = parts;
  const { member } = parts.identity.card;
  onWait(
    `the ledger was not closed: waiting ${takeoverMs / 1000} s for an answer of ${describe(chain)}`,
  );
  const payload = encodeIntent({ member, answered: [], deadlineMs: takeoverMs });
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
export async function catchUp({
  chain,
  storage,
}: Pick<EpochParts, "chain" | "storage">): Promise<void> {
  for (;;) {
    const bytes = await storage.child(chain.slot + 1, fromHex(chain.hash));
    if (bytes === undefined) return;
    step(chain, bytes);
  }
}

/**
 * Who takes part, as a member sees it: cards of newcomers come in, the lowest member that is not
 * suspected has the core author a SEAL, and who wrote it welcomes the admitted. The others step in
 * by turn. Also what a process outside of the epoch does to get in.
 */
import { toHex } from "../base/bytes.ts";
import type { SealPull } from "../consensus/effects.ts";
import { pack } from "../ledger/codec.ts";
import { wrapKey } from "../ledger/keys.ts";
import { MEMBERS_MAX } from "../limits.ts";
import type { RankContext, RankShared } from "./context.ts";
import { ENVELOPE_BYTES, isBytes, MESSAGE, unpackBody } from "./envelope.ts";
import { encodeWelcome } from "./membership-messages.ts";
import type { Monitoring } from "./monitoring.ts";
import { type Card, decodeCard, type Identity } from "./roster.ts";

interface Candidate {
  readonly card: Card;
  seenAt: number;
}

/** A candidate that has not been heard for so many hellos is gone. */
const HELLOS_MISSED_MAX = 6;
/** First bytes of a hello's body. */
const HELLO = { know: 0, admit: 1 } as const;
const NO_MAC = new Uint8Array(ENVELOPE_BYTES - 1);

/** An envelope without a MAC: its sender may not be of the epoch. What it says proves itself. */
function plain(type: number, ...parts: Uint8Array[]): Uint8Array {
  return Buffer.concat([Uint8Array.of(type), NO_MAC, ...parts]);
}

/** `admit`: wants to be let in; else it is a member and says which process it is. */
export function hello(identity: Identity, admit: boolean): Uint8Array {
  const flag = admit ? HELLO.admit : HELLO.know;
  return plain(MESSAGE.hello, Uint8Array.of(flag), identity.cardBytes);
}

export class Membership {
  private readonly shared: RankShared;
  private readonly master: () => Uint8Array | undefined;
  /** By incarnation. */
  private readonly candidates = new Map<string, Candidate>();
  /** Cards of members as they travel, by incarnation. */
  private readonly cardBytes = new Map<string, Uint8Array>();
  private context: RankContext | undefined;
  private monitoring: Monitoring | undefined;
  private send: ((to: readonly number[], type: number, body: Uint8Array) => void) | undefined;
  private proposing = false;

  constructor(shared: RankShared, master: () => Uint8Array | undefined) {
    this.shared = shared;
    this.master = master;
  }

  /** Cards that came at the start of the job or with the welcome. */
  keep(card: Card, bytes: Uint8Array): void {
    this.shared.roster.add(card);
    this.cardBytes.set(toHex(card.member.incarnation), bytes.slice());
  }

  /** The same, of a card as it travelled. True when it tells which process a member is. */
  keepBytes(bytes: Uint8Array): boolean {
    const card = decodeCard(bytes, this.shared.chain);
    if (typeof card === "string") {
      this.drop("BAD_CARD");
      return false;
    }
    this.keep(card, bytes);
    return this.context?.session.learn(this.shared.roster) ?? false;
  }

  /** A new epoch. Its author welcomes the admitted and tells the others who they are. */
  entered(
    context: RankContext,
    how: {
      monitoring: Monitoring;
      authored: boolean;
      send(to: readonly number[], type: number, body: Uint8Array): void;
    },
  ): void {
    this.context = context;
    this.monitoring = how.monitoring;
    this.send = how.send;
    this.proposing = false;
    for (const { incarnation } of context.session.members) {
      const hex = toHex(incarnation);
      const candidate = this.candidates.get(hex);
      if (candidate === undefined) continue;
      this.candidates.delete(hex);
      if (!how.authored) continue;
      this.welcome(candidate.card);
      how.send(context.session.others, MESSAGE.card, this.cardBytes.get(hex)!);
    }
    this.propose();
    this.askCards(context);
  }

  /** While a member's process is not known here, the others are asked who it is. */
  private askCards(context: RankContext): void {
    const { clock, settings } = this.shared;
    if (this.context !== context || context.session.complete) return;
    const unknown = context.session.unknown.map(({ incarnation }) => incarnation);
    this.send?.(context.session.others, MESSAGE.cardPull, pack(unknown));
    clock.schedule(clock.now() + settings.helloMs, () => this.askCards(context));
  }

  /** A member asks for cards. False when malformed. */
  onCardPull(from: number, body: Uint8Array): boolean {
    const incarnations = unpackBody(body);
    if (incarnations === undefined || !incarnations.every((item) => isBytes(item, 8))) return false;
    for (const incarnation of incarnations as Uint8Array[]) {
      const card = this.cardBytes.get(toHex(incarnation));
      if (card !== undefined) this.send?.([from], MESSAGE.card, card);
    }
    return true;
  }

  left(): void {
    this.context = undefined;
    this.monitoring = undefined;
  }

  /** A card: a newcomer's that wants in, or a member's. True when it tells which process a member is. */
  onHello(from: number, body: Uint8Array): boolean {
    const bytes = body.subarray(1);
    const card = decodeCard(bytes, this.shared.chain);
    if (typeof card === "string" || card.process !== from) {
      this.drop("BAD_CARD");
      return false;
    }
    const incarnation = toHex(card.member.incarnation);
    this.keep(card, bytes);
    const { context } = this;
    if (context === undefined) return false;
    const learnt = context.session.learn(this.shared.roster);
    if (body[0] !== HELLO.admit) return learnt;
    if (context.session.members.some((member) => toHex(member.incarnation) === incarnation)) {
      // Admitted, but not in yet: the welcome was lost, or its disk is slow. It lives.
      const member = context.session.member(card.process);
      if (member !== undefined) this.monitoring!.heard(member);
      if (this.turn() === 0) this.welcome(card);
      return learnt;
    }
    // Whoever certifies them may be generous: what is kept here is bounded.
    if (this.candidates.size >= MEMBERS_MAX && !this.candidates.has(incarnation)) return learnt;
    const seenAt = this.shared.clock.now();
    this.candidates.set(incarnation, { card, seenAt });
    this.propose();
    return learnt;
  }

  /** This rank's place among the members that are not suspected. */
  private turn(): number {
    const { session } = this.context!;
    const suspects = this.monitoring!.suspects;
    let turn = 0;
    for (let member = 0; member < session.self; member++) if (!suspects.includes(member)) turn++;
    return turn;
  }

  /** The lowest member authors the SEAL that lets the candidates in; the next ones if it does not. */
  private propose(): void {
    const { context } = this;
    if (context === undefined || this.proposing || this.candidates.size === 0) return;
    this.proposing = true;
    const { clock, settings } = this.shared;
    const delay = (1 + this.turn()) * settings.monitoring.turnDelayMs;
    clock.schedule(clock.now() + delay, () => {
      if (this.context !== context) return;
      this.proposing = false;
      const { evict, admit } = this.change([]);
      if (admit.length > 0) context.emit({ type: "change", evict, admit });
      if (this.candidates.size > 0) this.propose();
    });
  }

  /** The monitor has this rank author the SEAL that evicts `ranks`; candidates come in with it. */
  evict(ranks: readonly number[]): void {
    this.context?.emit({ type: "change", ...this.change(ranks) });
  }

  /** Such a SEAL lets in whom this rank knows to wait, instead of whom they were. */
  wants({ evict, admit }: SealPull): boolean {
    const session = this.context?.session;
    if (session === undefined) return false;
    const cards = admit.map((incarnation) => this.candidates.get(incarnation)?.card);
    if (cards.length === 0 || cards.includes(undefined)) return false;
    const leaving = new Set<number | undefined>(this.monitoring!.suspects);
    for (const card of cards) leaving.add(session.member(card!.process));
    return evict.every((rank) => leaving.has(rank));
  }

  private change(evicted: readonly number[]): { evict: number[]; admit: string[] } {
    const { session } = this.context!;
    const { settings, clock } = this.shared;
    const evict = new Set(evicted);
    const admit: string[] = [];
    const silentSince = clock.now() - HELLOS_MISSED_MAX * settings.helloMs;
    for (const [incarnation, { card, seenAt }] of this.candidates) {
      if (seenAt < silentSince) {
        this.candidates.delete(incarnation);
        continue;
      }
      // A process that says hello with a new incarnation is no longer the member that it was.
      const former = session.member(card.process);
      const leaves = former !== undefined && former !== session.self && !evict.has(former);
      const size = session.ranks - evict.size - (leaves ? 1 : 0) + admit.length;
      if (size >= settings.ranksWanted) continue;
      if (leaves) evict.add(former);
      admit.push(incarnation);
    }
    return { evict: [...evict].sort((a, b) => a - b), admit };
  }

  /** Tells an admitted newcomer which SEAL it is, the secret, and who the others are. */
  private welcome({ process, box, member }: Card): void {
    const { chain, transport } = this.shared;
    const { session } = this.context!;
    const own = toHex(member.incarnation);
    const cards: Uint8Array[] = [];
    for (const { incarnation } of session.members) {
      const hex = toHex(incarnation);
      const bytes = this.cardBytes.get(hex);
      if (hex !== own && bytes !== undefined) cards.push(bytes);
    }
    const { epoch } = session;
    const body = { slot: chain.slot, epoch, box: wrapKey(box, this.master()!, epoch), cards };
    transport.send(process, plain(MESSAGE.welcome, encodeWelcome(body)));
  }

  private drop(reason: string): void {
    const { dropped } = this.shared.counters;
    dropped.set(reason, (dropped.get(reason) ?? 0) + 1);
  }
}

/** Incarnations of an epoch, for look-ups. */
export function incarnationsOf(members: readonly { incarnation: Uint8Array }[]): Set<string> {
  return new Set(members.map(({ incarnation }) => toHex(incarnation)));
}

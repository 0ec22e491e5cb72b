/**
 * How a process outside of the epoch gets in: one that was spawned, or one that was sealed out while
 * it was stopped and draws a new incarnation. It says hello to all, follows the log meanwhile, and is
 * in once it holds a welcome and the log's newest SEAL names it.
 */
import { fromHex, toHex } from "../base/bytes.ts";
import { BaashError, EXIT } from "../base/errors.ts";
import { unwrapKey } from "../ledger/keys.ts";
import type { RankShared } from "./context.ts";
import { catchUp } from "./epoch.ts";
import { hello } from "./membership.ts";
import { decodeWelcome, type Welcome } from "./membership-messages.ts";
import { type Card, decodeCard, type Identity } from "./roster.ts";
import { Session } from "./session.ts";

type JoiningParts = Pick<
  RankShared,
  "clock" | "transport" | "storage" | "chain" | "settings" | "roster"
>;

export interface Joined {
  readonly session: Session;
  readonly master: Uint8Array;
}

export class Joining {
  private readonly parts: JoiningParts;
  private readonly identity: Identity;
  private readonly keep: (card: Card, bytes: Uint8Array) => void;
  private readonly startedAt: number;
  private master: Uint8Array | undefined;
  private looking = false;
  private ended = false;
  private readonly joined = Promise.withResolvers<Joined>();

  constructor(
    parts: JoiningParts,
    options: {
      identity: Identity;
      /** The secret, of a process that was in the job before. */
      master?: Uint8Array | undefined;
      /** Told of the cards of the members. */
      keep(card: Card, bytes: Uint8Array): void;
    },
  ) {
    this.parts = parts;
    this.identity = options.identity;
    this.master = options.master;
    this.keep = options.keep;
    this.startedAt = parts.clock.now();
  }

  /** Resolves when this process is a member. Rejects with NOT_ADMITTED or LEDGER_CLOSED. */
  run(): Promise<Joined> {
    this.ask();
    return this.joined.promise;
  }

  stop(): void {
    this.ended = true;
  }

  private ask(): void {
    if (this.ended) return;
    const { clock, transport, settings } = this.parts;
    if (clock.now() - this.startedAt > settings.admitTimeoutMs) return this.giveUp();
    const others = transport.processes.filter((process) => process !== transport.rank);
    transport.sendMany(others, hello(this.identity, true));
    clock.schedule(clock.now() + settings.helloMs, () => this.ask());
    this.look();
  }

  private giveUp(): void {
    this.ended = true;
    const seconds = this.parts.settings.admitTimeoutMs / 1000;
    this.joined.reject(
      new BaashError(
        "NOT_ADMITTED",
        `Process ${this.parts.transport.rank} asked for ${seconds} s to take part and nobody let it in: the job has all the ranks that it wants, or another one has taken the ledger over.`,
        { exitCode: EXIT.busy },
      ),
    );
  }

  /** The members have closed the ledger: there is nothing to take part in. */
  private closed(): void {
    const { transport } = this.parts;
    this.fail(
      new BaashError(
        "LEDGER_CLOSED",
        `Process ${transport.rank} ends: the job has closed the ledger while it was outside.`,
        { exitCode: EXIT.ok },
      ),
    );
  }

  onWelcome(body: Uint8Array): void {
    const welcome = decodeWelcome(body);
    if (welcome === undefined || this.ended) return;
    const master = unwrapKey(this.identity.box, welcome.box, welcome.epoch);
    if (master === undefined) return; // damaged, or for a former incarnation
    this.master = master;
    this.keepCards(welcome);
    this.look();
  }

  private keepCards({ cards }: Welcome): void {
    for (const bytes of cards) {
      const card = decodeCard(bytes, this.parts.chain);
      if (typeof card !== "string") this.keep(card, bytes);
    }
  }

  /** Follows the log to its end: the newest SEAL may name this incarnation. */
  private look(): void {
    if (this.looking || this.ended) return;
    this.looking = true;
    catchUp(this.parts).then(
      () => {
        this.looking = false;
        this.enterIfMember();
      },
      (error) => {
        this.looking = false;
        // Storage away: the next hello looks again. Damage ends the rank.
        if (error instanceof BaashError && error.code === "RECORD_DAMAGED") this.fail(error);
      },
    );
  }

  private fail(error: BaashError): void {
    this.ended = true;
    this.joined.reject(error);
  }

  private enterIfMember(): void {
    const { chain, roster } = this.parts;
    const { incarnation } = this.identity;
    const own = toHex(incarnation);
    const { master } = this;
    if (this.ended) return;
    if (chain.epoch.members.length === 0) return this.closed();
    if (master === undefined) return;
    if (!chain.epoch.members.some((member) => toHex(member.incarnation) === own)) return;
    this.ended = true;
    const { hash, members } = chain.epoch;
    const session = new Session({ incarnation, epoch: fromHex(hash), members, master, roster });
    this.joined.resolve({ session, master });
  }
}

/**
 * One identity run twice: two processes with the same incarnation and keys behind one address. Both
 * hear everything, and chance decides which of them each peer hears, anew every while: so there are
 * two proposals and two votes of one round, and votes that were forgotten. Both run the production
 * rank; nobody here knows how to lie.
 */
import { BaashError } from "../../src/base/errors.ts";
import type { Random } from "../../src/base/random.ts";
import type { Clock } from "../../src/rank/ports.ts";
import type { Messages, Transport, TransportHandler } from "../../src/transport/transport.ts";

/** So long each peer hears the same twin. */
const MOOD_MS = 40;
/** A rank's message to itself. */
const LOOP_MS = 0.02;

type Heard = "first" | "second" | "both";
const HEARD: readonly Heard[] = ["first", "second", "both"];

export class SharedEndpoint {
  /** Has the lanes; the other one goes point-to-point. */
  readonly first: Transport;
  readonly second: Transport;
  /** Of each facade that is in use. */
  private readonly handlers: Partial<Record<"first" | "second", TransportHandler>> = {};
  private readonly inner: Transport;
  private readonly clock: Clock;
  private readonly random: Random;
  private readonly heard = new Map<number, { by: Heard; until: number }>();

  constructor(inner: Transport, clock: Clock, random: Random) {
    this.inner = inner;
    this.clock = clock;
    this.random = random;
    this.first = this.facade("first");
    this.second = this.facade("second");
  }

  private facade(which: "first" | "second"): Transport {
    const { inner, handlers } = this;
    const hears = () => {
      throw new BaashError("NOT_SUPPORTED", "a twin is in no lane");
    };
    const outside = async () => hears();
    const shared = this;
    const own: Partial<Transport> & ThisType<Transport> = {
      get handler() {
        return handlers[which]!;
      },
      set handler(handler: TransportHandler) {
        handlers[which] = handler;
        shared.listen();
      },
      send: (to, bytes) => this.send(which, to, bytes),
      sendMany: (to, bytes) => {
        for (const one of to) this.send(which, one, bytes);
      },
      ...(which === "second" && {
        ...{ lanePoisoned: () => true, allgather: hears, forget: () => {}, abort: () => {} },
        ...{ barrier: outside, allreduce: outside, regroup: outside, spawn: outside },
        close: async () => true,
      }),
    };
    return new Proxy(inner, {
      get: (target, name) => {
        if (name in own) return Reflect.get(own, name);
        const value = Reflect.get(target, name, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
      set: (_, name, value) => Reflect.set(own, name, value),
    });
  }

  private listen(): void {
    const { inner, handlers } = this;
    inner.handler = {
      onMessages: (batch) => {
        for (const handler of Object.values(handlers)) handler.onMessages(batch);
      },
      onAllgather: (lane, parts) => handlers.first?.onAllgather(lane, parts),
      onError: (error) => handlers.first?.onError(error),
    };
  }

  private send(which: "first" | "second", to: number, bytes: Uint8Array): void {
    if (to === this.inner.rank) return this.toItself(which, bytes);
    const by = this.heardBy(to);
    if (by === which || by === "both") this.inner.send(to, bytes);
  }

  private toItself(which: "first" | "second", bytes: Uint8Array): void {
    const from = this.inner.rank;
    const batch: Messages = { count: 1, from: () => from, bytes: () => bytes };
    this.clock.schedule(this.clock.now() + LOOP_MS, () => this.handlers[which]?.onMessages(batch));
  }

  private heardBy(peer: number): Heard {
    if (this.handlers.second === undefined) return "first";
    if (this.handlers.first === undefined) return "second";
    const now = this.clock.now();
    const mood = this.heard.get(peer);
    if (mood !== undefined && mood.until > now) return mood.by;
    const by = HEARD[this.random.nextBelow(HEARD.length)];
    this.heard.set(peer, { by, until: now + MOOD_MS * (0.5 + this.random.nextFloat()) });
    return by;
  }

  /** The first one is gone, and with it all that it remembers. */
  forgetFirst(): void {
    delete this.handlers.first;
  }
}

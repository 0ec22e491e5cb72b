/**
 * One rank as a process of the simulation: the production rank on in-process twins, started as
 * `rank/start.ts` starts the real one. It can die, with or without its host, and freeze.
 */
import { toHex } from "../base/bytes.ts";
import { Random } from "../base/random.ts";
import { Checkpointer } from "../job/checkpointer.ts";
import type { Chain } from "../ledger/chain.ts";
import { parseGenesis } from "../ledger/genesis.ts";
import type { KeyPair } from "../ledger/keys.ts";
import { BlockQueue } from "../queue/block-queue.ts";
import { TransactionQueue } from "../queue/transaction-queue.ts";
import { formEpoch } from "../rank/epoch.ts";
import { Handshake } from "../rank/handshake.ts";
import type { PoolQueues } from "../rank/inline-pool.ts";
import { RankLoop } from "../rank/loop.ts";
import { openTogether, replayLedger } from "../rank/opening.ts";
import type { SimulatedDisk } from "../storage/simulated-disk.ts";
import type { SimulatedHost } from "../storage/simulated-host.ts";
import { type LedgerStorage, StorageService } from "../storage/storage-service.ts";
import type { Transport } from "../transport/transport.ts";
import type { Checkers } from "./checkers.ts";
import type { Plan } from "./plan.ts";
import { seededKey } from "./seeded-keys.ts";
import { SlowPool } from "./slow-pool.ts";
import { type Fate, TappedTransport } from "./tapped-transport.ts";
import { type Trace, Violation } from "./trace.ts";
import type { Counter, Users } from "./users.ts";
import { ProcessClock, type VirtualClock } from "./virtual-clock.ts";

export const ROOT = "/ledger";
const START_TIMEOUT_MS = 20_000;

/** What all processes of a run share. */
export interface World {
  readonly plan: Plan;
  readonly clock: VirtualClock;
  readonly disk: SimulatedDisk;
  readonly trace: Trace;
  readonly checkers: Checkers;
  readonly users: Users;
  readonly genesisBytes: Uint8Array;
  readonly ledgerKey: KeyPair;
  /** True while faults are let loose. */
  faulty: boolean;
  /** Ends the run: a promise was broken, or a bug ended a rank. The first one counts. */
  fail(error: unknown): void;
}

export interface ProcessEvents {
  onStarted(process: RankProcess): void;
  /** It never came to take part. */
  onStartFailed(process: RankProcess, error: unknown): void;
  onHalt(process: RankProcess, code: string, reason: string): void;
}

export class RankProcess {
  readonly name: string;
  readonly rank: number;
  readonly clock: ProcessClock;
  readonly host: SimulatedHost;
  readonly transport: Transport;
  readonly queues: PoolQueues;
  private readonly world: World;
  private readonly events: ProcessEvents;
  private readonly random: Random;
  private readonly storage: LedgerStorage;
  private checkpointer: Checkpointer | undefined;
  loop: RankLoop | undefined;
  chain: Chain | undefined;
  counter: Counter | undefined;
  alive = true;
  sealed = false;
  alerts = 0;

  constructor(world: World, place: { job: number; transport: Transport }, events: ProcessEvents) {
    const { job, transport } = place;
    this.world = world;
    this.events = events;
    this.rank = transport.rank;
    this.name = `${job}.${this.rank}`;
    this.random = new Random(world.plan.seed, 1000 * job + this.rank + 7);
    this.clock = new ProcessClock(world.clock);
    this.host = world.disk.host(this.name);
    const { slots } = world.plan;
    this.queues = {
      transactions: TransactionQueue.create({ slots: slots.transactions, arenaBytes: 256 << 10 }),
      outgoing: BlockQueue.create({ slots: slots.outgoing, arenaBytes: 256 << 10 }),
      incoming: BlockQueue.create({ slots: slots.incoming, arenaBytes: 2 << 20 }),
    };
    this.transport = new TappedTransport(transport, this.clock, {
      onSend: (bytes) => world.checkers.sent(this.name, this.rank, transport.size, bytes),
      onReceive: (from, bytes) =>
        world.trace.add(`${job}.${from} -> ${this.name} type ${bytes[0]}, ${bytes.length} bytes`),
      fate: () => this.fate(),
    });
    const { incoming } = this.queues;
    const service = new StorageService({
      ops: this.host,
      now: () => this.clock.now(),
      blocks: {
        block: (slot) => {
          const at = incoming.messageOffset(slot);
          return incoming.fifo.bytes.subarray(at, at + incoming.messageLength(slot));
        },
      },
    });
    this.storage = guarded(service, (error) => world.fail(error));
  }

  start(): void {
    const ended = this.run().then(
      () => {
        if (this.alive) this.events.onStarted(this);
      },
      (error) => {
        if (this.alive) this.events.onStartFailed(this, error);
      },
    );
    ended.catch((error) => this.world.fail(error));
  }

  private async run(): Promise<void> {
    const { world, transport, storage, clock } = this;
    const { plan } = world;
    const handshake = new Handshake(transport, START_TIMEOUT_MS);
    const incarnation = new Uint8Array(8);
    this.random.fill(incarnation);
    const directory = { directory: ROOT, incarnation: toHex(incarnation) };
    const opened = await openTogether({
      rank: this.rank,
      handshake,
      openFirst: () => storage.open({ ...directory, genesis: world.genesisBytes }),
      openNext: () => storage.open(directory),
    });
    const genesis = parseGenesis(opened.genesis, ROOT);
    const chain = await replayLedger(genesis, storage);
    this.chain = chain;
    const session = await formEpoch({
      transport,
      handshake,
      storage,
      chain,
      clock,
      entropy: {
        bytes: (count) => {
          const bytes = new Uint8Array(count);
          this.random.fill(bytes);
          return bytes;
        },
      },
      ledgerKey: world.ledgerKey.privateKey,
      incarnation,
      keys: { signing: seededKey("ed25519", this.random), box: seededKey("x25519", this.random) },
      takeoverMs: plan.takeoverMs,
      onWait: (sentence) => world.trace.add(`${this.name} waits: ${sentence}`),
    });
    const pool = new SlowPool({
      queues: this.queues,
      clock,
      delayMs: () => this.random.nextFloat() * plan.poolDelayMsMax,
      checkThrows: () => world.faulty && this.random.nextFloat() < plan.checkThrowsRate,
    });
    const loop = new RankLoop({
      clock,
      transport,
      pool,
      storage,
      chain,
      session,
      settings: plan.settings,
      ...this.queues,
      events: {
        onFinal: (slot) => this.onFinal(slot),
        onHalt: (code, reason) => this.events.onHalt(this, code, reason),
        onAlert: ({ code, message }) => this.onAlert(code, message),
        onStatus: () => {},
        onSealed: () => {
          world.trace.add(`${this.name} sealed`);
          this.sealed = true;
        },
      },
    });
    this.loop = loop;
    this.checkpointer = new Checkpointer(
      { loop, transport, storage, chain },
      plan.settings.checkpointRecords,
    );
    this.counter = world.users.meet(this.name, loop.context.intake);
    this.world.checkers.final(this.name, chain, 1);
    loop.start();
    for (const { from, bytes } of handshake.early.splice(0)) loop.replay(from, bytes);
  }

  /** Messages of the handshake are spared: a job that does not start is started again. */
  private fate(): Fate {
    const { plan, faulty } = this.world;
    if (!faulty || this.loop === undefined) return {};
    const { random } = this;
    const { duplicateRate, corruptRate } = plan;
    return {
      ...(random.nextFloat() < duplicateRate && { againMs: random.nextFloat() * 300 }),
      ...(random.nextFloat() < corruptRate && { flippedBit: random.nextUint32() }),
    };
  }

  private onFinal(slot: number): void {
    const { world } = this;
    const chain = this.chain!;
    world.trace.add(
      `${this.name} final ${slot} ${chain.hash.slice(0, 8)} ${chain.effectsDigest.slice(0, 8)}`,
    );
    world.checkers.final(this.name, chain, world.plan.settings.checkpointRecords);
    this.checkpointer!.onFinal(slot);
  }

  private onAlert(code: string, message: string): void {
    this.alerts++;
    this.world.trace.add(`${this.name} alert ${code}`);
    // Faults excuse storage and lanes, and flipped bits a bad block; nothing excuses the unknown.
    if ((code === "BAD_BLOCK" && this.world.plan.corruptRate === 0) || code === "UNKNOWN")
      this.world.fail(new Violation("ALERT", `${this.name}: ${code}: ${message}`));
  }

  /** `withHost`: what its host had not synced may be lost too. */
  kill(withHost: boolean): void {
    if (!this.alive) return;
    this.alive = false;
    this.clock.kill();
    this.loop?.stop();
    if (withHost) this.world.disk.crashHost(this.name);
    else this.host.kill();
  }

  /** Nothing is under way here. */
  get idle(): boolean {
    if (this.loop === undefined) return false;
    const { transactions, own, core } = this.loop.context;
    return core.idle && transactions.waiting() + transactions.retrying() + own.inFlight === 0;
  }

  /** Slots of shared memory that nobody has given back; empty when all are free. */
  leaks(): string[] {
    return Object.entries(this.queues)
      .map(([name, { fifo }]) => ({ name, kept: fifo.slotCount - fifo.freeSlots() }))
      .filter(({ kept }) => kept > 0)
      .map(({ name, kept }) => `${kept} slots of ${name}`);
  }
}

/**
 * The rank handles what storage answers in handlers of promises. What one of them throws would be
 * an unhandled rejection, which ends a real rank; here it ends the run and says its seed.
 */
function guarded(storage: StorageService, fail: (error: unknown) => void): LedgerStorage {
  const guard = <T>(promise: Promise<T>): Promise<T> => {
    const original = promise.then.bind(promise);
    const safely = (handler: unknown) =>
      typeof handler !== "function"
        ? handler
        : (value: unknown) => {
            try {
              return handler(value);
            } catch (error) {
              fail(error);
            }
          };
    const then = (onValue: unknown, onError: unknown) =>
      original(safely(onValue) as never, safely(onError) as never);
    // biome-ignore lint/suspicious/noThenProperty: a promise has one; this is where its handlers are seen
    return Object.defineProperty(promise, "then", { value: then });
  };
  const append = storage.append.bind(storage);
  const child = storage.child.bind(storage);
  storage.append = (draft) => guard(append(draft));
  storage.child = (slot, prevHash) => guard(child(slot, prevHash));
  return storage;
}

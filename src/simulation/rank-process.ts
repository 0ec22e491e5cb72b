/**
 * One rank as a process of the simulation: the production rank on in-process twins, started as
 * `rank/start.ts` starts the real one, at the start of a job or as a replacement. It can die, with or
 * without its host, freeze, go deaf to a peer and lose its storage.
 */
import { toHex } from "../base/bytes.ts";
import { Random } from "../base/random.ts";
import { Checkpointer } from "../job/checkpointer.ts";
import type { Chain } from "../ledger/chain.ts";
import { type Genesis, parseGenesis } from "../ledger/genesis.ts";
import type { KeyPair } from "../ledger/keys.ts";
import { PROPOSAL_HEADER_BYTES, readProposalHeader } from "../ledger/proposal.ts";
import { UNRECORDED_ROUNDS_MAX } from "../limits.ts";
import type { MonitorEvent } from "../monitor/monitor-events.ts";
import { PollingWatch } from "../monitor/process-watch.ts";
import { BlockQueue } from "../queue/block-queue.ts";
import { TransactionQueue } from "../queue/transaction-queue.ts";
import { writeAs } from "../rank/author.ts";
import { KeyAuthority } from "../rank/authority.ts";
import type { RankSettings } from "../rank/context.ts";
import { decodePull, MESSAGE, PROPOSAL_HEADER_AT } from "../rank/envelope.ts";
import { type FormedEpoch, formEpoch } from "../rank/epoch.ts";
import { Handshake } from "../rank/handshake.ts";
import type { PoolQueues } from "../rank/inline-pool.ts";
import { RankLoop } from "../rank/loop.ts";
import { openTogether, replayLedger } from "../rank/opening.ts";
import { drawIdentity, type Identity, Roster } from "../rank/roster.ts";
import type { Session } from "../rank/session.ts";
import type { SimulatedDisk } from "../storage/simulated-disk.ts";
import type { SimulatedHost } from "../storage/simulated-host.ts";
import { type LedgerStorage, StorageService } from "../storage/storage-service.ts";
import type { Transport } from "../transport/transport.ts";
import type { Checkers } from "./checkers.ts";
import type { Faults } from "./faults.ts";
import { guarded } from "./guarded-storage.ts";
import type { Outage } from "./incidents.ts";
import type { Plan } from "./plan.ts";
import type { Presence, Span } from "./presence.ts";
import { seededKey } from "./seeded-keys.ts";
import { SlowPool } from "./slow-pool.ts";
import { type Fate, TappedTransport } from "./tapped-transport.ts";
import type { Timeline } from "./timeline.ts";
import { type Trace, Violation } from "./trace.ts";
import type { Counter, Users } from "./users.ts";
import { ProcessClock, type VirtualClock } from "./virtual-clock.ts";
import type { Ways } from "./ways.ts";

export const ROOT = "/ledger";
const START_TIMEOUT_MS = 20_000;
/** Of every process: time since boot, which tells it from a later one of the same pid. */
const START_TICKS = 1;

/** What all processes of a run share. */
export interface World {
  readonly plan: Plan;
  readonly clock: VirtualClock;
  readonly disk: SimulatedDisk;
  readonly trace: Trace;
  readonly timeline: Timeline;
  readonly faults: Faults;
  readonly checkers: Checkers;
  readonly users: Users;
  readonly ways: Ways;
  readonly presence: Presence;
  /** All processes there ever were; the place in it is the pid. */
  readonly processes: RankProcess[];
  readonly genesisBytes: Uint8Array;
  readonly ledgerKey: KeyPair;
  /** True while faults are let loose. */
  faulty: boolean;
  /** Ends the run: a promise was broken, or a bug ended a rank. The first one counts. */
  fail(error: unknown): void;
}

export interface ProcessEvents {
  /** It has a loop: members take part from now on, replacements ask to. */
  onStarted(process: RankProcess): void;
  /** It never came to that. */
  onStartFailed(process: RankProcess, error: unknown): void;
  onHalt(process: RankProcess, code: string, reason: string): void;
}

export class RankProcess {
  readonly name: string;
  /** Its number in the job. */
  readonly rank: number;
  readonly pid: number;
  readonly clock: ProcessClock;
  readonly skewMs: number;
  readonly host: SimulatedHost;
  readonly transport: Transport;
  readonly queues: PoolQueues;
  /** Epochs that it took part in, newest first. */
  readonly sessions: Session[] = [];
  /** It slept, or had no storage. */
  readonly absences: Span[] = [];
  /** Processes that it does not hear, and until when. */
  private readonly deafTo = new Map<number, number>();
  private readonly world: World;
  private readonly settings: RankSettings;
  private readonly events: ProcessEvents;
  private readonly random: Random;
  private readonly storage: LedgerStorage;
  private checkpointer: Checkpointer | undefined;
  /** It sent something, or could not: it slept, or was outside. */
  private spokeAt = 0;
  private outage: { until: number; how: Outage } = { until: 0, how: "EIO" };
  /** Who it is, and the epoch that it began in: what a twin takes over. */
  identity: Identity | undefined;
  formed: FormedEpoch | undefined;
  loop: RankLoop | undefined;
  chain: Chain | undefined;
  counter: Counter | undefined;
  alive = true;
  diedAt = Number.POSITIVE_INFINITY;
  sealed = false;
  alerts = 0;

  constructor(
    world: World,
    place: { job: number; transport: Transport; settings: RankSettings; twin?: boolean },
    events: ProcessEvents,
  ) {
    const { job, transport } = place;
    this.world = world;
    this.settings = place.settings;
    this.events = events;
    this.rank = transport.rank;
    this.pid = world.processes.push(this) - 1;
    this.name = `${job}.${this.rank}${place.twin ? "'" : ""}`;
    this.random = new Random(world.plan.seed, 1000 * job + this.rank + 7);
    this.skewMs = Math.round((2 * this.random.nextFloat() - 1) * world.plan.skewMsMax);
    this.clock = new ProcessClock(world.clock, this.skewMs);
    this.host = world.disk.host(this.name);
    const { slots } = world.plan;
    this.queues = {
      transactions: TransactionQueue.create({ slots: slots.transactions, arenaBytes: 256 << 10 }),
      outgoing: BlockQueue.create({ slots: slots.outgoing, arenaBytes: 256 << 10 }),
      incoming: BlockQueue.create({ slots: slots.incoming, arenaBytes: 2 << 20 }),
    };
    this.transport = new TappedTransport(transport, this.clock, {
      onSend: (bytes) => this.onSend(bytes),
      onReceive: (from, bytes) =>
        world.trace.add(`${job}.${from} -> ${this.name} type ${bytes[0]}, ${bytes.length} bytes`),
      onCollective: () => this.onCollective(),
      hears: (from) => world.clock.now() >= (this.deafTo.get(from) ?? 0),
      fate: () => this.fate(),
    });
    const { incoming } = this.queues;
    const service = new StorageService({
      ops: this.host,
      segmentRecords: place.settings.segmentRecords,
      now: () => this.clock.now(),
      onNotice: ({ code, message }) => this.onNotice(code, message),
      blocks: {
        block: (slot) => {
          const at = incoming.messageOffset(slot);
          return incoming.fifo.bytes.subarray(at, at + incoming.messageLength(slot));
        },
      },
    });
    this.storage = guarded(service, {
      name: this.name,
      checkers: world.checkers,
      ways: world.ways,
      fail: (error) => world.fail(error),
    });
  }

  start(): void {
    this.run().catch((error) => {
      if (this.alive) this.events.onStartFailed(this, error);
    });
  }

  private async run(): Promise<void> {
    const { world, transport, storage, clock } = this;
    const handshake = new Handshake(transport, START_TIMEOUT_MS);
    const incarnation = this.randomBytes(8);
    const directory = { directory: ROOT, incarnation: toHex(incarnation) };
    const opened = transport.spawned
      ? await storage.open(directory)
      : await openTogether({
          rank: this.rank,
          handshake,
          openFirst: () => storage.open({ ...directory, genesis: world.genesisBytes }),
          openNext: () => storage.open(directory),
        });
    const genesis = parseGenesis(opened.genesis, ROOT);
    const chain = await replayLedger(genesis, storage);
    this.chain = chain;
    const identity = await this.draw(incarnation, genesis);
    if (transport.spawned) {
      this.createLoop(chain, identity, new Roster()).join();
      return this.events.onStarted(this);
    }
    const formed = await formEpoch({
      transport,
      handshake,
      storage,
      chain,
      clock,
      entropy: { bytes: (count) => this.randomBytes(count) },
      identity,
      authority: new KeyAuthority(world.ledgerKey.privateKey, genesis.chainId),
      takeoverMs: world.plan.takeoverMs,
      onWait: (sentence) => world.trace.add(`${this.name} waits: ${sentence}`),
    });
    this.formed = formed;
    const loop = this.createLoop(chain, identity, formed.roster);
    loop.start(formed);
    for (const { from, bytes } of handshake.early.splice(0)) loop.replay(from, bytes);
    this.events.onStarted(this);
  }

  /**
   * Runs under the identity of another process, in the epoch that this one formed, with what storage
   * remembers and nothing else.
   */
  startAs(original: RankProcess): void {
    this.runAs(original).catch((error) => this.events.onStartFailed(this, error));
  }

  private async runAs({ identity, formed }: RankProcess): Promise<void> {
    const { world, storage } = this;
    if (identity === undefined || formed === undefined) throw new Error("it is in no epoch");
    const incarnation = toHex(identity.incarnation);
    const { genesis: bytes } = await storage.open({ directory: ROOT, incarnation });
    const genesis = parseGenesis(bytes, ROOT);
    const chain = await replayLedger(genesis, storage);
    this.chain = chain;
    this.identity = identity;
    await writeAs(storage, identity, {
      rank: this.rank,
      ledgerKey: world.ledgerKey.privateKey,
    });
    this.createLoop(chain, identity, formed.roster).start(formed);
    this.events.onStarted(this);
  }

  private randomBytes(count: number): Uint8Array {
    const bytes = new Uint8Array(count);
    this.random.fill(bytes);
    return bytes;
  }

  private async draw(incarnation: Uint8Array, { chainId }: Genesis): Promise<Identity> {
    const { world, rank, pid, transport, storage, random } = this;
    const ledgerKey = world.ledgerKey.privateKey;
    const identity = drawIdentity({
      incarnation,
      process: rank,
      host: transport.host,
      mark: { pid, startTicks: START_TICKS },
      chainId,
      ledgerKey,
      keys: { signing: seededKey("ed25519", random), box: seededKey("x25519", random) },
    });
    this.identity = identity;
    await writeAs(storage, identity, { rank, ledgerKey });
    if (!world.presence.drawn(toHex(incarnation), this))
      world.fail(new Violation("S10", `${this.name} is an incarnation that was there before`));
    return identity;
  }

  private createLoop(chain: Chain, identity: Identity, roster: Roster): RankLoop {
    const { world, clock, transport, storage, settings } = this;
    const { plan } = world;
    const pool = new SlowPool({
      queues: this.queues,
      clock,
      delayMs: () => this.random.nextFloat() * plan.poolDelayMsMax,
      checkThrows: () => {
        const throws = world.faulty && this.random.nextFloat() < plan.checkThrowsRate;
        if (throws) world.faults.happened("exception in a check");
        return throws;
      },
    });
    const watch = new PollingWatch({
      look: ({ pid }) => (world.processes[pid].alive ? "alive" : "gone"),
      after: (delayMs, callback) => clock.schedule(clock.now() + delayMs, callback),
      intervalMs: settings.monitoring.heartbeatMs,
    });
    const loop = new RankLoop({
      clock,
      transport,
      pool,
      storage,
      chain,
      settings,
      ...this.queues,
      roster,
      authority: new KeyAuthority(world.ledgerKey.privateKey, chain.chainId),
      identity,
      watch,
      redraw: () => this.draw(this.randomBytes(8), chain.genesis),
      command: ["rank"],
      events: {
        onFinal: (slot) => this.onFinal(slot),
        onHalt: (code, reason) => this.events.onHalt(this, code, reason),
        onAlert: ({ code, message }) => this.onAlert(code, message),
        onStatus: () => {},
        onEpoch: (session) => this.onEpoch(session),
        onMonitor: (event) => this.onMonitor(event),
        onSealed: () => {
          world.trace.add(`${this.name} sealed`);
          this.sealed = true;
        },
      },
    });
    this.loop = loop;
    this.checkpointer = new Checkpointer({ loop, storage, chain }, settings);
    this.counter = world.users.meet(this.name, loop.intake, {
      epoch: () => this.epoch ?? "",
      wall: () => clock.wall(),
    });
    world.checkers.final(this.name, chain, 1);
    return loop;
  }

  /** The epoch that it takes part in, hex; undefined while it is outside. */
  get epoch(): string | undefined {
    const session = this.loop?.context?.session;
    return session && toHex(session.epoch);
  }

  /** As whom it takes part, hex. */
  get incarnation(): string | undefined {
    const session = this.loop?.context?.session;
    return session && toHex(session.incarnation);
  }

  private onSend(bytes: Uint8Array): void {
    this.spokeAt = this.world.clock.now();
    const { checkers, timeline } = this.world;
    checkers.sent(this.name, this.sessions, bytes);
    if (bytes[0] === MESSAGE.pull) this.notePull(bytes);
    if (bytes[0] !== MESSAGE.proposal || bytes.length < PROPOSAL_HEADER_AT + PROPOSAL_HEADER_BYTES)
      return;
    const { round, incarnation } = readProposalHeader(bytes, PROPOSAL_HEADER_AT);
    if (toHex(incarnation) === this.incarnation) timeline.proposed(this.name, round);
  }

  private notePull(bytes: Uint8Array): void {
    const [session] = this.sessions;
    const body = session?.seal.unwrap(bytes);
    const pull = body && decodePull(body, session.ranks);
    if (pull?.vote) this.world.ways.took("vote pulled");
    if (pull !== undefined && pull.bodies.length > 0) this.world.ways.took("body pulled");
  }

  /** Messages of the handshake are spared: a job that does not start is started again. */
  private fate(): Fate {
    const { plan, faulty } = this.world;
    if (!faulty || this.loop === undefined) return {};
    const { random } = this;
    const { faults } = this.world;
    const isTwice = random.nextFloat() < plan.duplicateRate;
    const againMs = isTwice ? random.nextFloat() * 300 : undefined;
    const isFlipped = random.nextFloat() < plan.corruptRate;
    const flippedBit = isFlipped ? random.nextUint32() : undefined;
    if (isTwice) faults.happened("message twice");
    if (isFlipped) faults.happened("message damaged");
    return { againMs, flippedBit };
  }

  private onEpoch(session: Session): void {
    const { world } = this;
    const epoch = toHex(session.epoch);
    const former = this.sessions[0];
    const incarnation = toHex(session.incarnation);
    world.trace.add(
      `${this.name} is member ${session.self} of ${session.ranks} in ${epoch.slice(0, 8)}`,
    );
    world.timeline.note(
      `${this.name} is member ${session.self} of ${session.ranks} in ${epoch.slice(0, 8)}`,
    );
    world.presence.entered(incarnation, epoch, world.clock.now());
    if (former === undefined && this.transport.spawned) world.ways.took("spawn");
    if (former !== undefined && toHex(former.incarnation) !== incarnation)
      world.ways.took("rejoin");
    this.sessions.unshift(session);
    this.spokeAt = world.clock.now();
  }

  /** Counted once an epoch, where its lanes are not those that the job began with. */
  private onCollective(): void {
    if (this.sessions.length < 2 || this.lanesOf === this.sessions[0]) return;
    this.lanesOf = this.sessions[0];
    this.world.ways.took("lanes again");
  }
  private lanesOf: Session | undefined;

  private onMonitor({ kind, text }: MonitorEvent): void {
    const { trace, timeline, ways } = this.world;
    trace.add(`${this.name} ${kind}: ${text}`);
    timeline.note(`${this.name} ${kind}: ${text}`);
    if (kind === "absolved" || kind === "minority") ways.took(kind);
  }

  private onFinal(slot: number): void {
    const { world } = this;
    const chain = this.chain!;
    world.trace.add(
      `${this.name} final ${slot} ${chain.hash.slice(0, 8)} ${chain.effectsDigest.slice(0, 8)}`,
    );
    world.timeline.final(this.name, slot);
    world.checkers.final(this.name, chain, this.settings.checkpointRecords);
    this.checkpointer!.onFinal(slot);
  }

  private onAlert(code: string, message: string): void {
    this.alerts++;
    this.world.trace.add(`${this.name} alert ${code}: ${message.split("\n")[0]}`);
    if (code.startsWith("SPAWN_")) this.world.ways.took("spawn failed");
    // Faults excuse storage and lanes, and flipped bits a bad block; nothing excuses the unknown.
    if ((code === "BAD_BLOCK" && this.world.plan.corruptRate === 0) || code === "UNKNOWN")
      this.world.fail(new Violation("ALERT", `${this.name}: ${code}: ${message}`));
  }

  private onNotice(code: string, message: string): void {
    this.world.trace.add(`${this.name} notice ${code}: ${message.split("\n")[0]}`);
    if (code === "STORAGE_REPAIRED") this.world.ways.took("record mended");
  }

  /** `withHost`: what its host had not synced may be lost too. */
  kill(withHost: boolean): void {
    if (!this.alive) return;
    this.alive = false;
    this.diedAt = this.world.clock.now();
    this.clock.kill();
    this.loop?.stop();
    if (withHost) this.world.disk.crashHost(this.name);
    else this.host.kill();
  }

  freeze(forMs: number): void {
    this.clock.freeze(forMs);
    this.spokeAt = Math.max(this.spokeAt, this.world.clock.now() + forMs);
    this.away(forMs);
  }

  /** Hears nothing that `from` sends for so long. */
  deafen(from: number, forMs: number): void {
    this.deafTo.set(from, this.world.clock.now() + forMs);
  }

  loseStorage(forMs: number, how: Outage): void {
    this.outage = { until: this.world.clock.now() + forMs, how };
    this.away(forMs);
  }

  /** How storage is away for this process now, and for how long still. */
  get storageAway(): { how: Outage; forMs: number } | undefined {
    const { until, how } = this.outage;
    const forMs = until - this.world.clock.now();
    return this.world.faulty && forMs > 0 ? { how, forMs } : undefined;
  }

  private away(forMs: number): void {
    const from = this.world.clock.now();
    this.absences.push({ from, to: from + forMs });
  }

  /** Hears everybody again. */
  healEars(): void {
    this.deafTo.clear();
  }

  /** Takes part, and nothing is under way here. */
  get idle(): boolean {
    return this.loop?.idle === true;
  }

  /**
   * L3: whatever its storage and its lanes do, a member that is awake goes on speaking. Answers for how
   * long it has not, in virtual ms.
   */
  get silentMs(): number {
    const others = this.loop?.context?.session.others.length ?? 0;
    return others === 0 ? 0 : this.world.clock.now() - this.spokeAt;
  }

  /** Rounds open or closed that no record settles yet. */
  get unsettled(): number {
    return this.loop?.context?.core.unsettled ?? 0;
  }

  /** W rounds are in no record: nobody here opens another one. */
  get atLimit(): boolean {
    return this.unsettled >= UNRECORDED_ROUNDS_MAX;
  }

  /** Slots of shared memory that nobody has given back; empty when all are free. */
  leaks(): string[] {
    return Object.entries(this.queues)
      .map(([name, { fifo }]) => ({ name, kept: fifo.slotCount - fifo.freeSlots() }))
      .filter(({ kept }) => kept > 0)
      .map(({ name, kept }) => `${kept} slots of ${name}`);
  }
}

/**
 * From nothing to a running rank: opens the ledger directory, replays it, forms the epoch and
 * starts the loop. The order matters: rank 0 makes the ledger before the others look for it.
 */
import { type KeyObject, randomBytes } from "node:crypto";
import { availableParallelism } from "node:os";
import { resolve } from "node:path";
import { toHex } from "../base/bytes.ts";
import { kernels } from "../base/kernels.ts";
import type { RankConfig } from "../config.ts";
import type { Chain } from "../ledger/chain.ts";
import { createGenesis, type Genesis, parseGenesis } from "../ledger/genesis.ts";
import { generateSigningKey, signMessage } from "../ledger/keys.ts";
import { createLedgerKeyFile, ledgerKeyPath, loadLedgerKey } from "../ledger/ledger-key.ts";
import { BLOCK_TXNS_MAX, MESSAGE_BYTES_MAX, RECORD_BYTES_MAX } from "../limits.ts";
import { openProcWatch, ownProcess } from "../monitor/proc-watch.ts";
import { BlockQueue } from "../queue/block-queue.ts";
import { TransactionQueue } from "../queue/transaction-queue.ts";
import { NodeFileOps } from "../storage/node-file-ops.ts";
import { preflight } from "../storage/preflight.ts";
import { reserveBytesFor } from "../storage/reserve.ts";
import type { LedgerStorage, Opened } from "../storage/storage-service.ts";
import { openMpiTransport } from "../transport/mpi.ts";
import type { Transport } from "../transport/transport.ts";
import { proofMessage } from "../validator/wire.ts";
import { writeAs } from "./author.ts";
import { KeyAuthority, ValidatorAuthority } from "./authority.ts";
import {
  DEFAULT_SETTINGS,
  proposalBlocksMax,
  type RankEvents,
  type RankSettings,
  scaledTiming,
} from "./context.ts";
import { formEpoch } from "./epoch.ts";
import { concerns, FaultyPool, parseFault } from "./fault-injection.ts";
import { Handshake } from "./handshake.ts";
import { PROPOSAL_LANES } from "./lanes.ts";
import { RankLoop } from "./loop.ts";
import { openTogether, replayLedger } from "./opening.ts";
import type { Clock } from "./ports.ts";
import { type Drawn, drawIdentity, type Identity, Roster, requestIdentity } from "./roster.ts";
import { TimedStages } from "./stage-clock.ts";
import { ThreadPool } from "./thread-pool.ts";
import { WriterThread } from "./writer-thread.ts";

export const START_TIMEOUT_MS = 120_000;
const VOTE_LANES = 4;

export const REAL_CLOCK: Clock = {
  now: () => performance.now(),
  wall: () => performance.timeOrigin + performance.now(),
  schedule(at, callback) {
    const timer = setTimeout(callback, Math.max(0, at - performance.now()));
    return () => clearTimeout(timer);
  },
};

export interface RunningRank {
  readonly loop: RankLoop;
  readonly transport: Transport;
  readonly storage: WriterThread;
  readonly pool: ThreadPool;
  readonly chain: Chain;
  readonly opened: Opened;
  readonly settings: RankSettings;
}

export interface StartHooks {
  readonly events: RankEvents;
  /** The loop is made and takes part from now on: its events may come at once. */
  onLoop(rank: RunningRank): void;
  /** A worker died or the addon failed: the rank ends. */
  onFailure(error: unknown): void;
  /** A sentence for whoever waits; only rank 0 says it. */
  onWait(sentence: string): void;
}

export function openTransport(): Promise<Transport> {
  return openMpiTransport({
    lanes: VOTE_LANES + PROPOSAL_LANES,
    arenaBytes: 4 * MESSAGE_BYTES_MAX,
    messageBytesMax: MESSAGE_BYTES_MAX,
  });
}

export async function startRank(
  config: RankConfig,
  transport: Transport,
  hooks: StartHooks,
): Promise<RunningRank> {
  const handshake = new Handshake(transport, START_TIMEOUT_MS);
  const queues = createQueues(transport.size);
  const storage = new WriterThread(
    queues.incoming,
    hooks.onFailure,
    (notice) => hooks.events.onAlert(notice),
    { validator: config.validator && resolve(config.validator), sync: config.sync },
  );
  const incarnation = new Uint8Array(randomBytes(8));
  const directory = {
    directory: config.ledger,
    incarnation: toHex(incarnation),
    force: config.force,
    reserveBytes: reserveBytesFor(transport.size),
  };
  const opened = transport.spawned
    ? await storage.open(directory)
    : await openTogether({
        rank: transport.rank,
        handshake,
        openFirst: () => openOrCreate(config, storage, directory),
        openNext: () => storage.open(directory),
      });
  const genesis = parseGenesis(opened.genesis, `${config.ledger}/genesis`);
  const ledgerKey = config.validator === undefined ? loadKey(config, genesis) : undefined;
  const authority =
    ledgerKey === undefined
      ? new ValidatorAuthority(storage)
      : new KeyAuthority(ledgerKey, genesis.chainId);
  const chain = await replayLedger(genesis, storage);
  const draw = async (drawn: Uint8Array): Promise<Identity> => {
    const { chainId } = genesis;
    const { rank, host } = transport;
    const place = { incarnation: drawn, process: rank, host, mark: ownProcess(), chainId };
    const identity =
      ledgerKey === undefined
        ? await askIdentity(storage, place)
        : drawIdentity({ ...place, ledgerKey });
    await writeAs(storage, identity, { rank, ledgerKey });
    return identity;
  };
  const identity = await draw(incarnation);
  const pool = new ThreadPool(queues, poolOptions(config, transport.ranksOnHost.length));
  const settings = rankSettings(config, queues.incoming, transport);
  const fault = config.fault === undefined ? undefined : parseFault(config.fault);
  const faulty = fault !== undefined && concerns(fault, transport.rank);
  const createLoop = (roster: Roster) =>
    new RankLoop({
      clock: REAL_CLOCK,
      transport,
      pool: faulty ? new FaultyPool(pool, fault) : pool,
      storage,
      chain,
      settings,
      ...queues,
      events: hooks.events,
      roster,
      authority,
      identity,
      ...(config.breakdown && { stages: new TimedStages(() => kernels.threadTime()) }),
      watch: openProcWatch(),
      redraw: () => draw(new Uint8Array(randomBytes(8))),
      command: [process.execPath, ...process.execArgv, ...process.argv.slice(1)],
    });
  let loop: RankLoop;
  if (transport.spawned) {
    pool.start(hooks.onFailure);
    loop = createLoop(new Roster());
    hooks.onLoop({ loop, transport, storage, pool, chain, opened, settings });
    loop.join();
  } else {
    const formed = await formEpoch({
      transport,
      handshake,
      storage,
      chain,
      clock: REAL_CLOCK,
      entropy: { bytes: (length) => new Uint8Array(randomBytes(length)) },
      identity,
      authority,
      takeoverMs: config.takeoverMs,
      onWait: hooks.onWait,
    });
    pool.start(hooks.onFailure);
    loop = createLoop(formed.roster);
    hooks.onLoop({ loop, transport, storage, pool, chain, opened, settings });
    loop.start(formed);
    for (const { from, bytes } of handshake.early.splice(0)) loop.replay(from, bytes);
  }
  return { loop, transport, storage, pool, chain, opened, settings };
}

function loadKey(config: RankConfig, genesis: Genesis): KeyObject {
  const path = config.ledgerKey ?? ledgerKeyPath(genesis.chainId, process.env);
  return loadLedgerKey(path, genesis.ledgerKey);
}

/** The validator certifies whoever shows that it has the key. */
function askIdentity(storage: WriterThread, place: Drawn): Promise<Identity> {
  return requestIdentity({
    ...place,
    certify: async (member, { privateKey }) => {
      const proof = signMessage(privateKey, proofMessage(place.chainId, member));
      return (await storage.certify([{ ...member, proof }]))[0];
    },
  });
}

/** Untouched memory of a shared buffer costs nothing: sizes are bounds, not what is used. */
function createQueues(ranks: number) {
  const incomingBytes = ranks > 8 ? 64 << 20 : 256 << 20;
  return {
    transactions: TransactionQueue.create({ slots: 1 << 17, arenaBytes: 128 << 20 }),
    outgoing: BlockQueue.create({ slots: 8192, arenaBytes: 64 << 20 }),
    incoming: BlockQueue.create({ slots: 1 << 16, arenaBytes: incomingBytes }),
  };
}

/**
 * Threads follow the cores that this rank has for itself. Below one core a rank keeps one worker of
 * each kind for large work and does the small inline.
 */
function poolOptions(config: RankConfig, ranksOnHost: number) {
  const cores = availableParallelism() / ranksOnHost;
  const workers = Math.max(1, Math.floor(cores / 2));
  return {
    transactionWorkers: config.transactionWorkers ?? 1,
    blockWorkers: config.blockWorkers ?? workers,
    inlineTransactionsMax: config.inlineTransactions ?? (cores < 2 ? BLOCK_TXNS_MAX : 64),
  };
}

function rankSettings(
  config: RankConfig,
  incoming: BlockQueue,
  transport: Transport,
): RankSettings {
  const arenaBytes = incoming.fifo.bytes.length;
  const ranks = transport.size;
  const ranksPerCore = transport.ranksOnHost.length / availableParallelism();
  return {
    ...DEFAULT_SETTINGS,
    blockTransactions: config.blockTransactions,
    blockDelayMs: config.blockDelayMs,
    roundIntervalMs: config.roundIntervalMs,
    pipelineDepth: config.pipelineDepth,
    checkpointRecords: config.checkpointRecords,
    lanes: VOTE_LANES,
    gatherFrom: config.gatherFrom,
    gatherBytes: config.gatherBytes,
    proposalBlocksMax: proposalBlocksMax(ranks, config.blockTransactions),
    // Sixteen open rounds of every rank fit the incoming queue, and one round fits a record.
    proposalBytesMax: Math.min(
      2 << 20,
      Math.floor(arenaBytes / (16 * ranks)),
      Math.floor(RECORD_BYTES_MAX / 2 / ranks),
    ),
    timing: { ...scaledTiming({ ranksPerCore, ranks }), takeoverMs: config.takeoverMs },
    monitoring: {
      ...DEFAULT_SETTINGS.monitoring,
      heartbeatMs: config.heartbeatMs,
      suspectMs: config.suspectMs,
      evictMs: config.evictMs,
      scale: Math.max(1, ranksPerCore),
    },
    storageOn: config.storageOn,
    heal: config.heal,
    healAfterMs: config.healAfterMs,
    propagate: config.propagate,
    ranksWanted: transport.size,
  };
}

async function openOrCreate(
  config: RankConfig,
  storage: LedgerStorage,
  options: { directory: string; incarnation: string; force: boolean },
): Promise<Opened> {
  // Nobody but its validator makes or writes such a ledger.
  if (config.validator !== undefined) return storage.open(options);
  const unique = `${options.incarnation}-0`;
  const place = await preflight(new NodeFileOps(), resolve(config.ledger), { ...options, unique });
  if (place.isLedger || !config.create) return storage.open(options);
  const ledgerKey = generateSigningKey();
  const { genesis, bytes } = createGenesis(
    {
      created: Date.now(),
      nonce: new Uint8Array(randomBytes(16)),
      difficulty: config.difficulty,
      storageDifficulty: config.storageDifficulty,
      blockTransactionsMax: BLOCK_TXNS_MAX,
      supply: config.supply,
      quorum: config.quorum,
    },
    ledgerKey,
  );
  // The key first: a ledger without its key could never be written to.
  const path = config.ledgerKey ?? ledgerKeyPath(genesis.chainId, process.env);
  createLedgerKeyFile(path, ledgerKey.privateKey);
  return storage.open({ ...options, genesis: bytes });
}

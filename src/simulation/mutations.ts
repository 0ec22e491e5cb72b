/**
 * Deliberate bugs: a checker that cannot fail proves nothing. Each changes the production objects of
 * running ranks from outside, or what the disk does, and must be found by a checker that is named
 * here, within some seeds. `baash simulate --mutations` prints the table, a test holds it.
 */
import { Random } from "../base/random.ts";
import { ANSWER, type Decided, type ProposalName, type Vote } from "../consensus/effects.ts";
import { voteDigest } from "../consensus/vote.ts";
import { recordHash } from "../ledger/record.ts";
import { Remembered } from "../ledger/remembered.ts";
import type { ReceiptBatch } from "../ledger/service.ts";
import { encodeVote, MESSAGE } from "../rank/envelope.ts";
import type { Performer } from "../rank/perform.ts";
import type { DiskStep } from "../storage/simulated-disk.ts";
import type { Judge } from "../storage/storage-context.ts";
import type { ClusterOptions } from "./cluster.ts";
import type { Plan, Scenario } from "./plan.ts";
import type { RankProcess } from "./rank-process.ts";

export interface Mutation {
  readonly bug: string;
  /** Rules one of which must be found broken. */
  readonly rules: readonly string[];
  /** Family of faults, "calm" if there is none: some bugs need a fault to show. */
  readonly faults?: Scenario;
  readonly ranks?: number;
  /** All ranks have the bug; else one of them. */
  readonly everywhere?: boolean;
  /** A process exists and has not started. */
  readonly prepare?: (process: RankProcess) => void;
  /** A rank has its loop. */
  readonly mutate?: (process: RankProcess) => void;
  /** Steps on the disk that report success and do nothing. */
  readonly skips?: (step: DiskStep) => boolean;
  readonly change?: (plan: Plan) => Plan;
}

/** What is private in production and changed here. */
type Open = Record<string, (...args: never[]) => unknown>;
const open = (object: object) => object as Open;

const performerOf = ({ loop }: RankProcess) =>
  (loop as unknown as { epoch: { performer: Performer } }).epoch.performer;

interface Quorums {
  ranks: number;
  winVotes: number;
  answersMin: number;
}
const quorumsOf = ({ loop }: RankProcess) =>
  (loop!.context!.core as unknown as { epoch: Quorums }).epoch;

interface OpenStorage {
  ledger: { log: { context: { judge: Judge } } };
  open(...args: unknown[]): Promise<unknown>;
}

/** Receipts come before the rank says that it is done with a record: S11 would be first. */
const tellNobody = ({ loop }: RankProcess) => {
  loop!.intake.deliver = () => {};
};

const inTail = (path: string) => /\/log\/\d+$/.test(path);

export const MUTATIONS: readonly Mutation[] = [
  {
    bug: "half of the members win",
    rules: ["S4"],
    ...{ faults: "network", ranks: 4, everywhere: true },
    mutate: (process) => {
      const quorums = quorumsOf(process);
      quorums.winVotes = Math.floor(quorums.ranks / 2);
    },
  },
  {
    bug: "one vote wins",
    rules: ["S4"],
    ...{ faults: "network", everywhere: true },
    mutate: (process) => {
      quorumsOf(process).winVotes = 1;
    },
  },
  {
    bug: "answers are counted instead of members",
    rules: ["S4"],
    ...{ faults: "split", ranks: 5, everywhere: true },
    mutate: (process) => {
      const quorums = quorumsOf(process);
      const heard = () => quorums.ranks - process.loop!.suspects.length;
      Object.defineProperty(quorums, "winVotes", { get: () => Math.floor(heard() / 2) + 1 });
      Object.defineProperty(quorums, "answersMin", { get: () => Math.ceil(heard() / 2) });
    },
  },
  {
    bug: "STORAGE with fewer than R answers",
    rules: ["S4"],
    ...{ faults: "partition", ranks: 5, everywhere: true },
    change: (plan) => ({ ...plan, settings: { ...plan.settings, storageOn: "no-majority" } }),
    mutate: (process) => {
      quorumsOf(process).answersMin = 1;
    },
  },
  {
    bug: "a SEAL by fewer than R without an INTENT",
    rules: ["S4"],
    ...{ faults: "split", ranks: 5, everywhere: true },
    mutate: (process) => {
      quorumsOf(process).answersMin = 1;
    },
  },
  {
    bug: "the fsync of a record is skipped",
    rules: ["S12", "S2"],
    skips: ({ step, path }) => step === "syncFile" && path.includes("/log/"),
  },
  {
    bug: "the fsync of a segment's directory is skipped",
    rules: ["S2", "S11"],
    skips: ({ step, path }) => step === "syncDirectory" && inTail(path),
  },
  {
    bug: "the fsync of log/ is skipped",
    rules: ["S2", "S11"],
    skips: ({ step, path }) => step === "syncDirectory" && path.endsWith("/log"),
  },
  {
    bug: "the fsync of a folded segment is skipped",
    rules: ["S3"],
    skips: ({ step, path }) => step === "syncFile" && path.includes("/segments/"),
  },
  {
    bug: "the fsync of segments/ is skipped",
    rules: ["S3"],
    skips: ({ step, path }) => step === "syncDirectory" && path.endsWith("/segments"),
  },
  {
    bug: "a child is linked before the sync of its parent has returned",
    rules: ["S2", "S11"],
    everywhere: true,
    mutate: ({ host }) => {
      const sync = host.syncDirectory.bind(host);
      host.syncDirectory = async (path) => {
        if (inTail(path)) void sync(path).catch(() => {});
        else await sync(path);
      };
    },
  },
  {
    bug: "the parent is left out of a record's name",
    rules: ["S2", "S11"],
    everywhere: true,
    prepare: ({ host }) => {
      const without = (path: string) =>
        path.replace(/(\/\d{10}\.)[0-9a-f]{64}$/, `$1${"0".repeat(64)}`);
      const { link, readFile, status, syncFile, holds } = host;
      host.link = (from, to) => link.call(host, from, without(to));
      host.readFile = (path) => readFile.call(host, without(path));
      host.status = (path) => status.call(host, without(path));
      host.syncFile = (path) => syncFile.call(host, without(path));
      host.holds = (path, parts) => holds.call(host, without(path), parts);
    },
  },
  {
    bug: "folding deletes before it renames",
    rules: ["S1"],
    everywhere: true,
    mutate: ({ host }) => {
      const rename = host.rename.bind(host);
      host.rename = async (from, to) => {
        if (inTail(from))
          for (const name of await host.readDirectory(from)) await host.unlink(`${from}/${name}`);
        await rename(from, to);
      };
    },
  },
  {
    bug: "an incarnation is used again after a restart",
    rules: ["S10"],
    faults: "job-crash",
    everywhere: true,
    prepare: (process) => {
      Object.defineProperty(process, "random", { value: new Random(1, process.rank) });
    },
  },
  {
    bug: "a vote after freezing",
    rules: ["S5"],
    ...{ faults: "rejoin", everywhere: true },
    mutate: ({ loop }) => {
      open(loop!.context!.core).freeze = () => {};
    },
  },
  {
    bug: "a second vote in a round",
    rules: ["S5"],
    mutate: (process) => {
      const performer = open(performerOf(process));
      const vote = performer.vote.bind(performer) as (vote: Vote) => void;
      performer.vote = ((first: Vote) => {
        vote(first);
        const answers = first.answers.slice();
        answers[0] = answers[0] === ANSWER.none ? ANSWER.yes : ANSWER.none;
        const hashes = first.hashes!.map((hash) => hash || "ab".repeat(32));
        const digest = voteDigest(first.round, answers, hashes);
        const second = { ...first, answers, digest, hashes };
        performerOf(process).send([0], MESSAGE.vote, encodeVote(second, true));
      }) as never;
    },
  },
  {
    bug: "a vote under an incarnation that no SEAL lets in",
    rules: ["S10"],
    mutate: ({ loop }) => {
      loop!.context!.session.incarnation[0] ^= 1;
    },
  },
  {
    bug: "DECIDED is believed",
    rules: ["S7", "S8", "S1", "CRASH"],
    ...{ faults: "network", everywhere: true },
    mutate: ({ loop }) => {
      const core = loop!.context!.core as unknown as {
        settledRound: number;
        rounds: Map<number, { won(): ProposalName[]; holds(name: ProposalName): boolean }>;
        explain(decided: Decided): unknown;
      };
      core.explain = ({ kind, firstRound, lastRound }) => {
        if (kind === "NOOP") return [];
        if (kind !== "QUORUM" || firstRound !== core.settledRound + 1) return undefined;
        const rounds: { round: number; included: ProposalName[] }[] = [];
        for (let number = firstRound; number <= lastRound; number++) {
          const round = core.rounds.get(number);
          if (round === undefined) return undefined;
          const included = round.won();
          if (!included.every((name) => round.holds(name))) return undefined;
          rounds.push({ round: number, included });
        }
        return rounds;
      };
    },
  },
  {
    bug: "outcomes are told out of order",
    rules: ["S11", "S13"],
    mutate: ({ loop }) => {
      const { intake } = loop!;
      const deliver = intake.deliver.bind(intake);
      intake.deliver = (owner: number, batch: ReceiptBatch) => {
        const outcomes = batch.outcomes.slice(0, batch.count).reverse();
        deliver(owner, { ...batch, outcomes });
      };
    },
  },
  {
    bug: "final is told when it is only agreed",
    rules: ["S11"],
    mutate: ({ loop }) => {
      const { intake } = loop!;
      const deliver = intake.deliver.bind(intake);
      intake.deliver = (owner: number, batch: ReceiptBatch) =>
        deliver(owner, { ...batch, level: "final" });
    },
  },
  {
    bug: "the window of duplicates is forgotten at a restart",
    rules: ["S7", "S11"],
    ...{ faults: "job-crash", everywhere: true },
    mutate: ({ chain }) => {
      const remembered = rememberedOf(() => chain!.state.remembers(0, 0));
      remembered.heads.fill(0);
      remembered.rounds.fill(0);
      Object.assign(remembered, { count: 0, free: 0, end: 1 });
    },
  },
  {
    bug: "blocks are executed in another order",
    rules: ["S7"],
    mutate: (process) => {
      const { execution } = performerOf(process);
      const execute = execution.execute.bind(execution);
      execution.execute = (round, order) => execute(round, [...order].reverse());
    },
  },
  {
    bug: "the blocks of a round are left out",
    // What is told of its transactions, or an assertion of the chain, may be first.
    rules: ["S8", "S11", "CRASH"],
    mutate: ({ chain }) => {
      const execute = chain!.executeBlocks.bind(chain);
      let calls = 0;
      chain!.executeBlocks = (...args) => {
        if (++calls !== 3) execute(...args);
      };
    },
  },
  {
    bug: "money is made",
    rules: ["S7"],
    mutate: ({ chain }) => {
      const { state } = chain!;
      const total = state.total.bind(state);
      state.total = () => total() + 1;
    },
  },
  {
    bug: "a directory is never synced",
    rules: ["S2"],
    mutate: (process) => {
      tellNobody(process);
      process.host.syncDirectory = async () => {};
    },
  },
  {
    bug: "a link that never was",
    rules: ["S1", "S2"],
    mutate: (process) => {
      tellNobody(process);
      open(process.loop!.shared.storage).append = (async () => ({
        ...{ won: true, hash: new Uint8Array(32).fill(7), bytes: 1 },
      })) as never;
    },
  },
  {
    bug: "damage is not noticed",
    rules: ["S12"],
    ...{ faults: "bit-rot", everywhere: true },
    // A job that starts reads what has rotted.
    change: (plan) => ({
      ...plan,
      incidents: [
        ...[0, 1, 2, 3].map((k) => ({ kind: "bit-rot", atMs: 600, back: k, bit: 9999 }) as const),
        { kind: "job-crash", atMs: 610, power: false },
      ],
    }),
    prepare: (process) => {
      const { storage } = process as unknown as { storage: OpenStorage };
      const openLedger = storage.open.bind(storage);
      storage.open = async (...args) => {
        const opened = await openLedger(...args);
        storage.ledger.log.context.judge = (bytes) => ({ intact: true, hash: recordHash(bytes) });
        return opened;
      };
    },
  },
  {
    bug: "a SEAL is passed over",
    rules: ["S9"],
    faults: "eviction",
    mutate: ({ chain }) => {
      chain!.install = () => {};
    },
  },
  {
    bug: "a newcomer does not wait for an answer",
    rules: ["S11", "S9"],
    ...{ faults: "second-job", ranks: 3 },
    change: (plan) => ({ ...plan, takeoverMs: 0 }),
  },
  {
    bug: "nobody refutes the INTENT of a minority",
    rules: ["S11"],
    ...{ faults: "split", ranks: 5, everywhere: true },
    // Everybody alone for long, and nobody submits anything: no record follows by itself.
    change: (plan) => ({
      ...{ ...plan, loadIntervalMs: 1e6, loadUntilMs: 8000, faultsUntilMs: 8000 },
      incidents: [{ kind: "shatter", atMs: 1000, parts: 5, forMs: 7000 }],
    }),
    mutate: ({ loop }) => {
      Object.defineProperty(loop!.context!.core, "refutesHead", { get: () => false });
    },
  },
  {
    bug: "the dead are never evicted",
    rules: ["L2"],
    ...{ faults: "eviction", everywhere: true },
    mutate: ({ loop }) => {
      open(loop!.context!.core).onChange = () => {};
    },
  },
  {
    bug: "a rank that is awake says nothing",
    rules: ["L3"],
    mutate: ({ transport }) => {
      for (const name of ["send", "sendMany", "allgather"] as const) transport[name] = () => {};
    },
  },
  {
    bug: "evidence is written against the honest",
    rules: ["S14"],
    mutate: ({ loop }) => {
      void loop!.shared.storage.storeEvidence("0.proof", new Uint8Array(8)).catch(() => {});
    },
  },
  {
    bug: "a receipt never comes",
    rules: ["L2"],
    mutate: tellNobody,
  },
  {
    bug: "blocks are not given back",
    rules: ["QUEUE"],
    mutate: ({ loop }) => {
      const { proposals } = loop!.context!;
      const { rounds } = proposals as unknown as { rounds: Map<number, unknown> };
      let forgotten = 0;
      const forget = proposals.forget.bind(proposals);
      proposals.forget = (round) => {
        if (++forgotten === 5) rounds.delete(round);
        forget(round);
      };
    },
  },
  {
    bug: "an assertion fails",
    rules: ["CRASH"],
    mutate: (process) => {
      open(performerOf(process)).finalize = (() => {
        throw new Error("a broken assertion");
      }) as never;
    },
  },
];

/** The table that `ask` looks at: production has it private. */
function rememberedOf(ask: () => void): Remembered {
  const { find } = Remembered.prototype;
  let found: Remembered | undefined;
  Remembered.prototype.find = function (this: Remembered, ...args) {
    found = this;
    return find.apply(this, args);
  };
  ask();
  Remembered.prototype.find = find;
  return found!;
}

/** What a run with the bug in it is started with. */
export function withBug(mutation: Mutation): ClusterOptions {
  const { prepare, mutate, skips, everywhere = false } = mutation;
  const has = ({ rank }: RankProcess) => everywhere || rank === 1;
  return {
    onProcess: (process) => {
      if (has(process)) prepare?.(process);
    },
    onRank: (process) => {
      if (has(process)) mutate?.(process);
    },
    diskFault: (step) => (skips?.(step) ? { lies: true } : undefined),
  };
}

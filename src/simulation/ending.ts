/**
 * The questions that only the end of a run can answer: whether everything came to an end in peace,
 * whether what was agreed is in, whether the job closes its ledger, and what a fresh reader finds
 * after power was lost once more.
 */
import { equalBytes, fromHex } from "../base/bytes.ts";
import type { Genesis } from "../ledger/genesis.ts";
import { replayLedger } from "../rank/opening.ts";
import { StorageService } from "../storage/storage-service.ts";
import type { SimulatedJob } from "./job.ts";
import { sealsMax } from "./plan.ts";
import { type RankProcess, ROOT, type World } from "./rank-process.ts";
import { Violation } from "./trace.ts";
import { turn } from "./virtual-clock.ts";

/** Peace for so long, in virtual time, must be enough for everything to come to an end … */
const LIVENESS_MS = 60_000;
/** … and for replacements that were lost on the way to be missed and started again. */
const HEALING_MS = 120_000;

export class Ending {
  private readonly world: World;
  private readonly genesis: Genesis;
  /** Files in which a bit has turned, and what they held. */
  private readonly rotten: ReadonlyMap<string, Uint8Array>;

  constructor(world: World, run: { genesis: Genesis; rotten: ReadonlyMap<string, Uint8Array> }) {
    this.world = world;
    this.genesis = run.genesis;
    this.rotten = run.rotten;
  }

  get patienceMs(): number {
    return this.heals ? HEALING_MS : LIVENESS_MS;
  }

  private get heals(): boolean {
    return this.world.plan.settings.heal === "spawn";
  }

  // In peace: L1, L2, L4, L5, and healing.

  /** Undefined once everything has come to an end; else what has not. */
  unsettled(job: SimulatedJob, newcomers: readonly SimulatedJob[]): string | undefined {
    const { users, checkers, disk } = this.world;
    if (!job.up || job.live.length === 0) return `job ${job.number} is not up (${job.ended})`;
    const beside = newcomers.find((one) => one.ended === undefined);
    if (beside !== undefined) return `job ${beside.number} has not ended`;
    if (users.open > 0) return `${users.open} transactions have no answer`;
    checkers.oracle.advance();
    const { hash } = checkers.oracle.head!;
    const members = checkers.oracle.epochs.newest!.members;
    for (const process of job.live) {
      const { name, idle, counter, incarnation, chain } = process;
      if (incarnation === undefined) return `${name} is outside`;
      if (!members.includes(incarnation)) return `${name} is not in the newest epoch`;
      if (chain!.hash !== hash) return `${name} is behind the log`;
      if (!idle || counter!.pending.size > 0) return `${name} has something under way`;
    }
    const { size, live } = job;
    if (members.length > live.length) return `${members.length - live.length} dead members are in`;
    for (const [path, bytes] of this.rotten) {
      // Its record is in a segment now, which was read back whole before the file went.
      const file = disk.find(path);
      if (file !== undefined && !equalBytes(file.bytes, bytes)) return `${path} is not mended`;
    }
    if (this.heals && members.length !== size) return `${members.length} members of ${size}`;
    return undefined;
  }

  explain(job: SimulatedJob, what: string, rule = "L2"): Violation {
    const { oracle } = this.world.checkers;
    const ranks = job.ranks.map((process) => describe(process));
    const members = oracle.epochs.newest?.members.map((one) => one.slice(0, 4)).join();
    return new Violation(
      rule,
      `after ${this.patienceMs} ms of peace: ${what} (storage ends at slot ${oracle.head?.slot}, members ${members}; job ${job.number}, ended ${job.ended})\n  ${ranks.join("\n  ")}`,
    );
  }

  // Promises.

  check(job: SimulatedJob, newcomers: readonly SimulatedJob[]): void {
    const { checkers, processes, plan, ways, fail } = this.world;
    for (const { loop } of processes) {
      ways.took("transaction adopted", loop?.counters.propagation.adopted ?? 0);
      ways.took("proposal gathered", loop?.counters.proposals.gathered ?? 0);
    }
    for (const { counter } of processes)
      for (const told of counter?.agreed ?? []) {
        const [id, epoch] = told.split(" ");
        checkers.agreedIsIn(id, epoch);
      }
    for (const { name, chain } of job.live) checkers.root(name, chain!);
    const seals = ways.all["SEAL by R"] + ways.all["SEAL by a minority"];
    if (seals > sealsMax(plan))
      fail(new Violation("L5", `${seals} SEALs for ${plan.incidents.length} incidents: no rest`));
    for (const { number, ended } of newcomers) {
      if (ended === "LEDGER_IN_USE" || plan.scenario !== "second-job") continue;
      fail(new Violation("S9", `job ${number} ended with ${ended}, not with LEDGER_IN_USE`));
    }
  }

  // A clean stop: L1.

  async stopCleanly(job: SimulatedJob, failed: () => boolean): Promise<void> {
    const { clock, checkers, fail } = this.world;
    for (const { loop } of job.live) loop!.drain();
    await clock.run(
      clock.now() + LIVENESS_MS,
      () => failed() || job.live.every(({ sealed }) => sealed),
    );
    if (failed()) return;
    const rest = job.live.filter(({ sealed }) => !sealed);
    if (rest.length > 0) {
      const names = rest.map((process) => describe(process)).join("\n  ");
      fail(new Violation("L1", `the job does not end:\n  ${names}`));
    }
    checkers.oracle.advance();
    if (checkers.oracle.members.length > 0)
      fail(new Violation("L1", "the job ended without a SEAL that nobody is in"));
  }

  /** A writer that lost its slot may still be at it: what it reads from is given back after that. */
  async checkLeaks(job: SimulatedJob): Promise<void> {
    const { clock } = this.world;
    const allFree = () => job.live.every((process) => process.leaks().length === 0);
    await clock.run(clock.now() + LIVENESS_MS, allFree);
    for (const process of job.live) {
      const leaks = process.leaks();
      if (leaks.length > 0)
        this.world.fail(new Violation("QUEUE", `${process.name} keeps ${leaks.join(", ")}`));
    }
  }

  /** A reader that comes after everybody is gone, with what power left behind: S3. */
  async recoverAfresh(): Promise<void> {
    const { clock, checkers, fail, disk } = this.world;
    const ops = disk.host("auditor");
    const blocks = { block: () => new Uint8Array(0) };
    const { segmentRecords } = this.world.plan.settings;
    const now = () => clock.now();
    const storage = new StorageService({ ops, now, blocks, segmentRecords });
    const read = async () => {
      await storage.open({ directory: ROOT, incarnation: "ffffffffffffffff" });
      const chain = await replayLedger(this.genesis, storage);
      for (const { slot, hash } of checkers.oracle.records)
        if ((await storage.recordBytes(slot, fromHex(hash))) === undefined)
          throw new Violation("S3", `the record of slot ${slot} cannot be read back`);
      return chain;
    };
    let done = false;
    read()
      .then((chain) => checkers.recovered(chain))
      // Whatever it says: what was final is not to be read any more.
      .catch((error) =>
        fail(error instanceof Violation ? error : new Violation("S3", String(error), error)),
      )
      .finally(() => {
        done = true;
      });
    await turn();
    await clock.run(clock.now() + LIVENESS_MS, () => done);
  }
}

function describe(process: RankProcess): string {
  const { name, alive, loop, counter, chain } = process;
  if (!alive) return `${name} is dead`;
  if (loop === undefined) return `${name} has not started`;
  const { transactions, own } = loop.shared;
  const { context } = loop;
  const where = `slot ${chain?.slot}, waiting ${transactions.waiting()}, retrying ${transactions.retrying()}, in flight ${own.inFlight}, pending ${counter?.pending.size}`;
  if (context === undefined) return `${name}: outside, ${where}`;
  const { core, session } = context;
  return `${name}: member ${session.self} of ${session.ranks}, ${where}, settled ${core.settled}, unsettled ${core.unsettled}, core idle ${core.idle}, frozen ${core.isFrozen}, processes ${session.members.map(({ rank }) => session.process(rank)).join()}, suspects ${loop.suspects.join()}`;
}

/** Storage as the cores see it: records are appended one at a time, and read by who looks for one. */
import type { Input, LinkEffect } from "../consensus/effects.ts";
import type { Judge } from "./cohort.ts";
import { proposalBytes, recordBytes } from "./sizes.ts";
import { schedule, type World } from "./world.ts";

export class StorageAccess {
  private readonly world: World;
  private readonly feedAlone: (judge: Judge, input: Input) => void;

  constructor(world: World, feedAlone: (judge: Judge, input: Input) => void) {
    this.world = world;
    this.feedAlone = feedAlone;
  }

  link(judge: Judge, effect: LinkEffect): void {
    const { clock, resources, options, log, epoch } = this.world;
    const bytes = this.bytesOf(effect);
    const { cpu, storage } = options.model;
    const drafting = cpu.recordUs / 1000 + (bytes * cpu.byteNs) / 1e6;
    // Another thread than that of rounds does it, beside them.
    resources.computeAlone(clock.now(), "record", drafting, epoch.ranks);
    const handed = clock.now() + storage.handOverMs + judge.cohort.delayMs;
    const at = resources.append(handed, bytes);
    schedule(this.world, at, () => {
      const { slot } = effect;
      if (log.link(effect, epoch.ranks)) {
        this.world.measures.records++;
        return this.feedAlone(judge, { type: "linked", slot, hash: log.head.hash });
      }
      const record = log.read(slot);
      if (record !== undefined) this.feedAlone(judge, { type: "record", record });
      this.feedAlone(judge, { type: "link-lost", slot });
    });
  }

  private bytesOf({ settlement }: LinkEffect): number {
    const { epoch, options } = this.world;
    let bytes = 0;
    let proposals = 0;
    for (const { round, included } of settlement) {
      proposals += included.length;
      const all = { blocks: 0, transactions: 0, transactionBytes: options.transactionBytes };
      for (const { batches } of epoch.cohorts) {
        all.blocks += batches.get(round)?.blocks ?? 0;
        all.transactions += batches.get(round)?.count ?? 0;
      }
      const empty = proposalBytes({ ...all, blocks: 0, transactions: 0 });
      bytes += proposalBytes(all) - empty + included.length * empty;
    }
    return recordBytes(proposals, bytes, epoch.ranks);
  }

  read(judge: Judge, slot: number): void {
    const { clock, options, log } = this.world;
    schedule(this.world, clock.now() + options.model.storage.readMs, () => {
      const record = log.read(slot);
      if (record === undefined) this.feedAlone(judge, { type: "no-record", slot });
      else this.feedAlone(judge, { type: "record", record });
    });
  }
}

/**
 * What each step on the disk takes and whether it fails: by the rates of the plan, while faults last,
 * and at the step that an incident chose for a crash.
 */
import type { Random } from "../base/random.ts";
import type { DiskFault, DiskStep } from "../storage/simulated-disk.ts";
import type { Faults } from "./faults.ts";
import type { Plan } from "./plan.ts";
import type { RankProcess } from "./rank-process.ts";

const CHANGES: ReadonlySet<string> = new Set([
  "create",
  "write",
  "syncFile",
  "link",
  "syncDirectory",
]);

export class DiskFaults {
  private readonly plan: Plan;
  private readonly random: Random;
  private readonly faults: Faults;
  /** The host of the step under way: whose clock its time is. */
  host = "";
  /** The host that dies by `crashAtChange`. */
  dying: string | undefined;
  private stepsToCrash = Number.POSITIVE_INFINITY;
  private changesToDeath = Number.POSITIVE_INFINITY;
  private happens = false;

  constructor(plan: Plan, random: Random, faults: Faults) {
    this.plan = plan;
    this.faults = faults;
    this.random = random;
  }

  /** All power fails at a step: before it, or right `after` it. */
  crashAtStep(steps: number, after: boolean): void {
    this.stepsToCrash = steps;
    this.happens = after;
  }

  /** Whoever takes that change dies. */
  crashAtChange(changes: number, after: boolean): void {
    this.changesToDeath = changes;
    this.happens = after;
  }

  calm(): void {
    this.stepsToCrash = Number.POSITIVE_INFINITY;
    this.changesToDeath = Number.POSITIVE_INFINITY;
  }

  /** `process` is undefined for a reader that is no rank. */
  of(step: DiskStep, process: RankProcess | undefined, faulty: boolean): DiskFault {
    this.host = step.host;
    const { plan, random } = this;
    const slow = faulty && process?.rank === plan.slowRank ? plan.slowFactor : 1;
    const delayMs = 0.02 + random.nextFloat() * plan.diskStepMsMax * slow;
    const { happens } = this;
    if (--this.stepsToCrash === 0) return { delayMs, crash: "power", happens };
    if (!faulty) return { delayMs };
    const changes = CHANGES.has(step.step);
    if (changes && --this.changesToDeath === 0) {
      this.dying = step.host;
      return { delayMs, crash: "host", happens };
    }
    const away = process?.storageAway;
    if (away?.how === "hang") return { delayMs: away.forMs };
    if (away !== undefined) return { delayMs, code: away.how };
    const fault = this.byChance(step, changes, delayMs);
    if (fault.code !== undefined) this.faults.happened(`${fault.code} of a disk`);
    return fault;
  }

  private byChance({ step }: DiskStep, changes: boolean, delayMs: number): DiskFault {
    const { random } = this;
    const { eio, readEio, enospc, spike, spikeMsMax } = this.plan.storage;
    const chance = random.nextFloat();
    if (!changes) return chance < readEio ? { delayMs, code: "EIO" } : { delayMs };
    const happens = step === "link" && random.nextFloat() < 0.5;
    // A call that was sent again may find its own success in the way.
    if (happens && chance < eio / 2) return { delayMs, code: "EEXIST", happens };
    if (chance < eio) return { delayMs, code: "EIO", happens };
    if (chance < eio + enospc && step === "write") return { delayMs, code: "ENOSPC" };
    if (chance > 1 - spike) {
      this.faults.happened("disk that is slow");
      return { delayMs: random.nextFloat() * spikeMsMax };
    }
    return { delayMs };
  }
}

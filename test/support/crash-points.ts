/**
 * Every way in which a loss of power can cut a piece of work on the simulated disk: after each prefix
 * of its system calls, with each subset of the names that no sync had made durable, and each unsynced
 * file as it was before, whole, cut short or full of zeros. Exhaustive, not drawn.
 */
import { type DiskStep, SimulatedDisk } from "../../src/storage/simulated-disk.ts";

export interface Work {
  readonly name: string;
  /** What is there before, and the work: it announces what must be there from then on. */
  prepare(disk: SimulatedDisk): Promise<(announce: () => void) => Promise<unknown>>;
  /** Throws when something that was announced is lost, or what is there cannot be used. */
  check(disk: SimulatedDisk, announced: number): Promise<void>;
}

const NONE: ReadonlySet<number> = new Set();

/** One outcome of a crash after another, by counting through all choices. */
class Outcomes {
  private readonly choices: { value: number; readonly of: number }[] = [];
  private at = 0;
  private names = 0;
  private isTearing = false;
  private isOver = false;

  /** Power fails: so many names are in doubt. */
  crash(names: number): void {
    this.names = names;
    this.isTearing = false;
  }

  /** Power fails once more, and nothing that is unsynced stays. */
  loseAll(): void {
    this.isOver = true;
  }

  /** The draws of `SimulatedDisk.losePower`: one for each name, one or two for each file. */
  readonly random = (): number => {
    if (this.isOver) return 0.99;
    if (this.names > 0) {
      this.names--;
      return this.choose(2) === 0 ? 0.25 : 0.75;
    }
    if (this.isTearing) {
      this.isTearing = false;
      return 0.5;
    }
    const what = this.choose(4);
    this.isTearing = what >= 2;
    return [0.1, 0.3, 0.6, 0.9][what];
  };

  private choose(of: number): number {
    if (this.at === this.choices.length) this.choices.push({ value: 0, of });
    return this.choices[this.at++].value;
  }

  /** False when there is no other outcome. */
  next(): boolean {
    this.at = 0;
    this.isOver = false;
    while (this.choices.length > 0) {
      const last = this.choices.at(-1)!;
      if (++last.value < last.of) return true;
      this.choices.pop();
    }
    return false;
  }
}

/** What a run of the work without a crash does, call by call. */
export async function stepsOf(work: Work): Promise<DiskStep[]> {
  const disk = new SimulatedDisk({ random: () => 0 });
  const act = await work.prepare(disk);
  const steps: DiskStep[] = [];
  disk.fault = (step) => {
    steps.push(step);
    return undefined;
  };
  await act(() => {});
  return steps;
}

/** `skipped`: the syncs with these numbers in the work report success and do nothing. */
async function crashAfter(
  work: Work,
  prefix: number,
  outcomes: Outcomes,
  skipped: ReadonlySet<number> = NONE,
): Promise<void> {
  const disk = new SimulatedDisk({ random: outcomes.random });
  const act = await work.prepare(disk);
  const first = disk.steps;
  disk.fault = ({ number }) => {
    if (number === first + prefix) {
      outcomes.crash(disk.unsyncedNames);
      return { crash: "power" };
    }
    return skipped.has(number - first) ? { lies: true } : undefined;
  };
  let announced = 0;
  const lost = disk.powerLost();
  const done = act(() => announced++).then(() => {
    disk.fault = undefined;
    outcomes.crash(disk.unsyncedNames);
    disk.losePower();
  });
  await Promise.race([done, lost]);
  disk.fault = undefined;
  outcomes.loseAll();
  await work.check(disk, announced);
}

export interface Tried {
  /** Prefixes of the work. */
  readonly points: number;
  /** Crashes, each with another outcome. */
  readonly crashes: number;
}

/** Crashes everywhere in every way; throws what the first check throws that fails. */
export async function crashEverywhere(work: Work): Promise<Tried> {
  const points = (await stepsOf(work)).length + 1;
  let crashes = 0;
  for (let prefix = 0; prefix < points; prefix++) {
    const outcomes = new Outcomes();
    do {
      crashes++;
      try {
        await crashAfter(work, prefix, outcomes);
      } catch (error) {
        const where = `${work.name}, crash ${crashes}, after ${prefix} calls`;
        throw new Error(`${where}: ${String(error)}`, { cause: error });
      }
    } while (outcomes.next());
  }
  return { points, crashes };
}

/** Whether some crash shows that these syncs were left out. */
export async function areMissed(work: Work, syncs: ReadonlySet<number>): Promise<boolean> {
  const points = (await stepsOf(work)).length + 1;
  // From the end, where most has been announced.
  for (let prefix = points - 1; prefix > Math.min(...syncs); prefix--) {
    const outcomes = new Outcomes();
    do {
      try {
        await crashAfter(work, prefix, outcomes, syncs);
      } catch {
        return true;
      }
    } while (outcomes.next());
  }
  return false;
}

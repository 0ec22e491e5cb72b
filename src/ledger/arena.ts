/**
 * Where records live: blocks of 16-byte units in size classes, sixteen classes to a doubling (at most
 * 1/16 of a block is waste), each with a list of its free blocks. What is freed serves its own class
 * again; when more lies free than is in use the owner copies everything to a new arena (`isSparse`),
 * so memory stays within twice what is live, whatever the order of sizes.
 */
import { GrowingMemory } from "./growing-memory.ts";

export const UNIT_BYTES = 16;
const CLASSES = 448;
const START_BYTES = 1 << 20;
/** Below this much free memory compaction is not worth its pause. */
const SPARSE_BYTES_MIN = 4 << 20;

/** Class of a block of so many units. */
export function classOf(units: number): number {
  if (units < 32) return units;
  const shift = 27 - Math.clz32(units);
  return 16 * shift + ((units + (1 << shift) - 1) >>> shift);
}

function unitsOf(sizeClass: number): number {
  if (sizeClass < 32) return sizeClass;
  return ((sizeClass & 15) + 16) * 2 ** ((sizeClass >>> 4) - 1);
}

export class Arena {
  readonly memory = new GrowingMemory(START_BYTES);
  liveBytes = 0;
  freeBytes = 0;
  /** Unit 0 is never handed out: 0 means none. */
  #end = 1;
  readonly #free = new Int32Array(CLASSES);

  /** Answers the first unit of a block. Its contents are what they were. May grow the memory. */
  allocate(sizeClass: number): number {
    const bytes = unitsOf(sizeClass) * UNIT_BYTES;
    this.liveBytes += bytes;
    const head = this.#free[sizeClass];
    if (head !== 0) {
      this.#free[sizeClass] = this.memory.words[4 * head];
      this.freeBytes -= bytes;
      return head;
    }
    const unit = this.#end;
    this.memory.ensure(unit * UNIT_BYTES + bytes);
    this.#end = unit + bytes / UNIT_BYTES;
    return unit;
  }

  free(unit: number, sizeClass: number): void {
    const bytes = unitsOf(sizeClass) * UNIT_BYTES;
    this.memory.words[4 * unit] = this.#free[sizeClass];
    this.#free[sizeClass] = unit;
    this.liveBytes -= bytes;
    this.freeBytes += bytes;
  }

  isSparse(): boolean {
    return this.freeBytes > SPARSE_BYTES_MIN && this.freeBytes > this.liveBytes;
  }

  /** Bytes handed out so far, live or free: what the system has really given. */
  usedBytes(): number {
    return this.#end * UNIT_BYTES;
  }
}

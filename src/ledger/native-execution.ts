/**
 * What native/execution.h shares with the tables of the state: numbers at fixed places of one array,
 * set before a call and read after it. Most transactions are executed there; it stops at one whose
 * operation changes the shape of a table, which is carried out here, and goes on.
 */
import { kernels, type StateArrays } from "../base/kernels.ts";
import type { NumberTable } from "./number-table.ts";
import type { RecordsTable } from "./records-table.ts";
import type { Remembered } from "./remembered.ts";

/** Places of `control`. */
export const CONTROL = {
  block: 0,
  index: 1,
  at: 2,
  done: 3,
  outcome: 4,
  round: 5,
  sender: 6,
  floor: 7,
  free: 8,
  end: 9,
  capacity: 10,
  remembered: 11,
  rememberedMax: 12,
  indexShift: 13,
  floorShift: 14,
  balanceShift: 15,
  accounts: 16,
  transaction: 17,
  transactionSender: 18,
  keyHash: 19,
  counts: 20,
} as const;
/** Transactions by outcome are the last of them. */
const CONTROL_COUNT = CONTROL.counts + 10;

const TURN = { done: 0, operate: 1, grow: 2 } as const;

/** Blocks where they lie; four numbers each: bodyOffset, bodyLength, transactions, idsOffset. */
export interface PlacedBlocks {
  /** Bodies: transactions × [u32 length][transaction]. */
  readonly bytes: Uint8Array;
  readonly blocks: Uint32Array;
  readonly count: number;
  /** txnID of transaction i of a block at idsOffset + 32·i. */
  readonly ids: Uint8Array;
}

export interface StateTables {
  readonly records: RecordsTable;
  readonly balances: NumberTable;
  readonly floors: NumberTable;
  readonly remembered: Remembered;
  /** A bit a bucket (state-root.ts). */
  readonly dirty: Int32Array;
}

/** Carries out the operation of the transaction at `at` and answers its outcome. */
export type Operate = (at: number, sender: number, keyHash: number) => number;

export class NativeExecution {
  private readonly tables: StateTables;
  private readonly control = new Float64Array(CONTROL_COUNT);
  /** Transactions by outcome, ever. */
  readonly counts = this.control.subarray(CONTROL.counts);

  constructor(tables: StateTables) {
    this.tables = tables;
  }

  /**
   * Executes the blocks in order. Outcome i of all their transactions goes to outcomes[i] and, after
   * room for the chain hash of each block, to `effects` from `effectsOffset` on.
   */
  execute(
    placed: PlacedBlocks,
    round: number,
    out: { outcomes: Uint8Array; effects: Uint8Array; effectsOffset: number },
    operate: Operate,
  ): void {
    const { bytes, ids, blocks, count } = placed;
    if (count === 0) return;
    const { control } = this;
    control.fill(0, 0, CONTROL.counts);
    control[CONTROL.at] = blocks[0];
    control[CONTROL.outcome] = -1;
    control[CONTROL.round] = round;
    control[CONTROL.sender] = -1;
    for (;;) {
      const tables = this.take();
      const turn = kernels.execute(
        bytes,
        ids,
        blocks,
        count,
        out.outcomes,
        out.effects,
        out.effectsOffset,
        ...tables,
      );
      this.giveBack();
      if (turn === TURN.done) return;
      if (turn === TURN.grow) this.tables.remembered.grow();
      else {
        const at = control[CONTROL.transaction];
        const sender = control[CONTROL.transactionSender];
        control[CONTROL.outcome] = operate(at, sender, control[CONTROL.keyHash]);
      }
    }
  }

  /** Forgets what was last valid in `round`. `onFloor` is told of each sender that had no floor. */
  forget(round: number, onFloor: (sender: number, hash: number) => void): void {
    const { control } = this;
    control[CONTROL.round] = round;
    for (;;) {
      const turn = kernels.forgetRound(...this.take());
      this.giveBack();
      if (turn === TURN.done) return;
      onFloor(control[CONTROL.transactionSender], control[CONTROL.keyHash]);
    }
  }

  /** The tables as they are now: each may be another array after JavaScript's turn. */
  private take(): StateArrays {
    const { control } = this;
    const { remembered, balances, floors, records, dirty } = this.tables;
    control[CONTROL.free] = remembered.free;
    control[CONTROL.end] = remembered.end;
    control[CONTROL.capacity] = remembered.capacity;
    control[CONTROL.remembered] = remembered.count;
    control[CONTROL.rememberedMax] = remembered.countMax;
    control[CONTROL.indexShift] = records.index.shift;
    control[CONTROL.floorShift] = floors.shift;
    control[CONTROL.balanceShift] = balances.shift;
    control[CONTROL.accounts] = balances.live;
    const { words, heads, rounds } = remembered;
    const recordArrays = [records.index.slots, records.arena.memory.words] as const;
    return [control, words, heads, rounds, floors.slots, balances.slots, ...recordArrays, dirty];
  }

  private giveBack(): void {
    const { control } = this;
    const { remembered, balances } = this.tables;
    remembered.free = control[CONTROL.free];
    remembered.end = control[CONTROL.end];
    remembered.count = control[CONTROL.remembered];
    balances.live = control[CONTROL.accounts];
  }
}

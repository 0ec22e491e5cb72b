/** The counters of a KeyedFifo: doubles in its buffer, written under its lock. */

export interface FifoCounters {
  /** Elements pushed or committed. */
  pushes: number;
  /** Calls answered FULL. */
  refusals: number;
  /** Elements answered DUPLICATE. */
  duplicates: number;
  finds: number;
  splits: number;
  joins: number;
  /** Elements freed, whichever way. */
  removals: number;
}

export const PUSHES = 0;
export const REFUSALS = 1;
export const DUPLICATES = 2;
export const FINDS = 3;
export const SPLITS = 4;
export const JOINS = 5;
export const REMOVALS = 6;
/** How many there are. 2^53 pushes at 10 M/s last 28 years. */
export const COUNTERS = 7;

export function readCounters(counters: Float64Array): FifoCounters {
  const [pushes, refusals, duplicates, finds, splits, joins, removals] = counters;
  return { pushes, refusals, duplicates, finds, splits, joins, removals };
}

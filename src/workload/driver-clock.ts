/** Time as the driver knows it; tests bring their own. */
export interface DriverClock {
  /** Milliseconds since 1970 with fractions, monotonic. */
  now(): number;
  /** Lets everything else that waits for this thread run once. */
  yield(): Promise<void>;
  /** Calls back after `ms`; the answer cancels. */
  after(ms: number, callback: () => void): () => void;
}

export const SYSTEM_CLOCK: DriverClock = {
  now: () => performance.timeOrigin + performance.now(),
  yield: () => new Promise((resolve) => setImmediate(resolve)),
  after(ms, callback) {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  },
};

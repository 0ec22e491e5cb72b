/**
 * Watches the MPI thread, on JavaScript's thread. MPI itself can hang in a process when another one
 * dies at a bad moment (native/README.md says which). Nothing here can go on then; who is told ends this
 * process, and the others go on without it.
 */

/**
 * The thread takes a turn at least every few ms. One hang is known to end by itself, after the 15 s
 * for which Open MPI's launcher waits at most; so longer than that.
 */
const STALL_SECONDS = 25;

/**
 * Calls `onStall` once when `turns()` stood still for STALL_SECONDS; returns what ends the watch. Looks
 * are counted, not time, so that a process that was stopped for a while is not mistaken.
 */
export function watchTurns(turns: () => number, onStall: (seconds: number) => void): () => void {
  let last = turns();
  let still = 0;
  const timer = setInterval(() => {
    const now = turns();
    still = now === last ? still + 1 : 0;
    last = now;
    if (still < STALL_SECONDS) return;
    clearInterval(timer);
    onStall(STALL_SECONDS);
  }, 1000);
  timer.unref();
  return () => clearInterval(timer);
}

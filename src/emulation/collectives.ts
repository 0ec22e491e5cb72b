/**
 * All-gathers by algorithm: what one rank sends, in how many dependent steps. Every algorithm hands
 * each rank all N - 1 parts of the others, so bytes are the same; messages and steps are not. Pure.
 */

export type AllgatherAlgorithm =
  | "linear"
  | "recursive doubling"
  | "bruck"
  | "neighbor exchange"
  | "ring";

/**
 * Which algorithm: `linear` is MPI_Iallgather of Open MPI 4.1 (libnbc), a message to every other
 * rank; `logarithmic` that of log2 N messages (ours, from 65 members on, is Bruck's: native/mpi-gather.h); `tuned` what the blocking MPI_Allgather of
 * Open MPI picks by its fixed rules (coll/tuned), which goes by rings where there is much to move.
 */
export type AllgatherChoice = "linear" | "logarithmic" | "tuned";

export interface AllgatherCost {
  readonly algorithm: AllgatherAlgorithm;
  /** Messages that one rank sends. */
  readonly messages: number;
  /** Bytes that one rank sends. */
  readonly bytes: number;
  /** Messages that have to wait for each other. */
  readonly steps: number;
}

/** Open MPI's coll/tuned: below this many bytes in all the logarithmic algorithms, rings above. */
const TUNED_SMALL_BYTES = 50_000;

const isPowerOfTwo = (n: number) => (n & (n - 1)) === 0;

export function allgatherAlgorithm(
  choice: AllgatherChoice,
  ranks: number,
  partBytes: number,
): AllgatherAlgorithm {
  if (choice === "linear") return "linear";
  const logarithmic = isPowerOfTwo(ranks) ? "recursive doubling" : "bruck";
  if (choice === "logarithmic" || ranks * partBytes < TUNED_SMALL_BYTES) return logarithmic;
  return ranks % 2 === 0 ? "neighbor exchange" : "ring";
}

export function allgatherCost(
  choice: AllgatherChoice,
  ranks: number,
  partBytes: number,
): AllgatherCost {
  const algorithm = allgatherAlgorithm(choice, ranks, partBytes);
  const bytes = (ranks - 1) * partBytes;
  if (ranks < 2) return { algorithm, messages: 0, bytes: 0, steps: 0 };
  switch (algorithm) {
    case "linear":
      return { algorithm, messages: ranks - 1, bytes, steps: 1 };
    case "recursive doubling":
    case "bruck": {
      const steps = Math.ceil(Math.log2(ranks));
      return { algorithm, messages: steps, bytes, steps };
    }
    case "neighbor exchange":
      return { algorithm, messages: ranks / 2, bytes, steps: ranks / 2 };
    case "ring":
      return { algorithm, messages: ranks - 1, bytes, steps: ranks - 1 };
  }
}

/**
 * The native byte loops (native/kernels.cc), loaded once per thread from native/build. They hold no
 * state: any thread may call any of them. Views may lie over SharedArrayBuffers. Arguments out of
 * range throw RangeError before a byte is touched; views are read and written during the call only.
 * Nobody may change `spans` and `triples` meanwhile: they are checked first and used after that.
 * Inputs and outputs of one call must not overlap, but for `sha256`, `hmacSha256` and `scatter`.
 */
import { join } from "node:path";
import { BaashError, EXIT } from "./errors.ts";

/** control, remembered entries, heads and rounds, floors, balances, index, arena, dirty buckets. */
export type StateArrays = [
  Float64Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Float64Array,
  Float64Array,
  Int32Array,
  Int32Array,
  Int32Array,
];

export interface Kernels {
  sha256(
    bytes: Uint8Array,
    offset: number,
    length: number,
    out: Uint8Array,
    outOffset: number,
  ): void;
  hmacSha256(
    key: Uint8Array,
    bytes: Uint8Array,
    offset: number,
    length: number,
    out: Uint8Array,
    outOffset: number,
  ): void;
  /** RFC 9162 leaf hashes: out[outOffset+32i ..] = SHA-256(0x00 ‖ bytes[spans[2i] .. +spans[2i+1])). */
  leafHashes(
    bytes: Uint8Array,
    spans: Uint32Array,
    count: number,
    out: Uint8Array,
    outOffset: number,
  ): void;
  /** RFC 9162 tree head over `count` leaf hashes that lie one after the other; count 0 = SHA-256(""). */
  merkleRoot(
    leaves: Uint8Array,
    leavesOffset: number,
    count: number,
    out: Uint8Array,
    outOffset: number,
  ): void;
  /** Tree heads of `trees` trees, of counts[i] leaf hashes each, that lie one after the other. */
  merkleRoots(
    leaves: Uint8Array,
    leavesOffset: number,
    counts: Uint32Array,
    trees: number,
    out: Uint8Array,
    outOffset: number,
  ): void;
  /** out[i] = SHA-256(items[i] ‖ out[i-1] ‖ u64 first + i) over 32-byte items, `tip` before the first. */
  hashChain(
    items: Uint8Array,
    count: number,
    tip: Uint8Array,
    first: number,
    out: Uint8Array,
    outOffset: number,
  ): void;
  /** SHA-256 of each span, without a prefix. */
  hashMany(
    bytes: Uint8Array,
    spans: Uint32Array,
    count: number,
    out: Uint8Array,
    outOffset: number,
  ): void;
  /**
   * Tries the nonces first, first+1, … (u64 at bytes[offset+nonceOffset]) until the SHA-256 of
   * bytes[offset .. +length) starts with `bits` zero bits (0 to 64) or `tries` are used up. The
   * winning nonce stays in place; without one `bytes` is unchanged. Returns tries used, or -1.
   */
  searchPuzzle(
    bytes: Uint8Array,
    offset: number,
    length: number,
    nonceOffset: number,
    bits: number,
    first: number,
    tries: number,
  ): number;
  /** CRC32C (RFC 3720). `seed` is the CRC of the bytes before these, 0 at the start: parts chain. */
  crc32c(bytes: Uint8Array, offset: number, length: number, seed: number): number;
  /** Copies `count` pieces in order: triples hold source offset, destination offset, length. */
  scatter(src: Uint8Array, dst: Uint8Array, triples: Uint32Array, count: number): void;
  /**
   * Verdicts (ledger/verdict.ts) of the transactions first … end - 1 by their bytes and the chain
   * alone; answers the index after the last one before which all are good.
   */
  checkTransactions(
    bytes: Uint8Array,
    spans: Uint32Array,
    first: number,
    end: number,
    chainId: Uint8Array,
    verdicts: Uint8Array,
  ): number;
  /** Finds `count` transactions in a body, [u32 length][transaction] each; their spans go to `first` on. */
  scanBody(
    bytes: Uint8Array,
    offset: number,
    length: number,
    count: number,
    spans: Uint32Array,
    first: number,
  ): number;
  /** The first checked transaction from `from` on that a state remembers something of, or `count`. */
  firstRemembered(
    bytes: Uint8Array,
    spans: Uint32Array,
    from: number,
    count: number,
    entries: Int32Array,
    heads: Int32Array,
  ): number;
  /**
   * Executes blocks on the tables of a state (ledger/native-execution.ts, native/execution.h): 0 when
   * all are done, 1 to be called again after an operation, 2 after `remembered` has grown.
   */
  execute(
    bytes: Uint8Array,
    ids: Uint8Array,
    blocks: Uint32Array,
    count: number,
    outcomes: Uint8Array,
    effects: Uint8Array,
    effectsOffset: number,
    ...tables: StateArrays
  ): number;
  /** Forgets the transactions last valid in control's round: 0, or 1 for a sender without floor. */
  forgetRound(...tables: StateArrays): number;
  /** Chains the remembered entries from `first` on, before `end`. */
  linkRemembered(entries: Int32Array, heads: Int32Array, first: number, end: number): void;
  /** Microseconds that the calling thread has had a processor (CLOCK_THREAD_CPUTIME_ID). */
  threadTime(): number;
  /** Whether SHA-256 runs on the processor's SHA instructions. Reports name it: it is a factor of five. */
  readonly instructions: boolean;
}

const KERNELS_FILE = join(import.meta.dir, "..", "..", "native", "build", "kernels.node");

function loadKernels(file: string): Kernels {
  try {
    return require(file) as Kernels;
  } catch (cause) {
    throw new BaashError(
      "ADDON_MISSING",
      `The native addon ${file} is missing or does not fit this machine: run scripts/setup.`,
      { data: { file }, exitCode: EXIT.configuration, cause },
    );
  }
}

export const kernels: Kernels = loadKernels(KERNELS_FILE);

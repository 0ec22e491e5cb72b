/**
 * Every bound of the system in one place, with the relations between them checked at load time.
 * A number here says why it is what it is, or which metric decides it.
 */
import { assert } from "./base/assert.ts";

const KiB = 1024;
const MiB = 1024 * KiB;

/** One encoded transaction. YCSB's default record (10 fields of 100 bytes) takes 1.2 KiB. */
export const TXN_BYTES_MAX = 256 * KiB;
/** Transactions in one block; the paper uses 4. */
export const BLOCK_TXNS_MAX = 16_384;
/** One block with its transactions, as it travels. */
export const BLOCK_BYTES_MAX = 4 * MiB;
/** One rank's proposal of a round: any number of blocks up to this many bytes. */
export const PROPOSAL_BYTES_MAX = 8 * MiB;
/** Blocks in one proposal. */
export const PROPOSAL_BLOCKS_MAX = 4096;
/** One message between ranks: a proposal and its envelope. */
export const MESSAGE_BYTES_MAX = PROPOSAL_BYTES_MAX + 64 * KiB;
/**
 * Members of an epoch. The paper measures 500 ranks and wishes for 40,000, which src/emulation runs
 * the core with; what bounds them here is a SEAL, whose answers name a hash of every member.
 */
export const MEMBERS_MAX = 65_536;
/** W of protocol.md: rounds that may be open or unrecorded before clients feel back-pressure. */
export const UNRECORDED_ROUNDS_MAX = 64;
/** Rounds of which txnIDs are remembered; a last valid round further ahead is refused at intake. */
export const VALIDITY_ROUNDS_MAX = 65_536;
/** Remembered transactions over all rounds of the window (about 64 bytes each). */
export const REMEMBERED_TXNS_MAX = 4 * 1024 * 1024;
/** Key of a key-value record. */
export const KEY_BYTES_MAX = 255;
/** Fields of a key-value record. */
export const FIELDS_MAX = 1024;
/** Leading zero bits that a puzzle may ask for: 2^40 hashes are days, more is a mistake. */
export const PUZZLE_BITS_MAX = 40;
/** Records in one segment: a directory of the tail stays small, a folded segment large. */
export const SEGMENT_RECORDS = 1024;
/** Bytes of one record: group commit stops here. */
export const RECORD_BYTES_MAX = 64 * MiB;
/** One frame of a client at the intake socket: some thousand small transactions. */
export const INTAKE_FRAME_BYTES_MAX = 2 * MiB;
/** Transactions in one frame. */
export const INTAKE_BATCH_TXNS_MAX = 8192;
/** Transactions of one client without their last acknowledgement; then its socket is not read. */
export const INTAKE_IN_FLIGHT_MAX = 65_536;
/** Acknowledgements that a client has not read; then its socket is not read. */
export const INTAKE_UNSENT_BYTES_MAX = 1 * MiB;
/** Keys of one SCAN: with keys of any size its answer fits a frame. */
export const INTAKE_SCAN_KEYS_MAX = 1024;
/** Clients at one rank; the next ones are turned away. */
export const INTAKE_CONNECTIONS_MAX = 256;
/** Unfinished frames of all clients of a rank; then those that hold one are read one by one. */
export const INTAKE_BUFFER_BYTES_MAX = 64 * MiB;

assert(TXN_BYTES_MAX < BLOCK_BYTES_MAX, "a block holds at least one transaction of any size");
assert(BLOCK_BYTES_MAX <= PROPOSAL_BYTES_MAX, "a proposal holds at least one block of any size");
assert(PROPOSAL_BYTES_MAX < MESSAGE_BYTES_MAX, "a message holds a whole proposal");
assert(48 * MEMBERS_MAX < MESSAGE_BYTES_MAX, "a message holds a vote that names every member");
assert(VALIDITY_ROUNDS_MAX > 2 * UNRECORDED_ROUNDS_MAX, "a transaction outlives the open rounds");
assert(
  TXN_BYTES_MAX < INTAKE_FRAME_BYTES_MAX,
  "a frame holds at least one transaction of any size",
);
assert(
  INTAKE_SCAN_KEYS_MAX * (KEY_BYTES_MAX + 2) + KiB < INTAKE_FRAME_BYTES_MAX,
  "a frame holds the keys of a scan",
);
assert(INTAKE_FRAME_BYTES_MAX < INTAKE_BUFFER_BYTES_MAX, "the intake holds at least one frame");
assert(INTAKE_BATCH_TXNS_MAX < INTAKE_IN_FLIGHT_MAX, "a client may send at least one full frame");

/** Hashes as the core sees them, without hashing: unlike things have unlike names. */

const HASH_CHARS = 64;
const ID_CHARS = 8;

const ids: string[] = [];

/** The name of what rank `id` of the job proposes in a round: hexadecimal, as long as a SHA-256. */
export function proposalName(id: number, round: number): string {
  while (ids.length <= id) ids.push(ids.length.toString(16).padStart(ID_CHARS, "0"));
  return ids[id] + roundPart(round);
}

let lastRound = -1;
let lastPart = "";

function roundPart(round: number): string {
  if (round !== lastRound) {
    lastRound = round;
    lastPart = `${round.toString(16).padStart(HASH_CHARS - ID_CHARS - 2, "0")}aa`;
  }
  return lastPart;
}

/** The hash of the record of a slot, and the digest of effects there. */
export const recordName = (slot: number) => `${slot.toString(16).padStart(HASH_CHARS - 2, "0")}bb`;
export const effectsName = (slot: number) => `${slot.toString(16).padStart(HASH_CHARS - 2, "0")}cc`;

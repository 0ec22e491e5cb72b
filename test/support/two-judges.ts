/**
 * What the ranks and what the independent reader make of each record of a ledger directory: they have
 * to say the same. The directory's tail must not be folded.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { toHex } from "../../src/base/bytes.ts";
import { BaashError } from "../../src/base/errors.ts";
import { Chain } from "../../src/ledger/chain.ts";
import { parseGenesis } from "../../src/ledger/genesis.ts";
import { readNext, step } from "../../src/ledger/replay.ts";
import { readLedger } from "../../src/verify/ledger-reader.ts";

/** One letter a record: c counts, n takes the slot and settles nothing, s stops the ledger. */
export type Letters = string;

/** Bytes of the records in slot order. */
export function recordsOf(dir: string): Uint8Array[] {
  return readdirSync(join(dir, "log"))
    .sort()
    .flatMap((segment) => {
      const tail = join(dir, "log", segment);
      return readdirSync(tail).map((name) => join(tail, name));
    })
    .sort()
    .map((path) => new Uint8Array(readFileSync(path)));
}

export function newChain(dir: string): Chain {
  return new Chain(parseGenesis(new Uint8Array(readFileSync(join(dir, "genesis"))), "genesis"));
}

/**
 * Before the last record the chain also goes through its own snapshot, as in a job that starts there:
 * throws where that makes a difference.
 */
export function ranksSay(dir: string): { letters: Letters; chain: Chain } {
  const chain = newChain(dir);
  let letters = "";
  const records = recordsOf(dir);
  for (const [slot, bytes] of records.entries()) {
    const next = readNext(chain, bytes);
    const letter = next.ok && next.value.record === undefined ? "n" : "c";
    if (slot > 0 && slot === records.length - 1) {
      const restarted = Chain.restore(chain.genesis, Buffer.concat(chain.snapshot()));
      const again = readNext(restarted, bytes);
      const same =
        again.ok === next.ok &&
        (!again.ok || again.value.record !== undefined) === (letter === "c");
      if (!same) throw new Error(`slot ${slot}: a restarted chain does not say ${letter}`);
    }
    try {
      step(chain, bytes);
    } catch (error) {
      if (!(error instanceof BaashError && error.code === "RECORD_DAMAGED")) throw error;
      return { letters: `${letters}s`, chain };
    }
    letters += letter;
  }
  return { letters, chain };
}

/** `codes`: of the warnings and of the damage that ends the walk, in order. */
export function readerSays(dir: string) {
  const { summary, warnings, damages } = readLedger(dir);
  const noops = new Set(warnings.map(({ slot }) => slot));
  let letters = "";
  for (let slot = 0; slot < summary.slots; slot++) letters += noops.has(slot) ? "n" : "c";
  const stopped = damages.length > 0 ? "s" : "";
  return {
    letters: letters + stopped,
    codes: [...warnings, ...damages].map(({ code }) => code),
    summary,
  };
}

/** Both walks; throws where they differ in a record or in where they end. */
export function bothSay(dir: string): { letters: Letters; codes: string[]; chain: Chain } {
  const ranks = ranksSay(dir);
  const { summary, ...reader } = readerSays(dir);
  if (ranks.letters !== reader.letters) {
    const codes = reader.codes.join(" ");
    throw new Error(`ranks ${ranks.letters}, reader ${reader.letters} (${codes})`);
  }
  if (!reader.letters.endsWith("s")) {
    const { chain } = ranks;
    const own = [chain.hash, toHex(chain.treeRoot()), chain.effectsDigest, chain.settledRound];
    const theirs = [
      summary.headHash,
      summary.merkleRoot,
      summary.effectsDigest,
      summary.settledRound,
    ];
    if (own.join() !== theirs.join()) throw new Error(`ranks ${own}, reader ${theirs}`);
  }
  return { ...reader, chain: ranks.chain };
}

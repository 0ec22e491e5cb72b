/**
 * How the ranks of a job open one ledger directory together and replay it: rank 0 first, since it
 * may have to make the ledger. The real rank and the simulator run this very code.
 */
import { BaashError, EXIT, type ExitCode, exitCodeOf } from "../base/errors.ts";
import { Chain } from "../ledger/chain.ts";
import type { Genesis } from "../ledger/genesis.ts";
import { step } from "../ledger/replay.ts";
import type { LedgerStorage, Opened } from "../storage/storage-service.ts";
import type { Handshake } from "./handshake.ts";

/** Rank 0 opens or creates (`openFirst`); the others only open what is there afterwards. */
export async function openTogether(parts: {
  readonly rank: number;
  readonly handshake: Handshake;
  openFirst(): Promise<Opened>;
  openNext(): Promise<Opened>;
}): Promise<Opened> {
  let opened: Opened | undefined;
  let failure: unknown;
  if (parts.rank === 0) {
    try {
      opened = await parts.openFirst();
    } catch (error) {
      failure = error;
    }
  }
  const word = Uint8Array.of(failure === undefined ? EXIT.ok : exitCodeOf(failure));
  const [first] = await parts.handshake.gather("opening the ledger directory", word, 16);
  if (failure !== undefined) throw failure;
  // The same code everywhere: mpirun answers with that of any rank.
  const exitCode = first[0] as ExitCode;
  if (exitCode !== EXIT.ok) throw new BaashError("OTHER_RANK_FAILED", "", { exitCode });
  return opened ?? (await parts.openNext());
}

/** The newest snapshot, then every record after it. */
export async function replayLedger(genesis: Genesis, storage: LedgerStorage): Promise<Chain> {
  let chain = new Chain(genesis);
  await storage.recover(
    (_head, payload) => {
      try {
        chain = Chain.restore(genesis, payload);
      } catch {
        return false;
      }
      return true;
    },
    (bytes) => step(chain, bytes),
  );
  return chain;
}
